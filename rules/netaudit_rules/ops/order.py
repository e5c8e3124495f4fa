"""Order statistics: maxima, medians, sorting, running maxima."""

from __future__ import annotations

from math import log, prod

from netaudit import Effect, Interval, Jacobian, Node, Signal, Tag, Var, modelled, transfer, up, zero

from .choices import chosen, larger
from .common import axes_of, axis_of, indices, limit_kind, root

_PICKS: frozenset[Tag] = frozenset({"selection"})
INDICES = zero("aten.argsort", "aten.nonzero", "aten.count_nonzero", doc="Indices and counts.")


@transfer(
    "aten.amax", "aten.amin", "aten.max", "aten.min", "aten.median", "aten.kthvalue", "aten.mode", "aten.nanmedian",
    source="1-Lipschitz: a rearrangement", kinks="ties: gradient split (amax) or given to one entry (max with dim)", degree="1",
)  # fmt: skip
def extreme(node: Node, x: Signal, other: Signal | None = None) -> Effect:
    """An order statistic over axes, or the larger (smaller) of two tensors."""
    if not node.is_float:
        return indices(node)
    sign = -1.0 if node.op in ("aten.amin", "aten.min") else 1.0
    if other is not None:
        moments, pull = larger(node, x, other, sign)
        return Effect(Signal(node.shape, x.range.hull(other.range), None, moments), (chosen(node, x), chosen(node, other)), pull)
    axes = axes_of(node.args.get("dim"), len(x.shape))
    moments, pull = modelled(lambda v: _best(node, v, axes, sign), x) if x.count else (None, None)
    if node.op not in ("aten.amax", "aten.amin", "aten.max", "aten.min"):
        moments, pull = modelled(lambda v: _any_of(node, v, axes), x) if x.count else (None, None)
    return Effect(Signal(node.shape, x.range, None, moments), (Jacobian(1.0, "exact", "an entry of x", _PICKS),), pull)


def _best(node: Node, v: Var, axes: tuple[int, ...], sign: float) -> Var:
    left = [a for a in range(len(v.sizes)) if a not in axes]
    w = v.scale(sign).permute(*left, *axes)
    n = len(left)
    w = w.pool_max(list(range(n, n + len(axes))), prod(v.sizes[a] for a in axes), [1] * len(axes))
    return w.scale(sign).reshape(*node.shape)


def _any_of(node: Node, v: Var, axes: tuple[int, ...]) -> Var:
    """A middle entry is modelled as any entry: for a median this is too much variance and the right gradient."""
    for axis in axes:
        v = v.slice(axis, 0, 1)
    return v.reshape(*node.shape)


@transfer("aten.topk", "aten.sort", source="1-Lipschitz: a rearrangement", degree="1")
def ordered(node: Node, x: Signal) -> Effect:
    """The k largest entries, or all in order: 1."""
    if not node.is_float:
        return indices(node)
    axis = axis_of(node, len(x.shape), default=-1)
    keep = node.shape[axis] if node.shape else 1
    moments, pull = modelled(lambda v: v.slice(axis, 0, keep), x)
    return Effect(Signal(node.shape, x.range, None, moments), (Jacobian(1.0, "exact", "a rearrangement", _PICKS),), pull)


@transfer("aten.cummax", "aten.cummin", "aten.logcumsumexp", source="sqrt n: one entry may win every prefix", degree="1")
def cumulative_extreme(node: Node, x: Signal) -> Effect:
    """Running maxima: sqrt n."""
    if not node.is_float:
        return indices(node)
    n = x.shape[axis_of(node, len(x.shape))] if x.shape else 1
    values, kind = x.range, limit_kind(x) if node.op == "aten.logcumsumexp" else "exact"
    if node.op == "aten.logcumsumexp":
        values = Interval(x.range.lo, (x.range + Interval(0.0, up(log(max(n, 1))))).hi)
    return Effect(Signal(node.shape, values), (Jacobian(root(n), kind, f"sqrt n, n = {n}"),))
