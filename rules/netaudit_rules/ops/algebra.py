"""Sums, products, quotients and powers."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isinf

import numpy as np
from numpy.typing import NDArray

from netaudit import (
    MASKED,
    Effect,
    Interval,
    Jacobian,
    Moments,
    Node,
    Pull,
    RowNorm,
    Signal,
    Tag,
    Var,
    above,
    elementwise_on,
    modelled,
    transfer,
    up,
)

from .common import (
    added_rows,
    empty,
    finite_product,
    is_number,
    linear_jacobian,
    no_gradient,
    node_count,
    padded,
    product_up,
    real,
    repeats,
    root,
    scaled_rows,
)

Array = NDArray[np.float64]
Model = tuple[Moments | None, Pull | None]


# sums -------------------------------------------------------------------------------------------------------------------


def _known_bias(y: Signal) -> Array | None:
    """A constant that is added to logits (a mask, ALiBi): kept apart, since softmax needs its values."""
    if not y.constant or y.value is None or y.value.ndim < 2 or y.value.dtype == np.bool_ or y.value.size == 0:
        return None
    value = y.value.astype(np.float64)
    return value if float(value.min()) <= MASKED or float(np.ptp(value)) > 0.1 else None


def _sum_model(x: Signal, y: Signal, a: float, b: float) -> Model:
    right, left = _known_bias(y), _known_bias(x)
    if right is not None and b > 0:
        return modelled(lambda v, _w: v.scale(a).with_offset(right * b), x, None)
    if left is not None and a > 0:
        return modelled(lambda _v, w: w.scale(b).with_offset(left * a), None, y)
    return modelled(lambda v, w: v.scale(a) + w.scale(b) if b != -1.0 else v.scale(a) - w, x, y)


def linear_sum(node: Node, x: Signal, y: Signal, a: float, b: float) -> Effect:
    """``a x + b y`` with broadcasting: ``|a| sqrt r`` and ``|b| sqrt r'``, r how often an entry is repeated."""
    jac = []
    for operand, factor in ((x, a), (y, b)):
        r = repeats(operand, node.shape)
        why = f"|{factor:g}| times the expansion by {r:g}" if r != 1 else f"|{factor:g}| times the identity"
        jac.append(linear_jacobian(product_up(abs(factor), root(r)), why))
    moments, pull = _sum_model(x, y, a, b)
    values = x.range * Interval(a, a) + y.range * Interval(b, b)
    rows = added_rows(_scaled(x, abs(a)), _scaled(y, abs(b)), node.shape)
    return Effect(Signal(node.shape, values, rows, moments), tuple(jac), pull)


def _scaled(x: Signal, factor: float) -> Signal:
    return Signal(x.shape, x.range * Interval(factor, factor), scaled_rows(x.rows, factor))


@transfer("aten.add", source="(1, 1); sqrt 2 jointly, 2 for x + x", degree="1")
def add(node: Node, x: Signal, y: Signal) -> Effect:
    """``x + alpha y``. Paths that end in one tensor add: x + x is 2, independent operands give sqrt 2 together."""
    return linear_sum(node, x, y, 1.0, real(node.args.get("alpha"), 1.0))


@transfer("aten.sub", source="(1, -1)", degree="1")
def sub(node: Node, x: Signal, y: Signal) -> Effect:
    """``x - alpha y``."""
    return linear_sum(node, x, y, 1.0, -real(node.args.get("alpha"), 1.0))


@transfer("aten.rsub", source="(-1, 1)", degree="1")
def rsub(node: Node, x: Signal, y: Signal) -> Effect:
    """``y - alpha x``."""
    return linear_sum(node, x, y, -real(node.args.get("alpha"), 1.0), 1.0)


@transfer("aten.neg", source="-I", degree="1")
def neg(node: Node, x: Signal) -> Effect:
    """``-x``."""
    moments, pull = modelled(lambda v: v.scale(-1.0), x)
    jac = Jacobian(1.0, "exact", "-I", frozenset({"linear", "isometry", "diagonal", "symmetric"}), spectrum="{-1}")
    return Effect(Signal(node.shape, -x.range, x.rows, moments), (jac,), pull)


@transfer("aten.lerp", source="sqrt(w^2 + (1 - w)^2) jointly", degree="1")
def lerp(node: Node, x: Signal, y: Signal, weight: Signal) -> Effect:
    """``x + w (y - x)``."""
    if weight.shape == () and weight.constant:
        w = weight.range.lo
        return padded(linear_sum(node, x, y, 1.0 - w, w), after=1)
    keep = Interval(1.0, 1.0) - weight.range
    convex = weight.range.lo >= 0.0 and weight.range.hi <= 1.0
    values = x.range.hull(y.range) if convex else x.range * keep + y.range * weight.range
    jac = (
        _product(node, x, keep.magnitude, "|1 - w|"),
        _product(node, y, weight.range.magnitude, "|w|"),
        _product(node, weight, (x.range - y.range).magnitude, "|y - x|"),
    )
    moments, pull = modelled(lambda v, u, w: v * w.scale(-1.0).shift(1.0) + u * w, x, y, weight)
    return Effect(Signal(node.shape, values, None, moments), jac, pull)


# products ---------------------------------------------------------------------------------------------------------------


def _product(node: Node, own: Signal, factor: float, what: str) -> Jacobian:
    """The Jacobian of ``own * factor``: diagonal, but for the expansion of an operand that is broadcast."""
    tags: frozenset[Tag] = frozenset({"diagonal", "symmetric"} if own.shape == node.shape else ())
    if isinf(factor):
        return Jacobian(inf, "infinite", f"{what} has no bound: a product of two unbounded tensors has degree 2", tags)
    if factor == 0.0:
        return no_gradient(f"{what} is 0")
    return Jacobian(
        product_up(factor, root(repeats(own, node.shape))), "conditional", f"{what} <= {above(factor)} on the proved domain", tags
    )


@transfer("aten.mul", source="d(xy) = y dx + x dy; on |x|, |y| <= R jointly R sqrt 2", degree="2 in two variables, 1 in each")
def mul(node: Node, x: Signal, y: Signal) -> Effect:
    """``x y`` with broadcasting: ``sup |y|`` for x, ``sup |x|`` for y, times the expansion of a broadcast operand."""
    if node.operands[0] == node.operands[1] and isinstance(node.operands[0], str):
        return _squared(node, x)
    jac = [_times(node, own, other) for own, other in ((x, y), (y, x))]
    moments, pull = _product_model(x, y)
    return Effect(Signal(node.shape, x.range * y.range, _product_rows(node, x, y), moments), tuple(jac), pull)


def _times(node: Node, own: Signal, other: Signal) -> Jacobian:
    if not is_number(other):
        return _product(node, own, other.range.magnitude, "the other factor")
    return linear_jacobian(product_up(other.range.magnitude, root(repeats(own, node.shape))), f"times {other.range.hi:.6g}")


def _product_model(x: Signal, y: Signal) -> Model:
    if is_number(y):
        return modelled(lambda v, _w: v.scale(y.range.lo), x, None)
    if is_number(x):
        return modelled(lambda _v, w: w.scale(x.range.lo), None, y)
    return modelled(lambda v, w: v * w, x, y)


def _squared(node: Node, x: Signal) -> Effect:
    """``x x``: both slots send half of 2x."""
    half = _product(node, x, x.range.magnitude, "x")
    values = Interval(up(-0.0) if x.range.smallest == 0 else x.range.smallest * x.range.smallest, (x.range * x.range).hi)
    moments, pull = modelled(lambda v, _w: v.apply(np.square, lambda z: 2.0 * z), x, None)
    return Effect(Signal(node.shape, values, None, moments), (half, half), pull)


def _product_rows(node: Node, x: Signal, y: Signal) -> RowNorm | None:
    for rows, other in ((x, y), (y, x)):
        if rows.rows is not None and rows.shape == node.shape:
            return scaled_rows(rows.rows, other.range.magnitude)
    return None


@transfer(
    "aten.div",
    source="d(x / y) = dx / y - x dy / y^2; on |y| >= d, |x| <= R: sqrt(1 / d^2 + R^2 / d^4)",
    kinks="y = 0: inf",
    degree="0 jointly",
)
def div(node: Node, x: Signal, y: Signal) -> Effect:
    """``x / y`` with broadcasting: ``sup 1 / |y|`` for x, ``sup |x| / y^2`` for y."""
    if node.args.get("rounding_mode") is not None:
        return empty(node, x, y)
    inverse = y.range.reciprocal()
    if is_number(y):
        moments, pull = modelled(lambda v, _w: v.scale(1.0 / y.range.lo if y.range.lo else inf), x, None)
        out = Signal(node.shape, x.range * inverse, scaled_rows(x.rows, inverse.magnitude), moments)
        return Effect(out, (linear_jacobian(inverse.magnitude, f"divided by {y.range.lo:.6g}"), None), pull)
    by_y = finite_product(x.range.magnitude, inverse.magnitude * inverse.magnitude)
    jac = (_quotient(node, x, inverse.magnitude, "1 / |y|"), _quotient(node, y, by_y, "|x| / y^2"))
    moments, pull = modelled(lambda v, w: v * w.apply(lambda z: 1.0 / z, lambda z: -1.0 / (z * z)), x, y)
    rows = scaled_rows(x.rows, inverse.magnitude) if x.shape == node.shape else None
    return Effect(Signal(node.shape, x.range * inverse, rows, moments), jac, pull)


def _quotient(node: Node, own: Signal, factor: float, what: str) -> Jacobian:
    jac = _product(node, own, factor, what)
    return replace(jac, why=f"{what} has no bound: the divisor may reach 0") if isinf(factor) else jac


@transfer("aten.addcmul", source="a + v x y", degree="2")
def addcmul(node: Node, a: Signal, x: Signal, y: Signal) -> Effect:
    """``a + value x y``."""
    value = real(node.args.get("value"), 1.0)
    jac = (
        linear_jacobian(root(repeats(a, node.shape)), "the expansion"),
        _product(node, x, finite_product(abs(value), y.range.magnitude), "the other factor"),
        _product(node, y, finite_product(abs(value), x.range.magnitude), "the other factor"),
    )
    moments, pull = modelled(lambda u, v, w: u + (v * w).scale(value), a, x, y)
    return Effect(Signal(node.shape, a.range + x.range * y.range * Interval(value, value), None, moments), jac, pull)


@transfer("aten.addcdiv", source="a + v x / y", degree="1 jointly")
def addcdiv(node: Node, a: Signal, x: Signal, y: Signal) -> Effect:
    """``a + value x / y``."""
    value, inverse = real(node.args.get("value"), 1.0), y.range.reciprocal()
    jac = (
        linear_jacobian(root(repeats(a, node.shape)), "the expansion"),
        _quotient(node, x, finite_product(abs(value), inverse.magnitude), "1 / |y|"),
        _quotient(
            node, y, finite_product(abs(value), finite_product(x.range.magnitude, inverse.magnitude * inverse.magnitude)), "|x| / y^2"
        ),
    )
    moments, pull = modelled(lambda u, v, w: u + (v * w.apply(lambda z: 1.0 / z, lambda z: -1.0 / (z * z))).scale(value), a, x, y)
    return Effect(Signal(node.shape, a.range + x.range * inverse * Interval(value, value), None, moments), jac, pull)


# powers -----------------------------------------------------------------------------------------------------------------


@transfer("aten.pow", source="f' = p x^(p - 1): p R^(p - 1) on |x| <= R; infinite at 0 for p < 1", kinks="0 for p < 1: inf", degree="p")
def power(node: Node, x: Signal, p: Signal) -> Effect:
    """``x^p`` for a fixed exponent (a learned one is what it is), ``a^x`` for a fixed base."""
    if is_number(p):
        return _fixed_power(node, x, p.range.lo)
    if is_number(x) and x.range.lo > 0:
        return _fixed_base(node, p, x.range.lo)
    if p.count == 1 and p.range.lo == p.range.hi and x.shape == node.shape:
        return _learned_power(node, x, p)
    unknown = Jacobian(inf, "infinite", "base and exponent both vary", frozenset())
    return Effect(Signal(node.shape), (unknown, unknown))


def _fixed_power(node: Node, x: Signal, p: float) -> Effect:
    whole, even = p == int(p), p == int(p) and int(p) % 2 == 0
    slope = (0.0, inf) if (whole and not even and p > 0) or not whole else (-inf, inf)
    if p in (0.0, 1.0):
        slope = (p, p)
    values = Interval(0.0, inf) if even or not whole else Interval()
    return elementwise_on(
        node, x, f=lambda z: np.power(z, p), df=lambda z: p * np.power(z, p - 1.0), slope=slope if p >= 0 else (-inf, inf), values=values,
        turns=(0.0,), extrema=(0.0,) if even else (),
    )  # fmt: skip


def _learned_power(node: Node, x: Signal, p: Signal) -> Effect:
    """As for a number, and ``x^p log x`` for the exponent: at its largest at an end of the range or at ``e^(-1/p)``."""
    exponent = p.range.lo
    by_x = _fixed_power(node, x, exponent)

    def model(v: Var, w: Var) -> Var:
        y = v.apply(lambda z: np.power(z, exponent), lambda z: exponent * np.power(z, exponent - 1.0))
        logs = v.apply(lambda z: np.power(z, exponent) * np.log(z), np.zeros_like)
        return y + w.reshape().shift(-exponent) * logs  # the second term is 0, and its derivative is that of p

    lip = inf
    if x.range.lo > 0 and x.range.is_bounded:
        peak = float(np.exp(-1.0 / exponent)) if exponent else 1.0
        ends = [x.range.lo, x.range.hi, *([peak] if peak in x.range else [])]
        lip = up(max(abs(e**exponent * float(np.log(e))) for e in ends) * root(node_count(node)))
    why = "x^p log x has no bound on the proved range" if isinf(lip) else "|x^p log x| on the proved range"
    moments, pull = modelled(model, x, p)
    return Effect(replace(by_x.out, moments=moments), (by_x.jac[0], Jacobian(lip, "infinite" if isinf(lip) else "conditional", why)), pull)


def _fixed_base(node: Node, x: Signal, a: float) -> Effect:
    rate = float(np.log(a))
    slope = (0.0, inf) if rate > 0 else (-inf, 0.0)
    return elementwise_on(
        node, x, f=lambda z: np.exp(np.minimum(rate * z, 700.0)), df=lambda z: rate * np.exp(np.minimum(rate * z, 700.0)), slope=slope,
        values=Interval(0.0, inf), slot=1,
    )  # fmt: skip
