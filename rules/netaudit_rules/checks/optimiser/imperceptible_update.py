"""NA621."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from netaudit import Audit, Claim, Evidence, Optimizer, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import (
    DOUBT,
    Clip,
    Held,
    beyond_first,
    clip_of,
    held_matrices,
    logarithm,
    place,
    step,
    weight_rms,
)

MOVED = 1e-3
"""The share of its size that a weight has to be able to move by over the whole training."""
LONG = 10_000
"""Updates that a training is taken to have where nobody says."""


@check("NA621", severity="warning", needs={"training"})
def imperceptible_update(audit: Audit) -> Iterator[Remark]:
    """The learning rate is so small that no weight will have moved in the end.

    Why:
        Nothing fails: the loss just stays where it is. A rate that was meant for another optimiser, an exponent with a digit too
        many, a schedule that has gone to zero.

    How it is found:
        The step that the optimiser makes at its largest learning rate, times the number of updates (10 000 where nobody says), is
        below a thousandth of the size of the weight, for every weight. SGD's step is the forecast one; it has to be below by
        more than a forecast may be wrong by.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(8, 64)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=1e-9)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(8, 64)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=1e-6)
        ```

    References:
        Kingma & Ba 2015, section 2.1 (the step is bounded by lr).
    """
    clip = clip_of(audit)
    for optimizer in audit.training.optimizers:
        own = [one for one in held_matrices(audit) if one.optimizer is optimizer]
        moved = [_reach(audit, one, clip) for one in own]
        known = [share for share in moved if share is not None]
        if known and len(known) == len(own) and max(known) < MOVED:
            yield _remark(audit, optimizer, own, max(known))


def _reach(audit: Audit, one: Held, clip: Clip) -> float | None:
    """The share of its size that a weight moves by at most."""
    size, weight = step(audit, one, one.group.peak_lr, clip), weight_rms(audit, one.name)
    if size is None or not weight or (one.kind.step == "gradient" and audit.later is not None):
        return None  # a gradient that is small for the moment says little of the later ones
    doubt = DOUBT / (1.0 - min(one.group.number("momentum") or 0.0, 0.999)) if one.kind.step == "gradient" else 1.0
    return doubt * size * (audit.training.steps or LONG) / weight


def _remark(audit: Audit, optimizer: Optimizer, own: list[Held], share: float) -> Remark:
    lr = max(one.group.peak_lr or 0.0 for one in own)
    steps = audit.training.steps or LONG
    said = "" if audit.training.steps else f", which nobody gave: {LONG} are assumed"
    first = own[0]
    lasting = 1.0 - min(first.group.number("momentum") or 0.0, 0.999) if first.kind.step == "gradient" else 1.0
    grown = beyond_first(first, first.group.peak_lr) if first.kind.step == "gradient" else 0.0
    return Remark(
        message=f"with lr = {lr:g} no weight can move by more than {share:.1e} of its size in {steps} updates",
        where=place(optimizer),
        reason=f"the largest step times the number of updates{said}",
        evidence=Evidence("RMS(dW) / RMS(W), whole training", logarithm(MOVED), None, logarithm(share), None, "all steps in one direction"),
        help=(Remedy("say how many updates there are with --steps, or raise the learning rate"),),
        claim=Claim("update", tuple(one.name for one in own), log10(MOVED), "below", slack=0.0, shift=log10(steps / lasting) + grown),
    )
