"""NA612."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, log10, prod, sqrt

from netaudit import VANISHING, Audit, Claim, Evidence, Optimizer, Remark, Remedy, best_sensitivity, check, is_coupled
from netaudit_rules.checks.optimiser.common import (
    DOUBT,
    Held,
    coming_gradient_rms,
    effective_lr,
    held_matrices,
    logarithm,
    middle,
    place,
    rounded,
    times,
    together,
    weight_rms,
)
from netaudit_rules.checks.optimiser.invariance import scale_invariant

CERTAIN = 100.0


@check("NA612", severity="warning", needs={"training"})
def dominant_weight_decay(audit: Audit) -> Iterator[Remark]:
    """Weight decay is stronger than the gradient, and takes the weights to zero.

    Why:
        Decay as an L2 penalty pulls a weight with ``wd W``. The loss can push it with no more than its gradient, in any
        direction. Where the pull is stronger from the start, all layers shrink together, and since the gradient of each is
        proportional to the others, it falls faster than the pull: the net ends at zero and predicts a constant. Decoupled
        decay is matched against the step: entries that move by at most lr settle below ``1 / wd``.

    How it is found:
        For a penalty: ``wd`` times the spectral norm of the weight (that of random entries of its RMS) against the norm of its
        forecast gradient, for weights that get a gradient and that no normalisation follows; flagged when the pull is stronger for
        half of them by more than a forecast may be wrong by. Decoupled: when ``1 / wd`` is below the RMS of half the weights.
        An error when ``lr wd / (1 - m)`` is above 2: the decay alone then overshoots zero by more than it started from.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

        def example_inputs():
            return torch.randn(64, 32)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(64) % 10)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1.0)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

        def example_inputs():
            return torch.randn(64, 32)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(64) % 10)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-3)
        ```

    References:
        Loshchilov & Hutter 2019, section 2; Saxe et al. 2014, section 3 (the origin is a saddle that decay makes a minimum);
        Bai & Yin 1993 (the spectral norm of random entries).
    """
    invariant = scale_invariant(audit)
    for optimizer in audit.training.optimizers:
        own = [one for one in held_matrices(audit) if one.optimizer is optimizer and (one.group.number("weight_decay") or 0.0) > 0.0]
        unstable = [one for one in own if _own_step(one) > 2.0]
        if unstable:
            yield _overshoots(optimizer, unstable)
            continue
        pulls = [(one, pull) for one in own if one.name not in invariant and (pull := _pull(audit, one)) is not None]
        if pulls and middle(pull / _doubt(one) for one, pull in pulls) > 1.0:
            yield _rules(audit, optimizer, pulls)


def _own_step(one: Held) -> float:
    """``lr wd / (1 - m)``: the share of a weight that decay takes away, where that does not depend on the gradient."""
    if one.kind.step != "gradient" and is_coupled(one.kind, one.group):
        return 0.0
    return (effective_lr(one) or 0.0) * (one.group.number("weight_decay") or 0.0)


def _pull(audit: Audit, one: Held) -> float | None:
    """The pull of the decay over what holds against it; None when that is not known."""
    if not is_coupled(one.kind, one.group):
        return (one.group.number("weight_decay") or 0.0) * (weight_rms(audit, one.name) or 0.0) if one.kind.step == "sign" else None
    reached = best_sensitivity(audit.flow, audit.later, one.name)
    gradient = coming_gradient_rms(audit, one.name)
    if gradient is None or reached is None or reached < VANISHING:
        return None
    return _strength(audit, one) / gradient if gradient else inf


def _doubt(one: Held) -> float:
    """What a pull may be wrong by: against a step of lr both sides are known."""
    return DOUBT if is_coupled(one.kind, one.group) else 1.0


def _overshoots(optimizer: Optimizer, found: Sequence[Held]) -> Remark:
    one = found[0]
    return Remark(
        message=f"lr * weight decay = {_own_step(one):.2g} throws `{one.name}` beyond zero by more than it started from",
        module=together(other.name for other in found),
        where=place(optimizer),
        severity="error",
        reason="without any gradient the weight is multiplied by 1 - lr wd (over 1 - m with momentum) at every step",
        siblings=tuple(other.name for other in found[1:]),
        key="overshoots",
    )


def _rules(audit: Audit, optimizer: Optimizer, pulls: Sequence[tuple[Held, float]]) -> Remark:
    typical = middle(pull for _, pull in pulls)
    strong = [(one, pull) for one, pull in pulls if pull > _doubt(one)]
    one, pull = max(strong, key=lambda item: item[1])
    decay = one.group.number("weight_decay") or 0.0
    coupled, better = is_coupled(one.kind, one.group), rounded(decay / typical / 10)
    against = "its gradient can push, in any direction" if coupled else "steps of lr can hold against it"
    return Remark(
        message=f"weight decay {decay:g} pulls {len(strong)} of {len(pulls)} weights to zero harder than the loss holds them",
        module=together(other.name for other, _ in strong),
        where=place(optimizer),
        severity="error" if typical > CERTAIN * _doubt(one) else "warning",
        reason=f"`{one.name}` is pulled {times(pull)} times as hard as {against}",
        evidence=Evidence("pull / hold", 0.0, None, logarithm(typical), None, "median over weights; weights of random entries"),
        help=(
            Remedy(
                f"weight decay = {better:g}",
                f"pulls {times(typical * better / decay)} times as hard as the loss holds",
            ),
        ),
        siblings=tuple(other.name for other, _ in strong if other is not one),
        key="rules",
        claim=_claim(audit, pulls) if coupled else None,
    )


def _claim(audit: Audit, pulls: Sequence[tuple[Held, float]]) -> Claim:
    """The gradient of the middle weight is below what its penalty pulls with."""
    one, _ = sorted(pulls, key=lambda item: item[1] / _doubt(item[0]))[len(pulls) // 2]
    return Claim("gradient", (one.name,), log10(_strength(audit, one)), "below", aside=True)


def _strength(audit: Audit, one: Held) -> float:
    """``wd ||W||`` for random entries, as the RMS of a gradient of that norm."""
    rows, columns = one.info.shape[0], prod(one.info.shape[1:])
    spectral = (weight_rms(audit, one.name) or 0.0) * (sqrt(rows) + sqrt(columns))
    return (one.group.number("weight_decay") or 0.0) * spectral / sqrt(rows * columns)
