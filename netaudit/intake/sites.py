"""The lines that construct modules and optimisers, recorded while user code runs.

While recording modules, ``nn.Module.__init__`` leaves the line on the module itself, in its ``__dict__``. A table on the side
would be tidier, but ``copy.deepcopy`` does not call ``__init__``: only what lies in ``__dict__`` follows a layer into
the copies that ``nn.TransformerEncoder`` makes of it.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from netaudit.graph import Site
from netaudit.intake.usercode import OURS, TORCH, shown

_KEY = "_netaudit_site"
_PATCHING = threading.RLock()


@contextmanager
def recording() -> Iterator[None]:
    """Remember for each module constructed meanwhile which line did it; ``nn.Module.__init__`` is always put back.

    Threads take turns; a recording inside a recording is harmless.
    """
    with _PATCHING:
        original = nn.Module.__init__

        @functools.wraps(original)
        def init(module: nn.Module, *args: object, **kwargs: object) -> None:
            original(module, *args, **kwargs)
            module.__dict__[_KEY] = _constructed_at(module, sys._getframe(1))

        nn.Module.__init__ = init  # type: ignore[method-assign, assignment]  # the point of this function
        try:
            yield
        finally:
            nn.Module.__init__ = original  # type: ignore[method-assign]  # as above


@contextmanager
def noting_optimizers() -> Iterator[dict[int, Site | None]]:
    """The line that constructs each optimiser meanwhile, by the optimiser's id; ``Optimizer.__init__`` is always put back."""
    sites: dict[int, Site | None] = {}
    with _PATCHING:
        original = Optimizer.__init__

        @functools.wraps(original)
        def init(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            site = _constructed_at(optimizer, sys._getframe(1))
            sites[id(optimizer)] = None if site is None else Site(shown(site.file), site.line)

        Optimizer.__init__ = init  # type: ignore[method-assign, assignment]  # the point of this function
        try:
            yield sites
        finally:
            Optimizer.__init__ = original  # type: ignore[method-assign]  # as above


def created(model: nn.Module) -> Mapping[str, Site]:
    """The recorded line of each module of ``model``, by path, under every path that a shared module has."""
    sites = {}
    for path, module in model.named_modules(remove_duplicate=False):
        site: object = module.__dict__.get(_KEY)
        if isinstance(site, Site):
            sites[path] = Site(shown(site.file), site.line)
    return sites


def forget(model: nn.Module) -> None:
    """Take the records off the modules again."""
    for module in model.modules():
        module.__dict__.pop(_KEY, None)


def _constructed_at(made: object, frame: FrameType | None) -> Site | None:
    """The innermost line outside torch that is not the object's own constructor; None when netaudit built it itself."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return None  # outside this frame stands whoever called netaudit, who did not write the model
        if not _is_own(made, frame) and not file.startswith(("<", TORCH)):
            return Site(os.path.abspath(file), frame.f_lineno)
        frame = frame.f_back
    return None


def _is_own(made: object, frame: FrameType) -> bool:
    """Whether the frame runs a method of the object: a subclass's ``__init__``, a dataclass's ``__post_init__``."""
    names = frame.f_code.co_varnames
    return bool(names) and frame.f_locals.get(names[0]) is made
