"""NA433."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netaudit import Audit, Node, Remark, Severity, check
from netaudit_rules.checks.common import home
from netaudit_rules.checks.losses import CLASSES, WEIGHTED, example, label, reach, source

SOFTMAX = frozenset({"aten.softmax", "aten._softmax"})
LOG_SOFTMAX = frozenset({"aten.log_softmax", "aten._log_softmax"})
RECTIFIED = frozenset({"aten.relu", "aten.relu6", "aten.softplus", "aten.abs", "aten.square", "aten.exp"})
PROBABILITIES = SOFTMAX | {"aten.sigmoid"}
NO_LOGS = WEIGHTED | RECTIFIED | PROBABILITIES
"""What gives no log-probabilities."""


@check("NA433", severity="error", needs={"graph", "loss"})
def head_loss_mismatch(audit: Audit) -> Iterator[Remark]:
    """The loss expects another kind of output or label than it gets.

    Why:
        Every loss reads its input in one way: ``nll_loss`` and ``kl_div`` as log-probabilities, ``binary_cross_entropy`` as
        probabilities, ``*_with_logits`` and ``cross_entropy`` as unbounded scores. Given another kind, it has no minimum
        (nll of raw scores), is constant (cross-entropy of one class), or cannot be minimised (scores that are never
        negative); and none of this raises.

    How it is found:
        The operand of each loss is followed back through views and casts to the call that made it, and the labels of the
        example are looked at: one class, labels outside the classes or outside [0, 1], raw scores or probabilities in place
        of log-probabilities, log_softmax over another axis than the classes, scores behind a ReLU. Softmax in front of
        cross-entropy is NA204, sigmoid in front of a loss on logits NA213.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.nll_loss(model(inputs), torch.arange(8) % 4)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4), nn.LogSoftmax(dim=1))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.nll_loss(model(inputs), torch.arange(8) % 4)
        ```

    References:
        PyTorch documentation of NLLLoss, KLDivLoss, BCELoss, CrossEntropyLoss; Humbatova et al. 2020, "Taxonomy of real faults
        in deep learning systems" (wrong loss, wrong output activation).
    """
    for node in audit.graph.nodes:
        judge = _JUDGES.get(node.op)
        if judge is not None and len(node.inputs) > 1 and node.name in audit.flow.reached:
            yield from judge(audit, node)


# classes ----------------------------------------------------------------------------------------------------------------


def _classes(audit: Audit, node: Node) -> Iterator[Remark]:
    shape = audit.facts.nodes[node.inputs[0]].shape
    axis = 1 if len(shape) > 1 else 0
    made = source(audit.facts, node.inputs[0])
    if shape[axis] == 1:
        yield _remark(audit, node, made, f"{label(node)} over one class", "the loss is 0 for every input, and nothing is learnt")
    target = example(audit.facts, node.inputs[1])
    if target is not None and target.dtype.kind in "iu" and target.size:
        yield from _labels(audit, node, made, shape[axis], target[target != node.args.get("ignore_index", -100)])
    if node.op in CLASSES - {"aten.cross_entropy_loss"}:
        yield from _log_probabilities(audit, node, made, axis)
    elif made.op == "aten.relu":
        yield _remark(
            audit, node, made, "relu is applied to the scores of cross_entropy", "classes tie at 0 and cannot be ruled out", "info"
        )


def _labels(audit: Audit, node: Node, made: Node, classes: int, counted: object) -> Iterator[Remark]:
    low, high = int(counted.min(initial=0)), int(counted.max(initial=0))  # type: ignore[attr-defined]  # an integer array
    if low < 0 or high >= classes:
        given = f"labels from {low} to {high}, scores for {classes} classes"
        yield _remark(audit, node, made, f"{label(node)} gets {given}", "torch raises, or on a GPU fails with a device-side assert")


def _log_probabilities(audit: Audit, node: Node, made: Node, axis: int) -> Iterator[Remark]:
    if made.op in SOFTMAX | {"aten.sigmoid"}:
        why = "it is minus a probability: its slope is p (1 - p) where log-probabilities would have 1 - p, and vanishes for p near 0"
        yield _remark(audit, node, made, f"{label(node)} gets probabilities of {label(made)}, not log-probabilities", why)
    elif made.op in NO_LOGS:
        why = "it is minus the score of the right class: it falls without bound as scores grow, whatever the other classes do"
        yield _remark(audit, node, made, f"{label(node)} gets raw scores of {label(made)}, not log-probabilities", why)
    elif made.op in LOG_SOFTMAX and len(made.shape) > 1 and made.shape == node_shape(node, made):
        over = made.args.get("dim")
        if isinstance(over, int) and over % len(made.shape) != axis:
            why = f"the classes stand on axis {axis}, log_softmax normalises over axis {over % len(made.shape)}"
            yield _remark(audit, node, made, f"{label(node)} gets log_softmax over another axis than the classes", why)


def node_shape(node: Node, made: Node) -> tuple[int, ...]:
    """The shape of the log-probabilities if no view stands between them and the loss; otherwise none that matches."""
    return made.shape if node.inputs[0] == made.name else ()


# probabilities ----------------------------------------------------------------------------------------------------------


def _binary(audit: Audit, node: Node) -> Iterator[Remark]:
    made = source(audit.facts, node.inputs[0])
    if made.op in WEIGHTED | LOG_SOFTMAX | {"aten.relu", "aten.softplus"}:
        why = "torch raises for values outside [0, 1], or clamps the gradient; use binary_cross_entropy_with_logits"
        yield _remark(audit, node, made, f"{label(node)} gets the output of {label(made)}, which is no probability", why)
    yield from _binary_labels(audit, node, made)


def _with_logits(audit: Audit, node: Node) -> Iterator[Remark]:
    made = source(audit.facts, node.inputs[0])
    low, high = reach(audit.facts, node.inputs[0])
    if made.op not in PROBABILITIES and (low >= 0.0 or high <= 0.0):
        side = "below" if low >= 0.0 else "above"
        why = f"logits in [{low:g}, {high:g}]: no probability is ever {side} one half"
        yield _remark(audit, node, made, f"the logits of {label(node)} never change sign: {label(made)} makes them", why, "warning")
    yield from _binary_labels(audit, node, made)


def _binary_labels(audit: Audit, node: Node, made: Node) -> Iterator[Remark]:
    target = example(audit.facts, node.inputs[1])
    if target is None or not target.size or target.dtype.kind not in "fiub":
        return
    low, high = float(target.min()), float(target.max())
    if low < 0.0 or high > 1.0:
        why = "for a label outside [0, 1] the loss falls without bound as the logit grows"
        yield _remark(audit, node, made, f"{label(node)} gets labels from {low:g} to {high:g}, outside [0, 1]", why)


def _divergence(audit: Audit, node: Node) -> Iterator[Remark]:
    made, target = source(audit.facts, node.inputs[0]), source(audit.facts, node.inputs[1])
    if made.op in NO_LOGS:
        why = "it expects log-probabilities as its first argument"
        yield _remark(audit, node, made, f"kl_div gets the output of {label(made)} in place of log-probabilities", why)
    if target.op in LOG_SOFTMAX and node.args.get("log_target") is not True:
        why = "log-probabilities are negative: as a target they need log_target=True"
        yield _remark(audit, node, target, "kl_div gets log_softmax as its target", why)


def _margin(audit: Audit, node: Node) -> Iterator[Remark]:
    target = example(audit.facts, node.inputs[1])
    if target is not None and target.size and float(target.min()) == 0.0 and float(target.max()) <= 1.0:
        why = "its labels are -1 and 1: a label 0 gives the constant log 2 and no gradient"
        yield _remark(audit, node, source(audit.facts, node.inputs[0]), f"{label(node)} gets labels 0 and 1", why)


def _remark(audit: Audit, node: Node, made: Node, message: str, reason: str, severity: Severity | None = None) -> Remark:
    where = made.where if made.where.called is not None else node.where
    return Remark(
        message=message, module=home(audit.facts, made.name), where=where, severity=severity, reason=reason, key=message.partition(" ")[0]
    )


_JUDGES: dict[str, Callable[[Audit, Node], Iterator[Remark]]] = {
    **dict.fromkeys(CLASSES, _classes),
    "aten.binary_cross_entropy": _binary,
    "aten.binary_cross_entropy_with_logits": _with_logits,
    "aten.kl_div": _divergence,
    "aten.soft_margin_loss": _margin,
}
