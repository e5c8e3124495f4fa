"""NA213."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, isfinite, log

from netaudit import Audit, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.claiming import is_within
from netaudit_rules.checks.common import common_module, home
from netaudit_rules.checks.losses import label, reach, source, tail

SQUASHES = frozenset(f"aten.{name}" for name in ("sigmoid", "tanh", "softmax", "_softmax", "hardsigmoid", "log_softmax", "_log_softmax"))
OUTER = SQUASHES - {"aten.hardsigmoid"}
LOGITS = "aten.binary_cross_entropy_with_logits"
IDEMPOTENT = frozenset({("log_softmax", "log_softmax"), ("log_softmax", "softmax")})
"""Pairs (inner, outer) that lose nothing: log_softmax only shifts its logits."""


@check("NA213", severity="warning")
def double_squash(audit: Audit) -> Iterator[Remark]:
    """A squashing function is applied to the output of another one.

    Why:
        What is in [0, 1] already leaves a second sigmoid only [0.5, 0.73]: predictions can never come near 0 or 1, the slopes
        multiply (at most 1/16), and the loss has a floor far above zero. Most often the model ends in a sigmoid and is
        trained with a loss on logits, which applies its own.

    How it is found:
        The operand of every sigmoid, tanh and softmax, and of ``binary_cross_entropy_with_logits``, is followed back through
        views and casts. Flagged when it is such a function itself with nothing in between; a scale, a shift or a layer in
        between is a choice. An error in front of the loss, whose floor is proved; a note for a softmax inside the model,
        whose weights stay within a factor of e^2 of each other. A softmax in front of cross-entropy is NA204.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            target = (inputs[:, :1] > 0).float()
            return nn.functional.binary_cross_entropy_with_logits(model(inputs), target)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            target = (inputs[:, :1] > 0).float()
            return nn.functional.binary_cross_entropy_with_logits(model(inputs), target)
        ```

    References:
        PyTorch documentation of BCEWithLogitsLoss ("combines a Sigmoid layer and the BCELoss in one single class").
    """
    end = tail(audit.graph)
    for node in audit.graph.nodes:
        if (node.op not in OUTER and node.op != LOGITS) or not node.inputs or node.name not in audit.flow.reached:
            continue
        inner = source(audit.facts, node.inputs[0])
        if inner.op not in SQUASHES or (label(inner), label(node)) in IDEMPOTENT:
            continue
        yield _in_loss(audit, inner, node) if node.op == LOGITS else _in_model(audit, inner, node, in_loss=node.name in end)


def _in_loss(audit: Audit, inner: Node, loss: Node) -> Remark:
    low, high = reach(audit.facts, inner.name)
    return Remark(
        message=f"{label(inner)} is applied before binary_cross_entropy_with_logits, which applies sigmoid itself",
        module=home(audit.facts, inner.name),
        where=inner.where,
        severity="error",
        reason=f"logits in [{low:g}, {high:g}] give probabilities in [{_sigmoid(low):.3f}, {_sigmoid(high):.3f}]: "
        f"the loss is at least {log(1 + exp(-high)):.3f} for a label 1 and {log(1 + exp(low)):.3f} for a label 0",
        evidence=Evidence("", None, None, None, None, "holds for every input"),
        key="loss",
        claim=is_within(low, high, loss.inputs[0]),
    )


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x)) if x > -700 else 0.0


def _severity(inner: Node, outer: Node, *, in_loss: bool) -> Severity:
    if in_loss and label(outer) == "log_softmax":
        return "error"
    return "info" if not in_loss and label(outer) == "softmax" and label(inner) in ("tanh", "sigmoid") else "warning"


def _in_model(audit: Audit, inner: Node, outer: Node, *, in_loss: bool) -> Remark:
    from netaudit import above  # numpy, which the text of a rule need not load

    values = audit.facts.signals[outer.name].range
    slopes = [audit.facts.jacobian(node.name, 0) for node in (inner, outer)]
    slope = slopes[0].lip * slopes[1].lip if slopes[0] is not None and slopes[1] is not None else float("inf")
    return Remark(
        message=f"{label(inner)} is followed by {label(outer)} with nothing in between",
        module=outer.where.module or common_module((inner.where.module, outer.where.module)),
        where=outer.where,
        severity=_severity(inner, outer, in_loss=in_loss),
        reason=f"the output is confined to {values}, and the gain of the two is at most {above(slope, 3)}",
        evidence=Evidence("", None, None, None, None, "holds for every input"),
        key=label(outer),
        claim=is_within(values.lo, values.hi, outer.name) if isfinite(values.lo) or isfinite(values.hi) else None,
    )
