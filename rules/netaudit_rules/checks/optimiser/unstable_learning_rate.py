"""NA609."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, log10

from netaudit import EXPLODING, FORECAST_ERROR, Audit, Claim, Evidence, Optimizer, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import (
    DOUBT,
    Clip,
    Held,
    clip_of,
    gradient_norm,
    gradient_rms,
    held,
    logarithm,
    momentum,
    place,
    rounded,
    times,
)
from netaudit_rules.checks.optimiser.disproportionate_update import overwhelmed
from netaudit_rules.checks.optimiser.invariance import exposed

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
        (training settles at the edge of it) by more than a forecast may be wrong by. Parameters are left out whose every way to
        the loss passes a normalisation: what grows there is normalised. The learning rate is that of the first update. Gradients
        that are too large whatever the optimiser are NA301.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

        def example_inputs():
            return 20 * torch.randn(256, 64)

        def loss(model, inputs):
            return nn.functional.mse_loss(model(inputs), inputs.mean(1, keepdim=True))

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.1)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

        def example_inputs():
            return torch.randn(256, 64)

        def loss(model, inputs):
            return nn.functional.mse_loss(model(inputs), inputs.mean(1, keepdim=True))

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.1)
        ```

    References:
        Polyak 1964 (heavy ball); Cohen et al. 2021 (edge of stability), section 2; Srebro et al. 2010, lemma 2.1
        (``||grad L||^2 <= 2 lambda L`` for a smooth loss that is not negative; there with a constant of 4).
    """
    spare = _loss_above_bound(audit)
    if spare is None or _explodes(audit) or overwhelmed(audit):  # NA301 and NA615 say more: which weight, and how far
        return
    free, clip = exposed(audit), clip_of(audit)
    for optimizer in audit.training.optimizers:
        own = [one for one in held(audit) if one.optimizer is optimizer and one.kind.name in ("SGD", "ASGD") and one.name in free]
        over = _over_limit(audit, own, spare, clip)
        if over is not None and over > LIMIT:
            yield _remark(audit, optimizer, own, over)


def _explodes(audit: Audit) -> bool:
    """Whether a gradient is too large whatever the optimiser."""
    sizes = (audit.flow.sensitivity(one.name) for one in held(audit))
    return any(s is not None and s > EXPLODING + FORECAST_ERROR for s in sizes)


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


def _over_limit(audit: Audit, own: list[Held], spare: float, clip: Clip) -> float | None:
    """``sum of lr ||G||^2 / (4 L (1 + m))`` over groups: the learning rate over the limit, at least."""
    total = 0.0
    for group in {id(one.group): one for one in own}.values():
        names = [one.name for one in own if one.group is group.group]
        norm, lr = gradient_norm(audit, names), group.group.first_lr
        if norm is None or lr is None:
            return None
        rms = max(gradient_rms(audit, name) or 0.0 for name in names)
        shrunk = clip(rms) / rms if rms else 1.0
        total += lr * shrunk * min(norm, 1e150) ** 2 / (4.0 * spare * (1.0 + momentum(group)))
    return total if own else None


def _remark(audit: Audit, optimizer: Optimizer, own: list[Held], over: float) -> Remark:
    lr = max(one.group.first_lr or 0.0 for one in own)
    better = rounded(lr / over)
    return Remark(
        message=f"lr = {lr:g} is forecast to be at least {times(over)} times the largest that {optimizer.kind} is stable with",
        where=place(optimizer),
        severity="error" if over > CERTAIN * LIMIT else "warning",
        reason="the loss cannot fall below its bound, so with this gradient its curvature is at least ||G||^2 / (2 L)",
        evidence=Evidence("lr lambda / (2 (1 + m))", logarithm(EDGE), None, logarithm(over), None, "a lower estimate of lambda"),
        help=(Remedy(f"lr = {better:g} or less", f"{times(over * better / lr)} times that limit by this estimate, which is a lower one"),),
        claim=Claim("edge", audit.graph.heads[:1], log10(EDGE), "above"),
    )
