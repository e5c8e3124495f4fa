"""Points at which bounds are tried: where ops are known to be at their worst, and random ones, within what is proved of a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isinf

import torch
from torch import Tensor

from netaudit.signal import Signal

KINKS = (0.0, 0.5, 1.0, 1.2784645428, 2**0.5, 1.4185040088, 1.4905711795, 2.2563763964, 2.3993572805, 3.0, 6.0, 20.0)
"""Where the ops of torch have kinks, turning points and thresholds (with either sign)."""
BESIDE = (0.0, 1e-7, -1e-7)
_GRID = torch.tensor([sign * kink + beside for beside in BESIDE for kink in KINKS for sign in (-1.0, 1.0)], dtype=torch.float64)
SCALES = (1e-6, 1e-3, 0.1, 1.0, 1.0, 3.0, 10.0, 30.0, 1e3, 1e6)


def points(example: Tensor, *, tries: int, seed: int) -> Iterator[Tensor]:
    """``tries`` values of a tensor like the example."""
    generator = torch.Generator().manual_seed(seed)
    shapes = _PATTERNS if example.is_floating_point() or example.is_complex() else _LABELS
    for attempt in range(tries):
        pattern = shapes[attempt if attempt < len(shapes) else int(torch.randint(len(shapes), (), generator=generator))]
        value = pattern(example, generator)
        if attempt >= len(shapes) and shapes is _PATTERNS:
            value = value * SCALES[int(torch.randint(len(SCALES), (), generator=generator))]
        yield value


def inside(signal: Signal, value: Tensor) -> Tensor:
    """The nearest thing to a value that the signal allows: clamped to its range, long rows shortened."""
    if not value.is_floating_point():
        return value
    lo, hi = signal.range.lo, signal.range.hi
    if not isinf(lo) or not isinf(hi):
        value = value.clamp(lo, hi)
    if signal.rows is not None and value.ndim:
        length = torch.linalg.vector_norm(value, dim=signal.rows.axes, keepdim=True)
        value = value * (signal.rows.bound / length.clamp_min(1e-300)).clamp_max(1.0)
    return value


def _normal(x: Tensor, g: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=g, dtype=x.dtype)


def _choice(values: tuple[float, ...], x: Tensor, g: torch.Generator) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[torch.randint(len(values), x.shape, generator=g)].to(x.dtype)


def _kinks(x: Tensor, g: torch.Generator) -> Tensor:
    """Kinks and the points on both sides of them, one after the other from a random one on."""
    start = int(torch.randint(len(_GRID), (), generator=g))
    return _GRID[(start + torch.arange(x.numel())) % len(_GRID)].reshape(x.shape).to(x.dtype)


def _signs(x: Tensor, g: torch.Generator) -> Tensor:
    return _choice((-1.0, 1.0), x, g)


def _equal_rows(x: Tensor, g: torch.Generator) -> Tensor:
    return _normal(x[..., :1] if x.ndim else x, g).expand(x.shape).clone()


def _one_hot(x: Tensor, g: torch.Generator) -> Tensor:
    """One entry above all others of its row, the same in every row."""
    value = torch.zeros_like(x)
    if x.ndim and x.shape[-1]:
        value[..., int(torch.randint(x.shape[-1], (), generator=g))] = 1.0
    return value


def _pairs(x: Tensor, _g: torch.Generator) -> Tensor:
    """Two equal entries far above the rest: where a softmax is steepest."""
    value = torch.full_like(x, -50.0)
    if x.ndim:
        value[..., :2] = 0.0
    return value


def _spike(x: Tensor, g: torch.Generator) -> Tensor:
    """A single entry away from zero."""
    value = torch.zeros(x.shape, dtype=x.dtype)  # contiguous, whatever x is
    if value.numel():
        value.view(-1)[int(torch.randint(value.numel(), (), generator=g))] = 1.0
    return value


Pattern = Callable[[Tensor, torch.Generator], Tensor]
_PATTERNS: tuple[Pattern, ...] = (
    lambda x, g: x.detach().clone(),
    _normal,
    lambda x, g: torch.zeros_like(x),
    lambda x, g: torch.ones_like(x),
    lambda x, g: -torch.ones_like(x),
    lambda x, g: 1e9 * _signs(x, g),  # the corners of a bounded domain
    _kinks,
    _kinks,
    _kinks,
    lambda x, g: _normal(x, g).round(),  # ties
    _equal_rows,
    _one_hot,
    _pairs,
    _spike,
    lambda x, g: 1e3 * _one_hot(x, g),
    lambda x, g: torch.rand(x.shape, generator=g, dtype=torch.float64).to(x.dtype),
    lambda x, g: 1.0 + 1e-6 * _normal(x, g),  # nearly constant
    lambda x, g: 1e3 * _normal(x, g),
    lambda x, g: 1e-6 * _normal(x, g),
)
_LABELS: tuple[Pattern, ...] = (
    lambda x, g: x.clone(),
    lambda x, g: x.flatten()[:1].expand(x.shape).clone() if x.numel() else x,
    lambda x, g: x.flatten()[-1:].expand(x.shape).clone() if x.numel() else x,
    lambda x, g: x.flatten()[torch.randint(max(x.numel(), 1), x.shape, generator=g)] if x.numel() else x,
)
