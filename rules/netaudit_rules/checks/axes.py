"""Where an axis of a tensor goes: through views, reductions and products, as long as it stays an axis of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from netaudit import Arg, Graph, Node

RESHAPES = frozenset(
    f"aten.{name}" for name in ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as")
)
SWAPS = frozenset(f"aten.{name}" for name in ("transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "permute"))
REDUCTIONS = frozenset(f"aten.{name}" for name in ("sum", "mean", "amax", "amin", "max", "min", "var", "std", "logsumexp", "select"))
ALIGNED = frozenset(
    f"aten.{name}" for name in ("add", "sub", "mul", "div", "where", "masked_fill", "maximum", "minimum", "expand", "expand_as", "pow")
)
PRODUCTS = frozenset({"aten.matmul", "aten.bmm", "aten.mm"})
ATTENTION = frozenset({"aten.scaled_dot_product_attention", "netaudit.attention"})
RECURRENT = frozenset(f"aten.{name}" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"))
_POSITIONS = frozenset({"aten.linear", "aten.embedding"})


def moved(node: Node, slot: int, shape: tuple[int, ...], axis: int) -> int | None:
    """Where ``axis`` of the operand in a slot, of that shape, is found in the output; None when it is gone, merged or unknown."""
    rank, out = len(shape), node.shape
    if node.op in RESHAPES:
        return _through_reshape(shape, out, axis)
    if node.op in SWAPS:
        order = _order(node, rank)
        return None if order is None else order.index(axis)
    if node.op in REDUCTIONS:
        return _through_reduction(node, shape, axis)
    if node.op in PRODUCTS:
        return _through_product(slot, rank, len(out), axis)
    if node.op in ATTENTION:
        kept = axis < rank - 1 if slot == 0 else axis < rank - 2
        return axis + len(out) - rank if kept else None
    if node.op in _POSITIONS:
        return axis if slot == (node.op == "aten.embedding") and (axis < rank - 1 or node.op == "aten.embedding") else None
    if node.op in RECURRENT:
        return _through_recurrence(node, slot, rank, axis)
    if node.op in ALIGNED:
        place = axis + len(out) - rank
        return place if 0 <= place < len(out) and out[place] == shape[axis] else None
    if "conv" in node.op or "pool" in node.op:
        return axis if slot == 0 and axis == 0 and len(out) == rank else None
    return axis if slot == 0 and out == shape else None


def _through_recurrence(node: Node, slot: int, rank: int, axis: int) -> int | None:
    """The sequence keeps its axes; last states are (layers, batch, features) whatever came first."""
    if slot != 0 or rank != 3 or axis > 1:
        return None
    if node.args.get("output", 0) == 0:
        return axis
    return 1 if axis == (0 if node.args.get("batch_first") is True else 1) else None


def _through_reshape(old: Sequence[int], new: Sequence[int], axis: int) -> int | None:
    """An axis keeps its place between the same number of entries before and behind it."""
    before, size = prod(old[:axis]), old[axis]
    if size == 1:
        return None
    return next((i for i, n in enumerate(new) if n == size and prod(new[:i]) == before), None)


def _order(node: Node, rank: int) -> list[int] | None:
    """For each axis of the output, the axis it comes from."""
    if node.op in ("aten.t", "aten.numpy_T"):
        return list(range(rank))[::-1]
    if node.op == "aten.permute":
        dims = node.args.get("dims")
        return [int(d) % rank for d in dims if isinstance(d, (int, float))] if isinstance(dims, tuple) else None
    given = [a for name, a in node.args.items() if name != "self" and isinstance(a, int)]
    first, second = (-2, -1) if len(given) != 2 else given
    order = list(range(rank))
    order[first % rank], order[second % rank] = order[second % rank], order[first % rank]
    return order


def reduced_axes(node: Node, rank: int) -> frozenset[int]:
    """The axes that a reduction (or a select) takes away."""
    dim: Arg = node.args.get("dim")
    given = dim if isinstance(dim, tuple) else (dim,)
    axes = frozenset(int(a) % max(rank, 1) for a in given if isinstance(a, (int, float)) and not isinstance(a, bool))
    return axes or frozenset(range(rank))


def _through_reduction(node: Node, shape: tuple[int, ...], axis: int) -> int | None:
    gone = reduced_axes(node, len(shape))
    if axis in gone:
        return None
    return axis if node.args.get("keepdim") is True else axis - sum(a < axis for a in gone)


def contracted(slot: int, rank: int) -> int:
    """The axis over which a matrix product sums, of the operand in a slot."""
    return rank - 1 if slot == 0 or rank == 1 else rank - 2


def _through_product(slot: int, rank: int, out: int, axis: int) -> int | None:
    if axis == contracted(slot, rank) or rank == 1:
        return None
    if axis >= rank - 2:
        return out - 2 if slot == 0 else out - 1
    return axis + out - rank


@dataclass(frozen=True, slots=True)
class _Place:
    """An axis inside another one that it was merged into: ``outer`` entries vary slower, ``inner`` faster; 1 and 1 alone."""

    axis: int
    outer: int = 1
    inner: int = 1


def _placed(node: Node, slot: int, shape: tuple[int, ...], place: _Place) -> _Place | None:
    if node.op in RESHAPES:
        return _reshaped(shape, node.shape, place)
    axis = moved(node, slot, shape, place.axis)
    return None if axis is None else _Place(axis, place.outer, place.inner)


def _reshaped(old: Sequence[int], new: Sequence[int], place: _Place) -> _Place | None:
    """The place after a reshape: between the same number of entries before and behind, in one axis of the new shape."""
    size = old[place.axis] // (place.outer * place.inner)
    before = prod(old[: place.axis]) * place.outer
    for axis, length in enumerate(new):
        start = prod(new[:axis])
        if length > 1 and before % start == 0 and start * length % (before * size) == 0:
            return _Place(axis, before // start, start * length // (before * size))
    return None


def _places(graph: Graph) -> Mapping[str, frozenset[_Place]]:
    nodes = graph.by_name()
    sizes = {nodes[name].shape[0] for name in graph.inputs if nodes[name].shape}
    if len(sizes) != 1 or min(sizes) < 2:
        return {}
    places: dict[str, frozenset[_Place]] = {name: frozenset({_Place(0)}) for name in graph.inputs if nodes[name].shape}
    for node in graph.nodes:
        found: set[_Place | None] = set()
        for slot, operand in enumerate(node.operands):
            for place in places.get(operand, ()) if isinstance(operand, str) else ():
                found.add(_placed(node, slot, nodes[str(operand)].shape, place))
        known = frozenset(place for place in found if place is not None)
        if known:
            places[node.name] = known
    return places


def sample_axes(graph: Graph) -> Mapping[str, frozenset[int]]:
    """For every node the axes that are axis 0 of the inputs, which all have the same size there: the batch, if that comes first.

    Merged with another axis (rows of a matrix) it is no axis of its own, and comes back when that view is undone.
    """
    alone = {name: frozenset(p.axis for p in own if p.outer == p.inner == 1) for name, own in _places(graph).items()}
    return {name: axes for name, axes in alone.items() if axes}


def cutting_views(graph: Graph) -> tuple[Node, ...]:
    """The views that tear axis 0 of the inputs apart: it is neither inside one new axis nor split into whole ones."""
    nodes, places = graph.by_name(), _places(graph)
    return tuple(
        node
        for node in graph.nodes
        if node.op in RESHAPES and node.inputs
        for place in places.get(node.inputs[0], ())
        if _tears(nodes[node.inputs[0]].shape, node.shape, place)
    )


def _tears(old: Sequence[int], new: Sequence[int], place: _Place) -> bool:
    size = old[place.axis] // (place.outer * place.inner)
    start = prod(old[: place.axis]) * place.outer
    bounds = {prod(new[:i]) for i in range(len(new) + 1)}
    return _reshaped(old, new, place) is None and not {start, start * size} <= bounds
