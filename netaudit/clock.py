"""Seconds by stage."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """The time between calls: on the wall, or whatever ``now`` counts (``time.process_time``: CPU time)."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.laps: dict[str, float] = {}
        self._now, self._last = now, now()

    def lap(self, name: str) -> None:
        """Note what has passed under a name."""
        now = self._now()
        self.laps[name] = now - self._last
        self._last = now
