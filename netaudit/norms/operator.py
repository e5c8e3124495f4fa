"""How large is a linear map that can only be applied? A bound from its action on random vectors.

The Lanczos recurrence started at a Gaussian ``g`` yields polynomials ``pi_j`` with
``<v, q_j> = pi_j(s) <v, g> / ||g||`` for a top singular vector ``v``, ``A^T A v = s v``. Since ``|<v, q_j>| <= 1``, a
large ``s`` would make ``|<v, g>| <= ||g|| / pi_j(s)`` improbably small: that refutes it. Nothing is tuned, and an
isolated top singular value is found sharply, which no fixed polynomial does.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from netaudit.norms.certificate import (
    NOT_FINITE,
    UNIT,
    Certificate,
    binary_exponent,
    gamma,
    root_down,
    root_up,
)
from netaudit.norms.lanczos import start_vector

STEPS = 400
CHECK_EVERY = 8
BASIS_ENTRIES = 2**25  # of the vectors kept for the lower bound; later ones only help the upper one
TYPICAL_ERROR = 64.0  # units of roundoff by which a product of thousands of terms errs, in norm
VECTOR_ERROR = 16.0  # the same for one step's sums of vectors, in float64
NOISE_MARGIN = 10.0  # how far the supposed overlap |<v, g>| / ||g|| stays above the error of one step
MOST_STARTS = 8
BISECTIONS = 40
FACTOR_LIMIT = 2.0**60

LinearMap: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _Run:
    """``beta_{j+1} q_{j+1} = (M - alpha_j) q_j - beta_j q_{j-1} + f_j``, ``M = A^T A``, ``||f_j|| <= noise ||M||``.

    ``diagonal``: alpha; ``below``: beta_1, beta_2, ...; ``basis``: the first of the ``q_j``; ``overlap``: the supposed
    ``|<v, g>| / ||g||``.
    """

    diagonal: tuple[float, ...]
    below: tuple[float, ...]
    basis: tuple[Tensor, ...]
    overlap: float
    noise: float


def operator(
    matvec: LinearMap,
    rmatvec: LinearMap,
    shape_in: Sequence[int],
    *,
    tolerance: float = 0.01,
    failure: float = 1e-9,
    relative_error: float | None = None,
    like: Tensor | None = None,
) -> Certificate:
    """``||A||_2`` of any real linear map, wrong with probability at most ``failure`` over the start vectors.

    ``matvec``: ``shape_in`` -> outputs applies ``A``, ``rmatvec`` its adjoint, on the dtype and device of ``like``
    (None: float64 on the CPU). Stops where ``upper`` is within ``tolerance`` of the largest Ritz value, or after 400
    steps with what is proved by then. Of ``r`` starts each supposes ``|<v, g>| >= t``, and all are wrong with
    probability ``(t sqrt(2 / pi))^r = failure``; there are more of them where ``t`` would drown in rounding.
    Assumption: both products err by at most ``relative_error ||A|| ||x||`` (None: 64 units of roundoff).
    Source: the module's docstring; with the worst polynomial it is Kuczynski & Wozniakowski 1992.
    """
    like = torch.zeros(0, dtype=torch.float64) if like is None else like
    size = math.prod(shape_in)
    error = TYPICAL_ERROR * torch.finfo(like.dtype).eps / 2.0 if relative_error is None else relative_error
    noise = 2.0 * error + VECTOR_ERROR * UNIT
    count = _count(failure, size, noise)
    starts = [start_vector(like.new_zeros(0, dtype=torch.float64), size, seed) for seed in range(count if size else 0)]
    exponent = binary_exponent(matvec(starts[0].to(like.dtype).reshape(*shape_in))) if starts else 0
    if exponent is None:
        return NOT_FINITE
    forward = _scaled(matvec, tuple(shape_in), like.dtype, exponent)
    lower, upper = 0.0, 0.0
    for start in starts:
        accepted = _accepted(failure, count) / float(start.norm()) * (1.0 - 1e-9)
        run = _follow(_normal(forward, rmatvec, like.dtype, exponent), start, accepted, noise, (1.0 + tolerance) ** 2)
        if run is None:
            return NOT_FINITE
        lower = max(lower, forward(_ritz_vector(run)).norm().item())
        upper = max(upper, _largest_possible(run))
    lower = max(0.0, lower * (1.0 - gamma(2 * size)) - error * math.sqrt(upper)) if math.isfinite(upper) else 0.0
    method = f"Lanczos polynomials of {count} random start{'s' * (count > 1)}"
    return Certificate(root_up(upper, exponent), root_down(lower**2, exponent), method, failure)


def _scaled(apply: LinearMap, shape: tuple[int, ...], dtype: torch.dtype, exponent: int) -> LinearMap:
    """``A 2^-e`` on flat float64 vectors."""
    return lambda vector: apply(vector.to(dtype).reshape(shape)).double() * 2.0**-exponent


def _normal(forward: LinearMap, rmatvec: LinearMap, dtype: torch.dtype, exponent: int) -> LinearMap:
    """``A^T A 4^-e`` on flat float64 vectors; scaled in between, so that small maps do not underflow."""
    return lambda vector: rmatvec(forward(vector).to(dtype)).double().reshape(-1) * 2.0**-exponent


def _count(failure: float, size: int, noise: float) -> int:
    enough = (count for count in range(1, MOST_STARTS) if _accepted(failure, count) > NOISE_MARGIN * noise * size**0.5)
    return next(enough, MOST_STARTS)


def _accepted(failure: float, starts: int) -> float:
    """``t`` with ``P(|N(0, 1)| < t)^starts <= failure``, as the density is at most ``sqrt(2 / pi)``."""
    return math.pow(failure, 1.0 / starts) * math.sqrt(math.pi / 2.0)


def _follow(normal: LinearMap, start: Tensor, overlap: float, noise: float, ratio: float) -> _Run | None:
    """The recurrence from ``start`` until nothing above ``ratio`` times its top Ritz value is possible; None: NaN."""
    vector, before = start / start.norm(), torch.zeros_like(start)
    kept = max(1, BASIS_ENTRIES // start.numel())
    run = _Run((), (), (), overlap, noise)
    for step in range(1, STEPS + 1):
        image = normal(vector)
        alpha = float(image @ vector)
        image = image - alpha * vector - (run.below[-1] if run.below else 0.0) * before
        # An invariant subspace ends the recurrence; the floor stands for its vanishing last coefficient.
        floor = max(1e-14 * max(alpha, *run.diagonal, 0.0), 1e-300)
        beta = max(float(image.norm()), floor)
        if not math.isfinite(alpha + beta):
            return None
        basis = (*run.basis, vector) if step <= kept else run.basis
        run = _Run((*run.diagonal, alpha), (*run.below, beta), basis, overlap, noise)
        if beta == floor or (step % CHECK_EVERY == 0 and _is_refuted(run, ratio * _ritz_value(run))):
            break
        vector, before = image / beta, vector
    return run


def _tridiagonal(run: _Run, size: int) -> Tensor:
    below = torch.diag(torch.tensor(run.below[: size - 1], dtype=torch.float64), -1)
    return torch.diag(torch.tensor(run.diagonal[:size], dtype=torch.float64)) + below + below.T


def _ritz_value(run: _Run) -> float:
    return float(torch.linalg.eigvalsh(_tridiagonal(run, len(run.diagonal)))[-1])


def _ritz_vector(run: _Run) -> Tensor:
    weights = torch.linalg.eigh(_tridiagonal(run, len(run.basis)))[1][:, -1]
    vector = torch.zeros_like(run.basis[0])
    for coefficient, direction in zip(weights.tolist(), run.basis, strict=True):
        vector += coefficient * direction
    return vector.div(vector.norm())


def _is_refuted(run: _Run, top: float) -> bool:
    """Whether ``||A||^2 = top`` contradicts ``|<v, q_j>| <= 1`` for some ``j``; ``top`` above every Ritz value.

    ``<v, q_j> = pi_j(top) <v, q_0> + d_j`` with ``|d_j| <= drift_j``, the same recurrence driven by the errors: above
    all Ritz values every term of it is positive. 1e-6 covers ``||q_j|| > 1`` and the rounding of these few sums.
    """
    value, value_before, drift, drift_before, beta_before = 1.0, 0.0, 0.0, 0.0, 0.0
    for alpha, beta in zip(run.diagonal, run.below, strict=True):
        value, value_before = ((top - alpha) * value - beta_before * value_before) / beta, value
        drift, drift_before = ((top - alpha) * drift - beta_before * drift_before + run.noise * top) / beta, drift
        if value * run.overlap > 1.0 + 1e-6 + drift:
            return True
        beta_before = beta
    return False


def _largest_possible(run: _Run) -> float:
    """The least ``s`` found such that ``||A||^2`` cannot be larger: ``pi_j`` grows above the Ritz values."""
    ritz = _ritz_value(run) * (1.0 + 1e-9)
    if ritz <= 0.0:
        return 0.0
    factor = 2.0
    while not _is_refuted(run, ritz * factor):
        factor *= 2.0
        if factor > FACTOR_LIMIT:
            return math.inf
    possible, refuted = 1.0, factor
    for _ in range(BISECTIONS):
        middle = math.sqrt(possible * refuted)
        possible, refuted = (possible, middle) if _is_refuted(run, ritz * middle) else (middle, refuted)
    return ritz * refuted * (1.0 + 1e-9)
