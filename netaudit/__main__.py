"""``python -m netaudit``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from .cache.replay import replayed
from .cache.store import replaced


def main() -> NoReturn:
    """The command line; what it said before, at once, when it would say the same again."""
    run = replayed(sys.argv[1:])
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
