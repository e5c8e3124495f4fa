"""Standard output holds results and nothing else."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def keep_stdout_for_results() -> None:
    """For the rest of the process, what is written to file descriptor 1 goes to stderr; only ``sys.stdout`` reaches the reader.

    A model's code may print from C, by ``os.write``, in a child process or a thread: none of it is a result. ``sys.stdout`` moves
    to a descriptor of its own, which children do not inherit. What the encoding of the reader cannot hold is escaped.
    """
    _open_what_is_closed()
    outer = sys.stdout
    try:
        number = outer.fileno()
        outer.flush()
        own = os.dup(number)
    except (AttributeError, OSError, ValueError):  # replaced by what is no file: there is nothing to keep apart
        return
    os.dup2(2, number)
    sys.stdout = TextIOWrapper(
        os.fdopen(own, "wb"), encoding=outer.encoding, errors="backslashreplace", newline="\n", line_buffering=outer.isatty()
    )


def _open_what_is_closed() -> None:
    """Standard streams that the caller closed (``>&-``) lead nowhere, instead of to the next file that is opened."""
    for number, name in (1, "stdout"), (2, "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
