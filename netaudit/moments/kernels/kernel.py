"""Pair-pattern kernels: the second moments of a tensor, by the axes on which two of its indices agree.

A tensor ``X`` with axes ``1..k`` is summarised by ``C[T] = E[X_i X_j]`` over pairs of indices that agree exactly on the axes
in ``T``, and by its mean. It is the second-moment description of an exchangeable array: the mean field's ``(q, c)`` of an MLP
is the case of two axes. An axis may be cut into segments (a class token in front of patches, ``cat``, causal rows); ``C``
then knows the segment of *both* indices.

Layout. Axis ``a`` of size ``n`` with ``S`` segments has ``S + S^2`` states: ``s`` (the two indices are the same one, in
segment ``s``) and ``S + s S + t`` (they differ, the first in ``s``, the second in ``t``). ``second`` has one dimension per
axis, as long as the axis has states, or 1 where the tensor does not vary along the axis: numpy's broadcasting is then the
broadcasting of the tensors themselves. ``mean`` has one dimension per axis, ``S`` or 1 long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netaudit.moments.kernels.layout import Array, Cut, segments_of, shares, whole


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Kernel:
    """Second moments and mean of a tensor of shape ``sizes``; see the module's text for the layout."""

    sizes: tuple[int, ...]
    cuts: tuple[Cut, ...]
    second: Array
    mean: Array

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.sizes)

    @property
    def count(self) -> int:
        """The number of entries."""
        return int(np.prod(self.sizes, dtype=np.float64))

    @property
    def mean_square(self) -> float:
        """``E[X_i^2]`` over all entries."""
        return max(_weighted(self.diagonal(), self.cuts), 0.0)

    @property
    def average(self) -> float:
        """``E[X_i]`` over all entries."""
        return _weighted(self.mean, self.cuts)

    def diagonal(self) -> Array:
        """``E[X_i^2]`` by segment: one dimension per axis, ``S`` or 1 long."""
        index = tuple(slice(0, len(cut)) if states > 1 else slice(None) for cut, states in zip(self.cuts, self.second.shape, strict=True))
        return np.asarray(self.second[index])

    def varies(self, axis: int) -> bool:
        """Whether entries that differ on the axis may differ in value."""
        return int(self.second.shape[axis]) > 1


def along_axis(array: Array, axis: int, weights: Array) -> Array:
    """Contract one axis with weights."""
    return np.asarray(np.tensordot(array, weights, axes=(axis, 0)))


def _weighted(by_segment: Array, cuts: tuple[Cut, ...]) -> float:
    """The average over all entries of values by segment."""
    for axis in reversed(range(by_segment.ndim)):
        cut = cuts[axis] if by_segment.shape[axis] > 1 else (1,)
        by_segment = along_axis(by_segment, axis, shares(cut))
    return float(by_segment)


def spread(values: Array, kernel: Kernel, side: int) -> Array:
    """Values by segment (``S`` or 1 per axis, more dimensions may follow) -> values by state, for index ``side`` (0 or 1) of the pair."""
    for axis in range(kernel.rank):
        if values.shape[axis] > 1:
            values = values.take(segments_of(len(kernel.cuts[axis]))[side], axis)
    return values


def pair_product(left: Array, right: Array, kernel: Kernel) -> Array:
    """``left_i right_j`` by state, for two arrays of values by segment."""
    return spread(left, kernel, 0) * spread(right, kernel, 1)


def constant(sizes: tuple[int, ...], value: float) -> Kernel:
    """The tensor with ``value`` everywhere."""
    return shared(sizes, value * value, value)


def shared(sizes: tuple[int, ...], mean_square: float, mean: float = 0.0) -> Kernel:
    """One random number, the same in every entry."""
    ones = (1,) * len(sizes)
    return Kernel(sizes, whole(sizes), np.full(ones, float(mean_square)), np.full(ones, float(mean)))


def independent(sizes: tuple[int, ...], mean_square: float = 1.0, mean: float = 0.0) -> Kernel:
    """Independent entries with one distribution: ``C[all] = mean_square``, every other pattern ``mean^2``."""
    states = tuple(2 if n > 1 else 1 for n in sizes)
    second = np.full(states, float(mean) ** 2)
    second[(0,) * len(sizes)] = mean_square
    return Kernel(sizes, whole(sizes), second, np.full((1,) * len(sizes), float(mean)))
