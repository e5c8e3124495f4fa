"""What an op does along one axis of a kernel: slice, join, known matrices, gather, unfold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from netaudit.moments.kernels import (
    MAX_SEGMENTS,
    Array,
    Cut,
    Kernel,
    coarsened,
    collapsed,
    common_cut,
    constant,
    explicit,
    refined,
    replaced,
    segments_of,
)


def sliced(kernel: Kernel, axis: int, start: int, stop: int, step: int = 1) -> Kernel:
    """``X[start:stop:step]`` along an axis: the states of the segments it keeps."""
    size = len(range(start, stop, step))
    if size == kernel.sizes[axis]:
        return kernel
    if size == 0:
        return constant((*kernel.sizes[:axis], 0, *kernel.sizes[axis + 1 :]), 0.0)
    cut = kernel.cuts[axis]
    kept, counts = kept_segments(cut, range(start, stop, step))
    second, mean = kernel.second, kernel.mean
    if kernel.varies(axis):
        states = kept if size == 1 else _states_of(kept, len(cut))
        second = second.take(states, axis)
    else:
        counts = (size,)
    if mean.shape[axis] > 1:
        mean = mean.take(kept, axis)
    sizes = (*kernel.sizes[:axis], size, *kernel.sizes[axis + 1 :])
    return Kernel(sizes, replaced(kernel.cuts, axis, counts), second, mean)


@lru_cache(maxsize=4096)
def kept_segments(cut: Cut, indices: range) -> tuple[NDArray[np.intp], Cut]:
    """The segments that hold any of the indices, and how many of them each holds."""
    if len(cut) == 1:
        return np.zeros(1, dtype=np.intp), (len(indices),)
    owner = np.searchsorted(np.cumsum(cut), np.array(indices), side="right")
    kept, counts = np.unique(owner, return_counts=True)
    return kept, tuple(int(c) for c in counts)


def _states_of(segments: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """The states, on an axis of ``count`` segments, of the axis that keeps only ``segments``."""
    return np.concatenate([segments, (count + segments[:, None] * count + segments).ravel()])


def put_back(kernel: Kernel, axis: int, size: int, start: int, step: int = 1) -> Kernel:
    """The adjoint of ``sliced``: the tensor in an axis of ``size`` that is zero elsewhere."""
    have = kernel.sizes[axis]
    if have == size:
        return kernel
    if step != 1:
        return _thinned(kernel, axis, size)
    before, after = (constant((*kernel.sizes[:axis], n, *kernel.sizes[axis + 1 :]), 0.0) for n in (start, size - start - have))
    return joined([part for part in (before, kernel, after) if part.sizes[axis]], axis)


def _thinned(kernel: Kernel, axis: int, size: int) -> Kernel:
    """Zeros between the entries: every pattern's average over the longer axis."""
    kernel = explicit(collapsed(kernel, axis), axis)
    have = kernel.sizes[axis]
    share = have / size
    pair_share = have * (have - 1) / (size * (size - 1))
    factor = np.array([share, pair_share]).reshape([2 if a == axis else 1 for a in range(kernel.rank)])
    second = np.broadcast_to(kernel.second, np.broadcast_shapes(kernel.second.shape, factor.shape)) * factor
    sizes = (*kernel.sizes[:axis], size, *kernel.sizes[axis + 1 :])
    return Kernel(sizes, replaced(kernel.cuts, axis, (size,)), second, kernel.mean * share)


def joined(kernels: Sequence[Kernel], axis: int) -> Kernel:
    """``cat`` along an axis: one block of segments per tensor; between two tensors only the means are shared."""
    kernels = [k for k in kernels if k.sizes[axis] > 0]
    if len(kernels) == 1:
        return kernels[0]
    kernels = _on_common_cuts([explicit(k, axis) for k in kernels], axis)
    rank = kernels[0].rank
    counts = [len(k.cuts[axis]) for k in kernels]
    offsets = np.cumsum([0, *counts])
    total = int(offsets[-1])
    others = np.broadcast_shapes(*(_at(k.second, axis, 0).shape for k in kernels))
    second = np.zeros((total + total * total, *others))
    mean_shape = np.broadcast_shapes(*(_at(k.mean, axis, 0).shape for k in kernels))
    mean = np.zeros((total, *mean_shape))
    for u, (left, low) in enumerate(zip(kernels, offsets, strict=False)):
        own = np.arange(counts[u]) + low
        states = own if left.sizes[axis] == 1 else _states_of(own, total)
        second[states] = np.moveaxis(left.second, axis, 0)
        if left.sizes[axis] == 1:
            second[total + low * total + low] = np.moveaxis(left.second, axis, 0)[0]
        mean[own] = np.moveaxis(left.mean, axis, 0)
    if mean.any():
        _fill_cross_blocks(second, mean, kernels, offsets, axis)
    cut = tuple(c for k in kernels for c in k.cuts[axis])
    sizes = (*kernels[0].sizes[:axis], sum(cut), *kernels[0].sizes[axis + 1 :])
    others_cuts = _cuts_of(kernels)
    result = Kernel(
        tuple(max(k.sizes[a] for k in kernels) if a != axis else sizes[axis] for a in range(rank)),
        replaced(others_cuts, axis, cut),
        np.moveaxis(second, 0, axis),
        np.moveaxis(mean, 0, axis),
    )
    return coarsened(result, axis, _similar_together(result, axis)) if total > MAX_SEGMENTS else result


def _at(array: Array, axis: int, index: int) -> Array:
    return array[(slice(None),) * axis + (index,)]


def _cuts_of(kernels: Sequence[Kernel]) -> tuple[Cut, ...]:
    rank = kernels[0].rank
    return tuple(next((k.cuts[a] for k in kernels if k.varies(a)), kernels[0].cuts[a]) for a in range(rank))


def _on_common_cuts(kernels: list[Kernel], axis: int) -> list[Kernel]:
    for other in range(kernels[0].rank):
        varying = [k.cuts[other] for k in kernels if k.varies(other)]
        if other == axis or len(set(varying)) <= 1:
            continue
        cut = varying[0]
        for more in varying[1:]:
            cut = common_cut(cut, more)
        kernels = [collapsed(k, other) if len(cut) == 1 else refined(k, other, cut) if k.varies(other) else k for k in kernels]
    return kernels


def _fill_cross_blocks(second: Array, mean: Array, kernels: Sequence[Kernel], offsets: Array, axis: int) -> None:
    """``E X_i Y_j = m_i m'_j`` for entries of different tensors."""
    total = mean.shape[0]
    rest = tuple(c for a, c in enumerate(_cuts_of(kernels)) if a != axis)
    first, later = _by_state(mean, rest, 0), _by_state(mean, rest, 1)
    owner = np.searchsorted(offsets[1:], np.arange(total), side="right")
    for s in range(total):
        for t in range(total):
            if owner[s] != owner[t]:
                second[total + s * total + t] = first[s] * later[t]


def _by_state(mean: Array, cuts: tuple[Cut, ...], side: int) -> Array:
    for axis, cut in enumerate(cuts, start=1):
        if mean.shape[axis] > 1:
            mean = mean.take(segments_of(len(cut))[side], axis)
    return mean


def _similar_together(kernel: Kernel, axis: int) -> Cut:
    """A cut of at most ``MAX_SEGMENTS`` segments: neighbours whose mean squares are nearest are joined first."""
    diagonal = np.moveaxis(kernel.diagonal(), axis, 0).reshape(len(kernel.cuts[axis]), -1).mean(1)
    sizes, levels = list(kernel.cuts[axis]), [float(v) for v in diagonal]
    while len(sizes) > MAX_SEGMENTS:
        gaps = [abs(a - b) / max(a + b, 1e-300) for a, b in pairwise(levels)]
        i = int(np.argmin(gaps))
        merged = sizes[i] + sizes[i + 1]
        levels[i : i + 2] = [(levels[i] * sizes[i] + levels[i + 1] * sizes[i + 1]) / merged]
        sizes[i : i + 2] = [merged]
    return tuple(sizes)


def mapped(kernel: Kernel, axis: int, matrix: Array) -> Kernel:
    """``Y = A X`` along an axis, for a known ``A`` of shape (out, in): pooling, resampling, cumsum.

    With ``D = C[same] - C[different]``: ``C'[same] = mean_i |A_i|^2 D + mean_i r_i^2 C[different]`` and
    ``C'[different] = mean_{i != j} <A_i, A_j> D + mean_{i != j} r_i r_j C[different]``, ``r`` the row sums.
    """
    kernel = explicit(collapsed(kernel, axis), axis)
    out = matrix.shape[0]
    same_norm, same_sum, cross_norm, cross_sum, mean_sum = _row_statistics(matrix)
    same = np.take(kernel.second, [0], axis)
    different = np.take(kernel.second, [1], axis) if kernel.varies(axis) else same
    fluctuation = same - different
    parts = [same_norm * fluctuation + same_sum * different]
    if out > 1:
        parts.append(cross_norm * fluctuation + cross_sum * different)
    sizes = (*kernel.sizes[:axis], out, *kernel.sizes[axis + 1 :])
    return Kernel(sizes, replaced(kernel.cuts, axis, (out,)), np.concatenate(parts, axis), kernel.mean * mean_sum)


def mapped_once(kernel: Kernel, axis: int, matrix: Array) -> Kernel:
    """``E[(A X)_i X_j]``, made symmetric, for a known square ``A``: ``mean_i A_ii D + mean_i r_i C[different]`` and so on."""
    kernel = explicit(collapsed(kernel, axis), axis)
    n = matrix.shape[0]
    same = np.take(kernel.second, [0], axis)
    different = np.take(kernel.second, [1], axis) if kernel.varies(axis) else same
    fluctuation = same - different
    trace, total = float(np.trace(matrix)), float(matrix.sum())
    parts = [trace / n * fluctuation + total / n * different]
    if n > 1:
        parts.append((total - trace) / (n * (n - 1)) * fluctuation + total / n * different)
    return Kernel(kernel.sizes, kernel.cuts, np.concatenate(parts, axis), np.zeros((1,) * kernel.rank))


def _row_statistics(matrix: Array) -> tuple[float, float, float, float, float]:
    out = matrix.shape[0]
    rows, columns = matrix.sum(1), matrix.sum(0)
    same_norm, same_sum = float((matrix * matrix).sum(1).mean()), float((rows * rows).mean())
    pairs = max(out * (out - 1), 1)
    cross_norm = (float((columns * columns).sum()) - out * same_norm) / pairs
    cross_sum = (float(rows.sum()) ** 2 - out * same_sum) / pairs
    return same_norm, same_sum, cross_norm, cross_sum, float(rows.mean())
