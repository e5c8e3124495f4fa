"""NA505."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import Held, held, place, together
from netaudit_rules.checks.precision.lost_updates import LOST, dtype_of


@check("NA505", severity="warning", needs={"training", "dtype"})
def frozen_state(audit: Audit) -> Iterator[Remark]:
    """A running mean in half precision never decays: its decay rate rounds to 1.

    Why:
        Optimisers keep their state in the dtype of the parameter. ``v * 0.999`` is v again in bf16, where a change below 1/512
        is rounded away: the second moment only ever grows, and the steps only ever shrink. A mean of the weights with decay
        0.9999 stands still in fp16 as well.

    How it is found:
        ``1 - beta2`` (or ``1 - alpha``, ``1 - ema``) against half the spacing of the state's dtype: certain below 2^-9 for bf16
        and 2^-12 for fp16. Optimisers that are not known, those with 8-bit states among them, are not judged.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).bfloat16()

        def example_inputs():
            return torch.randn(8, 16, dtype=torch.bfloat16)

        def optimizer(model):
            return torch.optim.AdamW(model.parameters(), lr=1e-3)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).bfloat16()

        def example_inputs():
            return torch.randn(8, 16, dtype=torch.bfloat16)

        def optimizer(model):
            return torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
        ```

    References:
        IEEE 754; Zamirai et al. 2020 (Revisiting BFloat16 Training), section 3.
    """
    for optimizer in audit.training.optimizers:
        stuck = [one for one in held(audit) if one.optimizer is optimizer and _stands_still(audit, one, _decay(one))]
        if stuck:
            yield _remark(audit, stuck, _decay(stuck[0]) or 0.0, f"second moment of {optimizer.kind}", "moment")
    averaged = [one for one in held(audit) if _stands_still(audit, one, audit.training.ema)]
    if averaged:
        yield _remark(audit, averaged, audit.training.ema or 0.0, "mean of the weights", "ema")


def _decay(one: Held) -> float | None:
    """How much of the second moment is kept at every step."""
    if not one.kind.adaptive:
        return None
    return one.group.betas[1] if one.group.betas is not None else one.group.number("alpha") or one.group.number("rho")


def _stands_still(audit: Audit, one: Held, decay: float | None) -> bool:
    limit = LOST.get(dtype_of(audit, one))
    return decay is not None and limit is not None and 0.0 < 1.0 - decay < limit


def _remark(audit: Audit, stuck: list[Held], decay: float, what: str, key: str) -> Remark:
    dtype = dtype_of(audit, stuck[0])
    return Remark(
        message=f"the {what} is kept in {dtype}, in which a decay of {decay:g} is no change",
        module=together(one.name for one in stuck),
        where=place(stuck[0].optimizer),
        reason=f"1 - {decay:g} = {1 - decay:.1g} is below {LOST[dtype]:.2g}: the product rounds back, and the mean only grows",
        help=(Remedy("keep the state in fp32 (fp32 parameters with autocast), or use a beta2 of 0.95 to 0.99"),),
        siblings=tuple(one.name for one in stuck[1:]),
        key=key,
    )
