"""Spectral facts of recurrent matrices that checks need; numpy is loaded when one is asked for."""

from __future__ import annotations

from netaudit import Audit
from netaudit_rules.checks.recurrences import Recurrence, values

LARGEST = 512
"""Units up to which eigenvalues are computed."""


def spectral_radius(audit: Audit, one: Recurrence) -> float | None:
    """The largest modulus of an eigenvalue of the recurrent matrix of a plain recurrence; None when it is not at hand."""
    matrix = values(audit, one.info.node)
    if matrix is None or matrix.shape[0] != matrix.shape[1] or len(matrix) > LARGEST:
        return None
    import numpy as np

    return float(np.abs(np.linalg.eigvals(matrix)).max())


def tanh_growth(gain: float, drive: float) -> float:
    """``g^2 E tanh'(z)^2`` at the fixed point of ``v = g^2 E tanh(z)^2 + drive``, z ~ N(0, v): what a step does to a squared gradient.

    ``gain``: g^2 = n Var(W_hh); ``drive``: the variance of what enters. Source: Sompolinsky et al. 1988; Schoenholz et al. 2017.
    """
    import numpy as np

    z, weight = np.polynomial.hermite_e.hermegauss(61)
    weight = weight / weight.sum()
    v = gain + drive
    for _ in range(200):
        v = float(gain * (weight * np.tanh(np.sqrt(v) * z) ** 2).sum() + drive)
    return float(gain * (weight / np.cosh(np.sqrt(v) * z) ** 4).sum())
