"""What several checks of the training set-up share: who holds which parameter, and how large a first step is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf, log10, prod, sqrt

from netaudit import Audit, Group, Optimizer, OptimizerKind, ParamInfo, Where, kind_of
from netaudit_rules.checks.common import common_module, is_matrix, module_of

DOUBT = 2.0
"""A forecast gradient is good to this factor."""
OVERWHELMING = 2.4 * DOUBT
"""Sizes of itself that a weight may move by at once: on 300 models healthy ones stay below 2.4, and a forecast may be out by 2."""
SHARE = 1.0 / 3.0
"""The variance of an entry times its fan-in in torch's default initialisation."""


@dataclass(frozen=True, slots=True)
class Held:
    """A trained parameter in a group of an optimiser of a known kind."""

    name: str
    info: ParamInfo
    optimizer: Optimizer
    group: Group
    kind: OptimizerKind


def held(audit: Audit) -> Iterator[Held]:
    """Every trained parameter that an optimiser of a known kind holds, once for each group that it is in."""
    for optimizer in audit.training.optimizers:
        kind = kind_of(optimizer.kind)
        for group in optimizer.groups:
            for name in group.params:
                info = audit.graph.params.get(name)
                if kind is not None and info is not None and info.trainable:
                    yield Held(name, info, optimizer, group, kind)


def held_matrices(audit: Audit) -> tuple[Held, ...]:
    """Those that are weights rather than biases, gains and other vectors, and are not zero."""
    return tuple(one for one in held(audit) if is_matrix(one.info.shape) and weight_rms(audit, one.name))


def place(optimizer: Optimizer) -> Where:
    """The line that makes an optimiser."""
    return Where(created=optimizer.site)


def together(names: Iterable[str]) -> str:
    """The module that holds all of some parameters."""
    return common_module(module_of(name) for name in names)


# sizes ------------------------------------------------------------------------------------------------------------------


def weight_rms(audit: Audit, name: str) -> float | None:
    """The RMS of a parameter as it is built; None when its values are not known."""
    moments = audit.facts.signals[audit.graph.params[name].node].moments
    return None if moments is None else sqrt(moments.mean_square)


def reference_rms(audit: Audit, one: Held) -> float:
    """The RMS of a weight, or of torch's default initialisation for its shape if that is larger.

    A head that starts near zero is meant to move by many times its size.
    """
    return max(weight_rms(audit, one.name) or 0.0, sqrt(SHARE / max(prod(one.info.shape[1:]), 1)))


def gradient_rms(audit: Audit, name: str) -> float | None:
    """FORECAST RMS of a parameter's gradient; None when unknown, or when no loss was given that would say how large it is."""
    forecast = audit.flow.params[name].forecast
    return None if forecast is None or audit.flow.seed != "loss" else power(forecast)


def coming_gradient_rms(audit: Audit, name: str) -> float | None:
    """The same now, or once factors that start at zero have moved, if that is more: a gradient may be small for the moment only."""
    now, later = gradient_rms(audit, name), None if audit.later is None else audit.later.params[name].forecast
    return now if now is None or later is None else max(now, power(later))


def gradient_norm(audit: Audit, names: Iterable[str]) -> float | None:
    """FORECAST l2 norm of the gradient of some parameters together; None when one is unknown."""
    total = 0.0
    for name in names:
        rms = gradient_rms(audit, name)
        if rms is None:
            return None
        total += prod(audit.graph.params[name].shape) * min(rms, 1e150) ** 2
    return sqrt(total)


def whole_norm(audit: Audit) -> float | None:
    """FORECAST norm of the whole gradient, which clipping looks at; None when part of it is unknown."""
    return gradient_norm(audit, dict.fromkeys(one.name for one in held(audit)))


def power(log: float) -> float:
    """``10^x`` without overflow."""
    return inf if log > 300 else 10.0**log


def logarithm(value: float) -> float | None:
    """log10 of a size for a report; None for what has none."""
    return log10(value) if 0.0 < value < inf else None


def times(value: float) -> str:
    """A factor as people read it."""
    return f"{value:.2g}" if value < 100 else f"{value:.0f}" if value < 1e5 else f"{value:.1e}"


def rounded(value: float) -> float:
    """A number that one would write down: one digit."""
    return float(f"{value:.1g}")


def middle(values: Iterable[float]) -> float:
    """The median (the upper of two)."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


# steps ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clip:
    """What clipping does to a gradient of an RMS: the factor by norm, and the largest entry."""

    factor: float = 1.0
    largest: float = inf

    def __call__(self, gradient: float) -> float:
        """The RMS that is left."""
        return min(gradient * self.factor, self.largest)


def clip_of(audit: Audit) -> Clip:
    """The clipping of a training; by norm only where the norm of the whole gradient is known."""
    threshold, largest = audit.training.clip, audit.training.clip_value
    whole = None if threshold is None else whole_norm(audit)
    factor = min(1.0, threshold / whole) if threshold is not None and whole else 1.0
    return Clip(factor, inf if largest is None else largest)


def step(audit: Audit, one: Held, lr: float | None, clip: Clip, *, first: bool = False) -> float | None:
    """The RMS of a parameter's update with a learning rate, the ``first`` one or an early one; None when it is not known.

    ``gradient``: ``lr g`` (times ``1 + m`` with Nesterov), after clipping. ``sign``: every entry moves by lr, as far as eps lets it;
    RMSprop's running mean starts at 0, so that its first step is ``1 / sqrt(1 - alpha)`` times that.
    """
    if lr is None:
        return None
    by_size = one.kind.step == "gradient"
    gradient = gradient_rms(audit, one.name) if first and by_size else coming_gradient_rms(audit, one.name)
    if by_size:
        return None if gradient is None else lr * clip(gradient) * (1.0 + _look_ahead(one.group))
    return lr * _normalised(one.group, gradient) if one.kind.step == "sign" else None


def against_reference(audit: Audit, one: Held) -> float:
    """log10 of a weight's RMS over its reference: what a step over the weight itself is more than one over the reference."""
    return log10((weight_rms(audit, one.name) or 1.0) / reference_rms(audit, one))


def beyond_first(one: Held, lr: float | None) -> float:
    """log10 of the step that a learning rate makes over the first one, where steps are ``lr g``."""
    first = one.group.first_lr
    return log10(lr / first / (1.0 + _look_ahead(one.group))) if lr and first else 0.0


def _look_ahead(group: Group) -> float:
    return (group.number("momentum") or 0.0) if group.settings.get("nesterov") is True else 0.0


def _normalised(group: Group, gradient: float | None) -> float:
    """``|g| / (sqrt(v) + eps)`` at the first step."""
    alpha, start = group.number("alpha"), group.number("initial_accumulator_value") or 0.0
    largest = 1.0
    if alpha is not None:
        largest = 1.0 / sqrt((1.0 - alpha) * (alpha if group.settings.get("centered") is True else 1.0))
    if gradient is None or gradient in (0.0, inf):
        return largest
    below = sqrt(start + (gradient / largest) ** 2) + (group.number("eps") or 0.0)
    return gradient / below


def momentum(one: Held) -> float:
    """The share of the last step that the next one keeps, for optimisers that add gradients up: 0 for averages, as Adam's."""
    return (one.group.number("momentum") or 0.0) if one.kind.step == "gradient" else 0.0


def effective_lr(one: Held) -> float | None:
    """``lr / (1 - m)``: what a gradient that stays the same moves a weight by in the end, for every update that it lasts.

    Dampening d takes the share ``1 - d`` of every gradient but the first.
    """
    lr, m = one.group.peak_lr, momentum(one)
    if lr is None:
        return None
    return inf if m >= 1.0 else lr * (1.0 - (one.group.number("dampening") or 0.0) * bool(m)) / (1.0 - m)
