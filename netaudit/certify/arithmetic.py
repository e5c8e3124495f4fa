"""The three moves of a certificate matrix, twice: in plain float64 for the search, with outward rounding for the proof.

``P``: (n, n) positive semidefinite certifies a stacked tensor ``z`` when ``dz dz^T <= ||dx||^2 P`` (Loewner order) for every
change ``dx`` of the input. Then

* an affine map ``z' = T z + c`` has ``P' = T P T^T``;
* a slope-restricted function ``w = phi(v)``, ``v = z[U]``, slopes in ``[m - r, m + r]``, is ``dw = m dv + r psi`` with
  ``|psi_i| <= |dv_i|``; for every diagonal ``D > P[U, U]`` the pair ``(z, psi)`` is certified by ``diag(K, D)`` with
  ``K = P + P[:, U] (D - P[U, U])^-1 P[U, :]``;
* a map of which only ``||dw|| <= c ||dx||`` is known extends ``P`` to ``diag((1 + t) P, (1 + 1 / t) c^2 I)`` for every t > 0.

Source: LipSDP-neuron (Fazlyab et al. 2019, theorem 2) solved stage by stage; the second rule is the S-procedure for
``psi_i^2 <= v_i^2`` with multipliers ``1 / D_i`` and a Schur complement. ``tests/certify/test_arithmetic.py`` derives it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Protocol

import torch
from torch import Tensor

from netaudit.norms.certificate import UNIT, gamma
from netaudit.norms.definite import certified_top, factorise

MARGIN = 1e-9
"""How far a multiplier stays from the edge ``D = P`` where the inverse blows up, relatively."""
TOLERANCE = 1e-9


class Arithmetic(Protocol):
    """What both arithmetics can do."""

    def affine(self, p: Tensor, matrix: Tensor) -> Tensor:
        """``T P T^T``; an integer ``T`` is a list of the entries that are kept, in their new order."""

    def schur(self, p: Tensor, units: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """``K`` as above, and the diagonal of ``D`` to use for ``psi``; raises ``InfeasibleError``."""

    def top(self, p: Tensor) -> Tensor:
        """``lambda_max(P)``."""


class InfeasibleError(ValueError):
    """A multiplier does not dominate: nothing is certified by it."""


@dataclass(frozen=True, slots=True)
class Fast:
    """Plain float64, differentiable with respect to the multipliers."""

    def affine(self, p: Tensor, matrix: Tensor) -> Tensor:
        """``T P T^T``."""
        if not matrix.is_floating_point():
            return p[matrix][:, matrix]
        return matrix @ p @ matrix.mT

    def schur(self, p: Tensor, units: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """``P + G^T (D - M)^-1 G`` by Cholesky in coordinates where ``D`` is the identity."""
        scale = d.rsqrt()
        rows = p[units] * scale[:, None]
        core = torch.eye(len(d), dtype=p.dtype) - rows[:, units] * scale
        factor, failed = torch.linalg.cholesky_ex(core)
        if int(failed):
            raise InfeasibleError("a multiplier is not above the certificate")
        half = torch.linalg.solve_triangular(factor, rows, upper=False)
        return p + half.mT @ half, d

    def top(self, p: Tensor) -> Tensor:
        """The largest eigenvalue."""
        values: Tensor = torch.linalg.eigvalsh(p)
        return values[-1]


@dataclass(frozen=True, slots=True)
class Verified:
    """Outward: each result dominates the exact one, by adding a bound of its own rounding errors to the diagonal."""

    def affine(self, p: Tensor, matrix: Tensor) -> Tensor:
        """``fl(T P T^T) + delta I``, ``delta = gamma_{2 n + 16} ||T||_F^2 ||P||_F``; 16 covers how ``T`` was computed."""
        if not matrix.is_floating_point():
            return p[matrix][:, matrix]
        error = gamma(2 * matrix.shape[1] + 32) * _frobenius(matrix) ** 2 * _frobenius(p)
        return _lifted(matrix @ p @ matrix.mT, error)

    def schur(self, p: Tensor, units: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """``K`` with the error of the solve bounded by its residual, and ``lambda_min`` by a finished Cholesky.

        Powers of two scale exactly: ``C = S (D - M) S``, ``G = S P[U, :]``. With ``X`` near ``C^-1 G`` and ``R = G - C X``
        exactly, ``G^T C^-1 G = X^T G + R^T X + R^T C^-1 R``.
        """
        scale = torch.exp2(-torch.round(0.5 * torch.log2(d)))
        rows = p[units] * scale[:, None]
        core = -(rows[:, units] * scale)
        core.diagonal().add_(d * scale * scale)
        least = _least_eigenvalue(core)
        if least <= 0.0:
            raise InfeasibleError("a multiplier is not above the certificate")
        x = torch.cholesky_solve(rows, torch.linalg.cholesky(core))
        size = len(d)
        size_x, size_rows = _frobenius(x), _frobenius(rows)
        residual = _frobenius(rows - core @ x) + gamma(size + 4) * (size_rows + _frobenius(core) * size_x)
        product = x.mT @ rows
        error = gamma(size + 8) * size_x * size_rows + residual * size_x + residual * residual / least
        error += 4.0 * UNIT * (_frobenius(p) + _frobenius(product))
        return _lifted(p + product, error), d * (1.0 + 8.0 * UNIT)

    def top(self, p: Tensor) -> Tensor:
        """An upper bound, within a few 1e-9."""
        return certified_top(p[None], TOLERANCE).upper[0]


def _frobenius(matrix: Tensor) -> float:
    """``||A||_F``, rounded up."""
    return float(torch.linalg.vector_norm(matrix)) * (1.0 + gamma(matrix.numel() + 8))


def _lifted(matrix: Tensor, error: float) -> Tensor:
    """The symmetric part plus ``error I``, and what the two roundings of forming it may take away."""
    result = 0.5 * (matrix + matrix.mT)
    result.diagonal().add_(error * (1.0 + 1e-9) + 4.0 * UNIT * _frobenius(result))
    return result


def _least_eigenvalue(core: Tensor) -> float:
    """PROVED lower bound of ``lambda_min`` of a symmetric matrix; 0 or less when it cannot be closed."""
    size = len(core)
    guess = 0.5 * float(torch.linalg.eigvalsh(core)[0])
    if guess <= 0.0:
        return 0.0
    shifted = core.clone()[None]
    shifted[0].diagonal().sub_(guess)
    trace = float(core.diagonal().sum())
    finished = bool(factorise(shifted)[0])
    slack = (gamma(4 * (size + 2)) * 1.01 + 4.0 * UNIT) * trace
    return guess - slack if finished else 0.0


def root_up_log2(square: Tensor, exponent: int) -> float:
    """An upper bound of ``log10 sqrt(square 4^exponent)``."""
    value = float(square)
    if value <= 0.0:
        return -inf
    if not isfinite(value):
        return inf
    log = 0.5 * float(torch.log10(torch.tensor(value, dtype=torch.float64))) + exponent * 0.30102999566398119521
    return log + 1e-13 * (1.0 + abs(log))
