"""The transfer of ``acme::squareplus``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netaudit import Interval, elementwise

Array = NDArray[np.float64]


def _value(x: Array, b: float) -> Array:
    """``(x + r) / 2`` with ``r = sqrt(x^2 + b)``; for negative x the same without cancellation, ``b / (2 (r - x))``."""
    r = np.hypot(x, np.sqrt(b))
    return np.where(x > 0, (x + r) / 2, b / (2 * (r - np.minimum(x, 0))))


def _slope(x: Array, b: float) -> Array:
    return (1 + x / np.hypot(x, np.sqrt(b))) / 2


# f' = (1 + x / r) / 2 rises from 0 to 1 (f'' = b / (2 r^3) > 0): it never turns, and f has no extremum.
SQUAREPLUS = elementwise(
    "acme.squareplus",
    f=_value,
    df=_slope,
    slope=(0.0, 1.0),
    values=Interval(0.0),
    ref="Barron 2021, arXiv 2112.11687; f'' > 0",
    doc="y = (x + sqrt(x^2 + b)) / 2, b > 0",
)
