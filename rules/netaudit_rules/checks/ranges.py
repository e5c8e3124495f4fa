"""What values a tensor takes: limits of floating-point formats, and the forecast of a tensor's extremes."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, exp, isfinite, log, prod, sqrt

from netaudit import Audit, Node, ever_reached


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format: its largest number, its smallest above 0 (a subnormal), and the step from 1 to the next."""

    largest: float
    smallest: float
    step: float

    @property
    def exp_overflow(self) -> float:
        """The largest x with a finite ``exp(x)``."""
        return log(self.largest)

    @property
    def exp_underflow(self) -> float:
        """The x below which ``exp(x)`` is exactly 0: half the smallest number rounds to 0."""
        return log(self.smallest) - log(2.0)

    @property
    def saturation(self) -> float:
        """The x beyond which ``sigmoid(x)`` is exactly 1.

        ``1 + e^-x`` rounds to 1 below half a step; 16 bits are computed in 32 and rounded, and below 1 steps are half as large.
        """
        return log((4.0 if self.step > 1e-4 else 2.0) / self.step)


FORMATS = {
    "float16": Format(65504.0, 2.0**-24, 2.0**-10),
    "bfloat16": Format((2.0 - 2.0**-7) * 2.0**127, 2.0**-133, 2.0**-7),
    "float32": Format((2.0 - 2.0**-23) * 2.0**127, 2.0**-149, 2.0**-23),
    "float64": Format((2.0 - 2.0**-52) * 2.0**1023, 2.0**-1074, 2.0**-52),
}
HALF = ("float16", "bfloat16")


def format_of(node: Node) -> Format:
    """The format of a node's values; single precision for what has none."""
    return FORMATS.get(node.dtype, FORMATS["float32"])


@dataclass(frozen=True, slots=True)
class Spread:
    """MODELLED: a tensor's entries as normal ones of this mean and deviation, or log-normal ones when all are ``positive``."""

    mean: float
    deviation: float
    count: int
    positive: bool = False

    @property
    def reach(self) -> float:
        """How many deviations the largest of the entries is expected to lie from the mean: about ``sqrt(2 ln n)`` (Cramer 1946, 28.6)."""
        return sqrt(2.0 * log(max(self.count, 2)))

    @property
    def low(self) -> float:
        """About the smallest entry."""
        return max(self.mean - self.reach * self.deviation, 0.0) if self.positive else self.mean - self.reach * self.deviation

    @property
    def high(self) -> float:
        """About the largest entry."""
        return self.mean + self.reach * self.deviation

    @property
    def largest(self) -> float:
        """About the largest size of an entry."""
        return max(abs(self.low), abs(self.high))

    def below(self, value: float) -> float:
        """The share of entries below a value."""
        if self.positive:
            return self._log_normal_below(value)
        if self.deviation == 0.0:
            return float(self.mean < value)
        return 0.5 * (1.0 + erf((value - self.mean) / (self.deviation * sqrt(2.0))))

    def _log_normal_below(self, value: float) -> float:
        if value <= 0.0 or self.mean <= 0.0:
            return 0.0
        spread = sqrt(log(1.0 + (self.deviation / self.mean) ** 2))
        if spread == 0.0:
            return float(self.mean < value)
        return 0.5 * (1.0 + erf((log(value) - log(self.mean) + spread**2 / 2) / (spread * sqrt(2.0))))


def spread_of(audit: Audit, name: str) -> Spread | None:
    """The forecast of a node's entries; None when there is none."""
    signal = audit.facts.signals[name]
    moments = signal.moments
    if moments is None or not signal.count:
        return None
    mean, variance = moments.mean, moments.variance
    if not (isfinite(mean) and isfinite(variance)):
        return None
    return Spread(mean, sqrt(variance), signal.count, moments.positive)


def rms_of(audit: Audit, name: str) -> float | None:
    """The forecast root mean square of a node; None when there is none."""
    moments = audit.facts.signals[name].moments
    return sqrt(moments.mean_square) if moments is not None and isfinite(moments.mean_square) else None


def mean_exp(spread: Spread, factor: float = 1.0) -> float:
    """``E exp(f x)`` of normal entries: ``exp(f m + f^2 s^2 / 2)``; infinite where float64 overflows."""
    exponent = factor * spread.mean + 0.5 * (factor * spread.deviation) ** 2
    return exp(exponent) if exponent < 700.0 else float("inf")


def entries(node: Node) -> int:
    """The number of entries of a node."""
    return prod(node.shape)


def learning(audit: Audit) -> frozenset[str]:
    """The nodes on a differentiable path from a trained parameter to the loss: a gradient through them reaches a parameter."""
    reached = ever_reached(audit.flow, audit.later)
    found = {info.node for info in audit.graph.params.values() if info.trainable and info.node in reached}
    for node in audit.graph.nodes:
        effect = audit.facts.effects.get(node.name)
        if effect is None or node.name not in reached:
            continue
        for operand, jac in zip(node.operands, effect.jac, strict=True):
            if operand in found and jac is not None and "zero" not in jac.tags:
                found.add(node.name)
                break
    return frozenset(found)
