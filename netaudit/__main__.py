"""``python -m netaudit``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from . import __version__
from .cache.replay import Run, replayed
from .cache.store import replaced
from .errors import NetauditError, complaint


def main() -> NoReturn:
    """The command line; what it said before, at once, when it would say the same again, and what a lock says."""
    run = _compared(sys.argv[1:]) or replayed(sys.argv[1:])
    if run is None:
        from .cli import main as full

        full()
    try:
        _write(run.texts)
    except BrokenPipeError:  # the reader has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        sys.stderr.write(f"netaudit: {error.filename} cannot be written: {error.strerror}\n")
        sys.exit(2)
    sys.exit(run.exit_code)


def _compared(arguments: Sequence[str]) -> Run | None:
    """What is to be said of a lock, when that is asked: without what reads a command line, so that nothing need be installed."""
    if arguments[:1] != ["lock"]:
        return None
    from .lock import answered, asked

    path = asked(arguments)
    if path is None:
        return None
    try:
        text, code = answered(path, __version__)
    except NetauditError as error:
        sys.stderr.write(complaint(error.message, error.hint))
        sys.exit(error.exit_code)
    return Run(((None, text),), code)


def _write(texts: Iterable[tuple[str | None, str]]) -> None:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace", newline="\n")
    for file, text in texts:
        if file is not None:
            replaced(Path(file), text.encode(errors="backslashreplace"))
        elif sys.stdout is not None:
            sys.stdout.write(text)
    if sys.stdout is not None:
        sys.stdout.flush()


if __name__ == "__main__":
    main()
