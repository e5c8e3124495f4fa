"""Ops that move, keep, repeat or join entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod, sqrt

import numpy as np

from netaudit import (
    Effect,
    Interval,
    Jacobian,
    Node,
    RowNorm,
    Signal,
    Var,
    isometry,
    joined,
    modelled,
    selection,
    transfer,
    up,
)

from .common import axis_of, empty, integer, ints, known, linear_jacobian, no_gradient, root, rows_through_reshape

RESHAPES = isometry(
    "aten.view", "aten.reshape", "aten._unsafe_view", "aten.flatten", "aten.unflatten", "aten.squeeze", "aten.unsqueeze",
    "aten.view_as", "aten.reshape_as", "aten.ravel", "aten.atleast_1d", "aten.atleast_2d",
    move=lambda node, x: x.reshape(*node.shape), rows=rows_through_reshape, doc="A reshape: entries keep their order.",
)  # fmt: skip
COPIES = isometry(
    "aten.contiguous", "aten.clone", "aten.alias", "aten.to", "aten._to_copy", "aten.type_as",
    "aten.lift_fresh_copy", "aten.lift_fresh", "aten.positive", "aten.resolve_conj", "aten.resolve_neg", "aten.data",
    move=lambda _node, x: x, rows=lambda _node, x: x.rows, doc="The same entries, perhaps in another dtype.",
)  # fmt: skip


@transfer("aten.detach", source="torch.Tensor.detach", kinks="no gradient passes")
def detach(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """The same value, cut from the tape: autograd sees a constant."""
    return replace(empty(node, x), out=Signal(node.shape, x.range, x.rows, x.moments))


# permutations -----------------------------------------------------------------------------------------------------------


def _swap(rank: int, a: int, b: int) -> tuple[int, ...]:
    order = list(range(rank))
    order[a % rank], order[b % rank] = order[b % rank], order[a % rank]
    return tuple(order)


def order_of(node: Node, rank: int) -> tuple[int, ...]:
    """The permutation that a node makes: output axis i is input axis order[i]."""
    if rank < 2:
        return tuple(range(rank))
    if node.op == "aten.permute":
        return tuple(a % rank for a in ints(node.args["dims"], rank))
    if node.op == "aten.transpose":
        return _swap(rank, integer(node, "dim0"), integer(node, "dim1"))
    if node.op in ("aten.swapaxes", "aten.swapdims"):
        a, b = (int(v) for k, v in node.args.items() if k != "self" and isinstance(v, int))
        return _swap(rank, a, b)
    if node.op in ("aten.movedim", "aten.moveaxis"):
        return _moved(node, rank)
    return tuple(range(rank))[::-1] if node.op == "aten.numpy_T" else _swap(rank, -1, -2)


def _moved(node: Node, rank: int) -> tuple[int, ...]:
    sources, targets = ([a % rank for a in ints(node.args[name], 1)] for name in ("source", "destination"))
    placed = dict(zip(targets, sources, strict=True))
    rest = iter(a for a in range(rank) if a not in sources)
    return tuple(placed[a] if a in placed else next(rest) for a in range(rank))


def _permuted_rows(node: Node, x: Signal) -> RowNorm | None:
    if x.rows is None:
        return None
    rank = len(x.shape)
    own = {a % rank for a in x.rows.axes}
    return replace(x.rows, axes=tuple(new for new, old in enumerate(order_of(node, rank)) if old in own))


PERMUTATIONS = isometry(
    "aten.permute", "aten.transpose", "aten.t", "aten.numpy_T", "aten.mT", "aten.mH", "aten.adjoint", "aten.matrix_H", "aten.swapaxes",
    "aten.swapdims", "aten.movedim", "aten.moveaxis",
    move=lambda node, x: x.permute(*order_of(node, len(x.sizes))), rows=_permuted_rows, doc="A permutation of axes.",
)  # fmt: skip
REORDERS = isometry("aten.flip", "aten.roll", "aten.channel_shuffle", move=lambda _node, x: x, doc="Entries change places along an axis.")


def _pixel_shuffle(node: Node, x: Var) -> Var:
    r, n = integer(node, "upscale_factor"), len(x.sizes) - 3
    *lead, c, h, w = x.sizes
    y = x.reshape(*lead, c // (r * r), r, r, h, w)
    return y.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2).reshape(*node.shape)


def _pixel_unshuffle(node: Node, x: Var) -> Var:
    r, n = integer(node, "downscale_factor"), len(x.sizes) - 3
    *lead, c, h, w = x.sizes
    y = x.reshape(*lead, c, h // r, r, w // r, r)
    return y.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3).reshape(*node.shape)


PIXEL_SHUFFLE = isometry("aten.pixel_shuffle", move=_pixel_shuffle, doc="Channels to space.")
PIXEL_UNSHUFFLE = isometry("aten.pixel_unshuffle", move=_pixel_unshuffle, doc="Space to channels.")

# selections -------------------------------------------------------------------------------------------------------------


def span(node: Node, size: int) -> tuple[int, int, int]:
    """Start, stop and step of a slice of an axis of ``size``."""
    bounds = (node.args.get(name) for name in ("start", "end", "step"))
    return slice(*(int(v) if isinstance(v, (int, float)) else None for v in bounds)).indices(size)


def _slice(node: Node, x: Var) -> Var:
    axis = axis_of(node, len(x.sizes))
    return x.slice(axis, *span(node, x.sizes[axis]))


def _select(node: Node, x: Var) -> Var:
    axis = axis_of(node, len(x.sizes))
    index = integer(node, "index") % x.sizes[axis]
    return x.slice(axis, index, index + 1).reshape(*node.shape)


def _narrow(node: Node, x: Var) -> Var:
    axis = axis_of(node, len(x.sizes))
    start = integer(node, "start") % max(x.sizes[axis], 1)
    return x.slice(axis, start, start + node.shape[axis])


def _selected_rows(node: Node, x: Signal) -> RowNorm | None:
    """Part of a row is no longer than the row; the selected axis may be gone."""
    rank = len(x.shape)
    if x.rows is None or len(node.shape) == rank:
        return x.rows
    gone = axis_of(node, rank)
    axes = tuple(a - (a > gone) for a in (b % rank for b in x.rows.axes) if a != gone)
    return RowNorm(x.rows.bound, axes) if axes else None


SLICE = selection("aten.slice", move=_slice, rows=_selected_rows, doc="A range of an axis.")
SELECT = selection("aten.select", move=_select, rows=_selected_rows, doc="One index of an axis.")
NARROW = selection("aten.narrow", move=_narrow, rows=_selected_rows, doc="A range of an axis.")


def _triangle(node: Node, x: Var) -> Var:
    keep = np.tril if node.op == "aten.tril" else np.triu
    return x * known(keep(np.ones(x.sizes[-2:]), integer(node, "diagonal")))


@transfer("aten.tril", "aten.triu", source="entries are kept or set to 0", degree="1")
def triangle(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """A triangle of the matrix, the rest set to 0: an orthogonal projection."""
    moments, pull = modelled(lambda v: _triangle(node, v), x)
    jac = Jacobian(1.0, "exact", "entries are kept or set to 0", frozenset({"linear", "projection", "diagonal", "symmetric", "psd"}))
    return Effect(Signal(node.shape, x.range.hull(Interval(0.0, 0.0)), x.rows, moments), (jac,), pull)


# repetition -------------------------------------------------------------------------------------------------------------


def _repetition(node: Node, x: Signal, model: Callable[..., Var]) -> Effect:
    times = prod(node.shape) / max(x.count, 1)
    moments, pull = modelled(model, *_only_first(node, x))
    why = f"every entry is repeated {times:g} times: sqrt({times:g})"
    jac = linear_jacobian(root(times), why)
    out = Signal(node.shape, x.range, None, moments)
    return Effect(out, (jac, *(no_gradient("only its shape is used") if isinstance(o, str) else None for o in node.operands[1:])), pull)


def _only_first(node: Node, x: Signal) -> tuple[Signal | None, ...]:
    """The operands of a call of which only the first carries a gradient."""
    return (x, *(None,) * (len(node.operands) - 1))


@transfer("aten.expand", "aten.expand_as", "aten.broadcast_to", source="the Gram matrix is r I", degree="1")
def expand(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """Axes repeated r times: ``||J|| = sqrt r``; gradients of the copies add."""
    effect = _repetition(node, x, lambda v, *_: v.expand(*node.shape))
    rank, shift = len(x.shape), len(node.shape) - len(x.shape)
    if x.rows is not None and all(x.shape[a % rank] == node.shape[a % rank + shift] for a in x.rows.axes):
        rows = RowNorm(x.rows.bound, tuple(a % rank + shift for a in x.rows.axes))
        return replace(effect, out=replace(effect.out, rows=rows))
    return effect


@transfer("aten.broadcast_tensors", source="the Gram matrix is r I", degree="1")
def broadcast_tensors(node: Node, *xs: Signal) -> Effect:
    """One of several tensors, expanded to their common shape."""
    at = integer(node, "output")
    times = prod(node.shape) / max(xs[at].count, 1)
    moments, pull = modelled(lambda *vs: vs[at].expand(*node.shape), *(x if i == at else None for i, x in enumerate(xs)))
    own = linear_jacobian(root(times), f"every entry is repeated {times:g} times")
    other = Jacobian(0.0, "exact", "another output", frozenset({"zero"}))
    return Effect(Signal(node.shape, xs[at].range, None, moments), tuple(own if i == at else other for i in range(len(xs))), pull)


def _repeated(node: Node, x: Var) -> Var:
    shape = node.shape
    x = x.reshape(*(1,) * (len(shape) - len(x.sizes)), *x.sizes)
    for axis in range(len(shape)):
        times = shape[axis] // max(x.sizes[axis], 1)
        if times > 1:
            sizes = x.sizes
            x = x.reshape(*sizes[:axis], 1, *sizes[axis:]).expand(*sizes[:axis], times, *sizes[axis:])
            x = x.reshape(*sizes[:axis], times * sizes[axis], *sizes[axis + 1 :])
    return x


@transfer("aten.repeat", "aten.tile", source="the Gram matrix is r I", degree="1")
def repeat(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """The tensor tiled r times: ``||J|| = sqrt r``."""
    return _repetition(node, x, lambda v, *_: _repeated(node, v))


def _interleaved(node: Node, x: Var) -> Var:
    if node.args.get("dim") is None:
        x = x.reshape(prod(x.sizes))
    axis = axis_of(node, len(x.sizes))
    times = node.shape[axis] // max(x.sizes[axis], 1)
    sizes = x.sizes
    y = x.reshape(*sizes[: axis + 1], 1, *sizes[axis + 1 :]).expand(*sizes[: axis + 1], times, *sizes[axis + 1 :])
    return y.reshape(*node.shape)


@transfer("aten.repeat_interleave", source="the Gram matrix is r I", degree="1")
def repeat_interleave(node: Node, x: Signal, counts: Signal | None = None, *_: Signal | None) -> Effect:
    """Every entry repeated r times in place: ``||J|| = sqrt r``, r the largest count."""
    axis = axis_of(node, len(x.shape)) if node.args.get("dim") is not None else 0
    even = x.count == 0 or prod(node.shape) % x.count == 0
    if (counts is not None and counts.shape and counts.value is None) or not even:
        out = Signal(node.shape, x.range)
        most = node.shape[axis] if node.shape else 1
        return Effect(
            out, (linear_jacobian(root(max(most, 1)), "one entry may fill the axis", "upper"), *(None,) * (len(node.operands) - 1))
        )
    return _repetition(node, x, lambda v, *_: _interleaved(node, v))


# joining ----------------------------------------------------------------------------------------------------------------


def _join_effect(node: Node, xs: Sequence[Signal], axis: int, stacked: bool) -> Effect:
    def model(*vs: Var) -> Var:
        lifted = [v.reshape(*v.sizes[:axis], 1, *v.sizes[axis:]) if stacked else v for v in vs]
        return joined([v for v in lifted if v.sizes != (0,)], axis)

    moments, pull = modelled(model, *xs)
    values = xs[0].range
    for x in xs[1:]:
        values = values.hull(x.range)
    jac = Jacobian(1.0, "exact", "entries of distinct tensors side by side", frozenset({"linear", "isometry"}), spectrum="{1}")
    return Effect(Signal(node.shape, values, _joined_rows(xs, axis, stacked), moments), (jac,) * len(xs), pull)


def _joined_rows(xs: Sequence[Signal], axis: int, stacked: bool) -> RowNorm | None:
    """Rows that do not run along the joined axis keep the largest bound; rows that do add in squares."""
    filled = [x for x in xs if x.count]
    if not filled or any(x.rows is None for x in filled):
        return None
    axes = {tuple(sorted(a % len(x.shape) for a in x.rows.axes)) for x in filled if x.rows is not None}
    if len(axes) != 1:
        return None
    own = axes.pop()
    bounds = [x.rows.bound for x in filled if x.rows is not None]
    if stacked:
        return RowNorm(max(bounds), tuple(a + (a >= axis) for a in own))
    return RowNorm(up(sqrt(sum(b * b for b in bounds))) if axis in own else max(bounds), own)


@transfer("aten.cat", "aten.concat", "aten.concatenate", source="block rows of an identity", degree="1")
def cat(node: Node, *xs: Signal) -> Effect:
    """Tensors joined along an axis: 1 for each of distinct tensors; twice the same one has sqrt 2, by adding the paths."""
    return _join_effect(node, xs, axis_of(node, len(node.shape)), stacked=False)


@transfer("aten.stack", source="block rows of an identity", degree="1")
def stack(node: Node, *xs: Signal) -> Effect:
    """Tensors joined along a new axis."""
    return _join_effect(node, xs, axis_of(node, len(node.shape)), stacked=True)
