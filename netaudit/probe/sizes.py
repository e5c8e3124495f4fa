"""The size of every value and every cotangent of one run, the gains of every call, and the first place that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, log10, sqrt

import torch
from torch import Tensor

from netaudit.graph import Node
from netaudit.intake.interpret import is_not_implemented
from netaudit.probe.linear import Largest, largest_gain, noise
from netaudit.probe.machine import Local

TINY, HUGE = 1e-12, 1e18
"""Norms outside are computed again in float64: the squares of float32 entries would leave its range."""


def log(value: float) -> float:
    """log10, with -inf for zero and NaN for what is not finite."""
    if not isfinite(value):
        return float("nan")
    return log10(value) if value > 0.0 else -inf


def norm(x: Tensor) -> float:
    """The l2 norm of all entries, whatever their size."""
    if not x.numel():
        return 0.0
    real = torch.view_as_real(x) if x.is_complex() else x
    found = float(torch.linalg.vector_norm(real, dtype=torch.float32 if real.element_size() < 4 else None))
    return found if TINY < found < HUGE else float(torch.linalg.vector_norm(real.double()))


@dataclass(frozen=True, slots=True)
class Size:
    """The entries of a tensor: their l2 norm, count, least and largest, and the share that is exactly zero."""

    norm: float
    count: int
    least: float
    most: float
    zeros: float

    @property
    def rms(self) -> float:
        """log10 of the root mean square; NaN when an entry is not finite."""
        return log(self.norm / sqrt(max(self.count, 1)))

    @property
    def is_finite(self) -> bool:
        """Whether every entry is."""
        return isfinite(self.least) and isfinite(self.most) and isfinite(self.norm)


def size(x: Tensor) -> Size:
    """The size of a tensor of real or complex numbers."""
    if not x.numel():
        return Size(0.0, 0, 0.0, 0.0, 0.0)
    real = torch.view_as_real(x) if x.is_complex() else x
    least, most = torch.aminmax(real)
    zeros = 1.0 - int(torch.count_nonzero(real)) / real.numel()
    return Size(norm(x), x.numel(), float(least), float(most), zeros)


@dataclass(frozen=True, slots=True)
class Pulls:
    """What random cotangents became at one call, for one operand: ``||J' u||^2`` for each, and the largest ``||J' u|| / ||u||``."""

    squares: tuple[float, ...]
    ratio: float
    outputs: int


STRIDE = 977
"""Between the places where two calls take their random numbers from the one buffer: each call's draws are normal, calls share some."""


@dataclass(slots=True)
class Sizes:
    """Watches a sweep. ``samples`` random cotangents are pulled through each call; ``climbed`` calls have their largest gain sought.

    ``wrong`` are the calls, forward, and ``wrong_gradient`` those, backward, whose result is not finite although all that
    they were given is.
    """

    samples: int = 0
    climbed: frozenset[str] = frozenset()
    pairs: int = 20
    seed: int = 0
    values: dict[str, Size] = field(default_factory=dict)
    gradients: dict[str, Size] = field(default_factory=dict)
    pulls: dict[str, Mapping[str, Pulls]] = field(default_factory=dict)
    largest: dict[str, Mapping[str, Largest]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    wrong_gradient: list[str] = field(default_factory=list)
    _buffer: Tensor = field(default_factory=lambda: torch.empty(0))

    def value(self, node: Node, value: Tensor) -> None:
        """Keep the size of a floating value."""
        if not (value.is_floating_point() or value.is_complex()):
            return
        self.values[node.name] = found = size(value)
        given = (self.values[name] for name in node.inputs if name in self.values)
        if not found.is_finite and all(one.is_finite for one in given):
            self.wrong.append(node.name)

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        """Keep the size of a cotangent."""
        self.gradients[node.name] = size(cotangent)

    def pulled(self, local: Local, parts: Mapping[str, Tensor]) -> None:
        """Look at the call's Jacobian: where it breaks, and what it does to random cotangents."""
        name = local.node.name
        if self.gradients[name].is_finite and not all(isfinite(norm(part)) for part in parts.values()):
            self.wrong_gradient.append(name)
        if not local.output.is_floating_point():
            return
        if self.samples:
            self.pulls[name] = self._pulled(local)
        if name in self.climbed:
            real = [operand for operand, value in local.operands.items() if value.is_floating_point()]
            self.largest[name] = {one: gain for one in real if (gain := self._climbed(local, one)) is not None}

    def _pulled(self, local: Local) -> Mapping[str, Pulls]:
        found: dict[str, list[tuple[float, float]]] = {}
        for draw in range(self.samples):
            u = self._noise(local.output, len(self.pulls) * self.samples + draw)
            length = norm(u)
            for name, part in local.pulled(u).items():
                found.setdefault(name, []).append((norm(part), length))
        outputs = local.output.numel()
        return {
            name: Pulls(tuple(p * p * outputs / (u * u) for p, u in pairs), max(p / u for p, u in pairs), outputs)
            for name, pairs in found.items()
            if outputs
        }

    def _climbed(self, local: Local, operand: str) -> Largest | None:
        """The largest gain for an operand; None where torch has no second derivative."""
        try:
            return largest_gain(local.jacobian(operand), pairs=self.pairs, seed=self.seed)
        except RuntimeError as error:
            if not is_not_implemented(error) and not isinstance(error, NotImplementedError):
                raise
            return None

    def _noise(self, like: Tensor, draw: int) -> Tensor:
        """Normal numbers from one buffer: drawing them anew for every call would cost as much as running the model."""
        wanted = like.numel() + STRIDE
        if self._buffer.numel() < wanted or (self._buffer.dtype, self._buffer.device) != (like.dtype, like.device):
            self._buffer = noise(like.new_empty(wanted + wanted // 2), self.seed)
        start = draw * STRIDE % (self._buffer.numel() - like.numel())
        return self._buffer[start : start + like.numel()].view(like.shape)
