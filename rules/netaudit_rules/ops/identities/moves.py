"""Ops that move, keep, repeat, join or pick entries, on arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from netaudit import Node
from netaudit_rules.ops.common import axes_of, axis_of, integer, ints, real
from netaudit_rules.ops.shape import order_of, span

from .field import Numbers, of_values

Known = NDArray[np.generic]
"""The values of an operand that holds indices or conditions."""


def _reshaped(node: Node, x: Numbers) -> Numbers:
    return x.reshape(node.shape)


def _same(_node: Node, x: Numbers) -> Numbers:
    return x


def _permuted(node: Node, x: Numbers) -> Numbers:
    return np.transpose(x, order_of(node, x.ndim))


def _sliced(node: Node, x: Numbers) -> Numbers:
    axis = axis_of(node, x.ndim)
    return x[(slice(None),) * axis + (slice(*span(node, x.shape[axis])),)]


def _selected(node: Node, x: Numbers) -> Numbers:
    axis = axis_of(node, x.ndim)
    return np.asarray(x.take(integer(node, "index") % x.shape[axis], axis))


def _narrowed(node: Node, x: Numbers) -> Numbers:
    axis = axis_of(node, x.ndim)
    start = integer(node, "start") % max(x.shape[axis], 1)
    return x[(slice(None),) * axis + (slice(start, start + node.shape[axis]),)]


def _expanded(node: Node, x: Numbers) -> Numbers:
    return np.broadcast_to(x, node.shape)


def _tiled(node: Node, x: Numbers) -> Numbers:
    lifted = x.reshape((1,) * (len(node.shape) - x.ndim) + x.shape)
    return np.tile(lifted, [n // max(own, 1) for n, own in zip(node.shape, lifted.shape, strict=True)])


def _repeated(node: Node, x: Numbers) -> Numbers:
    x, axis = (x.reshape(-1), 0) if node.args.get("dim") is None else (x, axis_of(node, x.ndim))
    return np.repeat(x, node.shape[axis] // max(x.shape[axis], 1), axis)


def _flipped(node: Node, x: Numbers) -> Numbers:
    return np.flip(x, axes_of(node.args["dims"], x.ndim))


def _rolled(node: Node, x: Numbers) -> Numbers:
    shifts, dims = (ints(node.args[name], 1) if node.args[name] != () else () for name in ("shifts", "dims"))
    return np.roll(x, shifts, dims) if dims else np.roll(x, shifts[0])


def _triangle(node: Node, x: Numbers) -> Numbers:
    keep = np.tril if node.op == "aten.tril" else np.triu
    return np.where(keep(np.ones(x.shape[-2:], dtype=bool), integer(node, "diagonal")), x, np.uint64(0))


def _diagonal(node: Node, x: Numbers) -> Numbers:
    return np.diagonal(x, integer(node, "offset"), integer(node, "dim1"), integer(node, "dim2", 1))


def _padded(node: Node, x: Numbers) -> Numbers | None:
    flat = ints(node.args["pad"], 2)
    pairs = [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
    if str(node.args.get("mode") or "constant") != "constant" or any(n < 0 for pair in pairs for n in pair):
        return None
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    return np.pad(x, widths, constant_values=of_values(np.asarray(real(node.args.get("value")))))


_RESHAPES = "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as ravel atleast_1d atleast_2d"
_COPIES = "contiguous clone alias lift_fresh_copy lift_fresh positive resolve_conj resolve_neg data detach nan_to_num"
_PERMUTATIONS = "permute transpose t numpy_T mT mH adjoint matrix_H swapaxes swapdims movedim moveaxis"

Move = Callable[[Node, Numbers], Numbers | None]


def _named(names: str, move: Move) -> Mapping[str, Move]:
    return {f"aten.{name}": move for name in names.split()}


MOVES: Mapping[str, Move] = {
    **_named(_RESHAPES, _reshaped),
    **_named(_COPIES, _same),
    **_named(_PERMUTATIONS, _permuted),
    **_named("expand expand_as broadcast_to", _expanded),
    **_named("repeat tile", _tiled),
    **_named("tril triu", _triangle),
    **_named("pad constant_pad_nd", _padded),
    "aten.slice": _sliced,
    "aten.select": _selected,
    "aten.narrow": _narrowed,
    "aten.repeat_interleave": _repeated,
    "aten.flip": _flipped,
    "aten.roll": _rolled,
    "aten.diagonal": _diagonal,
}
"""Of one tensor, whatever else the call takes (a shape, a like)."""


def joined(node: Node, xs: Sequence[Numbers]) -> Numbers:
    """``cat`` and ``stack``."""
    axis = axis_of(node, len(node.shape))
    return np.stack(xs, axis) if node.op == "aten.stack" else np.concatenate([x for x in xs if x.shape != (0,)], axis)


def picked(node: Node, x: Numbers, ids: Sequence[Known | None]) -> Numbers | None:
    """``embedding``, ``index``, ``index_select``, ``gather`` by indices that are known; None when they are not."""
    if node.op == "aten.index":
        where = tuple(slice(None) if i is None else np.asarray(i) for i in ids)
        return np.asarray(x[where]).reshape(node.shape)
    first = ids[0] if ids else None
    if first is None:
        return None
    index = first.astype(np.int64)
    if node.op == "aten.embedding":
        return np.asarray(x[index])
    axis = axis_of(node, x.ndim)
    if node.op == "aten.index_select":
        return np.asarray(x.take(index.reshape(-1), axis))
    alike = all(i == n or a == axis for a, (i, n) in enumerate(zip(index.shape, x.shape, strict=True)))
    return np.take_along_axis(x, index, axis) if alike else None
