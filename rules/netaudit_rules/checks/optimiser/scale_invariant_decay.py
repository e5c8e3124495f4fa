"""NA611."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

from netaudit import Audit, Evidence, Optimizer, Remark, Remedy, check, is_coupled
from netaudit_rules.checks.optimiser.common import Held, gradient_norm, held_matrices, logarithm, place, times, together, weight_rms
from netaudit_rules.checks.optimiser.invariance import scale_invariant

FAST = 0.3
"""Radians by which a weight turns in one update in equilibrium: it is another one after a dozen updates."""
FADED = 10.0
"""The factor by which the effective learning rate of undecayed weights may fall over the training before it is worth a note."""


@check("NA611", severity="warning", needs={"training"})
def scale_invariant_decay(audit: Audit) -> Iterator[Remark]:
    """Weight decay sets the learning rate of weights that a normalisation follows, and sets it badly.

    Why:
        A norm takes out the size of the weight before it, so only its direction matters, and the gradient is orthogonal to it:
        every step makes the weight longer, decay makes it shorter. The two balance where the weight turns by
        ``sqrt(2 lr wd / (1 + m))`` a step (Adam: ``sqrt(2 lr wd (1 - beta1) / (1 + beta1))``), whatever the gradient. When
        that is large the direction is forgotten at once; without decay the weight grows and its effective learning rate,
        ``lr / |w|^2``, falls by itself.

    How it is found:
        Weights whose linear map is followed by a normalisation with nothing between that knows their size. A warning when the
        equilibrium turns them by more than 0.3 rad an update. A note when SGD has no decay and the growth that the forecast
        gradient makes lowers the effective rate by more than 10 over the updates, if their number is given.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.5)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        ```

    References:
        van Laarhoven 2017, section 2; Wan et al. 2021, theorem 1; Kosson et al. 2023, table 1.
    """
    invariant = scale_invariant(audit)
    weights = [one for one in held_matrices(audit) if one.name in invariant]
    for optimizer in audit.training.optimizers:
        own = [one for one in weights if one.optimizer is optimizer]
        turning = [(one, turn) for one in own if (turn := _rotation(one)) is not None and turn > FAST]
        if turning:
            yield _turning(optimizer, turning)
        else:
            yield from _fading(audit, optimizer, own)


def _rotation(one: Held) -> float | None:
    """Radians an update in equilibrium; None where no formula is known."""
    lr, decay = one.group.peak_lr, one.group.number("weight_decay")
    if not lr or not decay:
        return None
    if one.kind.name == "SGD":
        return sqrt(2.0 * lr * decay / (1.0 + (one.group.number("momentum") or 0.0)))
    if one.kind.step == "sign" and not is_coupled(one.kind, one.group):
        first = one.group.betas[0] if one.group.betas else 0.0
        return sqrt(2.0 * lr * decay * (1.0 - first) / (1.0 + first))
    return None


def _turning(optimizer: Optimizer, found: Sequence[tuple[Held, float]]) -> Remark:
    one, turn = max(found, key=lambda item: item[1])
    lr, decay = one.group.peak_lr or 0.0, one.group.number("weight_decay") or 0.0
    memory, balance = max(1, round(1 / turn**2)), 1 / (lr * decay)
    return Remark(
        message=f"lr = {lr:g} with weight decay {decay:g} turns {len(found)} normalised weights by {turn:.2g} rad an update in equilibrium",
        module=together(other.name for other, _ in found),
        where=place(optimizer),
        reason=f"their direction is forgotten within {memory} updates, their size balances within {balance:.2g}",
        help=(Remedy("keep lr * wd at 1e-3 or below"),),
        siblings=tuple(other.name for other, _ in found[1:]),
        key="turning",
    )


def _fading(audit: Audit, optimizer: Optimizer, own: Sequence[Held]) -> Iterator[Remark]:
    steps = audit.training.steps
    still = [one for one in own if one.kind.name == "SGD" and not one.group.number("weight_decay")]
    known = [(one, fall) for one in still if steps is not None and (fall := _fall(audit, one, steps)) is not None and fall > FADED]
    if known:
        one, fall = max(known, key=lambda item: item[1])
        yield Remark(
            message=f"without weight decay `{one.name}` grows until its effective learning rate is {times(fall)} times smaller",
            module=together(other.name for other, _ in known),
            where=place(optimizer),
            severity="info",
            reason="the gradient of a normalised weight is orthogonal to it: every step makes it longer",
            evidence=Evidence("fall of lr / |w|^2", logarithm(FADED), None, logarithm(fall), None, "steps at random angles"),
            siblings=tuple(other.name for other, _ in known if other is not one),
            key="fading",
        )


def _fall(audit: Audit, one: Held, steps: int) -> float | None:
    """``(|w_T| / |w_0|)^2`` from ``|w|^4 = |w_0|^4 + 2 T (lr |w_0| |g_0|)^2``: steps are orthogonal, and g falls as 1 / |w|."""
    lr, gradient, rms = one.group.peak_lr, gradient_norm(audit, [one.name]), weight_rms(audit, one.name)
    if lr is None or gradient is None or not rms:
        return None
    size = rms * sqrt(audit.facts.signals[one.info.node].count)
    rate = lr * gradient / (1.0 - min(one.group.number("momentum") or 0.0, 0.999)) / size
    return sqrt(1.0 + 2.0 * steps * rate * rate)
