"""NA432."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netaudit import Audit, Claim, Node, Remark, Severity, check
from netaudit_rules.checks.axes import PRODUCTS, contracted, moved
from netaudit_rules.checks.claiming import ROUNDED
from netaudit_rules.checks.common import home
from netaudit_rules.checks.losses import WEIGHTED, dependent, source

SOFTMAX = frozenset({"aten.softmax", "aten._softmax", "aten.log_softmax", "aten._log_softmax"})
ATTENTION = frozenset({"aten.scaled_dot_product_attention", "netaudit.attention"})
WEIGHING = frozenset({"aten.softmax", "aten._softmax"})


@check("NA432", severity="error")
def softmax_over_wrong_axis(audit: Audit) -> Iterator[Remark]:
    """A softmax runs over an axis of one entry, or over another axis than the one that is summed.

    Why:
        Over one entry softmax is the constant 1: a classifier with one output that ends in softmax, or scores (batch, time, 1)
        normalised over the last axis, learn nothing. Attention weights that are normalised over the queries, not over the
        keys that are summed, do not average: a query's output is as large as the number of keys that happen to choose it.

    How it is found:
        The size of the axis, in the trace. An error where a layer with one output makes it; a warning where the data have one
        entry along it in this example (a note if the inputs were guessed). A product of two activations that a softmax turns
        into weights is followed through dropout and views to the product that uses it; flagged when that one sums over
        another axis and nothing normalises in between (as slot attention does).

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), nn.Softmax(dim=-1))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Vaswani et al. 2017, eq. 1; Locatello et al. 2020 (slot attention, normalised over slots, then over inputs).
    """
    moving, users = dependent(audit.graph), _users(audit)
    for node in audit.graph.nodes:
        if not node.inputs or node.inputs[0] not in moving or node.name not in audit.flow.reached:
            continue
        if node.op in SOFTMAX:
            yield from _softmax(audit, node, users)
        elif node.op in ATTENTION:
            yield from _attention(audit, node)


def _users(audit: Audit) -> Mapping[str, list[Node]]:
    users: dict[str, list[Node]] = {}
    for node in audit.graph.nodes:
        for name in dict.fromkeys(node.inputs):
            users.setdefault(name, []).append(node)
    return users


def _softmax(audit: Audit, node: Node, users: Mapping[str, list[Node]]) -> Iterator[Remark]:
    shape, dim = audit.facts.nodes[node.inputs[0]].shape, node.args.get("dim")
    if not shape or not isinstance(dim, int):
        return
    axis = dim % len(shape)
    if shape[axis] == 1:
        yield _singleton(audit, node, axis)
    elif node.op in WEIGHING and _is_product(audit, node):
        product = _used_over_another_axis(node, axis, users)
        if product is not None:
            yield Remark(
                message=f"attention weights are normalised over axis {axis}, but the values are summed over another axis",
                module=node.where.module,
                where=node.where,
                severity="warning",
                reason="the weights of one query do not add up to 1: softmax over the keys (dim=-1) makes an average",
                key="queries",
            )


# one entry --------------------------------------------------------------------------------------------------------------


def _singleton(audit: Audit, node: Node, axis: int) -> Remark:
    made = source(audit.facts, node.inputs[0])
    by_layer = made.op in WEIGHTED and len(made.shape) == len(node.shape) and axis == _unit_axis(made)
    severity: Severity = "error" if by_layer else "info" if audit.guessed else "warning"
    why = f"`{made.where.module or made.name}` has one output" if by_layer else "the axis has one entry for this input"
    return Remark(
        message=f"softmax over axis {axis}, which has one entry: the result is 1 whatever the input is",
        module=home(audit.facts, node.name),
        where=node.where,
        severity=severity,
        reason=f"{why}; the gradient through it is exactly 0",
        key="single",
        claim=_passes_none(node),
    )


def _unit_axis(made: Node) -> int:
    return 1 if "conv" in made.op else len(made.shape) - 1


def _attention(audit: Audit, node: Node) -> Iterator[Remark]:
    keys = audit.facts.nodes[node.inputs[1]].shape
    count = keys[-1] if node.op == "netaudit.attention" else keys[-2] if len(keys) > 1 else 0
    if count != 1:
        return
    alone = audit.facts.nodes[node.inputs[0]].shape[-2:-1] == (1,)
    yield Remark(
        message="attention over a single key: its weight is 1 whatever query and key are",
        module=home(audit.facts, node.name),
        where=node.where,
        severity="warning" if alone and not audit.guessed else "info",
        reason="queries and keys get no gradient" + ("; the sequence has length 1 here: is the right axis the sequence?" if alone else ""),
        key="single",
        claim=_passes_none(node),
    )


def _passes_none(node: Node) -> Claim:
    """The gain of the call for its logits (for an attention its queries) is nothing but rounding."""
    return Claim("gain", (f"{node.inputs[0]} > {node.name}",), ROUNDED, "below", certain=True, aside=True)


# the axis that is summed ------------------------------------------------------------------------------------------------


def _is_product(audit: Audit, node: Node) -> bool:
    """Whether scores are a product of two activations, perhaps scaled or masked."""
    made = source(audit.facts, node.inputs[0])
    while made.op in ("aten.mul", "aten.div", "aten.masked_fill", "aten.add") and made.inputs:
        made = source(audit.facts, made.inputs[0])
    parameters = {info.node for info in audit.graph.params.values()}
    return made.op in PRODUCTS and parameters.isdisjoint(made.inputs)


def _used_over_another_axis(node: Node, axis: int, users: Mapping[str, list[Node]]) -> Node | None:
    """The product that sums weights over another axis than they are normalised over; None when there is none, or it is not sure."""
    current, shape = node, node.shape
    while len(used := users.get(current.name, [])) == 1:
        user = used[0]
        slot = user.operands.index(current.name)
        if user.op in PRODUCTS:
            return user if axis != contracted(slot, len(shape)) and axis >= len(shape) - 2 else None
        place = moved(user, slot, shape, axis) if user.op == "aten.dropout" or len(user.inputs) == 1 else None
        if place is None:
            return None
        current, shape, axis = user, user.shape, place
    return None
