"""Progress bars on a terminal's stderr, for what takes more than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PATIENCE = 1.0
"""Seconds before anything is shown."""
PAUSE = 0.05
"""Seconds between two updates of a bar: a graph has thousands of calls, and people see twenty pictures a second."""
FIRST = "building and tracing"
"""What is done until something is told: nobody knows how long it will take."""


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Told what is being done, how much of it is done and of how much; the bars are gone in the end, whatever ends it.

    Nothing is shown where stderr is no terminal, and nothing ever goes to standard output.
    """
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    shown = _Shown(sys.stderr)
    timer = Timer(PATIENCE, shown.start)
    timer.daemon = True
    timer.start()
    try:
        yield shown.tell
    finally:
        timer.cancel()
        shown.stop()


class _Shown:
    """What was told, and the bars that show it once they are there. The timer starts them from a thread of its own."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal, self._lock = terminal, Lock()  # the stream itself: while a model is traced ``sys.stderr`` is another
        self._told: dict[str, tuple[int, int]] = {}
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last = 0.0
        self._over = False

    def start(self) -> None:
        """Show the bars, unless it is over."""
        with self._lock:
            if self._over:
                return
            from rich.console import Console
            from rich.progress import Progress as Bars

            # results and what models print go where they go: rich must not take the streams
            self._bars = Bars(console=Console(file=self._terminal), transient=True, redirect_stdout=False, redirect_stderr=False)
            if not self._told:
                self._tasks[FIRST] = self._bars.add_task(FIRST, total=None)
            for what in self._told:
                self._draw(what)
            self._bars.start()

    def tell(self, what: str, done: int, total: int) -> None:
        """Note how far it is, and show it if that is due."""
        with self._lock:
            now, known = time.monotonic(), what in self._told
            self._told[what] = (done, total)
            if self._bars is not None and (not known or done >= total or now - self._last >= PAUSE):
                self._last = now
                self._draw(what)

    def stop(self) -> None:
        """Take the bars away."""
        with self._lock:
            self._over = True
            if self._bars is not None:
                self._bars.stop()

    def _draw(self, what: str) -> None:
        assert self._bars is not None, "drawn once they are there"
        if FIRST in self._tasks:
            self._bars.remove_task(self._tasks.pop(FIRST))
        done, total = self._told[what]
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total, visible=done < total)
