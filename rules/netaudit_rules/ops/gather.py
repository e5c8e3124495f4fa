"""Ops that pick entries by index."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from netaudit import Effect, Jacobian, Node, Signal, Var, modelled, transfer

from .common import axis_of, linear_jacobian, no_gradient, root


def _most_used(ids: np.ndarray | None, bound: int) -> tuple[int, str]:
    if ids is None or ids.size == 0:
        return bound, f"one entry may be picked up to {bound} times"
    most = int(np.unique(ids, return_counts=True)[1].max())
    return most, f"an entry is picked up to {most} times by these indices"


def gather_effect(node: Node, x: Signal, ids: Signal, axis: int, place: int) -> Effect:
    """``x[ids]`` along an axis. ``place`` is the operand slot of the indices; others carry nothing."""
    most, why = _most_used(ids.value if ids.constant else None, max(ids.count, 1))
    jac = linear_jacobian(root(most), why, "exact" if ids.constant else "upper")
    slots: list[Jacobian | None] = [None] * len(node.operands)
    slots[0] = jac
    slots[place] = no_gradient("indices")
    if ids.value is None or not np.issubdtype(ids.value.dtype, np.integer):
        return Effect(Signal(node.shape, x.range), tuple(slots))
    picked = np.where(ids.value < 0, ids.value + x.shape[axis], ids.value)
    others = (None,) * (len(node.operands) - 1)
    moments, pull = modelled(lambda v, *_: v.gather(axis, picked).reshape(*node.shape), x, *others)
    return Effect(Signal(node.shape, x.range, None, moments), tuple(slots), pull)


@transfer("aten.index_select", source="J is a gather: ||J|| = sqrt(max multiplicity)", degree="1")
def index_select(node: Node, x: Signal, ids: Signal) -> Effect:
    """Entries of an axis picked by index."""
    return gather_effect(node, x, ids, axis_of(node, len(x.shape)), 1)


@transfer("aten.index", source="J is a gather: ||J|| = sqrt(max multiplicity)", degree="1")
def index(node: Node, x: Signal, *ids: Signal | None) -> Effect:
    """Advanced indexing by integer or boolean tensors."""
    given = [(i, s) for i, s in enumerate(ids) if s is not None]
    adjacent = [i for i, _ in given] == list(range(given[0][0], given[0][0] + len(given))) if given else False
    if not adjacent or any(s.value is None for _, s in given):
        return _unknown_index(node, x, ids, [s for _, s in given], given[0][0] if adjacent else None)
    start = given[0][0]
    flat, taken = _flat_index([s for _, s in given], x.shape[start:])
    lead, rest = x.shape[:start], x.shape[start + taken :]
    merged = (*lead, prod(x.shape[start : start + taken]), *rest)
    fixed = all(s.constant for _, s in given)
    once = len(given) == 1 and given[0][1].value is not None and given[0][1].value.dtype == np.bool_
    most, why = _most_used(flat if fixed else None, 1 if once else max(flat.size, 1))
    empty_slots = (None,) * len(ids)
    moments, pull = modelled(lambda v, *_: v.reshape(*merged).gather(start, flat).reshape(*node.shape), x, *empty_slots)
    return Effect(
        Signal(node.shape, x.range, None, moments),
        (linear_jacobian(root(most), why, "exact" if fixed else "upper"), *_no_gradients(ids)),
        pull,
    )


def _unknown_index(node: Node, x: Signal, ids: Sequence[Signal | None], given: Sequence[Signal], start: int | None) -> Effect:
    """Indices that depend on the data, from axis ``start`` on (None: on axes apart): every entry is picked equally often, as a model."""
    picks = np.broadcast_shapes(*(s.shape for s in given))
    is_mask = len(given) == 1 and len(node.shape) != len(x.shape) - 1 + len(picks)  # which takes as many axes as it has, and gives one
    taken, made = (len(picks), 1) if is_mask else (len(given), len(picks))
    count = 1 if is_mask else max(prod(picks), 1)
    slots = (linear_jacobian(root(count), f"an entry may be picked up to {count} times", "upper"), *_no_gradients(ids))
    if start is None or not node.shape:
        return Effect(Signal(node.shape, x.range), slots)
    lead, rest = x.shape[:start], x.shape[start + taken :]
    size = prod(x.shape[start : start + taken])
    evenly = np.arange(prod(node.shape[start : start + made])) % max(size, 1)
    if lead + node.shape[start : start + made] + rest != node.shape or not size or not evenly.size:
        return Effect(Signal(node.shape, x.range), slots)
    others = (None,) * len(ids)
    moments, pull = modelled(lambda v, *_: v.reshape(*lead, size, *rest).gather(start, evenly).reshape(*node.shape), x, *others)
    return Effect(Signal(node.shape, x.range, None, moments), slots, pull)


def _no_gradients(ids: Sequence[Signal | None]) -> tuple[Jacobian | None, ...]:
    return tuple(None if s is None else no_gradient("indices") for s in ids)


def _flat_index(ids: Sequence[Signal], sizes: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Several index tensors on adjacent axes as one index into the merged axis, and how many axes they take."""
    arrays = [np.asarray(s.value) for s in ids]
    if len(arrays) == 1 and arrays[0].dtype == np.bool_:
        return np.flatnonzero(arrays[0]), arrays[0].ndim
    flat: np.ndarray = np.zeros((), dtype=np.int64)
    for array, size in zip(np.broadcast_arrays(*arrays), sizes, strict=False):
        flat = flat * size + np.where(array < 0, array + size, array)
    return flat, len(arrays)


@transfer("aten.gather", "aten.take_along_dim", source="J is a gather: ||J|| = sqrt(max multiplicity)", degree="1")
def gather(node: Node, x: Signal, _ids: Signal) -> Effect:
    """One entry per index along an axis, other axes aligned: at most the axis' output length copies of an entry."""
    if node.args.get("dim", 0) is None:  # take_along_dim of everything as one axis
        return Effect(
            Signal(node.shape, x.range),
            (linear_jacobian(root(max(prod(node.shape), 1)), "at most once an index", "upper"), no_gradient("indices")),
        )
    axis = axis_of(node, len(x.shape))
    others = (n // max(x.shape[a], 1) for a, n in enumerate(node.shape) if a != axis)
    most = (node.shape[axis] if node.shape else 1) * prod(max(n, 1) for n in others)
    jac = linear_jacobian(root(max(most, 1)), f"an entry is picked at most {most} times", "upper")
    index_jac = no_gradient("indices")
    same = tuple(node.shape[a] == x.shape[a] or a == axis for a in range(len(x.shape)))
    if not all(same):
        return Effect(Signal(node.shape, x.range), (jac, index_jac))
    moments, pull = modelled(lambda v, _i: _some_of(v, axis, node.shape), x, None)
    return Effect(Signal(node.shape, x.range, None, moments), (jac, index_jac), pull)


def _some_of(v: Var, axis: int, shape: tuple[int, ...]) -> Var:
    """Entries picked one by one are modelled as any entries of the axis: as many distinct ones as there are, then over again."""
    count = v.sizes[axis]
    return v.slice(axis, 0, shape[axis]) if shape[axis] <= count else v.gather(axis, np.arange(shape[axis]) % count).reshape(*shape)
