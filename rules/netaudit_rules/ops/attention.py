"""Softmax and attention."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, isinf, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netaudit import (
    MASKED,
    Effect,
    Interval,
    Jacobian,
    Moments,
    Node,
    RowNorm,
    Signal,
    Tag,
    Var,
    above,
    modelled,
    random_numbers,
    transfer,
    up,
)

from .common import axis_of, finite_product, first_slots, linear_jacobian, no_gradient, ranged, real, root

Array = NDArray[np.float64]
_SIMPLEX: frozenset[Tag] = frozenset({"symmetric", "psd", "rank-deficient"})


def _largest_weight(x: Signal, size: int) -> float:
    """PROVED ``max p``: logits in a band of width D give at most ``1 / (1 + (n - 1) e^-D)``."""
    width = x.range.hi - x.range.lo
    return 1.0 if not np.isfinite(width) or width > 700 else up(1.0 / (1.0 + (size - 1) * exp(-width)))


@transfer(
    "aten.softmax",
    "aten._softmax",
    "aten.special_softmax",
    source="J = diag p - pp' <= diag p, and ||J|| <= max 2 p (1 - p) <= 1/2 (Gershgorin)",
    degree="shift-invariant",
)
def softmax(node: Node, x: Signal) -> Effect:
    """``softmax(x)`` over one axis: ``||J|| <= min(1/2, p_max)``; 1/n at uniform rows, 0 at one-hot rows."""
    axis = axis_of(node, len(x.shape))
    size = x.shape[axis] if x.shape else 1
    top = _largest_weight(x, size)
    moments, pull = modelled(lambda v: v.softmax(axis), x)
    out = Signal(node.shape, Interval(0.0, top), RowNorm(up(sqrt(top)), (axis,)), moments)
    return Effect(out, (_softmax_jacobian(size, top),), pull)


def _softmax_jacobian(size: int, top: float) -> Jacobian:
    if size <= 1:
        return no_gradient("a single entry: the output is always 1")
    facts: dict[str, Any] = {"spectrum": "[0, 1/2]", "nullspace": "span{1}", "attained": "two entries at 1/2, the rest at -inf"}
    if top >= 0.5:
        return Jacobian(0.5, "exact" if top >= 1.0 else "conditional", "1/2, two entries at 1/2", _SIMPLEX, **facts)
    return Jacobian(top, "conditional", f"p_max <= {above(top, 4)} on the proved range", _SIMPLEX, **facts)


@transfer(
    "aten.log_softmax",
    "aten._log_softmax",
    "aten.special_log_softmax",
    source="J = I - 1p', an oblique projection: ||J|| = sqrt(n) ||p|| <= sqrt n",
    degree="shift-invariant",
)
def log_softmax(node: Node, x: Signal) -> Effect:
    """``x - logsumexp(x)``: sqrt n in l2, not 1."""
    axis = axis_of(node, len(x.shape))
    size = max(x.shape[axis] if x.shape else 1, 1)
    tags: frozenset[Tag] = frozenset({"projection", "rank-deficient"})
    top = _largest_weight(x, size)
    lip = root(size) if top >= 1.0 else up(sqrt(size * top))  # ||p||^2 <= p_max
    why = f"sqrt n, n = {size}" if top >= 1.0 else f"sqrt(n p_max), n = {size}, p_max <= {above(top, 4)} on the proved range"
    jac = Jacobian(lip, "exact" if top >= 1.0 else "conditional", why, tags, nullspace="span{1}", attained="one-hot p")
    jac = jac if size > 1 else no_gradient("a single entry: the output is always 0")
    width = x.range.hi - x.range.lo
    low = -up(width + float(np.log(size))) if np.isfinite(width) else -inf
    moments, pull = modelled(lambda v: v.log_softmax(axis), x)
    return Effect(Signal(node.shape, Interval(low, 0.0), None, moments), (jac,), pull)


# attention --------------------------------------------------------------------------------------------------------------


def column_sum(queries: int, keys: int, spread: float, *, causal: bool, visible: Array | None) -> float:
    """PROVED largest column sum of the weights, when logits of a row differ by at most ``spread``.

    A row that sees ``n`` keys puts at most ``1 / (1 + (n - 1) e^-spread)`` on one of them; a column adds over the rows.
    """
    decay = exp(-spread) if spread < 700 else 0.0
    if visible is not None:
        share = 1.0 / (1.0 + (np.maximum(visible, 1.0) - 1.0) * decay)
        return up(float(share.sum()))
    if causal:
        counts = np.minimum(np.arange(1, queries + 1), keys)
        return up(float((1.0 / (1.0 + (counts - 1) * decay)).sum()))
    return up(queries / (1.0 + (keys - 1) * decay))


def _visible(mask: Signal | None, queries: int) -> tuple[Array | None, bool]:
    """How many keys each row sees, the fewest over the batch, when the mask is constant; and whether that is known."""
    if mask is None:
        return None, True
    if not mask.constant or mask.value is None:
        return None, False
    value = mask.value
    shown = value if value.dtype == np.bool_ else value > MASKED
    finite = value[shown] if value.dtype != np.bool_ else np.zeros(1)
    if finite.size and float(np.ptp(finite)) > 0:
        return None, False
    counts = np.atleast_2d(shown).sum(-1)
    counts = counts.reshape(-1, counts.shape[-1]).min(0)
    return np.broadcast_to(counts, (queries,)).astype(np.float64) if counts.shape[-1] in (1, queries) else None, True


@dataclass(frozen=True, slots=True)
class Rows:
    """PROVED norms of the rows of q, k and v, how the logits are made of them, and how often a matrix is reused by broadcasting."""

    q: float
    k: float
    v: float
    scale: float
    keep: float
    reuse: tuple[float, float, float]
    column: float
    count: int


def _rows(q: Signal, k: Signal, v: Signal, mask: Signal | None, scale: float, drop: float, out: tuple[int, ...], *, causal: bool) -> Rows:
    rq, rk, rv = (x.norm_bound((-1,)) for x in (q, k, v))
    spread = 2.0 * abs(scale) * finite_product(rq, rk)
    queries, keys = q.shape[-2], k.shape[-2]
    visible, known = _visible(mask, queries)
    column = column_sum(queries, keys, spread, causal=causal, visible=visible) if known else float(queries)
    reuse = [root(prod(out[:-2]) / max(prod(x.shape[:-2]), 1)) for x in (q, k, v)]
    return Rows(rq, rk, rv, abs(scale), 1.0 - drop, (reuse[0], reuse[1], reuse[2]), min(column, float(queries)), prod(out[:-1]))


def attention_jacobians(rows: Rows) -> tuple[Jacobian, Jacobian, Jacobian]:
    """PROVED Jacobians of ``softmax(s q k' + mask) v`` for q, k and v.

    With row norms ``R_q, R_k, R_v`` and the largest column sum ``c`` of the weights: ``s R_v R_k`` for q,
    ``sqrt(c) s R_q R_v`` for k, ``sqrt(c)`` for v: ``dy_i = s Cov_i(v, k) dq_i + s sum_j P_ij (v_j - vbar_i) q_i' dk_j + sum_j P_ij dv_j``,
    each row's covariance of values and keys is at most ``R_v R_k``, and Cauchy-Schwarz under P_i leaves ``sum_i P_ij <= c``.
    Heads that share keys add up; dropout on the weights divides by the share that is kept.
    """
    root_c = up(sqrt(rows.column))
    lips = (
        finite_product(rows.scale, finite_product(rows.v, rows.k)) * rows.reuse[0],
        finite_product(rows.scale, finite_product(rows.q, rows.v)) * root_c * rows.reuse[1],
        root_c * rows.reuse[2],
    )
    why = f"rows |q| <= {above(rows.q, 4)}, |k| <= {above(rows.k, 4)}, |v| <= {above(rows.v, 4)}; column sum <= {above(rows.column, 4)}"
    unbounded = "dot-product attention has no global Lipschitz constant, and the rows of q, k, v have no proved bound"
    made = [Jacobian(up(lip / rows.keep), "infinite" if isinf(lip) else "conditional", unbounded if isinf(lip) else why) for lip in lips]
    jq, jk, jv = (jac if jac.lip else no_gradient(why) for jac in made)
    return jq, jk, jv


def _model(q: Var, k: Var, v: Var, bias: Var | None, scale: float, offset: Array | None, drop: float) -> Var:
    letters = "abcefg"[: len(q.sizes) - 2]
    logits = q.einsum(f"{letters}td,{letters}sd->{letters}ts", k).scale(scale)
    logits = logits if bias is None else logits + bias
    logits = logits if offset is None else logits.with_offset(offset)
    weights = logits.softmax(-1)
    if drop:
        weights = weights * _dropout_mask(weights.sizes, drop)
    return weights.einsum(f"{letters}ts,{letters}sd->{letters}td", v)


def _dropout_mask(sizes: tuple[int, ...], drop: float) -> Var:
    return Var(random_numbers(sizes, 1.0 / (1.0 - drop), 1.0))


def _offset(mask: Signal | None, *, causal: bool, queries: int, keys: int) -> Array | None:
    """The known part of the logits: -inf where a key is hidden, a bias elsewhere."""
    parts = []
    if causal:
        parts.append(np.where(np.tril(np.ones((queries, keys))) > 0, 0.0, -np.inf))
    if mask is not None and mask.value is not None:
        value = mask.value
        parts.append(np.where(value, 0.0, -np.inf) if value.dtype == np.bool_ else value.astype(np.float64))
    return None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _repeated(x: Var, heads: int) -> Var:
    """Keys or values shared by groups of heads, repeated for each."""
    *lead, own, t, d = x.sizes
    r = heads // own
    return x.reshape(*lead, own, 1, t, d).expand(*lead, own, r, t, d).reshape(*lead, heads, t, d)


@transfer(
    "aten.scaled_dot_product_attention",
    source="Kim 2021 (no global constant); the conditional bound: tests/rules/test_families.py::test_attention",
    degree="2 in (q, k), 1 in v",
)
def scaled_dot_product_attention(node: Node, q: Signal, k: Signal, v: Signal, mask: Signal | None = None, *_: Signal | None) -> Effect:
    """``softmax(s q k' + mask) v``: rows of the output are convex combinations of the rows of v."""
    given = node.args.get("scale")
    scale = real(given) if given is not None else 1.0 / sqrt(q.shape[-1])
    causal, drop = node.args.get("is_causal") is True, real(node.args.get("dropout_p"))
    shared = q.shape[-3] // k.shape[-3] if node.args.get("enable_gqa") and len(q.shape) > 2 else 1
    if drop >= 1:
        return Effect(
            Signal(node.shape, Interval(0.0, 0.0)), tuple(None if o is None else no_gradient("dropout with p = 1") for o in node.operands)
        )
    rows = _rows(q, k, v, mask, scale, drop, node.shape, causal=causal)
    bias = mask if mask is not None and mask.moments is not None and not mask.constant else None
    offset = _offset(None if bias is not None else mask, causal=causal, queries=q.shape[-2], keys=k.shape[-2])

    def model(a: Var, b: Var, c: Var, m: Var | None, *_v: Var | None) -> Var:
        if shared > 1:
            b, c = _repeated(b, q.shape[-3]), _repeated(c, q.shape[-3])
        return _model(a, b, c, m, scale, offset, drop)

    moments, pull = modelled(model, q, k, v, bias, *_)
    return first_slots(node, Effect(_out(node, v, rows, moments), (*attention_jacobians(rows), _by_mask(mask, rows)), pull))


def _out(node: Node, v: Signal, rows: Rows, moments: Moments | None = None) -> Signal:
    """Rows of the output are convex combinations of the rows of v; with every key hidden, torch gives 0."""
    bound = up(rows.v / rows.keep)
    values = (v.range * Interval(0.0, up(1.0 / rows.keep))).hull(Interval(0.0, 0.0))
    return ranged(Signal(node.shape, values, None if isinf(bound) else RowNorm(bound, (-1,)), moments))


def _by_mask(mask: Signal | None, rows: Rows) -> Jacobian | None:
    """``|dy_i| <= std(db_i) std(v) <= R_v max |db_i|`` under the row's weights, for every row that a row of the bias is added to."""
    if mask is None:
        return None
    if mask.constant:
        return no_gradient("a constant")
    times = root(max(rows.count / max(prod(mask.shape[:-1]), 1), 1.0))
    lip = up(rows.v / rows.keep * times)
    return Jacobian(lip, "infinite" if isinf(lip) else "conditional", "R_v per row of the bias")


@transfer("netaudit.attention", source="as scaled_dot_product_attention", degree="2 in (q, k), 1 in v")
def attention_by_hand(
    node: Node, q: Signal, kt: Signal, v: Signal, mask: Signal | None = None, hide: Signal | None = None, keep: Signal | None = None,
    fill: Signal | None = None,
) -> Effect:  # fmt: skip
    """``softmax(s q k' + mask) v`` written out; ``kt`` is the transposed key, ``fill`` what stands where keys are hidden."""
    rank = len(kt.shape)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    along = None if kt.rows is None else RowNorm(kt.rows.bound, tuple(swapped.index(a % rank) for a in kt.rows.axes))
    k = Signal(tuple(kt.shape[a] for a in swapped), kt.range, along)
    hidden = mask if mask is not None else _inverted(hide) if hide is not None else keep
    if fill is not None and (not fill.constant or fill.range.hi > MASKED):
        hidden = fill  # nothing is hidden: some logits are replaced by numbers that have no known bound
    rows = _rows(q, k, v, hidden, real(node.args.get("scale"), 1.0), real(node.args.get("dropout_p")), node.shape, causal=False)
    none = [None if o is None else no_gradient("a condition") for o in (hide, keep)]
    extra = (_by_mask(mask, rows), *none, _by_mask(fill, rows))
    return first_slots(node, Effect(_out(node, v, rows), (*attention_jacobians(rows), *extra)))  # moments: from the folded calls


def _inverted(hide: Signal) -> Signal:
    value = None if hide.value is None else ~hide.value.astype(bool)
    return Signal(hide.shape, hide.range, None, None, value, hide.constant)


@transfer("netaudit.rotary", source="2x2 blocks [[c_1, -s_1], [s_2, c_2]]: rotations when both rows hold one angle (Su 2021)", degree="1")
def rotary(node: Node, x: Signal, cos: Signal, sin: Signal) -> Effect:
    """``x cos + rotate_half(x) sin``: entry i of the first half is paired with entry i of the second."""
    lip = up(sqrt(2.0) * sqrt(cos.range.magnitude**2 + sin.range.magnitude**2))  # the blocks' Frobenius norm
    if cos.value is not None and sin.value is not None and cos.constant and cos.value.shape == sin.value.shape:
        lip = _largest_block(cos.value.astype(np.float64), sin.value.astype(np.float64))
    jac = linear_jacobian(lip, "the largest 2x2 block over positions", "exact" if cos.constant and sin.constant else "upper")
    rows = None if x.rows is None else RowNorm(up(x.rows.bound * lip), x.rows.axes)
    return Effect(ranged(Signal(node.shape, Interval(), rows)), (jac, no_gradient("a table"), no_gradient("a table")))


def _largest_block(cos: Array, sin: Array) -> float:
    (c1, c2), (s1, s2) = np.split(cos, 2, -1), np.split(sin, 2, -1)
    blocks = np.stack([np.stack([c1, -s1], -1), np.stack([s2, c2], -1)], -2)
    return up(float(np.linalg.norm(blocks, 2, axis=(-2, -1)).max(initial=0.0)) * (1 + 1e-14))
