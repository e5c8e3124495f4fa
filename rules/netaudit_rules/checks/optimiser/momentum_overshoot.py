"""NA610."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log10

from netaudit import Audit, Claim, Evidence, Optimizer, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import (
    OVERWHELMING,
    Clip,
    Held,
    against_reference,
    beyond_first,
    clip_of,
    effective_lr,
    gradient_rms,
    held_matrices,
    logarithm,
    momentum,
    place,
    reference_rms,
    rounded,
    times,
    together,
)
from netaudit_rules.checks.optimiser.disproportionate_update import overwhelmed
from netaudit_rules.checks.optimiser.invariance import scale_invariant


@check("NA610", severity="warning", needs={"training", "loss"}, yields_to=("NA301",))
def momentum_overshoot(audit: Audit) -> Iterator[Remark]:
    """Momentum carries a weight several times its own size before it forgets the first gradient.

    Why:
        With momentum m a gradient acts over ``1 / (1 - m)`` updates and moves a weight by ``lr / (1 - m)`` times itself. From 0.9
        to 0.99 that is ten times as far at the same learning rate. When the way is longer than the weight is large, the
        velocity of the first updates carries it past any minimum near by, and there is next to no friction to stop it: the
        loss oscillates, and often diverges.

    How it is found:
        ``lr / (1 - m)`` times the forecast RMS of the gradient, against the RMS of the weight (that of torch's initialisation,
        if the weight is smaller). Healthy models stay below 2.4 times in one step; flagged from twice that on. A first step that
        is too large by itself is NA615. Weights that a normalisation follows are left out.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 4)

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.99)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 4)

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ```

    References:
        Sutskever et al. 2013, section 2; Godbole et al. 2023 (Deep Learning Tuning Playbook), "lr / (1 - momentum)".
    """
    if overwhelmed(audit):
        return
    invariant, clip = scale_invariant(audit), clip_of(audit)
    weights = [one for one in held_matrices(audit) if momentum(one) > 0.0 and one.name not in invariant]
    for optimizer in audit.training.optimizers:
        ways = [(one, way) for one in weights if one.optimizer is optimizer and (way := _way(audit, one, clip)) is not None]
        far = sorted((item for item in ways if item[1] > OVERWHELMING), key=lambda item: -item[1])
        if far:
            yield _remark(audit, optimizer, far)


def _way(audit: Audit, one: Held, clip: Clip) -> float | None:
    """How far a gradient that lasts carries a weight, in sizes of the weight."""
    lr, gradient = effective_lr(one), gradient_rms(audit, one.name)
    if lr is None or gradient is None:
        return None
    return lr * clip(gradient) / reference_rms(audit, one)


def _remark(audit: Audit, optimizer: Optimizer, far: Sequence[tuple[Held, float]]) -> Remark:
    one, way = far[0]
    m, lr = momentum(one), one.group.peak_lr or 0.0
    better = rounded(lr / way)
    shift = beyond_first(one, effective_lr(one)) + against_reference(audit, one)
    return Remark(
        message=f"momentum {m:g} with lr = {lr:g} carries `{one.name}` {times(way)} times its size before the first gradient is forgotten",
        module=together(name.name for name, _ in far),
        where=place(optimizer),
        reason=f"a gradient acts over 1 / (1 - m) = {1 / (1 - m):.3g} updates: the effective learning rate is {effective_lr(one):.3g}",
        evidence=Evidence("lr g / ((1 - m) RMS(W))", logarithm(OVERWHELMING), None, logarithm(way), None, "a gradient that lasts"),
        help=(Remedy(f"lr = {better:g} with this momentum", f"carries it {times(way * better / lr)} times its size"),),
        siblings=tuple(other.name for other, _ in far[1:]),
        claim=Claim("update", (one.name,), log10(OVERWHELMING), "above", slack=0.0, shift=shift),
    )
