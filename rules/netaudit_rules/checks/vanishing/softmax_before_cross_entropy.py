"""NA204."""

from __future__ import annotations

from collections.abc import Iterator
from math import e, log

from netaudit import Audit, Evidence, Node, Remark, Remedy, Removed, check
from netaudit_rules.checks.claiming import is_within
from netaudit_rules.checks.common import behind_moves

SQUASHES = {"aten.softmax": "softmax", "aten._softmax": "softmax", "aten.sigmoid": "sigmoid"}


@check("NA204", severity="error", needs={"graph", "loss"})
def softmax_before_cross_entropy(audit: Audit) -> Iterator[Remark]:
    """Probabilities are fed to a loss that applies softmax itself.

    Why:
        Cross-entropy normalises its input with log_softmax. Given probabilities instead of logits, the best it can reach is
        ``log(1 + (C - 1) / e)`` for C classes (1.46 for 10), and the extra Jacobian ``diag p - pp'`` shrinks the gradient
        by 2 at best and by C typically.

    How it is found:
        The input of the cross-entropy call is followed back through views and casts to a softmax or sigmoid. A log_softmax
        is harmless (it is idempotent) and reported as info.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 10), nn.Softmax(dim=1))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(8))
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 10))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(8))
        ```

    References:
        PyTorch documentation of CrossEntropyLoss ("input is expected to contain the unnormalized logits").
    """
    for node in audit.graph.nodes:
        if node.op != "aten.cross_entropy_loss" or not node.inputs:
            continue
        source = behind_moves(audit.facts, node.inputs[0])
        if source.op in SQUASHES:
            yield _remark(audit, node, source, SQUASHES[source.op])
        elif source.op in ("aten.log_softmax", "aten._log_softmax"):
            yield Remark(
                message="log_softmax is applied twice: cross-entropy applies it again, without effect",
                module=source.where.module,
                where=source.where,
                severity="info",
            )


def _remark(audit: Audit, loss: Node, source: Node, name: str) -> Remark:
    shape = audit.facts.signals[loss.inputs[0]].shape
    classes = shape[1] if len(shape) > 1 else shape[0]
    floor = log(1 + (classes - 1) / e)
    return Remark(
        message=f"{name} is applied before cross-entropy, which applies softmax itself: the loss cannot fall below {floor:.3g}",
        module=source.where.module,
        where=source.where,
        reason=f"inputs in [0, 1] leave a softmax over {classes} classes nearly uniform; its Jacobian is multiplied in twice",
        evidence=Evidence("least loss", None, None, None, None, "all inputs are probabilities"),
        help=(Remedy(f"leave out the {name}: cross-entropy takes logits", changes=(Removed(_squashes(audit, source)),)),),
        claim=is_within(0.0, 1.0, loss.inputs[0]),
    )


def _squashes(audit: Audit, source: Node) -> tuple[str, ...]:
    """A squash, and those that stand before it in series."""
    found = []
    while source.op in SQUASHES:
        found.append(source.name)
        source = behind_moves(audit.facts, source.inputs[0])
    return tuple(found)
