"""Losses of a prediction and a target, entry by entry: the gradient with respect to the prediction, by reduction."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, isinf, log, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from netaudit import Effect, Interval, Jacobian, Kind, Node, Signal, Var, above, modelled, transfer, up

from .activations import sigmoid, sigmoid_slope, softplus_of
from .common import NON_NEGATIVE, finite_product, no_gradient, real, root

Array = NDArray[np.float64]
Scalar = Callable[[Array], Array]
NONE, MEAN = 0, 1
UNIT = Interval(0.0, 1.0)


def reduction(node: Node) -> int:
    """Torch's code: 0 none, 1 mean, 2 sum."""
    given = node.args.get("reduction", MEAN)
    return {"none": 0, "mean": 1, "sum": 2}[given] if isinstance(given, str) else int(given) if isinstance(given, (int, float)) else MEAN


def share_of(node: Node, count: int) -> float | None:
    """What an entry counts in the result: None when nothing is reduced."""
    return None if reduction(node) == NONE else 1.0 / max(count, 1) if reduction(node) == MEAN else 1.0


def reduced(node: Node, v: Var) -> Var:
    """A tensor of entries, reduced as the call says."""
    axes = range(len(v.sizes))
    return v if reduction(node) == NONE else v.mean(*axes) if reduction(node) == MEAN else v.sum(*axes)


def gathered(per_entry: float, node: Node, count: int) -> float:
    """The gradient norm of a reduced loss from that of an entry: the entries' gradients stack."""
    if reduction(node) == NONE or isinf(per_entry):
        return per_entry
    many = max(count, 1)
    return up(per_entry / sqrt(many)) if reduction(node) == MEAN else up(per_entry * root(many)) if many > 1 else per_entry


def loss_jacobian(lip: float, why: str, kind: Kind = "exact", attained: str = "") -> Jacobian:
    """The Jacobian of a loss: its kind follows from the bound when there is none."""
    if lip == 0.0:
        return no_gradient(why)
    return Jacobian(lip, "infinite" if isinf(lip) else kind, why, attained=attained)


def labels(*operands: Signal | None) -> tuple[Jacobian | None, ...]:
    """Class indices and weights: nothing is sent to them."""
    return tuple(None if o is None else no_gradient("labels or weights") for o in operands)


# residuals --------------------------------------------------------------------------------------------------------------


def _of_residual(node: Node, x: Signal, y: Signal, slope: float, f: Scalar, df: Scalar, why: str) -> Effect:
    """A loss ``reduce f(x - y)`` whose f has slope at most ``slope`` on the proved range of the residual."""
    count = max(prod(x.shape), prod(y.shape), 1)
    lip = gathered(slope, node, count)
    moments, pull = modelled(lambda v, w: reduced(node, (v - w).apply(f, df)), x, y)
    bounded = (x.range - y.range).is_bounded
    jac = loss_jacobian(lip, why, "conditional" if bounded else "exact")
    return Effect(Signal(node.shape, NON_NEGATIVE, None, moments), (jac, jac), pull)


@transfer("aten.mse_loss", source="2 |r| / N for the mean: not Lipschitz, gradient-Lipschitz 2 / N", degree="2")
def mse(node: Node, x: Signal, y: Signal) -> Effect:
    """Squared residuals."""
    reach = (x.range - y.range).magnitude
    why = "2 |x - y| per entry" + (": no bound without one on the residual" if isinf(reach) else "")
    return _of_residual(node, x, y, up(2 * reach), np.square, lambda r: 2 * r, why)


@transfer("aten.l1_loss", source="1 / sqrt N for the mean", kinks="x = y: autograd returns 0", degree="1 (positively)")
def l1(node: Node, x: Signal, y: Signal) -> Effect:
    """Absolute residuals."""
    return _of_residual(node, x, y, 1.0, np.abs, np.sign, "1 per entry")


@transfer("aten.smooth_l1_loss", source="1 / sqrt N for the mean, curvature 1 / beta")
def smooth_l1(node: Node, x: Signal, y: Signal) -> Effect:
    """Quadratic below beta, linear above."""
    beta = real(node.args.get("beta"), 1.0)
    if beta <= 0:
        return _of_residual(node, x, y, 1.0, np.abs, np.sign, "1 per entry")

    def f(r: Array) -> Array:
        return np.where(np.abs(r) < beta, 0.5 * r * r / beta, np.abs(r) - 0.5 * beta)

    slope = min(1.0, up((x.range - y.range).magnitude / beta))
    return _of_residual(node, x, y, slope, f, lambda r: np.clip(r / beta, -1, 1), "min(1, |x - y| / beta) per entry")


@transfer("aten.huber_loss", source="delta / sqrt N for the mean")
def huber(node: Node, x: Signal, y: Signal) -> Effect:
    """Quadratic below delta, slope delta above."""
    delta = real(node.args.get("delta"), 1.0)

    def f(r: Array) -> Array:
        return np.where(np.abs(r) < delta, 0.5 * r * r, delta * (np.abs(r) - 0.5 * delta))

    slope = min(delta, (x.range - y.range).magnitude)
    return _of_residual(node, x, y, slope, f, lambda r: np.clip(r, -delta, delta), "min(delta, |x - y|) per entry")


# binary -----------------------------------------------------------------------------------------------------------------


def _probabilities(y: Signal) -> tuple[Interval, bool]:
    """The range of binary labels: [0, 1] is assumed when nothing is proved of them, as torch demands."""
    return (y.range, True) if y.range.is_bounded else (UNIT, False)


@transfer("aten.binary_cross_entropy_with_logits", source="|sigmoid(x) - y| < 1 per entry for y in [0, 1]; pos_weight w: max(1, w)")
def bce_with_logits(node: Node, x: Signal, y: Signal, weight: Signal | None = None, pos_weight: Signal | None = None) -> Effect:
    """``softplus(x) - y x``: gradient ``(1 - y) sigmoid(x) - w y sigmoid(-x)``, w the weight of positives (1 without)."""
    values, proved = _probabilities(y)
    scale = weight.range.magnitude if weight is not None else 1.0
    positive = pos_weight.range.magnitude if pos_weight is not None else 1.0
    reach = max(1.0 - values.lo, values.hi) if pos_weight is None else max(1.0 - values.lo, positive * values.hi)
    factor = finite_product(scale, reach)
    share = share_of(node, x.count)

    def model(v: Var, w: Var, a: Var | None, p: Var | None) -> Var:
        gate = v.apply(sigmoid, sigmoid_slope)
        slope = gate - w if p is None else gate * w.scale(-1.0).shift(1.0) - v.apply(lambda z: sigmoid(-z), np.zeros_like) * w * p
        value = v.apply(softplus_of, sigmoid).moments.mean - w.moments.mean * v.moments.mean
        return v.with_slope(value, slope if a is None else slope * a, share)

    moments, pull = modelled(model, x, y, *(weight, pos_weight)[: len(node.operands) - 2], *(None,) * (4 - len(node.operands)))
    exact: Kind = "exact" if weight is None and pos_weight is None and values == UNIT else "upper"
    why = f"{above(factor, 4)} per entry, {x.count} entries" + ("" if proved else ", for labels in [0, 1]")
    first = loss_jacobian(gathered(factor, node, x.count), why, exact if proved else "conditional")
    # d/dy = -x + (w - 1) softplus(-x), and softplus(-x) <= |x| + log 2
    extra = finite_product(abs(positive - 1.0) if pos_weight is not None else 0.0, x.range.magnitude + log(2.0))
    by_target = loss_jacobian(gathered(up(finite_product(scale, x.range.magnitude + extra)), node, x.count), "|x| per entry", "conditional")
    _, to_target = modelled(lambda v, w: reduced(node, v * w), x, y)
    rest = (None,) * (len(node.operands) - 2)
    only = None if pull is None or to_target is None else lambda g: (pull(g)[0], to_target(g)[1], *rest)
    out = Signal(node.shape, NON_NEGATIVE if values.lo >= 0 and values.hi <= 1 else Interval(), None, moments)
    return Effect(out, (first, by_target, *labels(weight, pos_weight))[: len(node.operands)], only)


BCE_SLOPE = 1e12
"""torch clamps the denominator p (1 - p) of the gradient at 1e-12, and the log at -100."""


@transfer(
    "aten.binary_cross_entropy", source="1 / p up to 1e12: the denominator's clamp in torch", kinks="p in {0, 1}: log clamped at -100"
)
def bce(node: Node, x: Signal, y: Signal, weight: Signal | None = None) -> Effect:
    """``-(y log p + (1 - y) log(1 - p))`` on probabilities: slope up to 1e12."""
    floor = min(x.range.lo, 1.0 - x.range.hi) if x.range.lo > 0 and x.range.hi < 1 else 0.0
    slope = min(up(1.0 / floor), BCE_SLOPE) if floor > 0 else BCE_SLOPE
    factor = weight.range.magnitude if weight is not None else 1.0
    share = share_of(node, x.count)

    def model(v: Var, w: Var, *_: Var | None) -> Var:
        inverse = v.apply(lambda p: 1.0 / np.maximum(p * (1 - p), 1e-12), np.zeros_like)
        return v.with_slope(log(2.0), (v - w) * inverse, share)

    moments, pull = modelled(model, x, y, *(None,) * (len(node.operands) - 2))
    only = None if pull is None else lambda g: (pull(g)[0], *(None,) * (len(node.operands) - 1))
    first = loss_jacobian(gathered(up(finite_product(slope, factor)), node, x.count), "1 / p (1 - p), clamped at 1e12", "conditional")
    by_target = loss_jacobian(gathered(up(finite_product(100.0, factor)), node, x.count), "logs clamped at -100", "upper")
    return Effect(Signal(node.shape, NON_NEGATIVE, None, moments), (first, by_target, *labels(weight))[: len(node.operands)], only)


@transfer(
    "aten.soft_margin_loss", source="|y| sigmoid(-yx) < 1 per entry for y = +-1", kinks="yx < -88.7 in float32: loss inf, gradient NaN"
)
def soft_margin(node: Node, x: Signal, y: Signal) -> Effect:
    """``log(1 + e^(-yx))`` for labels -1 and 1."""
    size = y.range.magnitude if y.range.is_bounded else 1.0
    moments, pull = modelled(lambda v, _w: reduced(node, v.apply(lambda z: softplus_of(-z), lambda z: -sigmoid(-z))), x, None)
    why = "|y| per entry" + ("" if y.range.is_bounded else ", for labels +-1")
    by_x = loss_jacobian(gathered(size, node, x.count), why, "conditional")
    return Effect(Signal(node.shape, NON_NEGATIVE, None, moments), (by_x, *labels(y)), pull)


# distributions ----------------------------------------------------------------------------------------------------------


def frobenius(x: Signal) -> float:
    """PROVED norm of a whole tensor: from its range, or from its rows, which stack."""
    every = tuple(range(len(x.shape)))
    by_rows = inf
    if x.rows is not None:
        length = prod(x.shape[a] for a in x.rows.axes)
        by_rows = up(x.rows.bound * root(x.count // max(length, 1)))
    return min(x.norm_bound(every), by_rows)


@transfer("aten.kl_div", source="linear in the log-input: |target|", degree="1 in the log-input")
def kl_div(node: Node, x: Signal, target: Signal) -> Effect:
    """``target (log target - x)``; 'mean' divides by entries, not by rows."""
    log_target, entries = node.args.get("log_target") is True, x.count
    weights = Signal(target.shape, Interval(0.0, up(exp(target.range.hi)) if target.range.hi < 700 else inf)) if log_target else target
    size = weights.range.magnitude if reduction(node) == NONE else frobenius(weights)
    share = share_of(node, entries)

    def model(v: Var, w: Var) -> Var:
        if log_target:
            w = w.apply(lambda z: np.exp(np.minimum(z, 50.0)), lambda z: np.exp(np.minimum(z, 50.0)))
        return v.with_slope(0.0, w.scale(-1.0), share)

    moments, pull = modelled(model, x, target)
    by_x = loss_jacobian(up(finite_product(size, 1.0 if share is None else share)), "|target|", "conditional")
    by_target = Jacobian(inf, "infinite", "x and log target have no bound")
    only = None if pull is None else lambda g: (pull(g)[0], None)
    return Effect(Signal(node.shape, Interval(), None, moments), (by_x, by_target), only)
