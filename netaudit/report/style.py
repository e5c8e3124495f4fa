"""How the reader of a report wants it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """Colours, width, everything or a summary, timings or none (output is the same every time without them).

    ``quiet``: only findings that count and what was not checked, no summary and nothing suppressed.
    """

    color: bool = False
    width: int = 80
    full: bool = False
    timings: bool = False
    quiet: bool = False
