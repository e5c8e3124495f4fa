"""Maxima of Gaussian tensors: max-pooling and amax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from netaudit.moments import kernels
from netaudit.moments.cotangent import Cotangent, Slope, Term
from netaudit.moments.gaussian import GRID, WEIGHTS
from netaudit.moments.kernels import Array, Kernel, replaced
from netaudit.moments.modelled import Modelled
from netaudit.moments.state import Moments, View, of

_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


def pool_max(x: Moments, axes: Sequence[int], window: int, out_sizes: Sequence[int]) -> Modelled:
    """The maximum over windows of ``window`` entries, along axes that shrink to ``out_sizes``.

    ``x = f(root)`` with ``f`` non-decreasing (relu before the pool): the root of a window is a common part plus ``window``
    independent parts, so the selected entry has density ``K phi Phi^(K - 1)`` around the common part (2-d quadrature).
    Backward: a share ``R = n_out / n_in`` of the entries is selected, with the slope of ``f`` at selected entries.
    """
    x = x.settled
    axes = tuple(a % len(x.sizes) for a in axes)
    curve = x.curve
    kernel = kernels.collapsed(x.kernel, *axes)
    root = kernels.collapsed(curve.law.kernel, *axes)
    values, points = (_of_main_segments(a, curve.law.kernel, axes) for a in (curve.values, curve.law.points))
    first, second_moment = _moments_of_maximum(root, axes, values, points, window)
    sizes = list(x.sizes)
    cuts = kernel.cuts
    for axis, size in zip(axes, out_sizes, strict=True):
        sizes[axis], cuts = size, replaced(cuts, axis, (size,))
    pooled = _scaled_like(kernel, first, second_moment, tuple(sizes), cuts)
    share = prod(pooled.sizes[a] / max(x.sizes[a], 1) for a in axes)
    tilt = _tilt(root, axes, window)

    def pull(g: Cotangent) -> tuple[Cotangent]:
        slope = Slope(curve.law, np.ones_like(curve.values), tilt)
        return (Cotangent((Term(View(_routed(g.kernel, axes, x.sizes, share)), object(), 1.0, slope),)),)

    return Modelled(of(pooled, positive=x.positive), pull)


def _spread_of_window(root: Kernel, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Mean, variance and the part of the variance that entries of one window do not share, by segment."""
    diagonal = root.diagonal()
    shape = np.broadcast_shapes(diagonal.shape, root.mean.shape)
    mean = np.broadcast_to(root.mean, shape)
    square = np.broadcast_to(diagonal, shape)
    neighbour = root.second
    for axis in range(root.rank):  # same index on the other axes, different index on the pooled ones
        states = range(len(root.cuts[axis])) if root.varies(axis) else range(1)
        index = [root.second.shape[axis] - 1] if axis in axes else list(states)
        neighbour = neighbour.take(index, axis)
    variance = np.maximum(square - mean * mean, 1e-300)
    own = np.clip(square - np.broadcast_to(neighbour, shape), 0.0, variance)
    return mean, variance, own


def _selection(window: int) -> Array:
    """The density ratio ``K Phi^(K-1)`` of the largest of K over that of one, on the grid."""
    cdf = np.cumsum(WEIGHTS) - WEIGHTS / 2
    ratio = window * np.clip(cdf, 0.0, 1.0) ** (window - 1)
    return np.asarray(ratio / (ratio @ WEIGHTS))


def _moments_of_maximum(root: Kernel, axes: tuple[int, ...], values: Array, points: Array, window: int) -> tuple[Array, Array]:
    """``E max`` and ``E max^2`` of ``f(root)`` over a window, by segment; ``f`` is read off its values at the points."""
    mean, variance, own = _spread_of_window(root, axes)
    weights = WEIGHTS * _selection(window)
    first, second = np.empty(mean.shape), np.empty(mean.shape)
    flat_values, flat_points = (np.broadcast_to(a, (*mean.shape, a.shape[-1])) for a in (values, points))
    for index in np.ndindex(mean.shape):
        common = np.sqrt(variance[index] - own[index])
        at = mean[index] + common * _NODES[:, None] + np.sqrt(own[index]) * GRID[None, :]
        f = np.interp(at, flat_points[index], flat_values[index])
        first[index] = _NODE_WEIGHTS @ f @ weights
        second[index] = _NODE_WEIGHTS @ (f * f) @ weights
    return first, second


def _of_main_segments(array: Array, kernel: Kernel, axes: Sequence[int]) -> Array:
    """Values by segment, on pooled axes those of the longest one: borders of padding are short, and hold another value."""
    for axis in axes:
        if array.shape[axis] > 1:
            longest = int(np.argmax(kernel.cuts[axis]))
            array = array.take([longest], axis)
    return array


def _tilt(root: Kernel, axes: tuple[int, ...], window: int) -> Array:
    """Density ratio of a selected root over any root on the root's grid: average over the common part."""
    mean, variance, own = _spread_of_window(root, axes)
    share = np.sqrt(own / variance)[..., None]
    ratio = np.ones((*mean.shape, GRID.size))
    selection = _selection(window)
    for index in np.ndindex(mean.shape):
        a = float(share[index][0])
        if a < 1e-3:
            continue
        b = np.sqrt(max(1 - a * a, 0.0))
        # conditional law of the own part of an entry given the entry: N(a z, b^2)
        at = a * GRID[:, None] + b * _NODES[None, :]
        ratio[index] = np.interp(at, GRID, selection) @ _NODE_WEIGHTS
    return ratio


def _scaled_like(kernel: Kernel, first: Array, second: Array, sizes: tuple[int, ...], cuts: tuple[tuple[int, ...], ...]) -> Kernel:
    """Correlations as before the maximum, with its mean and variance."""
    diagonal = kernel.diagonal()
    shape = np.broadcast_shapes(diagonal.shape, kernel.mean.shape, first.shape)
    mean = np.broadcast_to(kernel.mean, shape)
    variance = np.maximum(np.broadcast_to(diagonal, shape) - mean * mean, 1e-300)
    spread_after = np.sqrt(np.maximum(second - first * first, 0.0) / variance)
    covariance = kernel.second - kernels.pair_product(mean, mean, kernel)
    result = kernels.pair_product(first, first, kernel) + covariance * kernels.pair_product(spread_after, spread_after, kernel)
    index = tuple(slice(0, 1) if sizes[a] == 1 and kernel.varies(a) else slice(None) for a in range(kernel.rank))
    return Kernel(sizes, cuts, np.broadcast_to(result, np.broadcast_shapes(result.shape, kernel.second.shape))[index], first)


def _routed(kernel: Kernel, axes: tuple[int, ...], sizes: tuple[int, ...], share: float) -> Kernel:
    """The pooled cotangent on the input's axes: one entry in ``1 / share`` is selected, two of them with ``share^2``.

    Two entries of one window are never both selected: a cotangent that sums to zero over the windows still does.
    """
    kernel = kernels.collapsed(kernel, *axes)
    windows = [kernel.sizes[a] for a in axes]
    for axis in axes:
        if kernel.sizes[axis] == 1 and sizes[axis] > 1:
            kernel = kernels.expanded(kernel, tuple(sizes[a] if a == axis else kernel.sizes[a] for a in range(kernel.rank)))
    for axis in range(kernel.rank):
        kernel = kernels.explicit(kernel, axis)
    second, together = kernel.second, np.ones((1,) * kernel.rank)
    for axis, count in zip(axes, windows, strict=True):
        if kernel.varies(axis):
            meet = (sizes[axis] / count - 1.0) / (sizes[axis] - 1.0)  # different entries, one window
            same, different = second.take([0], axis), second.take([1], axis)
            second = np.concatenate([same, meet * same + (1.0 - meet) * different], axis)
            together = together * np.array([1.0, meet]).reshape([2 if a == axis else 1 for a in range(kernel.rank)])
    second = second * (share * share)
    others = tuple(slice(None) if a in axes else slice(0, len(cut)) for a, cut in enumerate(kernel.cuts))
    same_entry = tuple(slice(0, len(cut)) for cut in kernel.cuts)
    second[others] -= share * share * together * kernel.second[same_entry]
    second[same_entry] = kernel.second[same_entry] * share
    cuts = tuple(cut if a not in axes else (sizes[a],) for a, cut in enumerate(kernel.cuts))
    return Kernel(sizes, cuts, second, kernel.mean)
