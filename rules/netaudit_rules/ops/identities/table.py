"""The rule of each op."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netaudit_rules.ops.common import axes_of

from . import entrywise as e
from . import field
from . import products as p
from . import sums as s
from .field import Numbers
from .moves import MOVES, joined
from .step import Rule, Step

_ZERO_AT_ZERO = """
relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish tanh sin tan asin atan sinh asinh atanh expm1 log1p erf softsign
sign sgn round floor ceil trunc fix hardshrink softshrink rrelu
"""
_FROM_ZERO = {f"aten.{name}": e.from_zero for name in _ZERO_AT_ZERO.split()} | {
    f"netaudit.{name}": e.from_zero for name in ("gelu", "gelu_tanh", "swish", "softsign", "tanhshrink", "hardswish", "mish")
}
_ENTRYWISE = "sigmoid softplus hardsigmoid log_sigmoid logit log2 log10 acos cosh erfc threshold"

RULES: Mapping[str, Rule] = {
    **_FROM_ZERO,
    **{f"aten.{name}": e.hashed for name in _ENTRYWISE.split()},
    "aten.exp": e.known_at({0: 1}), "aten.cos": e.known_at({0: 1}), "aten.log": e.known_at({1: 0}), "aten.abs": e.absolute,
    "aten.sqrt": lambda c: field.root(c.x), "aten.rsqrt": lambda c: field.inverse(field.root(c.x)),
    "aten.square": lambda c: field.mul(c.x, c.x), "aten.reciprocal": lambda c: field.inverse(c.x),
    "aten.neg": lambda c: field.sub(np.zeros_like(c.x), c.x), "aten.pow": e.power,
    "aten.clamp": e.clamped, "aten.clamp_min": e.clamped, "aten.clamp_max": e.clamped, "aten.clip": e.clamped, "aten.hardtanh": e.hashed,
    "aten.dropout": e.dropped, "aten.feature_dropout": e.dropped, "aten.native_dropout": e.dropped,
    "aten.to": e.cast, "aten._to_copy": e.cast, "aten.type_as": e.cast, "aten.float": e.cast, "aten.half": e.cast,
    "aten.add": e.added(1), "aten.sub": e.added(-1), "aten.rsub": e.reversed_difference,
    "aten.mul": lambda c: field.mul(c.x, c.at(1)), "aten.div": e.quotient,
    "aten.maximum": e.extreme, "aten.minimum": e.extreme, "aten.fmax": e.extreme, "aten.fmin": e.extreme,
    "aten.sum": s.total, "aten.mean": s.mean, "aten.cumsum": s.running, "netaudit.center": s.centred,
    "aten.var": s.variance, "aten.var_mean": s.variance, "aten.std": s.deviation, "aten.std_mean": s.deviation,
    "aten.norm": s.norm, "aten.linalg_vector_norm": s.norm, "aten.amax": s.of_rows, "aten.amin": s.of_rows,
    "netaudit.l2_normalize": s.unit, "aten.cosine_similarity": s.similarity, "aten.cdist": s.distances,
    "aten.linear": p.linear, "aten.matmul": p.matmul, "aten.bmm": p.matmul, "aten.mm": p.matmul, "aten.mv": p.matmul, "aten.dot": p.dot,
    "aten.vdot": p.dot, "aten.addmm": p.added_product, "aten.baddbmm": p.added_product,
    "aten.conv1d": p.convolution, "aten.conv2d": p.convolution, "aten.conv3d": p.convolution, "aten.convolution": p.convolution,
    "aten.max_pool1d": p.pooled, "aten.max_pool2d": p.pooled, "aten.avg_pool1d": p.pooled, "aten.avg_pool2d": p.pooled,
    "aten.adaptive_avg_pool1d": p.pooled_to_one, "aten.adaptive_avg_pool2d": p.pooled_to_one,
    "aten.softmax": p.row_wise(p.last_axis), "aten._softmax": p.row_wise(p.last_axis), "aten.log_softmax": p.row_wise(p.last_axis),
    "aten.layer_norm": p.row_wise(p.normalised_axes), "aten.rms_norm": p.root_mean_square, "netaudit.rms_norm": p.root_mean_square,
    "netaudit.layer_norm": p.row_wise(lambda c: axes_of(c.node.args["dim"], c.x.ndim)), "aten.batch_norm": p.batch_norm,
    "aten.cat": lambda c: joined(c.node, c.given), "aten.concat": lambda c: joined(c.node, c.given),
    "aten.stack": lambda c: joined(c.node, c.given),
    "aten.zeros_like": p.constant(0.0), "aten.new_zeros": p.constant(0.0), "aten.zeros": p.constant(0.0),
    "aten.ones_like": p.constant(1.0), "aten.new_ones": p.constant(1.0), "aten.ones": p.constant(1.0),
    "aten.full_like": p.filled, "aten.new_full": p.filled, "aten.full": p.filled,
}  # fmt: skip
CHOICES = {"aten.where": 0, "aten.masked_fill": 1}
"""Ops whose condition must be known, and the slot it stands in."""
PICKS = frozenset({"aten.embedding", "aten.index", "aten.index_select", "aten.gather", "aten.take_along_dim"})


def stepped(step: Step) -> Numbers | None:
    """The numbers of a call; None when no rule has them."""
    op = step.node.op
    if op in MOVES and step.xs[0] is not None:
        return MOVES[op](step.node, step.x)
    if op in CHOICES:
        return p.chosen(step)
    rule = RULES.get(op)
    return None if rule is None or step.xs[0] is None else rule(step)
