"""Measurements of the model as a whole: each is a function of a bench that gives a table, and readings for verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .bench import Bench, Studied
from .modes import modes

__all__ = ["STUDIES", "Bench", "Studied"]

STUDIES: Mapping[str, Callable[[Bench], Studied]] = {
    "modes": modes,
}
