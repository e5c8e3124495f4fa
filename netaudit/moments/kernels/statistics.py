"""The kernel of a concrete tensor: averages over pairs, by pattern."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netaudit.moments.kernels.kernel import Kernel, constant
from netaudit.moments.kernels.layout import Array, Cut, pair_counts, whole


def from_array(array: NDArray[Any], cuts: tuple[Cut, ...] | None = None) -> Kernel:
    """The kernel of a concrete tensor: unbiased U-statistics by pattern, ``2^k`` reductions of the tensor.

    Sums over the axes that need not agree give ``all pairs``; subtracting the agreeing pairs leaves the differing ones.
    Source: Hoeffding 1948 (U-statistics); the test ``test_kernel.py::test_from_array_is_the_pair_average`` enumerates pairs.
    """
    cuts = cuts or whole(array.shape)
    if array.size == 0:
        return constant(array.shape, 0.0)
    values: Array = array.astype(np.float64 if array.size < _LARGE else np.float32, copy=False)
    first = float(values.flat[0])
    if values.flat[-1] == first and (values == first).all():
        return constant(array.shape, first)
    sums = _partial_sums(values, cuts)
    second = np.empty([len(cut) + len(cut) ** 2 if size > 1 else 1 for cut, size in zip(cuts, values.shape, strict=True)])
    for summed_axes, partial in sums.items():
        _fill(second, partial, cuts, summed_axes)
    for axis, cut in enumerate(cuts):
        second = _per_pair(second, axis, cut)
    counts = [np.array(cut, dtype=np.float64) for cut in cuts]
    mean = sums[tuple(a for a, n in enumerate(values.shape) if n > 1)].astype(np.float64)
    for axis, count in enumerate(counts):
        mean = mean / count.reshape([-1 if a == axis else 1 for a in range(mean.ndim)])
    return Kernel(array.shape, cuts, second, mean)


def from_blocks(blocks: Iterable[NDArray[Any]], sizes: tuple[int, ...]) -> Kernel:
    """``from_array`` of a tensor that is read once, as blocks of rows (consecutive indices of the first axis).

    Pairs on one row lie in one block. Summed over *all* pairs of rows, ``sum_rs X_ri X_sj = S_i S_j`` with ``S`` the sum over
    rows, one kernel of a smaller tensor; taking the pairs on one row away leaves those on different rows.
    """
    rows = sizes[0]
    same, total = np.zeros((1,) * len(sizes)), np.zeros(sizes[1:])
    levels: set[float | None] = set()  # of constant blocks
    for block in blocks:
        part = from_array(block)
        same = same + len(block) * part.second[:1]
        total = total + block.sum(0, dtype=np.float64)
        levels.add(part.average if part.second.size == 1 and block.size > 1 else None)
    level = levels.pop() if len(levels) == 1 else None
    if level is not None:
        return constant(sizes, level)
    sums = from_array(total)
    mean = np.full((1,) * len(sizes), sums.average / rows)
    if rows == 1:
        return Kernel(sizes, whole(sizes), same, mean)
    agreeing, others = np.broadcast_arrays(same, sums.second[None])
    second = np.concatenate([agreeing / rows, (others - agreeing) / (rows * (rows - 1))])
    return Kernel(sizes, whole(sizes), second, mean)


_LARGE = 1 << 22


def _partial_sums(values: Array, cuts: tuple[Cut, ...]) -> dict[tuple[int, ...], Array]:
    """The tensor summed by segment over every subset of its axes, each from the smallest one that is one axis short."""
    varying = [a for a, n in enumerate(values.shape) if n > 1]
    result: dict[tuple[int, ...], Array] = {(): values}
    for size in range(1, len(varying) + 1):
        for axes in combinations(varying, size):
            parents = [(result[tuple(a for a in axes if a != axis)], axis) for axis in axes]
            parent, axis = min(parents, key=lambda item: item[0].size)
            starts = np.cumsum((0, *cuts[axis][:-1]))
            result[axes] = parent.sum(axis, keepdims=True) if len(cuts[axis]) == 1 else np.add.reduceat(parent, starts, axis)
    return result


def _fill(second: Array, partial: Array, cuts: tuple[Cut, ...], summed_axes: tuple[int, ...]) -> None:
    """Sums of ``X_i X_j`` over pairs that agree on the axes not summed, *all* pairs on the others, by segment.

    ``partial`` has the segment sums on ``summed_axes``; with the other axes as rows, the pair sums are one Gram matrix for
    each combination of segments of the agreeing axes.
    """
    agreeing = [a for a in range(partial.ndim) if a not in summed_axes]
    counts = [len(cuts[a]) for a in summed_axes]
    edges = [np.cumsum((0, *cuts[a])) if second.shape[a] > 1 else np.array([0, 1]) for a in agreeing]
    for segments in np.ndindex(*(len(e) - 1 for e in edges)):
        part = [slice(None)] * partial.ndim
        state: list[int | slice] = [slice(None)] * partial.ndim
        for a, edge, s in zip(agreeing, edges, segments, strict=True):
            part[a], state[a] = slice(int(edge[s]), int(edge[s + 1])), s
        rows = np.moveaxis(partial[tuple(part)], summed_axes, range(-len(summed_axes), 0)).reshape(-1, prod(counts))
        gram = (rows.T @ rows).reshape([*counts, *counts])
        order = [i for pair in zip(range(len(counts)), range(len(counts), 2 * len(counts)), strict=True) for i in pair]
        for a, count in zip(summed_axes, counts, strict=True):
            state[a] = slice(count, count + count * count)
        second[tuple(state)] = gram.transpose(order).reshape([count * count for count in counts])


def _per_pair(second: Array, axis: int, cut: Cut) -> Array:
    """Turn one axis' pair sums (same, all) into averages (same, different)."""
    if second.shape[axis] == 1:
        return second
    count = len(cut)
    moved = np.moveaxis(second, axis, 0).copy()
    for s in range(count):
        moved[count + s * count + s] -= moved[s]
    pairs = pair_counts(cut)
    moved /= np.maximum(pairs, 1.0).reshape((-1,) + (1,) * (moved.ndim - 1))
    for s in range(count):
        if cut[s] == 1:  # a segment of one index has no differing pair: the same value by convention
            moved[count + s * count + s] = moved[s]
    return np.moveaxis(moved, 0, axis)
