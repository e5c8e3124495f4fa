"""The lines that construct modules, recorded while user code runs.

While recording, ``nn.Module.__init__`` leaves the line on the module itself, in its ``__dict__``. A table on the side
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

from torch import nn

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


def _constructed_at(module: nn.Module, frame: FrameType | None) -> Site | None:
    """The innermost line outside torch that is not the module's own constructor; None when netaudit built it itself."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return None  # outside this frame stands whoever called netaudit, who did not write the model
        if not _is_own(module, frame) and not file.startswith(("<", TORCH)):
            return Site(os.path.abspath(file), frame.f_lineno)
        frame = frame.f_back
    return None


def _is_own(module: nn.Module, frame: FrameType) -> bool:
    """Whether the frame runs a method of the module: a subclass's ``__init__``, a dataclass's ``__post_init__``."""
    names = frame.f_code.co_varnames
    return bool(names) and frame.f_locals.get(names[0]) is module
