"""Cuts of an axis into segments: finer, coarser, none."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from netaudit.moments.kernels.kernel import Kernel
from netaudit.moments.kernels.layout import MAX_SEGMENTS, Array, Cut, pair_counts, replaced, segments_of


def common_cut(left: Cut, right: Cut) -> Cut:
    """The coarsest cut finer than both, or no cut at all when that would be too fine."""
    if left == right:
        return left
    edges = sorted(set(np.cumsum(left).tolist()) | set(np.cumsum(right).tolist()))
    cut = tuple(int(b - a) for a, b in zip([0, *edges[:-1]], edges, strict=True))
    return cut if len(cut) <= MAX_SEGMENTS else (edges[-1],)


@lru_cache(maxsize=4096)
def _refinement(old: Cut, new: Cut) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The old state of every new state, and the old segment of every new segment."""
    owner = np.searchsorted(np.cumsum(old), np.cumsum((0, *new[:-1])), side="right")
    count, fine = len(old), len(new)
    first, second = segments_of(fine)
    states = count + owner[first] * count + owner[second]
    states[:fine] = owner
    return states, owner


def refined(kernel: Kernel, axis: int, cut: Cut) -> Kernel:
    """The same kernel on a finer cut of one axis."""
    if cut == kernel.cuts[axis] or kernel.sizes[axis] == 1:
        return kernel
    states, owner = _refinement(kernel.cuts[axis], cut)
    second = kernel.second.take(states, axis) if kernel.varies(axis) else kernel.second
    mean = kernel.mean.take(owner, axis) if kernel.mean.shape[axis] > 1 else kernel.mean
    return Kernel(kernel.sizes, replaced(kernel.cuts, axis, cut if kernel.varies(axis) else (kernel.sizes[axis],)), second, mean)


@lru_cache(maxsize=4096)
def _coarsening(old: Cut, new: Cut) -> tuple[Array, Array]:
    """Averaging matrices from the states (segments) of a cut to those of a coarser one."""
    states, owner = _refinement(new, old)  # the coarse state every fine state lies in, were all pairs of it fine ones
    count = len(old)
    first, second = segments_of(count)
    inside = (owner[first] == owner[second]) & (np.arange(len(first)) >= count)
    states = np.where(inside, len(new) + owner[first] * len(new) + owner[second], states)
    pairs = pair_counts(old)
    matrix = np.zeros((len(new) + len(new) ** 2, len(pairs)))
    np.add.at(matrix, (states, np.arange(len(pairs))), pairs)
    by_segment = np.zeros((len(new), count))
    np.add.at(by_segment, (owner, np.arange(count)), np.array(old, dtype=np.float64))
    empty = matrix.sum(1) == 0  # a coarse segment of one index: the differing state repeats the agreeing one
    matrix[empty] = matrix[np.concatenate([np.arange(len(new)), np.repeat(np.arange(len(new)), len(new))])[empty]]
    return matrix / matrix.sum(1, keepdims=True), by_segment / by_segment.sum(1, keepdims=True)


def coarsened(kernel: Kernel, axis: int, cut: Cut) -> Kernel:
    """The kernel on a coarser cut of one axis: averages over pairs, exact."""
    if kernel.cuts[axis] == cut:
        return kernel
    states, segments = _coarsening(kernel.cuts[axis], cut)
    second = np.moveaxis(np.tensordot(states, kernel.second, axes=(1, axis)), 0, axis)
    mean = kernel.mean
    if mean.shape[axis] > 1:
        mean = np.moveaxis(np.tensordot(segments, mean, axes=(1, axis)), 0, axis)
    return Kernel(kernel.sizes, replaced(kernel.cuts, axis, cut), second, mean)


def collapsed(kernel: Kernel, *axes: int) -> Kernel:
    """The kernel without the cuts of the axes."""
    for axis in axes:
        if len(kernel.cuts[axis]) > 1:
            kernel = coarsened(kernel, axis, (kernel.sizes[axis],))
    return kernel


def explicit(kernel: Kernel, *axes: int) -> Kernel:
    """Give axes along which nothing varies their two states, so that they can be cut, merged or changed."""
    for axis in axes:
        if not kernel.varies(axis) and kernel.sizes[axis] != 1:
            kernel = Kernel(kernel.sizes, kernel.cuts, np.repeat(kernel.second, 2, axis), kernel.mean)
    return kernel
