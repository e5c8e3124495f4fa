"""Entries of an axis picked by known indices, and the adjoint."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netaudit.moments.kernels import Array, Kernel, collapsed, explicit, replaced


def gathered(kernel: Kernel, axis: int, ids: NDArray[np.integer]) -> Kernel:
    """``X[ids]`` along an axis, for concrete ids of any shape: P[T] = share of pairs agreeing on T that pick the same entry."""
    kernel = explicit(collapsed(kernel, axis), axis)
    share, _ = collisions(ids)
    same = np.take(kernel.second, 0, axis)
    different = np.take(kernel.second, min(1, kernel.second.shape[axis] - 1), axis)
    shape = (1,) * axis + share.shape + (1,) * (same.ndim - axis)
    share = share.reshape(shape)
    lifted = [a.reshape(a.shape[:axis] + (1,) * ids.ndim + a.shape[axis:]) for a in (same, different)]
    second = share * lifted[0] + (1 - share) * lifted[1]
    sizes = (*kernel.sizes[:axis], *ids.shape, *kernel.sizes[axis + 1 :])
    mean = np.take(kernel.mean, 0, axis)
    mean = mean.reshape(mean.shape[:axis] + (1,) * ids.ndim + mean.shape[axis:])
    return Kernel(sizes, replaced(kernel.cuts, axis, *((n,) for n in ids.shape)), second, mean)


def scattered(kernel: Kernel, axis: int, ids: NDArray[np.integer], size: int) -> Kernel:
    """The adjoint of ``gathered``: contributions of equal ids add up in an axis of ``size``."""
    axes = tuple(range(axis, axis + ids.ndim))
    kernel = collapsed(kernel, *axes)
    for a in axes:
        kernel = explicit(kernel, a)
    share, pairs = collisions(ids)
    weight = pairs * share / size
    other = pairs * (1 - share) / (size * (size - 1)) if size > 1 else weight
    same = np.tensordot(weight, kernel.second, axes=(range(ids.ndim), axes))
    different = np.tensordot(other, kernel.second, axes=(range(ids.ndim), axes))
    second = np.stack([same, different], axis) if size > 1 else np.expand_dims(same, axis)
    mean = kernel.mean.reshape(kernel.mean.shape[: axis + 1] + kernel.mean.shape[axis + ids.ndim :]) * (ids.size / size)
    sizes = (*kernel.sizes[:axis], size, *kernel.sizes[axis + ids.ndim :])
    cuts = (*kernel.cuts[:axis], (size,), *kernel.cuts[axis + ids.ndim :])
    return Kernel(sizes, cuts, second, mean)


def collisions(ids: NDArray[np.integer]) -> tuple[Array, Array]:
    """By pattern of ``ids``' axes (0 = agree, 1 = differ): the share of pairs with equal ids, and the number of pairs."""
    shape = ids.shape
    states = tuple(2 if n > 1 else 1 for n in shape)
    share, pairs = np.ones(states), np.ones(states)
    for state in np.ndindex(*states):
        agree = [a for a, s in enumerate(state) if s == 0]
        differ = [a for a, s in enumerate(state) if s == 1]
        rows = ids.transpose(agree + differ).reshape(int(np.prod([shape[a] for a in agree], dtype=np.int64)), -1)
        share[state] = _equal_share(rows)
        pairs[state] = np.prod([shape[a] * (shape[a] - 1 if s else 1) for a, s in enumerate(state)], dtype=np.float64)
    for axis, n in enumerate(shape):  # from "all pairs" to "different pairs"
        if n > 1:
            same, every = np.take(share, 0, axis), np.take(share, 1, axis)
            share[(slice(None),) * axis + (1,)] = (n * every - same) / (n - 1)
    return np.clip(share, 0.0, 1.0), pairs


def _equal_share(rows: NDArray[np.integer]) -> float:
    """The average over rows of the share of pairs of entries that are equal."""
    span = int(rows.max()) - int(rows.min()) + 1 if rows.size else 1
    keys = (np.arange(len(rows), dtype=np.int64)[:, None] * span + (rows - rows.min())).ravel()
    counts = np.unique(keys, return_counts=True)[1].astype(np.float64)
    return float((counts * counts).sum()) / float(len(rows) * rows.shape[1] ** 2)
