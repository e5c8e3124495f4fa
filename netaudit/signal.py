"""What is known of a tensor. PROVED facts hold for every input and every rounding; MODELLED ones under assumptions. They never mix."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from math import inf, isfinite, nextafter, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .moments import Moments, constant, of


def up(value: float) -> float:
    """The value rounded up by enough for a handful of float64 operations (8 ulps)."""
    return nextafter(value + abs(value) * 2e-15, inf) if isfinite(value) and value != 0.0 else value


def down(value: float) -> float:
    """The value rounded down likewise."""
    return -up(-value)


def above(value: float, digits: int = 6) -> str:
    """The value with that many digits, rounded up: what is proved stays true when it is printed."""
    return _printed(value, digits, ROUND_CEILING)


def below(value: float, digits: int = 6) -> str:
    """The same rounded down."""
    return _printed(value, digits, ROUND_FLOOR)


def _printed(value: float, digits: int, rounding: str) -> str:
    rounded = float(Context(prec=digits, rounding=rounding).create_decimal(Decimal(value)))
    return f"{rounded:.{digits}g}"  # the same digits again: a float tells 15 decimal ones apart


@dataclass(frozen=True, slots=True)
class Interval:
    """``lo <= x <= hi`` for every entry. Arithmetic and printing round outward. The default knows nothing."""

    lo: float = -inf
    hi: float = inf

    def __str__(self) -> str:
        return f"[{below(self.lo)}, {above(self.hi)}]"

    def __add__(self, other: Interval) -> Interval:
        return Interval(down(self.lo + other.lo), up(self.hi + other.hi))

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        corners = [_times(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return Interval(down(min(corners)), up(max(corners)))

    def __contains__(self, value: float) -> bool:
        return self.lo <= value <= self.hi

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        return Interval(min(self.lo, other.lo), max(self.hi, other.hi))

    def meet(self, other: Interval) -> Interval:
        """What both allow; both being proved, it cannot be empty but for rounding."""
        lo, hi = max(self.lo, other.lo), min(self.hi, other.hi)
        return Interval(min(lo, hi), max(lo, hi))

    def reciprocal(self) -> Interval:
        """``1 / x``; everything when 0 is inside."""
        if self.lo > 0 or self.hi < 0:
            return Interval(down(1 / self.hi) if self.hi else -inf, up(1 / self.lo) if self.lo else inf)
        return Interval()

    @property
    def magnitude(self) -> float:
        """``sup |x|``."""
        return max(abs(self.lo), abs(self.hi))

    @property
    def smallest(self) -> float:
        """``inf |x|``."""
        return 0.0 if self.lo <= 0 <= self.hi else min(abs(self.lo), abs(self.hi))

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are finite."""
        return isfinite(self.lo) and isfinite(self.hi)


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0.0 or b == 0.0 else a * b  # 0 * inf: every finite factor is allowed, the product is 0


@dataclass(frozen=True, slots=True)
class RowNorm:
    """``||x||_2 <= bound`` over ``axes``, for every index of the other axes: what makes attention Lipschitz on its domain."""

    bound: float
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WeightNorms:
    """PROVED norms of the linear map that a weight makes at one use; every number is rounded up.

    ``spectral``: l2 -> l2 on the flattened input. ``row_l2`` and ``row_l1``: the largest over output entries, so that
    ``|y_i| <= row_l2 ||x||`` and ``|y_i| <= row_l1 max|x|``. ``how`` names the certificate.
    """

    spectral: float
    row_l2: float = inf
    row_l1: float = inf
    how: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """A tensor as the analysis sees it.

    ``range`` and ``rows`` are PROVED. ``moments`` is MODELLED, None when unknown. ``value`` is the tensor itself when it is
    small and known: a constant (``constant``: it depends on nothing, and gets no gradient), a parameter or what is computed
    from parameters alone, or the sample on the example input of what is computed from it alone (ids, masks, labels).
    ``norms`` belongs to a weight at the use at hand.
    """

    shape: tuple[int, ...]
    range: Interval = Interval()
    rows: RowNorm | None = None
    moments: Moments | None = None
    value: NDArray[Any] | None = None
    constant: bool = False
    norms: WeightNorms | None = None

    @property
    def count(self) -> int:
        """The number of entries."""
        return prod(self.shape)

    def norm_bound(self, axes: tuple[int, ...]) -> float:
        """PROVED ``||x||_2`` over ``axes``: from the row norm when it covers them, and from the range."""
        rank = len(self.shape)
        axes = tuple(a % rank for a in axes)
        size = prod(self.shape[a] for a in axes)
        largest = self.range.magnitude
        by_range = up(largest * sqrt(size)) if size else 0.0
        by_rows = self.rows.bound if self.rows is not None and set(axes) <= {a % rank for a in self.rows.axes} else inf
        return min(by_range, by_rows)


def number(value: float) -> Signal:
    """A literal in a tensor slot."""
    return Signal((), Interval(value, value), None, of(constant((), value)), np.asarray(value), constant=True)
