"""Reshapes and permutes of kernels, tracked symbolically so that merge-then-split loses no pair structure.

A chain of views of one tensor is a list of axes, each a group of *atoms* ``(base axis, size, stride)``: the base axis 12 seen
as (3, 4) is the atoms ``(0, 3, 4), (0, 4, 1)``. The chain is applied to the kernel in one go, when the kernel is needed:
split the base's axes into their atoms, permute, merge the groups. Going through an intermediate shape that merges axes
would average over patterns that the final shape tells apart (windows, heads).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TypeAlias

import numpy as np

from netaudit.moments.kernels import (
    Array,
    Cut,
    Kernel,
    collapsed,
    constant,
    explicit,
    pair_counts,
    permuted,
    replaced,
    segments_of,
    with_unit_axis,
    without,
)

Atom: TypeAlias = tuple[int, int, int]
Groups: TypeAlias = tuple[tuple[Atom, ...], ...]


def identity(sizes: tuple[int, ...]) -> Groups:
    """Every axis of the base as it is."""
    return tuple(((axis, size, 1),) if size != 1 else () for axis, size in enumerate(sizes))


def reshape_groups(groups: Groups, sizes: tuple[int, ...]) -> Groups | None:
    """The groups seen through a reshape to ``sizes``; None when an axis would have to be cut across its factors."""
    queue = [atom for group in groups for atom in group]
    result: list[tuple[Atom, ...]] = []
    for size in sizes:
        taken: list[Atom] = []
        left = size
        while left > 1:
            if not queue:
                return None
            axis, have, stride = queue.pop(0)
            if have == 0:  # an empty tensor has no entries to follow
                return None
            if left % have == 0:
                taken.append((axis, have, stride))
                left //= have
            elif have % left == 0:
                taken.append((axis, left, stride * (have // left)))
                queue.insert(0, (axis, have // left, stride))
                left = 1
            else:
                return None
        result.append(tuple(taken))
    return tuple(result)


def permute_groups(groups: Groups, order: Iterable[int]) -> Groups:
    """The groups in a new order."""
    return tuple(groups[a] for a in order)


def apply(base: Kernel, groups: Groups) -> Kernel:
    """The kernel of the view: split, permute, merge."""
    atoms = _atoms_by_axis(base.rank, groups)
    for axis in reversed(range(base.rank)):
        base = _unmerged(base, axis, atoms[axis])
    in_base_order = [atom for axis in atoms for atom in axis]
    wanted = [atom for group in groups for atom in group]
    base = permuted(base, tuple(in_base_order.index(atom) for atom in wanted))
    return _merge_groups(base, groups)


def apply_inverse(seen: Kernel, groups: Groups, sizes: tuple[int, ...]) -> Kernel:
    """From a kernel on the view's axes (a cotangent) to one on the base's, of shape ``sizes``."""
    atoms = _atoms_by_axis(len(sizes), groups)
    for axis in reversed(range(len(groups))):
        seen = _unmerged(seen, axis, groups[axis])
    flat = [atom for group in groups for atom in group]
    in_base_order = [atom for axis in atoms for atom in axis]
    seen = permuted(seen, tuple(flat.index(atom) for atom in in_base_order))
    return _merge_groups(seen, tuple(tuple(axis) for axis in atoms))


def _atoms_by_axis(rank: int, groups: Groups) -> list[tuple[Atom, ...]]:
    axes: list[list[Atom]] = [[] for _ in range(rank)]
    for group in groups:
        for atom in group:
            axes[atom[0]].append(atom)
    return [tuple(sorted(axis, key=lambda atom: -atom[2])) for axis in axes]


def _unmerged(kernel: Kernel, axis: int, atoms: tuple[Atom, ...]) -> Kernel:
    if not atoms:
        return without(kernel, (axis,))
    return split(kernel, axis, tuple(size for _, size, _ in atoms)) if len(atoms) > 1 else kernel


def _merge_groups(kernel: Kernel, groups: Groups) -> Kernel:
    for position, group in enumerate(groups):
        if not group:
            kernel = with_unit_axis(kernel, position)
        elif len(group) > 1:
            kernel = merge(kernel, position, len(group))
    return kernel


def split(kernel: Kernel, axis: int, sizes: tuple[int, ...]) -> Kernel:
    """Axis ``n = n_1 ... n_r`` into ``r`` axes: two indices of the old axis agree when they agree on every part.

    Segments stay with the outermost part when its step divides them.
    """
    inner = prod(sizes[1:])
    if len(kernel.cuts[axis]) > 1 and any(c % inner for c in kernel.cuts[axis]):
        kernel = collapsed(kernel, axis)
    outer_cut = tuple(c // inner for c in kernel.cuts[axis])
    cuts: tuple[Cut, ...] = (outer_cut, *((n,) for n in sizes[1:]))
    new_sizes = kernel.sizes[:axis] + sizes + kernel.sizes[axis + 1 :]
    if not kernel.varies(axis):
        cuts = tuple((n,) for n in sizes)
        second = kernel.second.reshape(kernel.second.shape[:axis] + (1,) * len(sizes) + kernel.second.shape[axis + 1 :])
    else:
        second = _split_states(kernel.second, axis, len(outer_cut), len(sizes) - 1)
    mean = kernel.mean.reshape(kernel.mean.shape[: axis + 1] + (1,) * (len(sizes) - 1) + kernel.mean.shape[axis + 1 :])
    return Kernel(new_sizes, replaced(kernel.cuts, axis, *cuts), second, mean)


def _split_states(second: Array, axis: int, count: int, inner_axes: int) -> Array:
    """Outer state (same s) and inner parts all the same -> same s; outer same but an inner part different -> different (s, s)."""
    states = count + count * count
    outer = np.arange(states)
    when_inner_differs = np.where(outer < count, count + outer * count + outer, outer)
    index = np.repeat(when_inner_differs, 2**inner_axes).reshape((states,) + (2,) * inner_axes)
    index[(slice(None),) + (0,) * inner_axes] = outer
    taken = second.take(index.ravel(), axis)
    return taken.reshape(second.shape[:axis] + index.shape + second.shape[axis + 1 :])


def merge(kernel: Kernel, axis: int, count: int) -> Kernel:
    """``count`` axes from ``axis`` on into one: pairs that differ somewhere are averaged, weighted by how many there are."""
    parts = tuple(range(axis, axis + count))
    sizes = kernel.sizes[axis : axis + count]
    merged_size = prod(sizes)
    if not any(kernel.varies(a) for a in parts):
        return _relabelled(kernel, axis, count, merged_size)
    kernel = collapsed(kernel, *parts[1:])
    for part in parts:
        kernel = explicit(kernel, part)
    inner = prod(sizes[1:])
    outer_cut = kernel.cuts[axis] if sizes[0] > 1 else (1,)
    segments = len(outer_cut)
    second = np.moveaxis(kernel.second, parts, range(count))
    pairs = [pair_counts(outer_cut)[: second.shape[0]]] + [pair_counts((n,)) if n > 1 else np.ones(1) for n in sizes[1:]]
    weights = _outer(pairs)
    flat = second.reshape((second.shape[0], -1, *second.shape[count:]))
    weights = weights.reshape(weights.shape[0], -1)
    same, different = _merged_states(flat, weights, segments)
    result = np.moveaxis(np.concatenate([same, different]), 0, axis)
    cut = tuple(c * inner for c in outer_cut)
    mean = kernel.mean.reshape(kernel.mean.shape[: axis + 1] + kernel.mean.shape[axis + count :])
    return Kernel(
        (*kernel.sizes[:axis], merged_size, *kernel.sizes[axis + count :]),
        (*kernel.cuts[:axis], cut, *kernel.cuts[axis + count :]),
        result,
        mean,
    )


def _relabelled(kernel: Kernel, axis: int, count: int, size: int) -> Kernel:
    """Axes along which nothing varies, as one."""
    drop = tuple(range(axis + 1, axis + count))
    second = kernel.second.reshape([n for a, n in enumerate(kernel.second.shape) if a not in drop])
    mean = kernel.mean.reshape([n for a, n in enumerate(kernel.mean.shape) if a not in drop])
    cuts = (*kernel.cuts[:axis], (size,), *kernel.cuts[axis + count :])
    return Kernel((*kernel.sizes[:axis], size, *kernel.sizes[axis + count :]), cuts, second, mean)


def _outer(factors: list[Array]) -> Array:
    result = factors[0]
    for factor in factors[1:]:
        result = result[..., None] * factor
    return result


def _merged_states(flat: Array, weights: Array, segments: int) -> tuple[Array, Array]:
    """``flat``: (outer state, inner state, rest). Inner state 0 is "all inner parts agree"."""
    same = flat[:segments, 0]
    pooled = (flat * weights.reshape(weights.shape + (1,) * (flat.ndim - 2))).sum(1)
    counts = weights.sum(1)
    first, second = segments_of(segments)
    different = np.empty((segments * segments, *flat.shape[2:]))
    for state in range(segments * segments):
        s, t = int(first[segments + state]), int(second[segments + state])
        amount, number = (pooled[segments + state], counts[segments + state]) if segments + state < len(pooled) else (0.0 * pooled[0], 0.0)
        if s == t:  # the outer index may be the same one, if an inner part differs
            amount = amount + pooled[s] - flat[s, 0] * weights[s, 0]
            number = number + counts[s] - weights[s, 0]
        different[state] = amount / number if number > 0 else same[s]
    return same, different


def reshaped(kernel: Kernel, sizes: tuple[int, ...]) -> Kernel:
    """A plain reshape: symbolic where the factors allow it, else merged to one axis and split again."""
    if kernel.sizes == sizes:
        return kernel
    if 0 in sizes:
        return constant(sizes, 0.0)
    groups = reshape_groups(identity(kernel.sizes), sizes)
    if groups is not None:
        return apply(kernel, groups)
    flat = merge(kernel, 0, kernel.rank)
    groups = reshape_groups(identity(flat.sizes), sizes)
    return apply(flat, groups) if groups is not None else flat
