"""NA601."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Group, Optimizer, Remark, Remedy, check, is_coupled, kind_of
from netaudit_rules.checks.optimiser.common import place

DECOUPLED = {"Adam": "AdamW", "NAdam": "NAdam(decoupled_weight_decay=True)", "RAdam": "RAdam(decoupled_weight_decay=True)"}


@check("NA601", severity="info", needs={"training"}, yields_to=("NA612",))
def coupled_weight_decay(audit: Audit) -> Iterator[Remark]:
    """The weight decay of an adaptive optimiser is part of the gradient.

    Why:
        Adam, RMSprop and Adagrad divide the gradient by the root of its second moment. A decay that is added to the gradient is
        divided along with it: weights with large gradients are hardly decayed, those with small ones are pulled to zero by a
        step of ``lr`` whatever the decay's size. Decoupled, every weight shrinks by the same ``lr * wd``.

    How it is found:
        A group of such an optimiser has a weight decay, and neither the class nor ``decoupled_weight_decay`` takes it out of the
        gradient. Published models were trained so, hence a note; where the decay is so strong that it rules, NA612 warns.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
        ```

    References:
        Loshchilov & Hutter 2019, section 2 and proposition 3.
    """
    for optimizer in audit.training.optimizers:
        decays = sorted({decay for group in optimizer.groups if (decay := _coupled(optimizer, group))})
        if decays:
            instead = DECOUPLED.get(optimizer.kind, "AdamW")
            yield Remark(
                message=f"{optimizer.kind} adds its weight decay ({decays[-1]:g}) to the gradient, and divides it by sqrt(v)",
                where=place(optimizer),
                reason="weights with small gradients are decayed most, those with large ones hardly at all",
                help=(Remedy(f"use {instead}, and choose the decay anew: a good one is often 100 times as large"),),
                key=optimizer.kind,
            )


def _coupled(optimizer: Optimizer, group: Group) -> float:
    """The decay of a group if it goes through the division."""
    kind, decay = kind_of(optimizer.kind), group.number("weight_decay") or 0.0
    return decay if kind is not None and kind.adaptive and group.params and is_coupled(kind, group) else 0.0
