"""How the states of an axis are laid out, and what is counted by state."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Cut: TypeAlias = tuple[int, ...]

MAX_SEGMENTS = 24
"""An axis cut finer than this is collapsed: states grow with the square, accuracy no longer does."""


@lru_cache(maxsize=4096)
def shares(cut: Cut) -> Array:
    """The share of an axis that each segment holds."""
    sizes = np.array(cut, dtype=np.float64)
    return np.asarray(sizes / max(float(sizes.sum()), 1.0))


@lru_cache(maxsize=4096)
def pair_counts(cut: Cut) -> Array:
    """How many ordered pairs of indices each state of an axis holds: ``c_s`` and ``c_s (c_t - [s = t])``."""
    sizes = np.array(cut, dtype=np.float64)
    different = np.outer(sizes, sizes) - np.diag(sizes)
    return np.concatenate([sizes, different.ravel()])


@lru_cache(maxsize=256)
def segments_of(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each state of an axis with ``count`` segments: the segment of the first index and of the second."""
    same = np.arange(count)
    first, second = np.divmod(np.arange(count * count), count)
    return np.concatenate([same, first]), np.concatenate([same, second])


def whole(sizes: tuple[int, ...]) -> tuple[Cut, ...]:
    """The trivial cut of every axis: one segment."""
    return tuple((n,) for n in sizes)


def replaced(cuts: tuple[Cut, ...], axis: int, *new: Cut) -> tuple[Cut, ...]:
    """The cuts with those of one axis replaced by those of ``new`` axes."""
    return cuts[:axis] + new + cuts[axis + 1 :]
