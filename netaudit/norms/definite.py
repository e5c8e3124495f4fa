"""How large can the top eigenvalue of a Hermitian matrix be? A finished Cholesky factorisation is the proof."""

from dataclasses import dataclass

import torch
from torch import Tensor

from netaudit.norms.certificate import UNIT, gamma
from netaudit.norms.gram import LEAF, add_lower_product
from netaudit.norms.lanczos import lanczos, start_vector

SEARCH_STEPS = 96  # a random 4096-square matrix needs about 70
MOST_STEPS = 300  # for what was not found so
ATTEMPTS = 16  # levels tried; each grows four times as far, from 1e-7 to a factor beyond any use
LAPACK_SIZE = 1024  # up to here all eigenvalues cost less than the reader's patience when the search has missed


@dataclass(frozen=True, slots=True)
class Top:
    """``lower <= lambda_max(G) <= upper`` for each of ``b`` matrices, ``lower`` attained at ``vector``: (b, n)."""

    lower: Tensor
    upper: Tensor
    vector: Tensor


def cholesky_slack(size: int) -> float:
    """``s`` with: if Cholesky of ``fl(level I - G)`` finishes, ``lambda_max(G) <= (1 + s) level``; ``G``: (n, n), psd.

    ``s = g / (1 - g) n + 4 u``, ``g = gamma_{4 (n + 2)}``, as the shifted matrix has trace at most ``n level``.
    The factor 4 covers complex arithmetic. Source: Rump 2006, section 2; Higham 2002, section 3.6.
    """
    g = gamma(4 * (size + 2))
    return g / (1.0 - g) * size * 1.01 + 4.0 * UNIT


def is_below(matrices: Tensor, level: Tensor | float) -> Tensor:
    """Which ``G``: (b, n, n) have ``lambda_max(G) <= (1 + cholesky_slack(n)) level``, proved; reads lower triangles."""
    if matrices.shape[-1] == 1:
        return matrices[:, 0, 0].real <= level
    shifted = -matrices
    diagonal = shifted.diagonal(dim1=-2, dim2=-1)
    diagonal.add_(level[:, None] if isinstance(level, Tensor) else level)
    return factorise(shifted)


def factorise(matrices: Tensor) -> Tensor:
    """Cholesky of the lower triangles of (b, n, n) in place, by halves; which factorisations finished.

    LAPACK's own is slower by half at 1000 rows and more, and needs a copy. The error bound is that of any order of the
    same operations.
    """
    size = matrices.shape[-1]
    if size <= LEAF:
        factor, failed_at = torch.linalg.cholesky_ex(matrices)
        matrices.copy_(factor)
        return torch.eq(failed_at, 0)
    half = size // 2
    corner, below, rest = matrices[:, :half, :half], matrices[:, half:, :half], matrices[:, half:, half:]
    finished = factorise(corner)
    solved = torch.linalg.solve_triangular(corner, below.mH, upper=False).mH
    below.copy_(solved)
    add_lower_product(rest, solved, sign=-1)
    return finished & factorise(rest)


def certified_top(matrices: Tensor, tolerance: float) -> Top:
    """Two-sided bounds on ``lambda_max`` of positive semidefinite ``G``: (b, n, n), ``upper / lower`` near 1 + 2 tol.

    The level is first a Ritz value, then a better one, then it grows: what cannot be closed is looser, never tighter.
    Assumption: entries of ``G`` are the data; callers add what they know of how ``G`` was rounded.
    """
    size = matrices.shape[-1]
    if size == 1:
        return Top(matrices[:, 0, 0].real, matrices[:, 0, 0].real, torch.ones_like(matrices[:, 0]))
    vector = _search(matrices, SEARCH_STEPS, tolerance)
    lower = _rayleigh(matrices, vector)
    level = lower.clamp_min(torch.finfo(lower.dtype).tiny ** 0.5) * (1.0 + 2.0 * tolerance)
    open_ = ~is_below(matrices, level)
    for attempt in range(ATTEMPTS):
        if not bool(open_.any()):
            break
        if attempt == 0:  # nearly equal eigenvalues can pass for one, and for one that has converged
            rest = matrices[open_]
            vector[open_] = torch.linalg.eigh(rest)[1][..., -1] if size <= LAPACK_SIZE else _search(rest, MOST_STEPS, 0.0)
            lower[open_] = torch.maximum(lower[open_], _rayleigh(rest, vector[open_]))
            level[open_] = torch.maximum(level[open_], lower[open_])
        level[open_] *= 1.0 + 2.0 * tolerance * 4.0**attempt
        open_[open_.clone()] = ~is_below(matrices[open_], level[open_])
    upper = torch.where(open_, torch.inf, level * (1.0 + cholesky_slack(size)))
    return Top(lower, upper, vector)


def _search(matrices: Tensor, steps: int, tolerance: float) -> Tensor:
    """Ritz vectors, found in single precision: a vector's error enters the quotient it is judged by only squared."""
    single = matrices.to(torch.complex64 if matrices.is_complex() else torch.float32)
    peak = single.diagonal(dim1=1, dim2=2).real.amax(1)
    single /= peak.clamp_min(torch.finfo(torch.float32).tiny)[:, None, None]  # or squares would overflow
    start = start_vector(single, single.shape[-1]).expand(single.shape[:-1])
    # x -> (x^* G)^*: products from the left read the matrices row by row, four times faster in batches.
    ritz = lanczos(lambda x: (x.conj()[:, None] @ single)[:, 0].conj(), start, steps, tolerance)
    return ritz.vector.to(matrices.dtype)


def _rayleigh(matrices: Tensor, vector: Tensor) -> Tensor:
    # |fl(x* G x) - x* G x| <= gamma |x|* |G| |x| <= gamma ||G||_F ||x||^2, constants for complex arithmetic.
    image = (matrices @ vector[..., None])[..., 0]
    quotient = (vector.conj() * image).sum(1).real / vector.abs().square().sum(1)
    error = gamma(4 * (2 * matrices.shape[-1] + 8)) * torch.linalg.matrix_norm(matrices) * 1.1
    return torch.where(quotient > error, quotient - error, 0.0)  # also where a vector of zeros gave 0 / 0
