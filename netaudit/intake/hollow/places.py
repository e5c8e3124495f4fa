"""Where the entries of a strided view lie in its storage, and which of some places of the storage a view holds."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Places: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Strided:
    """A view of a storage: entry ``(i_1, ..., i_k)`` lies at ``offset + sum_a i_a strides_a``.

    Entries are numbered in row-major order, whatever the strides are: ``index`` below is such a number.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> Strided:
        """The view that a tensor is."""
        return cls(tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()))

    @property
    def count(self) -> int:
        """The number of entries."""
        return prod(self.sizes)

    def broadcast(self, sizes: tuple[int, ...]) -> Strided:
        """The view repeated to a larger shape, as operands of one operator are: strides of 0, new axes in front."""
        extra = len(sizes) - len(self.sizes)
        strides = [0 if old == 1 and new != 1 else stride for old, new, stride in zip(self.sizes, sizes[extra:], self.strides, strict=True)]
        return Strided(sizes, (0,) * extra + tuple(strides), self.offset)

    def places(self, index: Places) -> Places:
        """Where the entries with these numbers lie."""
        place = np.full(len(index), self.offset, dtype=np.int64)
        rest = index
        for size, stride in zip(reversed(self.sizes), reversed(self.strides), strict=True):
            rest, along = np.divmod(rest, max(size, 1))
            place += along * stride
        return place

    def held(self, places: Places) -> tuple[NDArray[np.intp], Places]:
        """Which of the places the view holds, and the numbers of the entries that lie there.

        Exact for views made by slicing, selecting, permuting and reshaping a dense tensor, whose strides nest: the steps of
        the smaller strides together stay below the next larger one. An axis of stride 0 counts as its first index.
        """
        if self.offset == 0 and self.strides == _row_major(self.sizes):
            (which,) = np.nonzero(places < self.count)
            return which, places[which]
        weights = _row_major(self.sizes)
        rest = places - self.offset
        inside = (rest >= 0) & (self.count > 0)
        index = np.zeros_like(places)
        steps = [(stride, size, weight) for size, stride, weight in zip(self.sizes, self.strides, weights, strict=True) if stride]
        for stride, size, weight in sorted(steps, reverse=True):
            along, rest = np.divmod(rest, stride)
            inside &= along < size
            index += along * weight
        (which,) = np.nonzero(inside & (rest == 0))
        return which, index[which]


def _row_major(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def scattered(count: int, wanted: int, rng: np.random.Generator) -> Places:
    """``wanted`` different places among ``count``, increasing; all of them if there are no more.

    One is taken from each of as many equal stretches, so that every contiguous part gets its share.
    """
    if count <= wanted:
        return np.arange(count, dtype=np.int64)
    edges = np.arange(wanted + 1, dtype=np.int64) * count // wanted
    return np.asarray(rng.integers(edges[:-1], edges[1:]), dtype=np.int64)
