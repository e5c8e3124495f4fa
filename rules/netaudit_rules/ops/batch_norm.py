"""Normalisation of channels that may use running statistics: batch and instance."""

from __future__ import annotations

from math import inf, isinf, prod, sqrt

import numpy as np

from netaudit import Effect, Interval, Jacobian, Node, Signal, Tag, Var, modelled, transfer, up

from .common import first_slots, no_gradient, node_count, real, root
from .linear import by_bias
from .norm import affine, by_scale, largest_scale, norm_jacobian, per_channel, scaled_range

ENOUGH_SAMPLES = 64
"""Values of a channel below which its statistics, and what they take out of a gradient, are no longer those of many."""


@transfer(
    "aten.batch_norm", "aten.native_batch_norm", "aten._native_batch_norm_legit", "aten.cudnn_batch_norm",
    source="train: LayerNorm of each channel over the batch, g_max / sqrt(eps); eval: diagonal, max |gamma| / sqrt(var + eps) (Ioffe 2015)",
    degree="train: 0 up to eps; eval: 1",
)  # fmt: skip
def batch_norm(
    node: Node, x: Signal, weight: Signal | None = None, bias: Signal | None = None, mean: Signal | None = None, var: Signal | None = None
) -> Effect:
    """Per channel, over the whole batch: mixes samples in training, is diagonal in eval."""
    if not node.args.get("training", True) and var is not None:
        return _with_running_statistics(node, x, weight, bias, mean, var)
    eps = real(node.args.get("eps"), 1e-5)
    over = (0, *range(2, len(x.shape)))
    count = prod(x.shape[a] for a in over)
    shape = (x.shape[1], *(1,) * (len(x.shape) - 2))

    def model(v: Var, w: Var | None, b: Var | None, *_: Var | None) -> Var:
        return affine(v.normalise(over, eps), w, b, shape)

    rest = (None,) * max(len(node.operands) - 3, 0)
    moments, pull = modelled(model, x, weight, bias, *rest)
    peak = sqrt(max(count - 1, 0))
    values, _ = scaled_range(node, peak, weight, bias, None)
    norm = largest_scale(weight) if count > 1 else 0.0
    by_beta = None if bias is None else by_bias(Signal(shape), node.shape)
    jac = (norm_jacobian(norm, eps, count, centred=True), by_scale(weight, node.shape, peak), by_beta, *rest)
    few = ("few samples",) if count < ENOUGH_SAMPLES else ()
    return first_slots(node, Effect(Signal(node.shape, values, None, moments), jac, pull, few, normalises=True))


def _with_running_statistics(node: Node, x: Signal, weight: Signal | None, bias: Signal | None, mean: Signal | None, var: Signal) -> Effect:
    """``gamma (x - mean) / sqrt(var + eps) + beta`` with constants: a diagonal affine map."""
    eps = real(node.args.get("eps"), 1e-5)
    shape = (x.shape[1], *(1,) * (len(x.shape) - 2))
    lip = _running_gain(weight, var, eps)
    why = "max |gamma_c| / sqrt(var_c + eps)"
    tags: frozenset[Tag] = frozenset({"diagonal", "linear", "symmetric"})
    jac = (
        Jacobian(lip, "unknown" if isinf(lip) else "exact", why, tags) if lip else no_gradient("gamma = 0: the output is the constant bias")
    )

    def model(v: Var, w: Var | None, b: Var | None, m: Var | None, s: Var) -> Var:
        v = v if m is None else v - m.reshape(*shape)
        v = v * s.apply(lambda z: 1.0 / np.sqrt(np.maximum(z, 0.0) + eps), np.zeros_like).reshape(*shape)
        return affine(v, w, b, shape)

    moments, pull = modelled(model, x, weight, bias, mean, var)
    values = Interval()
    if mean is not None and not isinf(lip):
        shift = bias.range.magnitude if bias is not None else 0.0
        size = up(lip * (x.range - mean.range).magnitude + shift) if x.range.is_bounded else inf
        values = Interval(-size, size)
    peak = (x.range - (mean.range if mean is not None else Interval(0, 0))).magnitude
    by_beta = None if bias is None else by_bias(Signal(shape), node.shape)
    fixed = tuple(None if o is None else no_gradient("autograd takes running statistics as constants") for o in (mean, var))
    by_gamma = None if weight is None else _by_running_scale(peak, var, eps, node)
    only = None if pull is None else lambda g: (*pull(g)[:3], None, None)
    return first_slots(node, Effect(Signal(node.shape, values, None, moments), (jac, by_gamma, by_beta, *fixed), only))


def _by_running_scale(peak: float, var: Signal, eps: float, node: Node) -> Jacobian:
    floor = max(var.range.lo, 0.0) + eps
    lip = up(peak / sqrt(floor) * root(node_count(node) / max(node.shape[1], 1))) if floor > 0 else inf
    return Jacobian(lip, "infinite" if isinf(lip) else "conditional", "|x - mean| / s, for each use of a scale", frozenset({"linear"}))


def _running_gain(weight: Signal | None, var: Signal, eps: float) -> float:
    if var.value is not None and (weight is None or weight.value is not None):
        gamma = np.ones_like(var.value, dtype=np.float64) if weight is None or weight.value is None else weight.value.astype(np.float64)
        floors = np.maximum(var.value.astype(np.float64), 0.0) + eps
        return up(float(np.max(np.abs(gamma) / np.sqrt(floors)))) if floors.min() > 0 else inf  # 0 / 0 is NaN, whatever gamma is
    floor = max(var.range.lo, 0.0) + eps
    return up(largest_scale(weight) / sqrt(floor)) if floor > 0 else inf


@transfer("aten.instance_norm", source="LayerNorm on each channel of each sample (Ulyanov 2016)", degree="0 up to eps")
def instance_norm(
    node: Node, x: Signal, weight: Signal | None = None, bias: Signal | None = None, mean: Signal | None = None, var: Signal | None = None
) -> Effect:
    """LayerNorm on each channel of each sample; running statistics when told to use them."""
    if node.args.get("use_input_stats") is False and var is not None:
        return _with_running_statistics(node, x, weight, bias, mean, var)
    count = prod(x.shape[2:])
    return per_channel(node, x, weight, bias, (x.shape[0], x.shape[1], *x.shape[2:]), count, largest_scale(weight) if count > 1 else 0.0)
