"""The training set-up as values: optimiser groups, schedule, clipping, precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Group:
    """A parameter group of an optimiser: the names of its parameters and its settings."""

    params: tuple[str, ...]
    settings: Mapping[str, float | bool | tuple[float, ...] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimiser: its class name and its groups. ``strangers`` counts tensors that belong to no parameter of the model."""

    kind: str
    groups: tuple[Group, ...]
    strangers: int = 0


@dataclass(frozen=True, slots=True)
class Training:
    """All that is known of how the model will be trained; None and () where nothing was said."""

    optimizers: tuple[Optimizer, ...] = ()
    source: str = ""
