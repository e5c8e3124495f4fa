"""Chances under the forecast: a value is taken as normal with its modelled mean and variance."""

from __future__ import annotations

from math import erfc, inf, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netaudit import Signal


def below(limit: float, mean: float, std: float) -> float:
    """``P(x < limit)``."""
    if std <= 0.0:
        return float(mean < limit)
    return 0.5 * erfc((mean - limit) / (std * sqrt(2.0)))


def outside(low: float, high: float, mean: float, std: float) -> float:
    """``P(x < low or x > high)``."""
    under = below(low, mean, std) if low > -inf else 0.0
    return under + (below(-high, -mean, std) if high < inf else 0.0)


def mean_and_std(signal: Signal) -> tuple[float, float] | None:
    """The forecast mean and standard deviation over all entries; None when there is no forecast."""
    moments = signal.moments
    return None if moments is None else (float(moments.mean), sqrt(max(float(moments.variance), 0.0)))
