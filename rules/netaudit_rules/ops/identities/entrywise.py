"""Functions of one entry, and of entries side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netaudit_rules.ops.common import real

from . import field
from .field import Numbers
from .step import ZERO, Rule, Step


def hashed(step: Step) -> Numbers:
    """A function of which nothing is known."""
    return field.mix_all(step.given, step.seed)


def from_zero(step: Step) -> Numbers:
    """A function with ``f(0) = 0``."""
    return field.mix_to_zero(step.x, step.seed)


def known_at(images: Mapping[int, int]) -> Rule:
    """A function of which some values are known."""

    def rule(step: Step) -> Numbers:
        result = field.mix(step.x, step.seed)
        for at, value in images.items():
            result = np.where(step.x == np.uint64(at), np.uint64(value), result)
        return result

    return rule


def absolute(step: Step) -> Numbers:
    """``|x|``: the same for x and -x."""
    return field.mix_to_zero(np.minimum(step.x, field.sub(np.zeros_like(step.x), step.x)), step.seed)


def clamped(step: Step) -> Numbers:
    """0, 1 and -1 stay when they lie between the bounds; of other numbers it is not known where they lie."""
    bounds = [step.node.args.get(name) for name in ("min", "max")]
    numbers = [float(b) if isinstance(b, (int, float)) else None for b in bounds]
    if len(step.given) > 1 + sum(n is not None for n in numbers):
        return hashed(step)
    low, high = numbers
    result = field.mix(step.x, step.seed)
    for value in (0.0, 1.0, -1.0):
        if (low is None or low <= value) and (high is None or high >= value):
            number = field.of_values(np.asarray(value))
            result = np.where(step.x == number, number, result)
    return result


def dropped(step: Step) -> Numbers:
    """Dropout: what is 0 stays 0, what is kept is not known."""
    if step.node.args.get("train") is False or step.node.args.get("p") == 0.0:
        return step.x
    return np.where(step.x == 0, ZERO, field.fresh(step.x.shape, step.seed))


def cast(step: Step) -> Numbers:
    """A cast that may round: another number, but 0 stays 0."""
    return field.mix_to_zero(step.x, field.salt("cast", step.node.dtype))


def added(sign: int) -> Rule:
    """``x + alpha y`` or ``x - alpha y``."""

    def rule(step: Step) -> Numbers:
        alpha = field.of_values(np.asarray(real(step.node.args.get("alpha"), 1.0)))
        other = field.mul(step.at(1), alpha)
        return field.add(step.x, other) if sign > 0 else field.sub(step.x, other)

    return rule


def reversed_difference(step: Step) -> Numbers:
    """``y - alpha x``."""
    return field.sub(step.at(1), field.mul(step.x, field.of_values(np.asarray(real(step.node.args.get("alpha"), 1.0)))))


def quotient(step: Step) -> Numbers:
    """``x / y``; a rounded one is some function of both."""
    if step.node.args.get("rounding_mode") is not None:
        return hashed(step)
    return field.mul(step.x, field.inverse(step.at(1)))


def power(step: Step) -> Numbers:
    """``x^p``: exact for whole p and for 1/2 (a square root)."""
    p = step.node.operands[1]
    if not isinstance(p, float):
        return hashed(step)
    if abs(p) == 0.5:
        rooted = field.root(step.x)
        return rooted if p > 0 else field.inverse(rooted)
    if p != int(p) or abs(p) > 64:
        return from_zero(step) if p > 0 else field.mix(step.x, step.seed)
    return field.power(step.x, int(p)) if p >= 0 else field.inverse(field.power(step.x, int(-p)))


def extreme(step: Step) -> Numbers:
    """Maximum and minimum of two tensors: what is equal stays."""
    a, b = np.broadcast_arrays(step.x, step.at(1))
    return np.where(a == b, a, field.mix_all([field.add(a, b), field.mul(a, b)], step.seed))
