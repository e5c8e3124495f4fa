"""How a terminal wants its text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """Colours, width, everything or a summary, timings or none (output is the same every time without them)."""

    color: bool = False
    width: int = 80
    full: bool = False
    timings: bool = False
