"""NA609."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, sqrt

from netaudit import Audit, Evidence, Optimizer, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import DOUBT, Held, clipping, gradient_norm, held, logarithm, momentum, place, power
from netaudit_rules.checks.optimiser.invariance import scale_invariant

EDGE = 2.0
"""Multiples of the limit at which training still goes on: it settles at the edge of stability, at values about 1."""
LIMIT = EDGE * DOUBT * DOUBT
"""The square of a forecast gradient is good to a factor of 4."""
CERTAIN = 100.0


@check("NA609", severity="warning", needs={"training", "loss"}, yields_to=("NA301",))
def unstable_learning_rate(audit: Audit) -> Iterator[Remark]:
    """The learning rate of SGD is too large for the curvature of the loss.

    Why:
        Gradient descent is stable below ``2 / lambda``, ``lambda`` the largest curvature; with momentum m below
        ``2 (1 + m) / lambda``. Above it every step overshoots by more than it corrects, and the loss grows until it is NaN.

    How it is found:
        A loss that cannot be negative (that is proved from the graph) and falls with slope ``||G||`` must turn before it is
        zero, so its curvature reaches ``||G||^2 / (2 L)`` somewhere on the way, whatever the network: a lower estimate of
        ``lambda`` from the forecast gradient and the forecast loss. Flagged when the learning rate is above twice the limit
        (training settles at the edge of it) by more than a forecast may be wrong by. Weights that a normalisation follows are
        left out: they grow until their steps are small enough. The learning rate is that of the first update.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

        def example_inputs():
            return 100 * torch.randn(32, 64)

        def loss(model, inputs):
            return nn.functional.mse_loss(model(inputs), inputs[:, :1])

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

        def example_inputs():
            return torch.randn(32, 64)

        def loss(model, inputs):
            return nn.functional.mse_loss(model(inputs), inputs[:, :1])

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ```

    References:
        Polyak 1964 (heavy ball); Cohen et al. 2021 (edge of stability), section 2; Srebro et al. 2010, lemma 2.1
        (``||grad L||^2 <= 2 lambda L`` for a smooth loss that is not negative; there with a constant of 4).
    """
    spare = _loss_above_bound(audit)
    if spare is None:
        return
    invariant = scale_invariant(audit)
    for optimizer in audit.training.optimizers:
        own = [one for one in held(audit) if one.optimizer is optimizer and one.kind.name in ("SGD", "ASGD") and one.name not in invariant]
        times = _times_limit(audit, own, spare)
        if times is not None and times > LIMIT:
            yield _remark(optimizer, own, times)


def _loss_above_bound(audit: Audit) -> float | None:
    """How far the forecast loss is above what it is proved never to fall below; None when either is not known."""
    loss = audit.graph.loss
    if loss is None or audit.facts.nodes[loss].shape not in ((), (1,)):
        return None
    signal = audit.facts.signals[loss]
    if signal.moments is None or not isfinite(signal.range.lo):
        return None
    spare = signal.moments.mean - signal.range.lo
    return spare if spare > 0.0 else None


def _times_limit(audit: Audit, own: list[Held], spare: float) -> float | None:
    """``sum of lr ||G||^2 / (4 L (1 + m))`` over groups: the learning rate over the limit, at least."""
    total = 0.0
    for group in {id(one.group): one for one in own}.values():
        names = [one.name for one in own if one.group is group.group]
        norm, lr = gradient_norm(audit, names), group.group.first_lr
        if norm is None or lr is None:
            return None
        rms = max((power(f) for name in names if (f := audit.flow.params[name].forecast) is not None), default=0.0)
        total += lr * clipping(audit, rms) * min(norm, 1e150) ** 2 / (4.0 * spare * (1.0 + momentum(group)))
    return total if own else None


def _remark(optimizer: Optimizer, own: list[Held], times: float) -> Remark:
    lr = max(one.group.first_lr or 0.0 for one in own)
    return Remark(
        message=f"lr = {lr:g} is forecast to be at least {times:.2g} times the largest that {optimizer.kind} is stable with",
        where=place(optimizer),
        severity="error" if times > CERTAIN * LIMIT else "warning",
        reason="the loss cannot fall below its bound, so with this gradient its curvature is at least ||G||^2 / (2 L)",
        evidence=Evidence(
            "lr lambda / (2 (1 + m))", logarithm(EDGE), None, logarithm(times), None, "curvature from the gradient alone: a lower estimate"
        ),
        help=(Remedy(f"lr = {lr / times / sqrt(DOUBT):.1g} or less, or inputs, targets and weights of unit scale"),),
    )
