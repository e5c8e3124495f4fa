"""NA311."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from netaudit import Audit, Node, Remark, check
from netaudit_rules.checks.losses import CLASSES, RESIDUAL, label

SUM = 2
LOSSES = CLASSES | RESIDUAL | frozenset(f"aten.{name}" for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div"))


@check("NA311", severity="info", needs={"graph", "loss"})
def summed_loss(audit: Audit) -> Iterator[Remark]:
    """The loss is summed over the batch: its gradient grows with the number of samples.

    Why:
        With ``reduction="sum"`` twice the batch is twice the gradient: learning rate, clipping and weight decay have to be tuned
        again for every batch size, and the last, smaller batch takes a smaller step. ``kl_div`` with ``reduction="mean"``
        divides by entries rather than rows, which makes it too small by the number of classes.

    How it is found:
        The reduction of the call that makes the loss. A note: variational bounds are sums by derivation, and some code divides
        later, which is looked for.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(16, 4)

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(8) % 4, reduction="sum")
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(16, 4)

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(8) % 4, reduction="sum") / len(inputs)
        ```

    References:
        PyTorch documentation of KLDivLoss ("batchmean"); Goyal et al. 2017, section 2.
    """
    divided = {name for node in audit.graph.nodes if node.op in ("aten.div", "aten.mul") for name in node.inputs}
    for node in audit.graph.nodes:
        if node.op in LOSSES and node.name in audit.flow.reached and node.name not in divided:
            yield from _remarks(audit, node)


def _remarks(audit: Audit, node: Node) -> Iterator[Remark]:
    shape = audit.facts.nodes[node.inputs[0]].shape
    if node.args.get("reduction") == SUM and shape and shape[0] > 1:
        yield Remark(
            message=f"{label(node)} is summed over {prod(shape)} entries: its gradient grows with the batch",
            module=node.where.module,
            where=node.where,
            reason=f"it is {shape[0]} times that of a mean over samples here; the learning rate does not transfer to another batch size",
            key="sum",
        )
    elif node.op == "aten.kl_div" and node.args.get("reduction", 1) == 1 and len(shape) > 1:
        yield Remark(
            message=f"kl_div is averaged over {prod(shape)} entries, not over {shape[0]} rows",
            module=node.where.module,
            where=node.where,
            reason=f"it is {prod(shape[1:])} times smaller than the divergence: reduction='batchmean' divides by rows",
            key="mean",
        )
