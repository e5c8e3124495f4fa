"""NA604."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from netaudit import Audit, Group, Optimizer, Remark, Remedy, check, kind_of
from netaudit_rules.checks.optimiser.common import place

SPIKE = 10.0
"""Multiples of lr that one gradient may move a weight by before it is worth a note: 3.2 with Adam's defaults."""


@check("NA604", severity="warning", needs={"training"})
def unbalanced_betas(audit: Audit) -> Iterator[Remark]:
    """Adam's two memories do not go together.

    Why:
        The update is ``m / sqrt(v)``. When m remembers longer than ``sqrt(v)`` does (beta1 > sqrt(beta2)), a burst of large
        gradients leaves an m that outlives the v it was to be divided by: every step afterwards the quotient grows by
        ``beta1 / sqrt(beta2)``, without a bound but eps. Betas that were swapped are of this kind. The other way round, a v that
        remembers long lets a single large gradient after a quiet time move a weight by ``(1 - beta1) / sqrt(1 - beta2)`` times lr.

    How it is found:
        By the two numbers alone. ``beta1 > sqrt(beta2)`` is a warning; with amsgrad v never falls, and nothing is said. A spike
        above 10 lr is a note: generative adversarial networks are trained so.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.999, 0.9))
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
            return torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
        ```

    References:
        Kingma & Ba 2015, section 2.1; Reddi et al. 2018, theorem 3 (beta1 < sqrt(beta2)); Zhang et al. 2022, theorem 3.1.
    """
    for optimizer in audit.training.optimizers:
        seen: set[tuple[float, float]] = set()
        for group in optimizer.groups:
            betas = _betas(optimizer, group)
            if betas is not None and betas not in seen:
                seen.add(betas)
                yield from _remarks(optimizer, group, *betas)


def _betas(optimizer: Optimizer, group: Group) -> tuple[float, float] | None:
    """The decay rates of the moments; Lion's two are of another kind."""
    kind = kind_of(optimizer.kind)
    return group.betas if kind is not None and kind.adaptive and group.params else None


def _remarks(optimizer: Optimizer, group: Group, first: float, second: float) -> Iterator[Remark]:
    ratio, spike = first / sqrt(second) if second else float("inf"), (1.0 - first) / sqrt(1.0 - second)
    if ratio > 1.0:
        if group.settings.get("amsgrad") is not True:
            yield Remark(
                message=f"betas ({first:g}, {second:g}): the mean remembers longer than the root of the second moment",
                where=place(optimizer),
                reason=f"after a burst of large gradients the step grows by {ratio:.3g} an update, without a bound but eps",
                help=(Remedy("swap them, or use (0.9, 0.999)" if second < first else "use (0.9, 0.999)"),),
                key="order",
            )
    elif spike > SPIKE:
        yield Remark(
            message=f"betas ({first:g}, {second:g}): one large gradient after a quiet time moves a weight by {spike:.3g} lr",
            where=place(optimizer),
            severity="info",
            reason="(1 - beta1) / sqrt(1 - beta2): v is still small when the gradient arrives",
            help=(Remedy("beta2 of 0.95 to 0.99 forgets the quiet time sooner"),),
            key="spike",
        )
