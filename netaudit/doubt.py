"""How far a forecast can be trusted: what thins its assumptions on the way that a gradient takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

DEEP = 20
"""Layers in a row without normalisation from which weights and gradients are no longer independent along the stream."""
NARROW = "narrow layers"
UNNORMALISED = "deep without normalisation"
SHARED = "one weight, used again and again"
CANCELS = "nearly cancels"
CANCELLED = 1.5
"""Decades that are lost in a sum of gradients from which on its size hangs on how well the terms cancel."""
_TWO_SIDED = 1.645
"""Standard deviations that hold 90 % of a normal variable."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is thin on the way from a node to the head.

    ``causes``: in words. ``variance`` of the logarithm (natural) of the gradient's energy since the last normalisation: ``5 / n``
    for each layer of width n (Hanin & Nica 2020: the log of the norm of a product of random relu layers). ``layers`` since then.
    """

    causes: frozenset[str] = frozenset()
    variance: float = 0.0
    layers: int = 0

    @property
    def spread(self) -> float:
        """Decades of the RMS that hold 90 % of the draws of narrow layers."""
        return _TWO_SIDED * 0.5 * sqrt(self.variance) / log(10.0)

    def through(self, caveats: Sequence[str], width: int | None, *, normalises: bool) -> Doubt:
        """The doubt in front of a call: ``width`` of its weight if it has one."""
        causes = self.causes | frozenset(caveats)
        if normalises:
            return Doubt(causes)
        if width is None:
            return Doubt(causes, self.variance, self.layers)
        return Doubt(causes, self.variance + 5.0 / max(width, 1), self.layers).at_least(self.layers + 1)

    def at_least(self, layers: int) -> Doubt:
        """The same with at least so many layers since the last normalisation."""
        layers = max(layers, self.layers)
        return Doubt(self.causes | ({UNNORMALISED} if layers > DEEP else set()), self.variance, layers)

    def because(self, *causes: str) -> Doubt:
        """The same with more causes."""
        return Doubt(self.causes | frozenset(causes), self.variance, self.layers)


NO_DOUBT = Doubt()
