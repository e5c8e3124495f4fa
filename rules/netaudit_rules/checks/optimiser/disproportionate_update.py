"""NA615."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log10

from netaudit import Audit, Claim, Evidence, Optimizer, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import (
    OVERWHELMING,
    Clip,
    Held,
    against_reference,
    clip_of,
    held_matrices,
    logarithm,
    place,
    reference_rms,
    rounded,
    step,
    times,
    together,
)
from netaudit_rules.checks.optimiser.invariance import scale_invariant

CERTAIN = 100.0


@check("NA615", severity="warning", needs={"training"}, yields_to=("NA301",))
def disproportionate_update(audit: Audit) -> Iterator[Remark]:
    """The first step of the optimiser is several times as large as the weights.

    Why:
        What a weight was initialised with is gone after such a step, and with it the scale that signals and gradients had. The
        loss jumps, units saturate or die, and what follows starts from a worse place than a random one.

    How it is found:
        Adam and its kin move every entry by the learning rate whatever the gradient; SGD moves it by ``lr`` times the forecast
        gradient. Flagged when the RMS of the step is more than 4.8 times that of a weight (that of torch's initialisation, if
        the weight is smaller): healthy models stay below half of it. Vectors and weights that start at zero are left out, and
        weights that a normalisation follows: they keep the scale of the signal, and grow until their steps are small.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(8, 64)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=1.0)
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
            return torch.optim.Adam(model.parameters(), lr=1e-3)
        ```

    References:
        You et al. 2017 (LARS), section 4; Kingma & Ba 2015, section 2.1 (the step is bounded by lr).
    """
    found = overwhelmed(audit)
    for optimizer in audit.training.optimizers:
        large = sorted(((one, size) for one, size in found if one.optimizer is optimizer), key=lambda item: -item[1])
        if large:
            yield _remark(audit, optimizer, large)


def overwhelmed(audit: Audit) -> tuple[tuple[Held, float], ...]:
    """The weights that the first step moves by several times their size, and how many."""
    invariant = scale_invariant(audit)
    clip = clip_of(audit)
    steps = ((one, _relative(audit, one, clip)) for one in held_matrices(audit) if one.name not in invariant)
    return tuple((one, size) for one, size in steps if size is not None and size > OVERWHELMING)


def _relative(audit: Audit, one: Held, clip: Clip) -> float | None:
    """The first step over the size of the weight. Where entries move by lr whatever the gradient, a warm-up only puts it off."""
    lr = one.group.peak_lr if one.kind.step == "sign" else one.group.first_lr
    size = step(audit, one, lr, clip, first=True)
    return None if size is None else size / reference_rms(audit, one)


def _remark(audit: Audit, optimizer: Optimizer, large: Sequence[tuple[Held, float]]) -> Remark:
    one, size = large[0]
    lr = one.group.peak_lr or 0.0
    how = "every entry moves by lr, whatever the gradient" if one.kind.step == "sign" else "lr times the forecast gradient"
    better = rounded(lr / size / 10)
    return Remark(
        message=f"the first step of {optimizer.kind} (lr = {lr:g}) moves `{one.name}` by {times(size)} times its size",
        module=together(other.name for other, _ in large),
        where=place(optimizer),
        severity="error" if size > CERTAIN * OVERWHELMING else "warning",
        reason="what the weights were initialised with is gone after it",
        evidence=Evidence("RMS(dW) / RMS(W)", logarithm(OVERWHELMING), None, logarithm(size), None, how),
        help=(Remedy(f"lr = {better:g}", f"moves it by {times(size * better / lr)} of its size"),),
        siblings=tuple(other.name for other, _ in large[1:]),
        claim=Claim("update", (one.name,), log10(OVERWHELMING), "above", slack=0.0, shift=against_reference(audit, one)),
    )
