"""The size of every value and every cotangent of one run, the gains of every call, and the first place that is not finite."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, log10, sqrt
from typing import TypeAlias

import torch
from torch import Tensor

from netaudit.graph import Node
from netaudit.intake.interpret import is_not_implemented
from netaudit.probe.calls import Local, Point
from netaudit.probe.linear import Largest, largest_gain, signs

TINY, HUGE = 1e-12, 1e18
"""Norms outside are computed again from scaled entries: the squares of float32 entries would leave its range."""


def log(value: float) -> float:
    """log10, with -inf for zero and NaN for what is not finite."""
    if not isfinite(value):
        return float("nan")
    return log10(value) if value > 0.0 else -inf


# what was seen ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Size:
    """The entries of a tensor: their l2 norm, which is finite exactly if they are, and their count."""

    norm: float
    count: int

    @property
    def rms(self) -> float:
        """log10 of the root mean square; NaN when an entry is not finite."""
        return log(self.norm / sqrt(max(self.count, 1)))

    @property
    def is_finite(self) -> bool:
        """Whether every entry is."""
        return isfinite(self.norm)


@dataclass(frozen=True, slots=True)
class Extent:
    """The least and the largest entry of a tensor, and the share of those that are exactly zero."""

    least: float
    most: float
    zeros: float


@dataclass(frozen=True, slots=True)
class Pulls:
    """What random cotangents became at one call, for one operand: ``||J' u||^2`` for each, and the largest ``||J' u|| / ||u||``."""

    squares: tuple[float, ...]
    ratio: float
    outputs: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """What was seen of one run, by node: sizes of values and of cotangents, gains by operand.

    ``wrong_gradient`` are the calls whose backward made something that is not finite of a cotangent that is.
    """

    values: Mapping[str, Size] = field(default_factory=dict)
    extents: Mapping[str, Extent] = field(default_factory=dict)
    gradients: Mapping[str, Size] = field(default_factory=dict)
    pulls: Mapping[str, Mapping[str, Pulls]] = field(default_factory=dict)
    largest: Mapping[str, Mapping[str, Largest]] = field(default_factory=dict)
    wrong_gradient: tuple[str, ...] = ()


# norms ------------------------------------------------------------------------------------------------------------------

Number: TypeAlias = Tensor | float
"""A number, or a tensor of one entry that a device may still be at work on."""


def norm(x: Tensor) -> float:
    """The l2 norm of all entries, whatever their size; finite exactly if they are."""
    return _product(*(float(number) for number in _factors(x)))


def is_far(x: Tensor) -> bool:
    """Whether to look at a number of a tensor is to wait for all that its device was asked to do before."""
    return x.device.type != "cpu"


def _factors(x: Tensor) -> tuple[Number, Number]:
    """Two numbers whose product is the l2 norm. One pass over the entries where a first result can be looked at, else always scaled."""
    real = _entries(x)
    if not real.numel():
        return 0.0, 0.0
    kind = torch.float32 if real.element_size() < 4 else None
    if not is_far(real):
        found = float(torch.linalg.vector_norm(real, dtype=kind))
        if TINY < found < HUGE:
            return 1.0, found
    top = torch.linalg.vector_norm(real, inf)
    return top, torch.linalg.vector_norm(real.to(kind or real.dtype) / top)


def _entries(x: Tensor) -> Tensor:
    """All real numbers of a tensor, in a row as they lie in memory: no copy, however its axes are permuted."""
    real = torch.view_as_real(x) if x.is_complex() else x
    return real.permute(sorted(range(real.ndim), key=lambda axis: -real.stride()[axis])).flatten()


def _product(top: float, unit: float) -> float:
    """The norm from its factors: entries that are all zero were divided by zero, and the norm of finite ones is finite."""
    if top == 0.0:
        return 0.0
    return min(top * unit, torch.finfo(torch.float64).max) if isfinite(top) else top


PIECE = 1 << 18
"""Entries whose zeros are counted at once: what is written meanwhile stays in the cache."""


def _zeros(real: Tensor) -> Number:
    """How many entries are exactly zero. On a CPU torch counts ten times slower than it adds floats."""
    if is_far(real):
        return (real == 0).sum()
    pieces = torch.split(real, PIECE)
    return sum(float(torch.eq(piece, 0, out=torch.empty(piece.shape)).sum()) for piece in pieces)


class Numbers:
    """Numbers that were measured, each known by its place; those that are far are read when all are asked for."""

    def __init__(self) -> None:
        self._held: list[Number] = []

    def add(self, *numbers: Number) -> int:
        """Keep numbers; the place of the first."""
        self._held += [n if isinstance(n, Tensor) and is_far(n) else float(n) for n in numbers]
        return len(self._held) - len(numbers)

    def read(self) -> Sequence[float]:
        """All of them, by one transfer for each kind of number."""
        kinds = {n.dtype for n in self._held if isinstance(n, Tensor)}
        found = list(self._held)
        for kind in kinds:
            places = [i for i, n in enumerate(self._held) if isinstance(n, Tensor) and n.dtype == kind]
            read = torch.stack([n for n in self._held if isinstance(n, Tensor) and n.dtype == kind]).tolist()
            for place, number in zip(places, read, strict=True):
                found[place] = float(number)
        return [float(n) for n in found]


# the watch --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Gauge:
    """Watches a sweep. ``samples`` random cotangents are pulled through each call; ``climbed`` calls have their largest gain sought.

    A tensor is passed over once, for what is read of it: a part that is the whole cotangent of its operand is not measured again.
    """

    samples: int = 0
    climbed: frozenset[str] = frozenset()
    pairs: int = 20
    seed: int = 0
    _numbers: Numbers = field(default_factory=Numbers)
    _values: dict[str, tuple[int, int]] = field(default_factory=dict)
    _gradients: dict[str, tuple[int, int]] = field(default_factory=dict)
    _parts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _sent: dict[str, tuple[weakref.ref[Tensor], int]] = field(default_factory=dict)
    _pulls: dict[str, tuple[Mapping[str, tuple[int, ...]], int]] = field(default_factory=dict)
    _largest: dict[str, Mapping[str, Largest]] = field(default_factory=dict)

    def value(self, node: Node, value: Tensor) -> None:
        """Measure a floating value: norm, extremes, zeros."""
        if not (value.is_floating_point() or value.is_complex()):
            return
        entries = _entries(value)
        extremes: tuple[Number, Number] = torch.aminmax(entries) if value.numel() else (0.0, 0.0)
        place = self._numbers.add(*_factors(entries), *extremes, _zeros(entries))
        self._values[node.name] = (place, value.numel())

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        """Measure a cotangent, unless it is a part that was measured."""
        sent = self._sent.pop(node.name, None)
        place = sent[1] if sent is not None and sent[0]() is cotangent else self._numbers.add(*_factors(cotangent))
        self._gradients[node.name] = (place, cotangent.numel())

    def pulled(self, local: Local, parts: Mapping[str, Tensor]) -> None:
        """Measure what a call made of its cotangent: it may break here."""
        places = {name: self._numbers.add(*_factors(part)) for name, part in parts.items()}
        self._parts[local.node.name] = tuple(places.values())
        self._sent |= {name: (weakref.ref(part), places[name]) for name, part in parts.items()}

    def left(self, local: Local) -> None:
        """Look at the call's Jacobian: what it does to random cotangents, and to the one that it does most to."""
        if not local.example.is_floating_point():
            return
        if self.samples and local.example.numel():
            self._pulls[local.node.name] = (self._sampled(local), local.example.numel())
        if local.point is not None and local.node.name in self.climbed:
            real = [one for one in local.point.carrying if local.point.values[one].is_floating_point()]
            self._largest[local.node.name] = {one: gain for one in real if (gain := self._climbed(local.point, one)) is not None}

    def _sampled(self, local: Local) -> Mapping[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for draw in range(self.samples):
            u = signs(local.example, self.seed, len(self._pulls) * self.samples + draw)
            for name, part in local.pulled(u).items():
                found[name] = (*found.get(name, ()), self._numbers.add(*_factors(part)))
        return found

    def _climbed(self, point: Point, operand: str) -> Largest | None:
        """The largest gain for an operand; None where torch has no second derivative."""
        try:
            return largest_gain(point.jacobian(operand), pairs=self.pairs, seed=self.seed)
        except RuntimeError as error:
            if not is_not_implemented(error) and not isinstance(error, NotImplementedError):
                raise
            return None

    def read(self) -> Sizes:
        """What was seen so far."""
        numbers = self._numbers.read()

        def at(place: int) -> float:
            return _product(numbers[place], numbers[place + 1])

        values = {name: Size(at(place), count) for name, (place, count) in self._values.items()}
        gradients = {name: Size(at(place), count) for name, (place, count) in self._gradients.items()}
        return Sizes(
            values,
            {name: _extent(numbers[place + 2 : place + 5], count) for name, (place, count) in self._values.items()},
            gradients,
            {
                name: {operand: _pulls([at(place) for place in places], outputs) for operand, places in found.items()}
                for name, (found, outputs) in self._pulls.items()
            },
            dict(self._largest),
            tuple(
                name
                for name, places in self._parts.items()
                if gradients[name].is_finite and not all(isfinite(at(place)) for place in places)
            ),
        )


def _extent(numbers: Sequence[float], count: int) -> Extent:
    least, most, zeros = numbers
    return Extent(least, most, zeros / max(count, 1))


def _pulls(norms: Sequence[float], outputs: int) -> Pulls:
    return Pulls(tuple(p * p for p in norms), max(norms) / sqrt(outputs), outputs)
