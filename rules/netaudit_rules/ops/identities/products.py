"""Products of matrices, convolutions, windows, normalised rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from netaudit import Arg, Node
from netaudit_rules.ops.common import axes_of, axis_of, integer, ints, real

from . import field
from .field import Numbers
from .step import ZERO, Rule, Step
from .sums import average

EXACT = 1 << 26
"""Multiplications up to which a product of matrices is taken as it is; beyond, rows get a random number each."""


def product(a: Numbers, b: Numbers, seed: int) -> Numbers:
    """``a @ b``; beyond ``EXACT``, a random function of the row and the column that is 0 where one of them is."""
    if a.ndim == 1 or b.ndim == 1:
        left, right = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
        whole = product(left, right, seed)
        whole = whole[..., 0] if b.ndim == 1 else whole
        return np.asarray(whole[..., 0, :] if a.ndim == 1 and b.ndim > 1 else whole[..., 0] if a.ndim == 1 else whole)
    if prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])) * a.shape[-2] * a.shape[-1] * b.shape[-1] <= EXACT:
        return field.matmul(a, b)
    rows, columns = field.digest(a, (a.ndim - 1,)), field.digest(b, (b.ndim - 2,))
    return np.where((rows == 0) | (columns == 0), ZERO, field.mix_all([rows, columns], seed))


def linear(step: Step) -> Numbers:
    """``x W' + b``."""
    result = product(step.x, np.swapaxes(step.at(1), -1, -2), step.seed)
    return result if len(step.given) < 3 else field.add(result, step.at(2))


def matmul(step: Step) -> Numbers:
    """``a @ b``."""
    return product(step.x, step.at(1), step.seed)


def added_product(step: Step) -> Numbers:
    """``beta c + alpha a @ b``."""
    beta, alpha = (field.of_values(np.asarray(real(step.node.args.get(name), 1.0))) for name in ("beta", "alpha"))
    return field.add(field.mul(step.x, beta), field.mul(product(step.at(1), step.at(2), step.seed), alpha))


def dot(step: Step) -> Numbers:
    """``a . b``."""
    return field.total(field.mul(step.x, step.at(1)), (0,), keep=False)


def convolution(step: Step) -> Numbers | None:
    """A random linear function of each window and group of channels; every output channel is a function of it, with 0 at 0."""
    x, weight = step.x, step.at(1)
    dims = weight.ndim - 2
    if step.node.args.get("transposed") is True or x.ndim != dims + 2:
        return None
    groups, batch = integer(step.node, "groups", 1), x.shape[0]
    split = x.reshape(batch, groups, x.shape[1] // groups, *x.shape[2:])
    seen = windows(step.node, split, weight.shape[2:], step.node.shape[-dims:], ("stride", "padding", "dilation"))
    if seen is None:
        return None
    per = weight.shape[0] // groups
    name = field.digest(weight.reshape(weight.shape[0], -1), (1,)).reshape(groups, per, *(1,) * dims)
    made = np.where(seen == 0, ZERO, field.mix_all([seen, name[None]], step.seed)) if name.any() else np.zeros_like(seen * name[None])
    result = np.where(name[None] == 0, ZERO, made).reshape(step.node.shape)
    return result if len(step.given) < 3 else field.add(result, step.at(2).reshape(-1, *(1,) * dims))


def windows(node: Node, x: Numbers, taps: Sequence[int], outs: Sequence[int], names: Sequence[str]) -> Numbers | None:
    """A random linear function of ``x`` (batch, groups, channels, ...) over channels and windows: (batch, groups, 1, outs)."""
    dims = len(taps)
    if isinstance(node.args.get(names[1]), str):
        return None
    usual: tuple[Arg, ...] = (tuple(taps), 0, 1)
    given = [node.args.get(name) for name in names]
    stride, padding, dilation = (ints(v if v not in (None, ()) else u, dims) for v, u in zip(given, usual, strict=True))
    total: Numbers = np.zeros((*x.shape[:2], 1, *outs), dtype=np.uint64)
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(outs, stride, taps, dilation, strict=True)]
    widths = [(p, max(r - n - p, 0)) for p, r, n in zip(padding, reach, x.shape[3:], strict=True)]
    framed = np.pad(x, [(0, 0)] * 3 + widths)
    for tap in np.ndindex(*taps):
        cut = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in zip(tap, dilation, outs, stride, strict=True))
        total = field.add(total, field.digest(framed[(slice(None),) * 3 + cut], (2,), field.salt("tap", tap)))
    return total


def pooled(step: Step) -> Numbers | None:
    """A maximum or mean over windows: 0 where the whole window is."""
    dims = len(step.node.shape) - 2
    if step.x.ndim != dims + 2 or step.node.args.get("output") == 1:
        return None
    taps = ints(step.node.args.get("kernel_size"), dims)
    split = step.x.reshape(*step.x.shape[:2], 1, *step.x.shape[2:])
    seen = windows(step.node, split, taps, step.node.shape[-dims:], ("stride", "padding", "dilation"))
    return None if seen is None else field.mix_to_zero(seen.reshape(step.node.shape), step.seed)


def pooled_to_one(step: Step) -> Numbers | None:
    """An average pool to one entry a channel is a mean."""
    axes = tuple(range(2, step.x.ndim))
    return average(step.x, axes, keep=True) if all(n == 1 for n in step.node.shape[2:]) else None


def row_wise(axes: Callable[[Step], tuple[int, ...]]) -> Rule:
    """An entry as a function of its value, of its row and of what else the call takes (gain and bias)."""

    def rule(step: Step) -> Numbers:
        row = field.digest(step.x, axes(step))
        return field.mix_all([step.x, row, *step.given[1:]], step.seed)

    return rule


def last_axis(step: Step) -> tuple[int, ...]:
    """The axis of a softmax."""
    return (axis_of(step.node, step.x.ndim, default=-1),)


def normalised_axes(step: Step) -> tuple[int, ...]:
    """The trailing axes of a normalisation by shape."""
    shape = step.node.args.get("normalized_shape")
    count = len(shape) if isinstance(shape, tuple) else 1
    return tuple(range(step.x.ndim - count, step.x.ndim))


def root_mean_square(step: Step) -> Numbers:
    """RMSNorm: what is 0 stays 0."""
    axes = axes_of(step.node.args["dim"], step.x.ndim) if "dim" in step.node.args else normalised_axes(step)
    result = field.mix_all([step.x, field.digest(step.x, axes), *step.given[1:]], step.seed)
    return np.where(step.x == 0, ZERO, result)


def batch_norm(step: Step) -> Numbers:
    """By channel: of running statistics in evaluation, of the whole batch in training."""
    x = step.x
    lifted = [g.reshape(-1, *(1,) * (x.ndim - 2)) for g in step.given[1:] if g.ndim == 1]
    others = tuple(a for a in range(x.ndim) if a != 1)
    trained = step.node.args.get("training") is True
    return field.mix_all([x, *([field.digest(x, others)] if trained else []), *lifted], step.seed)


def chosen(step: Step) -> Numbers:
    """``where`` and ``masked_fill`` by a condition that is known."""
    if step.node.op == "aten.masked_fill":
        return np.where(step.at(1) != 0, step.at(2), step.x)
    return np.where(step.x != 0, step.at(1), step.at(2))


def constant(value: float) -> Rule:
    """A tensor of one value."""
    return lambda step: np.broadcast_to(field.of_values(np.asarray(value)), step.node.shape)


def filled(step: Step) -> Numbers:
    """A tensor of one value that the call gives."""
    given = step.node.args.get("fill_value", step.node.args.get("value"))
    return np.broadcast_to(field.of_values(np.asarray(real(given))), step.node.shape)
