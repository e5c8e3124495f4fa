"""What is being done, on a terminal's stderr, while it takes more than a second; gone when it is done."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING

from netaudit.progress import Progress, silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PATIENCE = 1.0
"""Seconds that nobody minds waiting for in the dark."""

PAUSE = 0.05
"""Seconds between two updates of a line: a graph has thousands of calls, and people see twenty pictures a second."""


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Progress]:
    """A line for everything that is being done, from the first second on; elsewhere than on a terminal nothing is shown."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.file_proxy import FileProxy

    console = Console(file=sys.stderr)  # this very file: while a model is traced, sys.stderr is another one
    if not console.is_interactive:  # a terminal on which nothing can be taken back
        yield silent
        return
    bars = _bars(console)
    begin = threading.Timer(PATIENCE, bars.start)
    begin.daemon = True
    begin.start()
    try:
        with redirect_stderr(FileProxy(console, sys.stderr)):  # what a model says meanwhile stands above the lines
            yield _telling(bars)
            sys.stderr.flush()
    finally:
        begin.cancel()
        begin.join()
        bars.stop()


def _bars(console: Console) -> Bars:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    words, count = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[count]}"))
    columns = (SpinnerColumn(), words, BarColumn(20), count, TimeElapsedColumn())
    # Live would put its own files in place of the standard streams, from the timer's thread: under the feet of a redirection
    return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


def _telling(bars: Bars) -> Progress:
    """Lines as a stack: what is told again ends what was begun after it, and what nobody counts ends where something else begins."""
    lines: dict[str, TaskID] = {}
    uncounted: set[str] = set()
    due = 0.0

    def end(names: Iterable[str]) -> None:
        for name in list(names):
            bars.remove_task(lines.pop(name))
            uncounted.discard(name)

    def tell(what: str, done: int, total: int) -> None:
        nonlocal due
        now = time.monotonic()
        if what in lines and what not in uncounted and done < total and now < due and what == next(reversed(lines)):
            return
        due = now + PAUSE
        begun = list(lines)
        end(begun[begun.index(what) + 1 :] if what in lines else uncounted)
        if total and done >= total:
            end([what] if what in lines else [])
            return
        if what not in lines:
            lines[what] = bars.add_task(what, total=total or None, count="")
        if not total:
            uncounted.add(what)
        bars.update(lines[what], completed=done, total=total or None, count=f"{done} of {total}" if total else "")

    return tell
