"""Changes of a model as values: what a remedy proposes, in terms of nodes and parameters of its graph.

A change says what to do, not how; ``edit.py`` makes it in the graph, so that a remedy can be analysed before it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .graph import Arg


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Parameters re-initialised with independent entries of mean 0 and the given RMS, one for each parameter."""

    params: tuple[str, ...]
    rms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WithArg:
    """An argument of calls set to a value: an eps, a slope, a probability."""

    nodes: tuple[str, ...]
    name: str
    value: Arg


@dataclass(frozen=True, slots=True)
class Replaced:
    """Functions of one tensor replaced by another such function, without arguments."""

    nodes: tuple[str, ...]
    op: str


@dataclass(frozen=True, slots=True)
class Normalised:
    """A normalisation put after calls: over the ``features`` of each position (LayerNorm), or each of the ``channels`` (BatchNorm)."""

    nodes: tuple[str, ...]
    over: Literal["features", "channels"] = "features"


@dataclass(frozen=True, slots=True)
class ScaledBranch:
    """The values of calls multiplied by a factor before they are used."""

    nodes: tuple[str, ...]
    factor: float


@dataclass(frozen=True, slots=True)
class Residual:
    """For each pair ``(before, after)`` the value of ``before`` added to that of ``after``, of the same shape."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """Calls left out: their first operand, of the same shape, takes their place."""

    nodes: tuple[str, ...]


Change: TypeAlias = Rescaled | WithArg | Replaced | Normalised | ScaledBranch | Residual | Removed
