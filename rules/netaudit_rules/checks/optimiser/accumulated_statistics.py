"""NA617."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Node, Remark, Remedy, check
from netaudit_rules.checks.common import common_module
from netaudit_rules.checks.optimiser.common import held

SUM = 2
"""The number by which aten's losses call reduction='sum'."""


@check("NA617", severity="info", needs={"training"})
def accumulated_statistics(audit: Audit) -> Iterator[Remark]:
    """Accumulated gradients are not those of a large batch.

    Why:
        The gradients of k batches add. They are the gradient of one batch of k times the size only if the loss is a mean and is
        divided by k, and if nothing in the model looks at the batch. BatchNorm does: its statistics are those of each small
        batch. A summed loss grows with the batch as well, and with it SGD's step.

    How it is found:
        Batches are accumulated, and a BatchNorm takes the statistics of the batch; or the loss is a sum, and an optimiser's step
        is proportional to the gradient. (Whether the training loop divides by k is not known: nothing is said of that.)

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def training_setup():
            return {"optimizer": "adamw", "accumulation": 8}
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def training_setup():
            return {"optimizer": "adamw", "accumulation": 8}
        ```

    References:
        Linearity of the gradient; Ioffe & Szegedy 2015, section 3.
    """
    batches = audit.training.accumulation or 1
    if batches <= 1:
        return
    norms = [node for node in audit.graph.nodes if node.op == "aten.batch_norm" and node.args.get("training") is True]
    if norms:
        yield _statistics(norms, batches)
    loss = audit.facts.nodes.get(audit.graph.loss or "")
    if loss is not None and loss.args.get("reduction") == SUM and any(one.kind.step == "gradient" for one in held(audit)):
        yield Remark(
            message=f"the loss is a sum, and the gradients of {batches} batches add: SGD's step grows with both",
            module=loss.where.module,
            where=loss.where,
            reason="the learning rate holds for one batch size and one number of batches only",
            help=(Remedy("take the mean, and divide by the number of batches"),),
            key="sum",
        )


def _statistics(norms: list[Node], batches: int) -> Remark:
    first = norms[0]
    return Remark(
        message=f"BatchNorm sees each of the {batches} accumulated batches by itself",
        module=common_module(node.where.module for node in norms) or first.where.module,
        where=first.where,
        reason="accumulation enlarges the batch of the gradient, not that of the statistics",
        help=(Remedy("GroupNorm or LayerNorm do not look at the batch"),),
        siblings=tuple(node.where.module for node in norms[1:]),
        key="statistics",
    )
