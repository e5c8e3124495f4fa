"""Running code that is not ours: what it may not leave behind, and what is said when it fails."""

from __future__ import annotations

import os
import random
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from netaudit.errors import DeadlineError, NetauditError, TargetError

# Read by huggingface_hub and transformers when they are imported; timm goes through huggingface_hub.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
# Links are not followed: frames carry the path that the import system used.
OURS = str(Path(__file__).absolute().parents[1]) + os.sep
TORCH = str(Path(torch.__file__).absolute().parent) + os.sep
_PATHS = sysconfig.get_paths()
_INSTALLED = (OURS, TORCH, *(_PATHS[key] + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")))
_LONGEST = 300  # characters of a foreign error message: torch lists every key of a state dict in one


def shown(path: str | Path) -> str:
    """A path as it is printed: relative to the working directory, an installed file from its package on."""
    inside = Path(path).as_posix().partition("/site-packages/")[2]
    if inside:
        return inside
    try:
        return Path(os.path.relpath(path)).as_posix()
    except ValueError:  # another drive: Windows knows no relative path to it
        return Path(path).as_posix()


def is_installed(file: str) -> bool:
    """Whether a source file belongs to Python, to an installed package or to netaudit, not to the user's project."""
    return file.startswith(("<", *_INSTALLED)) or "site-packages" in file or "dist-packages" in file


def reseed(seed: int) -> None:
    """Seed every global generator that model code draws from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextmanager
def contained(seed: int) -> Iterator[None]:
    """Seed the generators and go offline; afterwards undo both, and put back ``sys.path`` and ``sys.argv``."""
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch's stub
    devices = torch.cuda.get_rng_state_all() if on_gpu else []
    paths, argv = list(sys.path), list(sys.argv)
    absent = [name for name in OFFLINE if name not in os.environ]
    os.environ.update({name: OFFLINE[name] for name in absent})
    try:
        reseed(seed)
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
        if devices:
            torch.cuda.set_rng_state_all(devices)
        sys.path[:], sys.argv[:] = paths, argv
        for name in absent:
            os.environ.pop(name, None)


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Run code of the user: output goes to stderr, exceptions become a ``TargetError`` that begins with ``what``.

    Restores the working directory and the gradient mode.

    Raises:
        TargetError: for every exception, and for ``sys.exit``, with the user's innermost line; an interrupt is none.
    """
    folder = Path.cwd()
    try:
        with redirect_stdout(sys.stderr), torch.enable_grad():
            yield
    except (NetauditError, KeyboardInterrupt, DeadlineError):
        raise
    except BaseException as error:  # sys.exit, and what a user derives from BaseException
        os.chdir(folder)  # before any path is printed
        raise TargetError(f"{what} {failure(error)}", "--verbose shows the whole traceback") from error
    finally:
        os.chdir(folder)


def failure(error: BaseException) -> str:
    """What happened and where, in one line: ``failed at model.py:3: ValueError: boom``."""
    if isinstance(error, SyntaxError) and error.filename:
        text = f": {error.text.strip()}" if error.text else ""
        return f"failed at {shown(error.filename)}:{error.lineno}: {type(error).__name__}: {error.msg}{text}"
    place = _place(error.__traceback__)
    if isinstance(error, SystemExit):
        return f"called sys.exit({error.code!r}){place}"
    return f"failed{place}: {type(error).__name__}: {one_line(str(error))}".rstrip(": ")


def one_line(text: str) -> str:
    """A message folded to one line and cut where it gets long."""
    folded = " ".join(text.split())
    return folded if len(folded) <= _LONGEST else folded[: _LONGEST - 3] + "..."


def kind_of(value: object) -> str:
    """The type of a value with its article: ``an int``, ``a Linear``; None is ``None``."""
    name = type(value).__qualname__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _place(trace: TracebackType | None) -> str:
    """`` at FILE:LINE`` of the innermost frame in the user's own files, or nothing: the rest is not theirs to mend."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace)]
    own = [(file, line) for file, line in frames if not is_installed(file)]
    return f" at {shown(own[-1][0])}:{own[-1][1]}" if own else ""
