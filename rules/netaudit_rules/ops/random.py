"""Dropout and random numbers."""

from __future__ import annotations

from math import inf, prod

import numpy as np

from netaudit import (
    Effect,
    Interval,
    Jacobian,
    Node,
    RowNorm,
    Signal,
    Tag,
    Transfer,
    Var,
    modelled,
    random_numbers,
    transfer,
    up,
)

from .common import indices, is_number, linear_jacobian, no_gradient, real, root, scaled_rows


@transfer(
    "aten.dropout",
    "aten.feature_dropout",
    "aten.native_dropout",
    source="J = diag(mask) / (1 - p); second moment times 1 / (1 - p)",
    degree="1",
)
def dropout(node: Node, x: Signal) -> Effect:
    """Entries (or channels) dropped with probability p, the rest scaled by 1 / (1 - p); the identity in eval."""
    if not node.is_float:
        return indices(node)
    p, train = real(node.args.get("p"), 0.5), node.args.get("train", True) is not False
    if not train or p == 0:
        moments, pull = modelled(lambda v: v, x)
        return Effect(Signal(node.shape, x.range, x.rows, moments), (linear_jacobian(1.0, "the identity"),), pull)
    if p >= 1:
        return Effect(Signal(node.shape, Interval(0.0, 0.0)), (no_gradient("p = 1: everything is dropped"),), lambda _g: (None,))
    gain = 1.0 / (1.0 - p)
    sizes = node.shape[:2] + (1,) * (len(node.shape) - 2) if node.op == "aten.feature_dropout" else node.shape
    moments, pull = modelled(lambda v: v * Var(random_numbers(sizes, gain, 1.0, positive=True)), x)
    jac = Jacobian(up(gain), "exact", f"1 / (1 - p), p = {p:g}", frozenset({"linear", "diagonal", "symmetric", "psd"}))
    rows = None if x.rows is None else RowNorm(up(x.rows.bound * gain), x.rows.axes)
    return Effect(Signal(node.shape, x.range * Interval(0.0, up(gain)), rows, moments), (jac,), pull)


@transfer(
    "aten.rrelu",
    "aten.rrelu_with_noise",
    source="slope ~ U(lower, upper) below 0 in training, E slope^2 = (l^2 + l u + u^2) / 3; its mean in eval (Xu 2015)",
    kinks="0",
    degree="1 (positively)",
)
def rrelu(node: Node, x: Signal, *noise: Signal | None) -> Effect:
    """``x`` above 0, a multiple of it below: drawn entry by entry in training, the mean in eval."""
    lower, upper = real(node.args.get("lower"), 1 / 8), real(node.args.get("upper"), 1 / 3)
    middle, trained = 0.5 * (lower + upper), node.args.get("training") is True
    slopes = (1.0, lower, upper) if trained else (1.0, middle)
    rest = (None,) * len(noise)

    def model(v: Var, *_: Var | None) -> Var:
        if not trained:
            return v.apply(lambda z: np.where(z > 0, z, middle * z), lambda z: np.where(z > 0, 1.0, middle))
        square = (lower * lower + lower * upper + upper * upper) / 3.0
        above = v.apply(lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64))
        below = v.apply(lambda z: np.minimum(z, 0.0), lambda z: (z <= 0).astype(np.float64))
        return above + below * Var(random_numbers(node.shape, square, middle))

    moments, pull = modelled(model, x, *rest)
    tags: frozenset[Tag] = frozenset({"diagonal", "symmetric", "psd"} if min(slopes) >= 0 else {"diagonal", "symmetric"})
    low, high = (Interval(s, s) * Interval(min(x.range.lo, 0.0), 0.0) for s in (min(slopes), max(slopes)))
    values = low.hull(high) if x.range.lo < 0 else Interval(0.0, 0.0)
    jac = Jacobian(max(abs(s) for s in slopes), "exact", f"slopes in [{min(slopes):.6g}, {max(slopes):.6g}]", tags)
    out = Signal(node.shape, values.hull(Interval(0.0, max(x.range.hi, 0.0))), scaled_rows(x.rows, jac.lip), moments)
    return Effect(out, (jac, *(None if n is None else no_gradient("noise") for n in noise)), pull)


SELU_FLOOR = -1.7580993408473766


@transfer(
    "aten.alpha_dropout",
    "aten.feature_alpha_dropout",
    source="J = a diag(mask), a = ((1 - p)(1 + p 3.0909))^-1/2 (Klambauer 2017)",
    degree="affine",
)
def alpha_dropout(node: Node, x: Signal) -> Effect:
    """Dropped entries become SELU's floor, then an affine map restores mean 0 and variance 1."""
    p, train = real(node.args.get("p"), 0.5), node.args.get("train", True) is not False
    if train and p >= 1:
        return Effect(Signal(node.shape, Interval(0.0, 0.0)), (no_gradient("p = 1: everything is dropped"),), lambda _g: (None,))
    if not train or p == 0:
        moments, pull = modelled(lambda v: v, x)
        return Effect(Signal(node.shape, x.range, None, moments), (linear_jacobian(1.0, "the identity"),), pull)
    a = ((1 - p) * (1 + p * SELU_FLOOR**2)) ** -0.5
    b = -a * p * SELU_FLOOR

    def model(v: Var) -> Var:
        kept = v * Var(random_numbers(node.shape, 1 - p, 1 - p, positive=True))
        dropped = Var(random_numbers(node.shape, p, p, positive=True)).scale(SELU_FLOOR)
        return (kept + dropped).scale(a).shift(b)

    moments, pull = modelled(model, x)
    values = (x.range.hull(Interval(SELU_FLOOR, SELU_FLOOR)) * Interval(a, a)) + Interval(b, b)
    return Effect(Signal(node.shape, values, None, moments), (linear_jacobian(up(a), f"a = {a:.6g}, p = {p:g}"),), pull)


def _source(*ops: str, mean_square: float, mean: float, values: Interval, doc: str) -> Transfer:
    """Random numbers that depend on nothing."""

    def body(node: Node, *operands: Signal | None) -> Effect:
        moments, _ = modelled(lambda: Var(random_numbers(node.shape, mean_square, mean)))
        jac = tuple(None if o is None else no_gradient("the values of the operand are not used") for o in operands)
        return Effect(Signal(node.shape, values, None, moments), jac, lambda _g: (None,) * len(operands))

    return Transfer(ops, body, doc, "drawn afresh", "none", "")


UNIFORM = _source("aten.rand", "aten.rand_like", mean_square=1 / 3, mean=0.5, values=Interval(0.0, 1.0), doc="Uniform numbers on [0, 1).")
NORMAL = _source("aten.randn", "aten.randn_like", mean_square=1.0, mean=0.0, values=Interval(-inf, inf), doc="Standard normal numbers.")


@transfer(
    "aten.uniform", "aten.exponential", "aten.normal_functional", source="drawn afresh: only the operand's shape is used", degree="none"
)
def drawn(node: Node, _x: Signal) -> Effect:
    """A tensor overwritten by numbers that are uniform, exponential or normal."""
    if node.op == "aten.uniform":
        low, high = real(node.args.get("from")), real(node.args.get("to"), 1.0)
        mean, square, values = (low + high) / 2, (low * low + low * high + high * high) / 3, Interval(low, high)
    elif node.op == "aten.exponential":
        mean = 1.0 / real(node.args.get("lambd"), 1.0)
        square, values = 2.0 * mean * mean, Interval(0.0, inf)
    else:
        mean, square, values = real(node.args.get("mean")), real(node.args.get("std"), 1.0) ** 2, Interval(-inf, inf)
        square += mean * mean
    moments, _ = modelled(lambda: Var(random_numbers(node.shape, square, mean)))
    return Effect(Signal(node.shape, values, None, moments), (no_gradient("overwritten"),), lambda _g: (None,))


FEW_DRAWS = 64
"""Draws up to which one pass may be far from the mean over many: whole branches dropped by sample (stochastic depth)."""


@transfer("aten.bernoulli", "aten.bernoulli_", source="0 or 1", kinks="no gradient passes")
def bernoulli(node: Node, x: Signal, *rest: Signal | None) -> Effect:
    """0 or 1 with the given probability: no gradient passes."""
    p = real(node.args.get("p"), 0.5)
    if isinstance(node.args.get("p"), float) is False and x.moments is not None and not rest:
        p = min(max(x.moments.mean, 0.0), 1.0)
    moments, _ = modelled(lambda: Var(random_numbers(node.shape, p, p)))
    jac = tuple(None if o is None else no_gradient("a draw") for o in (x, *rest))
    few = ("rare draws",) if prod(node.shape) <= FEW_DRAWS else ()
    return Effect(Signal(node.shape, Interval(0.0, 1.0), None, moments), jac, lambda _g: (None,) * len(node.operands), few)


def _filled(*ops: str, value: float) -> Transfer:
    def body(node: Node, *operands: Signal | None) -> Effect:
        jac = tuple(None if o is None else no_gradient("a constant") for o in operands)
        moments, _ = modelled(lambda: Var(random_numbers(node.shape, value * value, value)))
        return Effect(Signal(node.shape, Interval(value, value), None, moments), jac, lambda _g: (None,) * len(operands))

    return Transfer(ops, body, f"A tensor of {value:g}.", "a constant", "none", "")


ZEROS = _filled("aten.zeros_like", "aten.new_zeros", "aten.zero", "aten.zeros", value=0.0)
ONES = _filled("aten.ones_like", "aten.new_ones", "aten.ones", value=1.0)


@transfer("aten.fill", source="one number in every entry: sqrt n", degree="1")
def fill(node: Node, _x: Signal, value: Signal) -> Effect:
    """Every entry replaced by one number, which may be a tensor."""
    moments, pull = modelled(lambda _x, v: v.expand(*node.shape), None, value)
    jac = linear_jacobian(root(prod(node.shape)), f"one number in {prod(node.shape)} entries") if not is_number(value) else None
    return Effect(Signal(node.shape, value.range, None, moments), (no_gradient("overwritten"), jac), pull if jac is not None else None)


@transfer("aten.full_like", "aten.new_full", "aten.full", source="a constant", degree="0")
def full(node: Node, *operands: Signal | None) -> Effect:
    """A tensor of one value."""
    given = node.args.get("fill_value", node.args.get("value"))
    value = real(given)
    jac = tuple(None if o is None else no_gradient("a constant") for o in operands)
    moments, _ = modelled(lambda: Var(random_numbers(node.shape, value * value, value)))
    return Effect(Signal(node.shape, Interval(value, value), None, moments), jac, lambda _g: (None,) * len(operands))


@transfer("aten.empty", "aten.empty_like", "aten.new_empty", source="uninitialised memory", degree="0")
def empty(node: Node, *operands: Signal | None) -> Effect:
    """A tensor to be filled: whatever was there."""
    jac = tuple(None if o is None else no_gradient("the values of the operand are not used") for o in operands)
    return Effect(Signal(node.shape), jac, lambda _g: (None,) * len(operands))
