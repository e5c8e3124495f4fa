"""What a probe has measured, and what it must show, as values: every number is of a run on a device, with a seed; none proves anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["confirmed", "not reproduced", "not probed"]
"""What became of a finding: the measurement agrees, it does not, or there was none that could tell."""

Quantity: TypeAlias = Literal[
    "sensitivity", "gradient", "value", "largest", "zeros", "gain", "non-finite",
    "outside", "off", "peak", "span", "deviation", "difference", "gradient difference", "passed", "mixed", "memory",
    "whole gradient", "update", "edge", "extreme", "noise",
]  # fmt: skip
"""What a probe can read, as log10.

Every run reads, of parameters and nodes: S; the RMS of the gradient; of nodes the RMS of the value, its largest size, the share of
exact zeros; the typical gain of a call for one operand; whether a call breaks, that is makes something that is not finite of what
is; the norm of the gradient of all parameters together.

Only where it is claimed (see ``netaudit.probe.asked``): the share of entries outside of ``between``; the share of units (along
``axis``) that are outside for 99 of 100 entries; the mean over rows of the largest attention weight; the largest difference of two
entries of a row; the RMS of what differs along an axis, and its share of the whole RMS, in the value or in the gradient; the median
of what is left of a gradient behind a call; the share of a gradient that comes from other entries of an axis; what a recurrence
passes from its first state to its last.

Studies read: ``RMS(dW) / RMS(W)`` of the first optimiser step; the learning rate over the largest stable one; whether a call breaks
at an extreme input; how far two passes in evaluation mode are apart.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a measurement must show if a finding is right: ``quantity`` of the subjects is on one side of a limit, all as log10.

    ``subjects`` are names of parameters or nodes, the one that the message speaks of first; that of a call for one of its operands
    (its gain, what is passed or mixed) is ``operand > call``. What is read of the nodes ``over`` is taken off, so that growth can be
    claimed, and ``shift`` is added. ``slack`` is by how much a limit may be missed: if None by the error of a forecast, and not at all
    where the claim is ``certain``: it follows from the graph and its numbers, not from a forecast, and no probe takes it back.
    ``axis`` and ``between`` say what some quantities are to be read along, and against. ``aside``: what is read is another quantity
    than that of the finding's evidence, and does not stand beside its numbers.
    """

    quantity: Quantity
    subjects: tuple[str, ...]
    limit: float
    side: Literal["above", "below"]
    over: tuple[str, ...] = ()
    shift: float = 0.0
    slack: float | None = None
    axis: int | None = None
    between: tuple[float, float] | None = None
    aside: bool = False
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over all runs, as log10: the middle one, the least and the largest. -inf is exactly zero."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Gain:
    """Local gains of a call for one operand, as log10.

    ``typical``: ``||J' u|| / ||u||`` for random ``u``, that is ``||J||_F / sqrt(outputs)``, with its relative standard error.
    ``largest``: a lower bound of ``||J||_2`` at the measured points, None where it was not asked for; ``pairs`` is how many
    Jacobian-vector products and their transposes it took, ``converged`` whether it had stopped to grow.
    """

    typical: float
    error: float = 0.0
    largest: float | None = None
    pairs: int = 0
    converged: bool = False


@dataclass(frozen=True, slots=True)
class NodeMeasured:
    """The value and the gradient of a node. ``zeros``: the share of entries that are exactly zero; ``largest``: log10 of the largest."""

    rms: Spread
    largest: float
    zeros: float
    gradient: Spread | None = None
    gains: Mapping[str, Gain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParamMeasured:
    """log10 RMS of a parameter's gradient, and ``S = ||W||_F ||G||_F``."""

    gradient: Spread
    sensitivity: Spread


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good the forecast was: of ``count`` sizes the share within a factor of two, the median error in decades, the rank correlation."""

    count: int
    within: float
    error: float
    correlation: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One probe of one target: what was run, and what came out.

    ``nodes`` and ``params`` by name. ``bounds`` counts the proved bounds that were held against a measurement, and ``violations``
    says which of them did not hold: a mistake of netaudit's. ``notes`` say what was not measured, and why; ``partial`` that the run
    was interrupted.
    """

    device: str
    dtype: str
    seeds: tuple[int, ...]
    inputs: str
    nodes: Mapping[str, NodeMeasured] = field(default_factory=dict)
    params: Mapping[str, ParamMeasured] = field(default_factory=dict)
    bounds: int = 0
    violations: tuple[str, ...] = ()
    values: Calibration | None = None
    gradients: Calibration | None = None
    studies: tuple[Study, ...] = ()
    notes: tuple[str, ...] = ()
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """A measurement of the model as a whole, as a small table: its rows are cells of text and numbers under ``columns``."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]
    says: str = ""


SweptQuantity: TypeAlias = Literal["activation", "gradient", "change", "sensitivity"]
"""RMS of a module's output, of its cotangent, and of the output's change over a few optimiser steps; S of a parameter."""
SWEPT: tuple[SweptQuantity, ...] = ("activation", "gradient", "change", "sensitivity")
Trend: TypeAlias = Literal["grows", "vanishes", "steady", "unclear", "unknown"]
HALF_WAY = 0.25
"""Exponents of width are multiples of 1/2 (Yang & Hu 2021, table 1; sums of n terms grow as n or as its root): half the way to the next."""


@dataclass(frozen=True, slots=True)
class Slope:
    """The least-squares line through log10 sizes against log10 values: ``size ~ value^exponent``; no standard error for two values."""

    exponent: float
    error: float | None

    @property
    def trend(self) -> Trend:
        """What the exponent says; unclear where one standard error reaches across the border between two answers."""
        size = abs(self.exponent)
        if self.error is not None and abs(size - HALF_WAY) < self.error:
            return "unclear"
        return "steady" if size < HALF_WAY else "grows" if self.exponent > 0.0 else "vanishes"


LAST = "last"
"""What the index of a stack's last member is called where stacks of several lengths are compared: ``body.last``."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One quantity of one module or parameter for every value: log10, -inf for zero, NaN for not finite, None for not measured."""

    quantity: SweptQuantity
    name: str
    sizes: tuple[float | None, ...]
    slope: Slope | None

    @property
    def trend(self) -> Trend:
        """What becomes of it; unknown where fewer than two values gave a number."""
        return "unknown" if self.slope is None else self.slope.trend


@dataclass(frozen=True, slots=True)
class Coordinates:
    """The coordinate check of one target: what was measured for every value of one argument of its factory.

    ``seeds``: of every value, those that were measured. ``training``: of every value, how it was trained for ``steps`` steps, empty
    where it was not. ``problems``: what could not be measured; ``partial``: it was interrupted.
    """

    target: str
    argument: str
    values: tuple[float, ...]
    seeds: tuple[tuple[int, ...], ...]
    steps: int
    training: tuple[str, ...]
    device: str
    dtype: str
    inputs: str
    cotangent: str
    rows: tuple[Growth, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    partial: bool = False
