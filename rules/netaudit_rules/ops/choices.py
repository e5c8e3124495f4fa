"""Choices between tensors, and steps."""

from __future__ import annotations

from dataclasses import replace
from math import erf, exp, inf, isinf, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from netaudit import (
    MASKED,
    Cotangent,
    Effect,
    Interval,
    Jacobian,
    Moments,
    Node,
    Pull,
    Signal,
    Tag,
    Var,
    elementwise_on,
    modelled,
    random_numbers,
    transfer,
    zero,
)

from .common import copies, is_number, known, linear_jacobian, no_gradient, repeats, root

Array = NDArray[np.float64]
Model = tuple[Moments | None, Pull | None]
CLAMPS = ("aten.clamp", "aten.clip", "aten.clamp_min", "aten.clamp_max")


# extremes ---------------------------------------------------------------------------------------------------------------


@transfer(*CLAMPS, source="f' in {0, 1}; tensor bounds: an entry is one of the operands'", kinks="at the bounds: autograd returns 1")
def clamp(node: Node, x: Signal, *bounds: Signal | None) -> Effect:
    """``min(max(x, lo), hi)``."""
    lo, hi = (None, bounds[0]) if node.op == "aten.clamp_max" else (*bounds, None, None)[:2]
    if any(b is not None and not is_number(b) for b in (lo, hi)):
        return _clamped_by_tensors(node, x, lo, hi)
    low, high = lo.range.lo if lo is not None else -inf, hi.range.hi if hi is not None else inf
    return elementwise_on(
        node,
        x,
        f=lambda z: np.minimum(np.maximum(z, low), high),
        df=lambda z: ((z >= low) & (z <= high)).astype(np.float64),
        slope=(0.0, 1.0) if low < high else (0.0, 0.0),
        values=Interval(min(low, high), high),
        turns=tuple(b for b in (low, high) if not isinf(b)),
    )


def _clamped_by_tensors(node: Node, x: Signal, lo: Signal | None, hi: Signal | None) -> Effect:
    """The larger of x and lo, then the smaller of that and hi."""
    jac = tuple(None if s is None else chosen(node, s) for s in (x, lo, hi))
    values, moments, pull = x.range, x.moments, None
    pulls: list[Pull] = []
    for bound, sign in ((lo, 1.0), (hi, -1.0)):
        if bound is not None:
            values = _larger_of(values, bound.range) if sign > 0 else -_larger_of(-values, -bound.range)
            moments, pull = larger(node, Signal(node.shape if pulls else x.shape, values, None, moments), bound, sign)
            pulls += [] if pull is None else [pull]
    out = Signal(node.shape, values, None, moments)
    if node.op == "aten.clamp_max":
        return Effect(out, (jac[0], jac[2]), pull)
    jac = jac[: len(node.operands)]
    if pull is None or len(pulls) < sum(b is not None for b in (lo, hi)):
        return Effect(out, jac)
    return Effect(out, jac, lambda g: _through_bounds(g, pulls, lo is not None, hi is not None)[: len(jac)])


def _through_bounds(g: Cotangent, pulls: list[Pull], low: bool, high: bool) -> tuple[Cotangent | None, ...]:
    by_high = None
    if high:
        first, by_high = pulls[-1](g)
        if first is None or not low:
            return first, None, by_high
        g = first
    by_x, by_low = pulls[0](g)
    return by_x, by_low, by_high


def _larger_of(a: Interval, b: Interval) -> Interval:
    return Interval(max(a.lo, b.lo), max(a.hi, b.hi))


@transfer("aten.maximum", "aten.minimum", "aten.fmax", "aten.fmin", source="each entry is one of the operands'", kinks="ties: 1/2 each")
def maximum(node: Node, x: Signal, y: Signal) -> Effect:
    """The larger (smaller) entry: 1 for each operand, 1 jointly."""
    sign = -1.0 if node.op in ("aten.minimum", "aten.fmin") else 1.0
    values = _larger_of(x.range, y.range) if sign > 0 else -_larger_of(-x.range, -y.range)
    moments, pull = larger(node, x, y, sign)
    return Effect(Signal(node.shape, values, None, moments), (chosen(node, x), chosen(node, y)), pull)


def chosen(node: Node, x: Signal) -> Jacobian:
    """Every entry of the result is one of x or none: a part of the expansion of x."""
    tags: frozenset[Tag] = frozenset({"selection", "diagonal", "symmetric", "psd"} if x.shape == node.shape else {"selection"})
    return Jacobian(root(repeats(x, node.shape)), "exact", "an entry is one of the operands'", tags, attained="where all entries are x's")


def larger(node: Node, x: Signal, y: Signal, sign: float) -> Model:
    """The model of the larger (``sign`` -1: the smaller) of two independent Gaussians, of any means and variances.

    With ``theta^2 = v_x + v_y``, ``a = s (mu_x - mu_y) / theta``, ``p = Phi(a)``: ``s E max = s (mu_x p + mu_y (1 - p)) + theta phi(a)``
    and ``E max^2 = q_x p + q_y (1 - p) + s (mu_x + mu_y) theta phi(a)`` (Clark 1961, eq. 4 and 5). x gets the gradient with
    probability p; by Stein's lemma p is also the slope of the covariance. The larger of scores and a number that keeps them finite
    under a mask is the scores: only entries that are hidden anyway are that small.
    """
    if sign > 0 and is_number(y) and y.range.hi <= MASKED:
        return modelled(lambda v, _: v, x, None)
    if x.moments is None or y.moments is None:
        return None, None
    mx, my = x.moments.mean, y.moments.mean
    theta = max(sqrt(x.moments.variance + y.moments.variance), 1e-150)
    a = sign * (mx - my) / theta
    p, density = 0.5 * (1.0 + erf(a / sqrt(2.0))), exp(-0.5 * a * a) / sqrt(2.0 * pi)
    mean = mx * p + my * (1 - p) + sign * theta * density
    square = x.moments.mean_square * p + y.moments.mean_square * (1 - p) + sign * (mx + my) * theta * density
    rest = max(square - mean * mean - p * p * x.moments.variance - (1 - p) ** 2 * y.moments.variance, 0.0)

    def values(v: Var, w: Var) -> Var:
        return v.shift(-mx).scale(p) + w.shift(-my).scale(1 - p) + Var(random_numbers(node.shape, rest + mean * mean, mean))

    def slopes(v: Var, w: Var) -> Var:
        masks = (Var(random_numbers(node.shape, share, share)) for share in (p, 1 - p))
        return v * next(masks) + w * next(masks)

    return modelled(values, x, y)[0], modelled(slopes, x, y)[1]


# conditions -------------------------------------------------------------------------------------------------------------


def _chance(signal: Signal, shape: tuple[int, ...]) -> Var:
    """A condition as a 0/1 array: its values where they are known, else a fair coin per entry (an assumption)."""
    return known(signal.value.astype(np.float64)) if signal.value is not None else Var(random_numbers(shape, 0.5, 0.5))


def _kept(node: Node, x: Signal, condition: Signal, *, where_true: bool) -> Jacobian:
    """The Jacobian of an operand whose entries are kept where a condition says so, copies by broadcasting counted."""
    kept = None
    if condition.constant and condition.value is not None:
        kept = condition.value.astype(bool) == where_true
    most = copies(x, node.shape, kept)
    if most == 0:
        return no_gradient("no entry is kept")
    square: frozenset[Tag] = frozenset({"linear", "projection", "diagonal", "symmetric", "psd"})
    return Jacobian(root(most), "exact", "entries are kept or dropped", square if x.shape == node.shape else frozenset({"linear"}))


@transfer("aten.where", source="each entry is one of the operands'; discontinuous where the condition depends on x", degree="1")
def where(node: Node, condition: Signal, x: Signal | None = None, y: Signal | None = None) -> Effect:
    """``x`` where the condition holds, else ``y``: 1 for each, the condition fixed. Of a condition alone, the indices where it holds."""
    if x is None or y is None:
        return Effect(Signal(node.shape), (no_gradient("indices"),), lambda _g: (None,))
    jac = (_kept(node, x, condition, where_true=True), _kept(node, y, condition, where_true=False))
    moments, pull = _where_model(node, condition, x, y)
    rows = x.rows if x.shape == node.shape and y.range == Interval(0.0, 0.0) else None
    return Effect(Signal(node.shape, x.range.hull(y.range), rows, moments), (None, *jac), pull)


def _where_model(node: Node, condition: Signal, x: Signal, y: Signal) -> Model:
    if condition.value is not None:
        chosen = condition.value.astype(bool)
        if is_number(y) and y.range.lo <= MASKED:
            return modelled(lambda _c, v, _w: v.with_offset(np.where(chosen, 0.0, -np.inf)), None, x, None)
        if is_number(x) and x.range.lo <= MASKED:
            return modelled(lambda _c, _v, w: w.with_offset(np.where(chosen, -np.inf, 0.0)), None, None, y)
    mask = _chance(condition, node.shape)
    return modelled(lambda _c, v, w: v * mask + w * mask.scale(-1.0).shift(1.0), None, x, y)


@transfer("aten.masked_fill", source="entries are kept or replaced by a number", degree="1")
def masked_fill(node: Node, x: Signal, mask: Signal, value: Signal) -> Effect:
    """``x`` with a number put where the mask is set: a projection."""
    jac = _kept(node, x, mask, where_true=False)
    by_value = None if is_number(value) else replace(_kept(node, value, mask, where_true=True), why="once for each masked entry")
    fill = value.range.lo
    if fill <= MASKED and is_number(value):
        hidden = np.zeros((1,) * len(node.shape)) if mask.value is None else np.where(mask.value.astype(bool), -np.inf, 0.0)
        moments, pull = modelled(lambda v, *_: v.with_offset(hidden), x, None, None)
    else:
        moments, pull = modelled(lambda v, _m, w: _filled(v, w, mask, node.shape, fill), x, None, None if is_number(value) else value)
    rows = x.rows if value.range == Interval(0.0, 0.0) and x.shape == node.shape else None
    return Effect(Signal(node.shape, x.range.hull(value.range), rows, moments), (jac, None, by_value), pull)


def _filled(v: Var, w: Var | None, mask: Signal, shape: tuple[int, ...], fill: float) -> Var:
    hidden = _chance(mask, shape)
    kept = v * hidden.scale(-1.0).shift(1.0)
    if w is not None:
        return kept + hidden * w
    return kept + hidden.scale(fill) if fill else kept


# steps ------------------------------------------------------------------------------------------------------------------

ROUND = zero("aten.round", f=np.rint, doc="Rounding: derivative 0, jumps of 1.")
FLOOR = zero("aten.floor", f=np.floor, doc="Floor: derivative 0, jumps of 1.")
CEIL = zero("aten.ceil", f=np.ceil, doc="Ceiling: derivative 0, jumps of 1.")
TRUNC = zero("aten.trunc", "aten.fix", f=np.trunc, doc="Truncation: derivative 0, jumps of 1.")
SIGN = zero("aten.sign", "aten.sgn", f=np.sign, values=Interval(-1.0, 1.0), doc="Sign: derivative 0, a jump of 2 at 0.")
STEPS = zero(
    "aten.heaviside", "aten.floor_divide", "aten.bucketize", "aten.searchsorted", "aten.histc", "aten.one_hot", "aten.argmax",
    "aten.argmin", "aten.isnan",
)  # fmt: skip


@transfer("aten.remainder", "aten.fmod", source="slope 1 in x, jumps of |y| at multiples of y", kinks="multiples of the divisor: a jump")
def remainder(node: Node, x: Signal, y: Signal) -> Effect:
    """``x mod y``: slope 1, but it jumps."""
    size = y.range.magnitude
    jac = Jacobian(inf, "infinite", f"jumps by {size:.3g}")
    values = Interval(-size, size)
    if node.op == "aten.fmod":  # the sign of x
        values = values.meet(Interval(min(x.range.lo, 0.0), max(x.range.hi, 0.0)))
    return Effect(Signal(node.shape, values), (jac, Jacobian(inf, "infinite", "jumps")))


@transfer("aten.nan_to_num", source="the identity on finite numbers", degree="1")
def nan_to_num(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """The identity on finite numbers."""
    moments, pull = modelled(lambda v: v, x)
    return Effect(Signal(node.shape, x.range, x.rows, moments), (linear_jacobian(1.0, "the identity on finite numbers"),), pull)
