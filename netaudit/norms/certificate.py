"""What is proved about one norm, and the rounding rules every proof in this room uses.

Rounding model: binary floating point with round to nearest, inner products summed in any order with or without fused
multiply-add (Higham 2002, section 3.1), triangular systems solved by substitution. Algorithms that break it (Strassen,
Winograd, split-precision matrix units) are never used for a number that enters a bound: those are float64 throughout,
or float32 on a CPU that was not told to round its products further.
"""

import math
import sys
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Effort: TypeAlias = Literal["quick", "tight"]

UNIT = 2.0**-53  # unit roundoff of float64
# Weights whose largest entry lies within 2^+-30 are not scaled: their squares are safe even in float32.
EXPONENT_UNSCALED = 30
# Scaling by more would itself leave float64's normal range; float64 weights beyond it are left off centre, where their
# squares still neither overflow nor lose more than 2^-900 of the norm.
EXPONENT_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Certificate:
    """``lower <= ||A||_2 <= upper`` in exact arithmetic, for the map with exactly the given (floating-point) weights.

    ``upper`` is proved unless ``failure`` is positive: then it is wrong with at most that probability, over the
    method's own random start vectors and not over the weights. ``lower`` is attained by an explicit vector. Unknown is
    ``inf`` above and ``0.0`` below.
    """

    upper: float
    lower: float
    method: str
    failure: float = 0.0

    @property
    def looseness(self) -> float:
        """``upper / lower``, at least 1: how far the bound can be from the truth."""
        if self.upper == self.lower:
            return 1.0
        return self.upper / self.lower if self.lower > 0.0 else math.inf


@dataclass(frozen=True, slots=True)
class Squares:
    """``lower <= ||A 2^-e||_2^2 <= upper`` for a map scaled by some exponent ``e``, and how that was found."""

    lower: float
    upper: float
    method: str


NOT_FINITE = Certificate(math.inf, 0.0, "not finite")
NOTHING = Certificate(0.0, 0.0, "map is empty or zero")


def gamma(terms: int, unit: float = UNIT) -> float:
    """``gamma_n = n u / (1 - n u)``: the relative error of an inner product of ``n`` terms (Higham 2002, lemma 3.1)."""
    product = terms * unit
    return math.nextafter(product / (1.0 - product) * (1.0 + 4.0 * UNIT), math.inf) if product < 0.5 else math.inf


def binary_exponent(weight: Tensor) -> int | None:
    """``e`` such that squares of ``w 2^-e`` are safe: 0 for ordinary weights, None if not finite.

    Else ``max|w| 2^-e`` is in [1/2, 1), or as near to it as ``|e| <= 1000`` allows; zero counts as smallest.
    """
    if weight.numel() == 0:
        return -EXPONENT_LIMIT
    low, high = torch.aminmax(weight)
    peak = max(-float(low), float(high))
    if not math.isfinite(peak):
        return None
    exponent = math.frexp(peak)[1] if peak > 0.0 else -EXPONENT_LIMIT
    return max(-EXPONENT_LIMIT, min(EXPONENT_LIMIT, exponent)) if abs(exponent) > EXPONENT_UNSCALED else 0


def readable(weight: Tensor) -> Tensor:
    """The weight, widened without loss where torch cannot compute with it (float8)."""
    return weight.detach() if weight.element_size() > 1 else weight.detach().float()


def certificate(squares: Squares, exponent: int) -> Certificate:
    """Of the map before it was scaled by ``exponent``; 8 units cover the few sums that led to the squares."""
    upper = root_up(squares.upper * (1.0 + 8.0 * UNIT), exponent)
    return Certificate(upper, root_down(squares.lower * (1.0 - 8.0 * UNIT), exponent), squares.method)


def root_up(square: float, exponent: int = 0) -> float:
    """A float at least ``2^exponent sqrt(square)``, within two units in the last place; ``square`` is exact."""
    if square == 0.0:
        return 0.0
    if not math.isfinite(square):
        return math.inf
    root = math.nextafter(math.sqrt(square), math.inf)
    try:
        return math.nextafter(math.ldexp(root, exponent), math.inf)
    except OverflowError:
        return math.inf


def root_down(square: float, exponent: int = 0) -> float:
    """A float at most ``2^exponent sqrt(square)``, and 0.0 where ``square`` is negative (nothing is known)."""
    root = math.nextafter(math.sqrt(max(square, 0.0)), 0.0)
    try:
        return math.nextafter(math.ldexp(root, exponent), 0.0)
    except OverflowError:
        return sys.float_info.max
