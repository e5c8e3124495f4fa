"""How good the forecast was: share within a factor of two, median error, rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from netaudit.measured import Calibration

TWICE = 0.30103
"""log10 of 2."""


def calibration(pairs: Sequence[tuple[float, float]]) -> Calibration | None:
    """Forecast and measured log10 sizes, those that are zero or not finite left out; None where fewer than two are left.

    The correlation is Spearman's: that of the ranks, ties sharing their middle rank.
    """
    known = np.array([pair for pair in pairs if all(map(isfinite, pair))])
    if len(known) < 2:
        return None
    errors = np.abs(known[:, 0] - known[:, 1])
    return Calibration(len(known), float((errors <= TWICE).mean()), float(np.median(errors)), _correlation(known[:, 0], known[:, 1]))


def _correlation(x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0.0 else 1.0


def _ranks(x: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    _, position, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[position], dtype=np.float64)
