"""Writes into a part of a tensor: by range, by index, by mask. In-place ones arrive here as pure calls."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from netaudit import (
    UNKNOWN,
    Effect,
    Interval,
    Jacobian,
    Node,
    Signal,
    Var,
    from_array,
    joined,
    modelled,
    moments_of,
    random_numbers,
    transfer,
)

from .common import axis_of, integer, is_number, linear_jacobian, no_gradient, node_count, real, root
from .shape import span

KEEP = Jacobian(1.0, "upper", "the entries that are not overwritten", frozenset({"linear"}))
KEEP_ALL = Jacobian(1.0, "exact", "every entry is kept, something is added", frozenset({"linear"}))

# by range ---------------------------------------------------------------------------------------------------------------


def _written_effect(node: Node, x: Signal, part: Signal, axis: int, start: int, stop: int, step: int) -> Effect:
    def model(v: Var, w: Var) -> Var:
        w = w.reshape(*v.sizes[:axis], len(range(start, stop, step)), *v.sizes[axis + 1 :])
        return joined([p for p in (v.slice(axis, 0, start), w, v.slice(axis, stop, v.sizes[axis])) if p.sizes[axis]], axis)

    moments, pull = modelled(model, x, part) if step == 1 else (None, None)
    keep = Jacobian(1.0, "exact", "the entries that are not overwritten", frozenset({"linear", "selection", "projection"}))
    put = Jacobian(1.0, "exact", "entries put in place", frozenset({"linear", "isometry"}))
    return Effect(Signal(node.shape, x.range.hull(part.range), None, moments), (keep, put), pull)


@transfer("aten.slice_scatter", source="a projection and an embedding", degree="1")
def slice_scatter(node: Node, x: Signal, part: Signal) -> Effect:
    """A range of an axis overwritten."""
    axis = axis_of(node, len(x.shape))
    return _written_effect(node, x, part, axis, *span(node, x.shape[axis]))


@transfer("aten.select_scatter", source="a projection and an embedding", degree="1")
def select_scatter(node: Node, x: Signal, part: Signal) -> Effect:
    """One index of an axis overwritten."""
    axis = axis_of(node, len(x.shape))
    index = integer(node, "index") % x.shape[axis]
    return _written_effect(node, x, part, axis, index, index + 1, 1)


@transfer("aten.copy", source="a copy with broadcasting", degree="1")
def copy(node: Node, _x: Signal, source: Signal, *_: Signal | None) -> Effect:
    """The second tensor, broadcast to the shape of the first."""
    times = prod(node.shape) / max(source.count, 1)
    moments, pull = modelled(lambda _v, w: w.expand(*node.shape), None, source)
    jac = linear_jacobian(root(times), f"every entry is used {times:g} times")
    zero = no_gradient("overwritten")
    rows = source.rows if source.shape == node.shape else None
    return Effect(Signal(node.shape, source.range, rows, moments), (zero, jac), pull)


# by index ---------------------------------------------------------------------------------------------------------------


@transfer(
    "aten.index_put",
    source="a projection and a broadcast; entries that meet add (accumulate), and autograd sends each the gradient of the place",
    degree="1",
)
def index_put(node: Node, x: Signal, *rest: Signal | None) -> Effect:
    """``x[ids] = values``, ids integer or boolean; ``+=`` with accumulate."""
    ids, values = rest[:-1], rest[-1]
    assert values is not None
    adds = node.args.get("accumulate") is True
    targets, meet = _targets(node, x, [s for s in ids if s is not None])
    times = max(targets / max(values.count, 1), 1.0) * meet
    put = linear_jacobian(root(times), f"an entry goes to at most {times:g} places, those that meet counted", "upper")
    indices = (None if s is None else no_gradient("indices") for s in ids)
    jac = (KEEP_ALL if adds else KEEP, *indices, None if is_number(values) else put)
    written = None if adds else _written(x, ids)
    moments, pull = (None, None)
    if written is not None and _broadcasts(values.shape, x.shape):
        moments, pull = modelled(lambda v, *others: _mixed(v, others[-1], written), x, *(None,) * len(ids), values)
    return Effect(Signal(node.shape, Interval() if adds else x.range.hull(values.range), None, moments), jac, pull)


def _broadcasts(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether a tensor can be spread over the whole of another."""
    tail = large[len(large) - len(small) :]
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(small, tail, strict=True))


def _targets(node: Node, x: Signal, ids: Sequence[Signal]) -> tuple[float, float]:
    """How many entries are written, counted with repetition, and how many may meet at one place."""
    if any(s.value is not None and s.value.dtype == np.bool_ for s in ids):
        return float(node_count(node)), 1.0
    shape = np.broadcast_shapes(*(s.shape for s in ids)) if ids else ()
    places = prod(shape)
    meet = max(places, 1)
    if ids and all(s.constant and s.value is not None for s in ids):
        rows = np.stack([np.broadcast_to(np.asarray(s.value), shape).reshape(-1) for s in ids])
        meet = int(np.unique(rows, axis=1, return_counts=True)[1].max(initial=1))
    return float(places * max(prod(x.shape[len(ids) :]), 1)), float(meet)


def _written(x: Signal, ids: Sequence[Signal | None]) -> NDArray[np.float64] | None:
    """Where ``x[ids]`` is, as a 0/1 array; None where an index is not known."""
    if any(s is not None and s.value is None for s in ids):
        return None
    mask: NDArray[np.float64] = np.zeros(x.shape)
    mask[tuple(slice(None) if s is None else np.asarray(s.value) for s in ids)] = 1.0
    return mask


def _mixed(v: Var, w: Var, mask: NDArray[np.float64]) -> Var:
    """``w`` where the mask is 1, else ``v``."""
    kept, put = (Var(moments_of(from_array(m))) for m in (1.0 - mask, mask))
    lead = len(mask.shape) - len(w.sizes)
    return v * kept + w.reshape(*(1,) * lead, *w.sizes).expand(*mask.shape) * put


@transfer(
    "aten.scatter",
    "aten.index_copy",
    source="a projection and a selection; to entries that meet autograd sends the gradient of the place, each",
    degree="1",
)
def scatter(node: Node, x: Signal, ids: Signal, source: Signal | None = None) -> Effect:
    """Entries of a source (or a number) put at given places of an axis of ``x``; where two meet, one stays."""
    if node.args.get("reduce") is not None:
        return Effect(Signal(node.shape), tuple(None if s is None else UNKNOWN for s in (x, ids, source))[: len(node.operands)])
    value = node.args.get("value")
    filled = source.range if source is not None else Interval(float(value), float(value)) if isinstance(value, (int, float)) else Interval()
    put = None if source is None or is_number(source) else _meeting(node, ids)
    return Effect(Signal(node.shape, x.range.hull(filled)), (KEEP, no_gradient("indices"), put)[: len(node.operands)])


@transfer("aten.masked_scatter", source="a projection and a selection", degree="1")
def masked_scatter(node: Node, x: Signal, _mask: Signal, source: Signal) -> Effect:
    """Entries of a source, in order, put where a mask is set."""
    put = Jacobian(1.0, "upper", "an entry goes to one place", frozenset({"linear"}))
    return Effect(Signal(node.shape, x.range.hull(source.range)), (KEEP, no_gradient("a mask"), put))


@transfer("aten.scatter_add", source="what is added to one entry: at most the indices along the axis", degree="1")
def scatter_add(node: Node, _x: Signal, ids: Signal, _source: Signal) -> Effect:
    """``x`` plus entries of a source at given places of an axis, where several may meet."""
    return Effect(Signal(node.shape), (KEEP_ALL, no_gradient("indices"), _meeting(node, ids)))


@transfer("aten.index_add", source="what is added to one slice: at most the indices along the axis", degree="1")
def index_add(node: Node, x: Signal, ids: Signal, source: Signal) -> Effect:
    """``x + alpha S`` with the slices of a source added to slices of an axis, where several may meet. The model: they lie anywhere."""
    axis, alpha = axis_of(node, max(len(x.shape), 1)), real(node.args.get("alpha"), 1.0)
    jac = (KEEP_ALL, no_gradient("indices"), _meeting(node, ids, abs(alpha)))
    if not x.shape or not x.count or not source.count:
        return Effect(Signal(node.shape), jac)
    moments, pull = modelled(lambda v, _, w: v + _placed(w, axis, x.shape[axis]).scale(alpha), x, None, source)
    return Effect(Signal(node.shape, Interval(), None, moments), jac, pull)


def _placed(v: Var, axis: int, size: int) -> Var:
    """Slices at random places of an axis of this size: at different ones while there is room."""
    count = v.sizes[axis]
    sizes = tuple(size if a == axis else 1 for a in range(len(v.sizes)))
    if count <= size:
        spread = v.gather(axis, np.arange(size) * count // size)
        return spread * Var(random_numbers(sizes, count / size, count / size, positive=True))
    letters = "abcdefgh"[: len(v.sizes)]
    places = Var(random_numbers((size, count), 1.0 / size, 1.0 / size, positive=True))
    return places.einsum(f"z{letters[axis]},{letters}->{letters.replace(letters[axis], 'z')}", v)


def _meeting(node: Node, ids: Signal, scale: float = 1.0) -> Jacobian:
    """A source of which entries along the axis of the indices may meet at one place."""
    axis = axis_of(node, max(len(ids.shape), 1))
    most = max(ids.shape[axis] if len(ids.shape) > 1 else ids.count, 1)
    return linear_jacobian(scale * root(most), f"up to {most} entries meet at one place", "upper")
