"""NA431."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from math import prod

from netaudit import Audit, Node, Remark, check
from netaudit_rules.checks.common import MOVES, home
from netaudit_rules.checks.losses import Comparison, comparisons, label, source


@check("NA431", severity="error", needs={"graph", "loss"})
def broadcast_in_loss(audit: Audit) -> Iterator[Remark]:
    """Prediction and target are broadcast against each other: every prediction is compared with every target.

    Why:
        A head of one output gives (N, 1), labels are often (N,). Their difference is (N, N): each prediction is pulled
        towards the mean of all targets, and the model learns a constant. The loss falls at first, and nothing fails (torch
        only warns, and only in its own losses).

    How it is found:
        At every loss of a difference, and at every difference, product or quotient behind the last layer, the shapes of
        prediction and target are compared. Flagged when both sides are repeated. In code written by hand, only where the two
        hold the same number of entries per axis, differ in rank, and neither was given its axis of size one on purpose
        (unsqueeze, indexing with None): pairwise distances are written that way.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            target = inputs[:, 0]
            return nn.functional.mse_loss(model(inputs), target)
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
            target = inputs[:, :1]
            return nn.functional.mse_loss(model(inputs), target)
        ```

    References:
        PyTorch documentation, "Broadcasting semantics"; Islam et al. 2019, "A comprehensive study on deep learning bugs".
    """
    for comparison in comparisons(audit):
        a, b = audit.facts.nodes[comparison.prediction].shape, audit.facts.nodes[comparison.target].shape
        whole = _broadcast(a, b)
        if whole is None or not all(0 < prod(shape) < prod(whole) for shape in (a, b)):
            continue
        if comparison.by_hand and not _is_mistaken(audit, comparison, a, b):
            continue
        yield _remark(audit, comparison, a, b, whole)


def _broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    """The common shape of two tensors; None when they have none."""
    pairs = list(zip_longest(reversed(a), reversed(b), fillvalue=1))
    if any(n != m and 1 not in (n, m) for n, m in pairs):
        return None
    return tuple(m if n == 1 else n for n, m in reversed(pairs))


def _is_mistaken(audit: Audit, comparison: Comparison, a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether a difference written by hand was meant entry by entry: same entries, other rank, no axis added on purpose."""
    same = [n for n in a if n != 1] == [n for n in b if n != 1]
    sides = (comparison.prediction, comparison.target)
    added = any(_adds_an_axis(audit, name) for name in sides)
    origins = {source(audit.facts, name).name for name in sides}
    return same and len(a) != len(b) and not added and len(origins) > 1


def _adds_an_axis(audit: Audit, name: str) -> bool:
    node: Node = audit.facts.nodes[name]
    while node.op in MOVES and node.inputs:
        if node.op == "aten.unsqueeze":
            return True
        node = audit.facts.nodes[node.inputs[0]]
    return False


def _remark(audit: Audit, comparison: Comparison, a: tuple[int, ...], b: tuple[int, ...], whole: tuple[int, ...]) -> Remark:
    made = source(audit.facts, comparison.prediction)
    names = "a difference" if comparison.by_hand and comparison.node.op.endswith("sub") else label(comparison.node)
    return Remark(
        message=f"{names} of a prediction of shape {a} and a target of shape {b} is broadcast to {whole}",
        module=home(audit.facts, made.name),
        where=comparison.node.where if comparison.node.where.called is not None else made.where,
        reason=f"every prediction is compared with {prod(whole) // prod(a)} targets: the best it can learn is their mean",
        key=comparison.node.op,
    )
