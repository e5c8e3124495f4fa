"""The training set-up as values: optimisers with their groups, learning rates over time, clipping, accumulation, precision."""

from __future__ import annotations

from .described import SETTINGS, Described
from .kinds import KINDS, OptimizerKind, is_coupled, kind_of
from .schedule import Schedule, compressed, evaluated
from .values import PRECISIONS, Group, Optimizer, Precision, Setting, Training

__all__ = [
    "KINDS",
    "PRECISIONS",
    "SETTINGS",
    "Described",
    "Group",
    "Optimizer",
    "OptimizerKind",
    "Precision",
    "Schedule",
    "Setting",
    "Training",
    "compressed",
    "evaluated",
    "is_coupled",
    "kind_of",
]
