"""Directions: rows divided by their length, centred rows, weight normalisation."""

from __future__ import annotations

from math import inf, isinf, prod, sqrt

import numpy as np

from netaudit import Effect, Interval, Jacobian, Node, RowNorm, Signal, Tag, Var, modelled, transfer, up

from .common import axes_of, axis_of, linear_jacobian, no_gradient, real


@transfer(
    "netaudit.l2_normalize",
    source="x / (sqrt(|x|^2 + eps) + shift): 1 / (sqrt(eps) + shift) at 0; x / max(|x|, eps) and x / (|x| + eps): 1 / eps",
    degree="0 up to eps",
    kinks="x = 0 when eps = 0: NaN",
)
def l2_normalize(node: Node, x: Signal) -> Effect:
    """A row divided by its length: outside the eps ball ``J = (I - uu') / |x|``, a projection over the length."""
    eps, style = real(node.args.get("eps")), str(node.args.get("style"))
    over = axes_of(node.args["dim"], len(x.shape))
    count = prod(x.shape[a] for a in over)
    floor = sqrt(max(eps, 0.0)) + real(node.args.get("shift")) if style == "root" else eps
    lip = up(1 / floor) if floor > 0 else inf
    why = f"1 / {'(sqrt(eps) + shift)' if style == 'root' else 'eps'} = 1 / {floor:g}"
    jac = Jacobian(
        lip,
        "infinite" if isinf(lip) else "exact",
        why,
        frozenset({"symmetric", "psd", "scale-invariant"}),
        attained="x = 0",
        spectrum="{0, 1 / |x|} outside the eps ball",
    )
    inside = floor * floor / count

    def model(v: Var) -> Var:
        return v.normalise(over, inside, subtract_mean=False).scale(1 / sqrt(count))

    moments, pull = modelled(model, x)
    return Effect(Signal(node.shape, Interval(-1.0, 1.0), RowNorm(up(1.0), over), moments), (jac,), pull)


@transfer("aten.cdist", source="an entry's gradient is a unit vector (p >= 2), d^(1/p - 1/2) below", kinks="x = y: 0")
def cdist(node: Node, x: Signal, y: Signal) -> Effect:
    """Distances between all rows of two matrices: a row takes part in as many as the other has, ``||J|| <= sqrt rows``."""
    p, width = real(node.args.get("p"), 2.0), x.shape[-1]
    unit = 1.0 if p >= 2 else inf if p <= 0 else up(width ** (1.0 / p - 0.5))
    reuse = [prod(node.shape[:-2]) / max(prod(s.shape[:-2]), 1) for s in (x, y)]
    lips = (up(unit * sqrt(max(o.shape[-2], 1) * r)) for o, r in zip((y, x), reuse, strict=True))
    jac = tuple(Jacobian(lip, "infinite" if isinf(lip) else "upper", "a unit vector for each row of the other matrix") for lip in lips)
    reach = up(x.norm_bound((-1,)) + y.norm_bound((-1,))) if p >= 2 else inf
    return Effect(Signal(node.shape, Interval(0.0, reach)), jac)


@transfer("netaudit.center", source="C = I - 11'/n is an orthogonal projection", degree="1")
def center(node: Node, x: Signal) -> Effect:
    """``x - mean(x)``: 1 for n >= 2, the null space is the constants."""
    over = axes_of(node.args["dim"], len(x.shape))
    count = prod(x.shape[a] for a in over)
    tags: frozenset[Tag] = frozenset({"linear", "projection", "symmetric", "psd", "rank-deficient"})
    jac = Jacobian(1.0, "exact", "an orthogonal projection", tags, spectrum="{0, 1}", nullspace="span{1}")
    jac = jac if count > 1 else no_gradient("one entry, less itself")
    moments, pull = modelled(lambda v: v.centre(*over), x)
    rows = x.rows
    if rows is not None and not set(over) <= {a % len(x.shape) for a in rows.axes}:
        rows = RowNorm(up(2 * rows.bound), rows.axes)  # the mean of other rows is no longer than a row
    return Effect(Signal(node.shape, (x.range - x.range) * Interval(1 - 1 / count, 1 - 1 / count), rows, moments), (jac,), pull)


@transfer(
    "aten._weight_norm",
    source="w_i = g_i v_i / |v_i|: dw / dg_i = v_i / |v_i|, dw / dv_i = g_i (I - uu') / |v_i|",
    degree="0 in v, 1 in g",
    kinks="v = 0: NaN",
)
def weight_norm(node: Node, v: Signal, g: Signal) -> Effect:
    """``w = g v / |v|`` over all axes but ``dim``: orthogonal to v, scale ``g / |v|``."""
    dim = axis_of(node, len(v.shape))
    over = tuple(a for a in range(len(v.shape)) if a != dim)
    count = prod(v.shape[a] for a in over)
    least = inf
    if v.value is not None:
        least = float(np.sqrt((v.value.astype(np.float64) ** 2).sum(over)).min())
    lip = up(g.range.magnitude / least) if least not in (0.0, inf) else inf
    by_v = Jacobian(lip, "infinite" if isinf(lip) else "upper", "max |g| / min |v|", frozenset({"rank-deficient"}))
    by_g = linear_jacobian(1.0, "unit vectors")

    def model(a: Var, b: Var) -> Var:
        return a.normalise(over, 0.0, subtract_mean=False).scale(1 / sqrt(count)) * b

    moments, pull = modelled(model, v, g)
    return Effect(Signal(node.shape, Interval(-g.range.magnitude, g.range.magnitude), None, moments), (by_v, by_g), pull)
