"""Functions of a Gaussian tensor: the kernel of ``f(X)`` from that of ``X``, by Hermite series.

For jointly Gaussian ``u, v`` with unit variance and correlation ``rho``: ``E f(u) g(v) = sum_k a_k b_k rho^k`` with the
coefficients ``a_k = E[f(u) he_k(u)]`` on the normalised Hermite polynomials (Mehler 1866; O'Donnell 2014, ch. 11.2). The
series is cut at ``DEGREE`` and the energy left over is put at the next power. Expectations are sums over a fixed grid; a
function is given by its values there, so that any composition of pointwise ops costs one array.
"""

from __future__ import annotations

from math import erf

import numpy as np

from netaudit.moments.kernels import Array, Kernel, pair_product, spread

DEGREE = 40
GRID: Array = np.linspace(-8.0, 8.0, 1601)


def _weights() -> Array:
    density = np.exp(-GRID * GRID / 2)
    return np.asarray(density / density.sum())


def _hermite() -> Array:
    """Normalised probabilists' Hermite polynomials on the grid, ``(DEGREE + 1, len(GRID))``: he_k = He_k / sqrt(k!)."""
    rows = [np.ones_like(GRID), GRID]
    for k in range(1, DEGREE):
        rows.append((GRID * rows[-1] - np.sqrt(k) * rows[-2]) / np.sqrt(k + 1))
    return np.array(rows)


WEIGHTS = _weights()
QUANTILES: Array = np.array([0.5 * (1.0 + erf(z / 2**0.5)) for z in GRID])
POLE_SHARE = 0.25
_BULK = np.abs(GRID) <= 7.0
_PROJECTION = _hermite() * WEIGHTS


def expectation(values: Array) -> Array:
    """``E f(Z)`` for standard normal ``Z``, from the values of ``f`` on the grid (last axis)."""
    return np.asarray(values @ WEIGHTS)


_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


def groups(values: Array, share: float) -> Array:
    """A function of ``sqrt(r) u + sqrt(1 - r) v`` as functions of ``v`` on the grid, one for each of a few ``u`` that a group shares."""
    share = min(max(share, 0.0), 1.0)
    return np.asarray(np.interp(share**0.5 * _NODES[:, None] + (1.0 - share) ** 0.5 * GRID, GRID, values))


def over_groups(values: Array) -> Array:
    """The mean over groups of numbers by group (last axis)."""
    return np.asarray(values @ _NODE_WEIGHTS)


def quantiles_over_groups(values: Array) -> Array:
    """The quantiles, at the grid's, of functions on the grid by group: all groups together."""
    order = np.argsort(values, axis=None, kind="stable")
    weights = np.outer(_NODE_WEIGHTS, WEIGHTS).ravel()[order]
    return np.asarray(np.interp(QUANTILES, np.cumsum(weights) - 0.5 * weights, values.ravel()[order]))


def energy(values: Array) -> Array:
    """``E f(Z)^2``; infinite where one grid point off the tails carries a quarter of it: the sum then tells the grid's step, no moment.

    The points next to a pole ``1 / z`` carry ``1 / (2 zeta(2)) = 0.30`` or more each; a bounded function's share falls with the step.
    """
    shares = values * values * WEIGHTS
    total = shares.sum(-1)
    return np.where(shares[..., _BULK].max(-1) > POLE_SHARE * total, np.inf, total)


def is_log_normal(kernel: Kernel, positive: bool) -> bool:
    """Whether a tensor known to be positive is modelled as log-normal: keeps 1/x and rsqrt finite."""
    return positive and bool((kernel.mean > 0).all()) and bool((kernel.second > 0).all())


def points(kernel: Kernel, positive: bool = False) -> Array:
    """The values ``X`` takes at the grid, by segment: shape ``(S or 1 per axis, len(GRID))``."""
    diagonal = kernel.diagonal()
    shape = np.broadcast_shapes(diagonal.shape, kernel.mean.shape)
    mean = np.broadcast_to(kernel.mean, shape)[..., None]
    if is_log_normal(kernel, positive):
        spread_ = np.log(np.maximum(np.broadcast_to(diagonal, shape)[..., None] / (mean * mean), 1.0))
        return np.asarray(np.exp(np.sqrt(spread_) * GRID + np.log(mean) - spread_ / 2))
    variance = np.maximum(diagonal[..., None] - mean * mean, 0.0)
    return np.asarray(mean + np.sqrt(variance) * GRID)


def correlations(kernel: Kernel, positive: bool = False) -> Array:
    """The correlation of the underlying Gaussians of ``X_i`` and ``X_j``, by state; 0 where a variance is 0."""
    diagonal = kernel.diagonal()
    shape = np.broadcast_shapes(diagonal.shape, kernel.mean.shape)
    mean = np.broadcast_to(kernel.mean, shape)
    square = np.broadcast_to(diagonal, shape)
    if is_log_normal(kernel, positive):
        variance = np.log(np.maximum(square / (mean * mean), 1.0))
        covariance = np.log(kernel.second / pair_product(mean, mean, kernel))
    else:
        variance = np.maximum(square - mean * mean, 0.0)
        variance = np.where(variance > 1e-10 * square, variance, 0.0)
        covariance = kernel.second - pair_product(mean, mean, kernel)
    scale = np.sqrt(pair_product(variance, variance, kernel))
    return np.clip(np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0), -1.0, 1.0)


def image(values: Array, rho: Array, root: Kernel) -> Kernel:
    """The kernel of ``f(X)``, from the values of ``f`` at ``points(root)`` and the correlations of ``root``."""
    coefficients, rest = hermite(_by_segment(values, root))
    second = _series(coefficients, rest, rho, root)
    return Kernel(root.sizes, root.cuts, second, coefficients[..., 0].copy())


def hermite(values: Array) -> tuple[Array, Array]:
    """The coefficients ``a_k`` of functions given on the grid, and the root of the energy that is left beyond ``DEGREE``."""
    coefficients = values @ _PROJECTION.T
    return coefficients, np.sqrt(np.maximum(energy(values) - (coefficients * coefficients).sum(-1), 0.0))


def pair_moment(left: Array, right: Array, rest: float, rho: Array) -> Array:
    """``E f(u) g(v)`` for correlations ``rho``, from the coefficients of both and the product of what they leave over."""
    return np.asarray(np.polyval((left * right)[::-1], rho) + rest * np.sign(rho) * np.abs(rho) ** (DEGREE + 1))


def selected_image(values: Array, weight: Array, root: Kernel) -> Kernel:
    """The kernel of ``f(X)`` for entries that a maximum selected; ``weight`` is their density over that of any entry.

    Which of two entries is selected depends on their neighbours, so pairs share the conditional mean alone.
    """
    values = _by_segment(values, root)
    square, mean = expectation(weight * values * values), expectation(weight * values)
    states = [len(cut) + len(cut) ** 2 if size > 1 else 1 for cut, size in zip(root.cuts, root.sizes, strict=True)]
    second = np.broadcast_to(pair_product(mean, mean, root), states).copy()
    same = tuple(slice(0, len(cut)) for cut in root.cuts)
    second[same] = square
    return Kernel(root.sizes, root.cuts, second, mean)


def _by_segment(values: Array, root: Kernel) -> Array:
    return np.broadcast_to(values, np.broadcast_shapes(values.shape, (1,) * root.rank + GRID.shape))


def _series(coefficients: Array, rest: Array, rho: Array, root: Kernel) -> Array:
    """``sum_k a_k(s) a_k(t) rho^k`` plus the left-over energy at the next power, by state (Horner)."""
    if coefficients.size == DEGREE + 1:
        flat = coefficients.reshape(-1)
        return pair_moment(flat, flat, float(rest.reshape(-1)[0]) ** 2, rho)
    tail = np.sign(rho) * np.abs(rho) ** (DEGREE + 1)
    left, right = spread(coefficients, root, 0), spread(coefficients, root, 1)
    result = spread(rest, root, 0) * spread(rest, root, 1) * tail
    power = np.ones_like(rho)
    for k in range(DEGREE + 1):
        result = result + left[..., k] * right[..., k] * power
        power = power * rho
    return np.asarray(result)
