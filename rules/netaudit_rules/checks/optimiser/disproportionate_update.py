"""NA615."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Evidence, Optimizer, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import OVERWHELMING, Held, held_matrices, logarithm, place, reference_rms, step, together

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
        the weight is smaller): healthy models stay below half of it. Vectors and weights that start at zero are left out.

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
    for optimizer in audit.training.optimizers:
        steps = [(one, size) for one in held_matrices(audit) if one.optimizer is optimizer and (size := _relative(audit, one)) is not None]
        large = sorted((item for item in steps if item[1] > OVERWHELMING), key=lambda item: -item[1])
        if large:
            yield _remark(optimizer, large)


def _relative(audit: Audit, one: Held) -> float | None:
    """The first step over the size of the weight. Where entries move by lr whatever the gradient, a warm-up only puts it off."""
    lr = one.group.peak_lr if one.kind.step == "sign" else one.group.first_lr
    size = step(audit, one, lr)
    return None if size is None else size / reference_rms(audit, one)


def _remark(optimizer: Optimizer, large: Sequence[tuple[Held, float]]) -> Remark:
    one, size = large[0]
    lr = one.group.peak_lr or 0.0
    how = "every entry moves by lr, whatever the gradient" if one.kind.step == "sign" else "lr times the forecast gradient"
    return Remark(
        message=f"the first step of {optimizer.kind} (lr = {lr:g}) moves `{one.name}` by {size:.2g} times its size",
        module=together(other.name for other, _ in large),
        where=place(optimizer),
        severity="error" if size > CERTAIN * OVERWHELMING else "warning",
        reason=how,
        evidence=Evidence("RMS(dW) / RMS(W)", logarithm(OVERWHELMING), None, logarithm(size), None, how),
        help=(Remedy(f"lr = {lr / size / 10:.1g} moves it by a tenth"),),
        siblings=tuple(other.name for other, _ in large[1:]),
    )
