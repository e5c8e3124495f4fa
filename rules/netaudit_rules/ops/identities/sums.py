"""Sums, means, lengths and distances."""

from __future__ import annotations

from math import prod

import numpy as np

from netaudit_rules.ops.common import axes_of, axis_of

from . import field
from .field import Numbers
from .step import Step


def _axes(step: Step) -> tuple[tuple[int, ...], bool]:
    return axes_of(step.node.args.get("dim"), step.x.ndim), step.node.args.get("keepdim") is True


def average(x: Numbers, axes: tuple[int, ...], *, keep: bool) -> Numbers:
    """The mean over axes."""
    count = prod(x.shape[a] for a in axes)
    return field.mul(field.total(x, axes, keep=keep), field.inverse(field.of_values(np.asarray(float(count)))))


def total(step: Step) -> Numbers:
    """A sum over axes."""
    axes, keep = _axes(step)
    return field.total(step.x, axes, keep=keep)


def mean(step: Step) -> Numbers:
    """A mean over axes."""
    axes, keep = _axes(step)
    return average(step.x, axes, keep=keep)


def centred(step: Step) -> Numbers:
    """``x - mean(x)``."""
    return field.sub(step.x, average(step.x, _axes(step)[0], keep=True))


def variance(step: Step) -> Numbers:
    """Up to the factor by which an unbiased one differs."""
    if step.node.args.get("output") == 1:
        return mean(step)
    axes, keep = _axes(step)
    off = centred(step)
    return average(field.mul(off, off), axes, keep=keep)


def deviation(step: Step) -> Numbers:
    """A standard deviation, likewise."""
    return mean(step) if step.node.args.get("output") == 1 else field.root(variance(step))


def length(x: Numbers, axes: tuple[int, ...], *, keep: bool) -> Numbers:
    """The l2 norm over axes, or a number whose square is minus that square."""
    return field.root(field.total(field.mul(x, x), axes, keep=keep))


def norm(step: Step) -> Numbers:
    """A norm over axes: of l2 the length, of others some function that is 0 for a zero row."""
    axes, keep = _axes(step)
    order = step.node.args.get("ord", step.node.args.get("p"))
    if order in (None, 2, "fro"):
        return length(step.x, axes, keep=keep)
    return field.mix_to_zero(collapsed(field.digest(step.x, axes), axes, keep=keep), step.seed)


def of_rows(step: Step) -> Numbers:
    """Some function of the entries along axes that is 0 where all of them are (a maximum, a norm)."""
    axes, keep = _axes(step)
    return field.mix_to_zero(collapsed(field.digest(step.x, axes), axes, keep=keep), step.seed)


def collapsed(x: Numbers, axes: tuple[int, ...], *, keep: bool) -> Numbers:
    """Axes of size 1 taken away, unless they stay."""
    return x if keep else np.asarray(x.squeeze(axes))


def unit(step: Step) -> Numbers:
    """A row over its length: its square sums to 1 or -1."""
    axes = axes_of(step.node.args["dim"], step.x.ndim)
    return field.mul(step.x, field.inverse(length(step.x, axes, keep=True)))


def similarity(step: Step) -> Numbers:
    """A cosine: 1 or -1 of a row with itself."""
    a, b = np.broadcast_arrays(step.x, step.at(1))
    axes = (axis_of(step.node, a.ndim, default=1),)
    lengths = field.mul(length(a, axes, keep=False), length(b, axes, keep=False))
    return field.mul(field.total(field.mul(a, b), axes, keep=False), field.inverse(lengths))


def distances(step: Step) -> Numbers:
    """``cdist``: 0 where two rows are one."""
    a, b = (field.digest(x, (x.ndim - 1,)) for x in step.xs[:2] if x is not None)
    off = field.sub(a, np.swapaxes(b, -1, -2))
    return field.mix_to_zero(field.mul(off, off), step.seed)


def running(step: Step) -> Numbers:
    """Running sums."""
    return np.asarray(np.cumsum(step.x, axis_of(step.node, step.x.ndim), dtype=np.uint64) % np.uint64(field.P)) if step.x.ndim else step.x
