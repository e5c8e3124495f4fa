"""How large can a convolution be, seen through its frequencies?

A convolution is a compression of a block circulant, twisted or not, whose blocks in the Fourier basis are the symbol
``K(w) = sum_t W_t e^{i t w}`` on a grid. ``||K||^2`` is the top eigenvalue of ``G = K K^*``, a trigonometric polynomial
whose coefficients are the autocorrelation of the kernel: no product of matrices per frequency is needed.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from netaudit.norms.axis import Axis
from netaudit.norms.certificate import UNIT, gamma
from netaudit.norms.definite import certified_top, cholesky_slack, is_below

TOLERANCE = 5e-5  # of the squared norm
COARSE_LOSS = 1e-3  # of the squared norm, per axis, that a grid coarser than the circulant's may cost
MOST_LOSS = 0.25  # three points for each degree of the polynomial
COST_LIMIT = 2e11  # frequencies times size^3 of their blocks, beyond which the grid is coarser: about 20 s of one core
CHUNK_ENTRIES = 2**17  # complex entries of the blocks held at once: what a core's cache holds
CHUNK_ENTRIES_GPU = 2**24
FIRST_CHUNK = 4  # frequencies that all need eigenvalues, since no level is known yet
TRIGONOMETRIC_ERROR = 80  # units of roundoff in a cosine of a sum of three angles, each below 2 pi


@dataclass(frozen=True, slots=True)
class Symbol:
    """``G(w) = sum_l cos(l w) S_l + i sin(l w) T_l``, one for each group; ``S`` symmetric, ``T`` antisymmetric.

    ``even``, ``odd``: (groups, lags, n * n), over half of the lags; ``lags``: (lags, axes); ``error``: bound on
    ``||fl(G(w)) - G(w)||_2`` at every ``w``.
    """

    even: Tensor
    odd: Tensor
    lags: Tensor
    size: int
    error: float


@dataclass(frozen=True, slots=True)
class Grid:
    """Frequencies ``w_i = pi a_i / N_i``: ``numerators`` ``a``: (points, axes) one of each pair ``+-w``; ``periods`` N.

    ``sup_w lambda_max(G(w)) <= max over the grid / shrink``, or with ``shrink`` 1 the grid is the circulant's own.
    """

    numerators: Tensor
    periods: Tensor
    shrink: float


def gram_symbol(weight: Tensor, axes: Sequence[Axis]) -> Symbol:
    """Gram symbol of ``W``: (groups, out, in, *kernel), float64, on the smaller of ``out`` and ``in prod(stride)``.

    ``G(w) = sum_{t, t'} W_t W_t'^T e^{i (t - t') w}``. Error: entrywise ``gamma (|W| * |W|)``, summed over lags at most
    ``gamma || sum_t |W_t| ||_2^2 <= gamma T ||W||_F^2`` with ``T`` taps.
    """
    blocks = _polyphase(weight, axes)
    if blocks.shape[1] > blocks.shape[2]:
        blocks = blocks.transpose(1, 2)
    kernel = blocks.shape[3:]
    lags = [lag for lag in itertools.product(*(range(1 - k, k) for k in kernel)) if lag >= (0,) * len(kernel)]
    lagged = torch.stack([_lagged(blocks, lag) for lag in lags], 1)
    lagged[:, 0] /= 2.0  # lag 0 comes first, and is its own mirror image
    even, odd = (lagged + lagged.mT).flatten(2), (lagged - lagged.mT).flatten(2)
    taps = math.prod(kernel)
    frobenius = float(blocks.square().sum((1, 2, *range(3, blocks.ndim))).max()) if blocks.numel() else 0.0
    relative = gamma(blocks.shape[2] * taps + 2 * len(lags) + TRIGONOMETRIC_ERROR) * (1.0 + gamma(weight.numel()))
    return Symbol(even, odd, torch.tensor(lags), blocks.shape[1], 2.0 * relative * taps * frobenius)


def symbol_size(weight: Tensor, axes: Sequence[Axis]) -> int:
    """Rows of the symbol's blocks."""
    phases = math.prod(min(axis.reduced_stride, axis.kernel) for axis in axes)
    return min(weight.shape[1], weight.shape[2] * phases)


def _polyphase(weight: Tensor, axes: Sequence[Axis]) -> Tensor:
    """(groups, out, in, *k) -> (groups, out, in prod(s), *ceil(k / s)): tap ``s q + r`` is tap ``q`` of phase ``r``."""
    for axis in axes:
        phases = min(axis.reduced_stride, axis.kernel)
        last = functional.pad(weight.movedim(3, -1), (0, phases * axis.overlap - axis.kernel))
        weight = last.reshape(*last.shape[:-1], axis.overlap, phases).movedim(-1, 3).flatten(2, 3)
    return weight


def _lagged(blocks: Tensor, lag: Sequence[int]) -> Tensor:
    ahead, behind = blocks, blocks
    for dim, step in enumerate(lag, 3):
        length = blocks.shape[dim] - abs(step)
        ahead = ahead.narrow(dim, max(step, 0), length)
        behind = behind.narrow(dim, max(-step, 0), length)
    return ahead.flatten(2) @ behind.flatten(2).mT


def grid(axes: Sequence[Axis], periods: Sequence[int], twist: Sequence[int], cost: float) -> Grid:
    """Frequencies ``(2 pi j + twist pi) / N``; ``cost``: of one frequency. Coarser than ``N`` where that pays.

    A trigonometric polynomial ``0 <= p <= S`` of degree ``D`` that is ``S`` somewhere is at least
    ``S cos^2(D h / 2)`` at distance ``h <= pi / M``. Applied to ``p = v^* G v``, axis after axis, ``M`` points suffice.
    Source: Bernstein-Szego inequality ``q'^2 + D^2 q^2 <= D^2`` for ``q = 2 p / S - 1``.
    """
    degrees = [axis.overlap - 1 for axis in axes]
    loss = COARSE_LOSS
    counts = _counts(degrees, periods, loss)
    while math.prod(counts) * cost > 2.0 * COST_LIMIT and loss < MOST_LOSS:
        loss *= 2.0
        counts = _counts(degrees, periods, loss)
    coarse = [(d, m) for d, m, period in zip(degrees, counts, periods, strict=True) if d > 0 and m < period]
    shrink = math.prod(math.cos(math.pi * d / (2 * m)) ** 2 * (1.0 - 8.0 * UNIT) for d, m in coarse)
    return Grid(_half_grid(counts, twist), torch.tensor(counts), shrink)


def _counts(degrees: Sequence[int], periods: Sequence[int], loss: float) -> list[int]:
    # sin^2(pi D / 2 M) <= loss; a constant needs one point.
    spacing = 2.0 * math.asin(math.sqrt(loss)) / math.pi
    return [min(period, math.ceil(d / spacing)) if d else 1 for d, period in zip(degrees, periods, strict=True)]


def _half_grid(counts: Sequence[int], twist: Sequence[int]) -> Tensor:
    numerators = torch.cartesian_prod(*(2 * torch.arange(n) + t for n, t in zip(counts, twist, strict=True)))
    numerators = numerators.reshape(-1, len(counts))
    base = torch.tensor([math.prod(2 * n for n in counts[i + 1 :]) for i in range(len(counts))])
    mirrored = (-numerators) % (2 * torch.tensor(counts))
    return numerators[(numerators * base).sum(1) <= (mirrored * base).sum(1)]


def _blocks_at(symbol: Symbol, numerators: Tensor, periods: Tensor) -> Tensor:
    """``G(w)``: (groups * points, n, n); angles are reduced as integers, so large lags lose nothing."""
    turns = (numerators[:, None, :] * symbol.lags) % (2 * periods)
    angle = (turns.double() * (math.pi / periods.double())).sum(-1).to(symbol.even.device)
    return torch.complex(angle.cos() @ symbol.even, angle.sin() @ symbol.odd).reshape(-1, symbol.size, symbol.size)


def _chunks(symbol: Symbol, points: Tensor) -> Iterator[Tensor]:
    """Frequencies in random order: a level found early then covers most of what follows."""
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    entries = CHUNK_ENTRIES if symbol.even.device.type == "cpu" else CHUNK_ENTRIES_GPU
    most = max(FIRST_CHUNK, entries // (symbol.even.shape[0] * symbol.size**2))
    start, count = 0, min(FIRST_CHUNK, most)
    while start < len(points):
        yield points[order[start : start + count]]
        start, count = start + count, min(2 * count, most)


def symbol_level(symbol: Symbol, grid: Grid, floor: float = 0.0) -> float:
    """Upper bound on ``max lambda_max(G(w))`` over all groups and ``w``; nothing is resolved below ``floor``."""
    level = floor
    for points in _chunks(symbol, grid.numerators):
        matrices = _blocks_at(symbol, points, grid.periods)
        above = ~is_below(matrices, level)
        if bool(above.any()):
            level = max(level, float(certified_top(matrices[above], TOLERANCE).upper.max()))
    return (level * (1.0 + cholesky_slack(symbol.size)) + symbol.error) / grid.shrink


def groups_above(symbol: Symbol, grid: Grid, level: float) -> Tensor:
    """Which groups are not proved to have ``||K(w)||^2 <= level`` on the grid: (groups,) bool."""
    margin = (level * grid.shrink - symbol.error) / (1.0 + cholesky_slack(symbol.size))
    above = torch.zeros(symbol.even.shape[0], dtype=torch.bool, device=symbol.even.device)
    for points in _chunks(symbol, grid.numerators):
        if bool(above.all()):
            break
        below = is_below(_blocks_at(symbol, points, grid.periods), margin)
        above |= ~below.reshape(len(above), -1).all(1)
    return above
