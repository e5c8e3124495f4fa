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


DRAWS, LONG, SEED = 8, 100, 0
"""Sequences that are simulated, and steps of each: what a longer one does is taken to go on alike."""


def relu_growth(audit: Audit, one: Recurrence) -> float | None:
    """MODELLED: log10 of ``||J' u|| / ||u||`` for ``J = dh_T / dh_0`` of a ReLU recurrence and random u; None without values.

    Its steps are run on normal inputs of the forecast mean and deviation: which units are open, and with which pattern, decides
    whether the recurrent matrix acts at its spectral radius (weights that keep states positive) or at ``g / sqrt 2`` (random ones).
    """
    recurrent, *others = (values(audit, name) for name in (one.info.node, one.feed, *one.biases))
    x = audit.facts.signals[one.node.inputs[0] if one.index == 0 else one.node.name].moments
    if recurrent is None or any(value is None for value in others) or x is None or len(recurrent) > LARGEST:
        return None
    import numpy as np

    feed, *biases = others
    rng, steps = np.random.default_rng(SEED), min(one.steps, LONG)
    drive = x.mean + np.sqrt(max(x.variance, 0.0)) * rng.standard_normal((steps, DRAWS, feed.shape[1]))
    state, is_open = np.zeros((DRAWS, len(recurrent))), []
    for given in drive:
        before = given @ feed.T + state @ recurrent.T + sum(biases)
        is_open.append(before > 0.0)
        state = np.maximum(before, 0.0)
        state /= max(float(np.abs(state).max()) / 1e100, 1.0)
    row = rng.standard_normal(state.shape)
    start, shrunk = float(np.linalg.norm(row)), 0.0
    for passed in reversed(is_open):
        row = (row * passed) @ recurrent
        size = float(np.linalg.norm(row))
        if size == 0.0:
            return None
        row, shrunk = row / size, shrunk + float(np.log10(size))
    return (shrunk - float(np.log10(start))) * one.steps / steps


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
