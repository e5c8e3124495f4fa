"""What is being done, told while it is done."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much: 0 where nobody can say, and it ends where the next thing begins."""


def silent(_what: str, _done: int, _total: int) -> None:
    """No progress is shown."""
