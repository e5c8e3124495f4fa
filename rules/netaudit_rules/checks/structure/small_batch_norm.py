"""NA411."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

from netaudit import Audit, Claim, Node, Remark, Severity, check
from netaudit_rules.checks.claiming import passes_nothing
from netaudit_rules.checks.common import common_module
from netaudit_rules.checks.norms import group_size, is_on_batch
from netaudit_rules.checks.similarity import difference

NOTICED = 16
"""Values per channel below which the standard deviation is off by more than a third, which slows training down."""
HARMFUL = 4
"""Up to four values it is off by 80 %, and each sample's output hangs on the few others in its batch."""
DEGENERATE = 2


@check("NA411", severity="warning", needs={"graph", "inputs"})
def small_batch_norm(audit: Audit) -> Iterator[Remark]:
    """BatchNorm estimates its statistics from a handful of values.

    Why:
        With two values per channel the normalised ones are -1 and 1 as soon as they differ by more than the root of eps, and no
        gradient passes (closer ones are enlarged by up to 1 / sqrt(eps) = 316). With a few,
        mean and variance are noise: the relative error of the standard deviation is ``sqrt(1 / (2 (m - 1)))`` for m values,
        a sample's output depends on its neighbours in the batch, and training and eval disagree.

    How it is found:
        m = batch x positions, from the shapes of the example: an error for two or less, a warning up to four, a note below 16
        and for every m when the batch was guessed. A BatchNorm that uses running statistics is left alone.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU())
            return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(8, 4))

        def example_inputs():
            return torch.randn(2, 3, 16, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8), nn.ReLU())
            return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(8, 4))

        def example_inputs():
            return torch.randn(2, 3, 16, 16)
        ```

    References:
        Ioffe & Szegedy 2015; Wu & He 2018, section 1 and figure 1; the error is that of a sample variance of m normal values.
    """
    sizes: dict[int, list[Node]] = {}
    for node in audit.graph.nodes:
        size = group_size(node, audit.facts.nodes[node.inputs[0]].shape) if is_on_batch(node) and node.inputs else None
        if size is not None and size < NOTICED and node.name in audit.flow.reached:
            sizes.setdefault(size, []).append(node)
    for size, nodes in sorted(sizes.items()):
        yield _remark(audit, size, nodes)


def _severity(audit: Audit, size: int) -> Severity:
    if audit.guessed or size > HARMFUL:
        return "info"
    return "error" if size <= DEGENERATE else "warning"


def _remark(audit: Audit, size: int, nodes: Sequence[Node]) -> Remark:
    first = nodes[0]
    effect = (
        "they become -1 and 1 as soon as they differ by more than the root of eps, and no gradient passes"
        if size <= DEGENERATE
        else f"the standard deviation is off by {sqrt(0.5 / (size - 1)):.0%}, and each sample depends on the others"
    )
    batch = " of the guessed batch" if audit.guessed else ""
    return Remark(
        message=f"BatchNorm sees {size} values per channel{batch}",
        module=common_module(node.where.module for node in nodes) or first.where.module,
        where=first.where,
        severity=_severity(audit, size),
        reason=effect,
        siblings=tuple(node.where.module or node.name for node in nodes[1:]),
        key=str(size),
        claim=_claim(audit, first) if size == DEGENERATE else None,
    )


def _claim(audit: Audit, node: Node) -> Claim | None:
    """Two values of a batch pass no gradient, where they are forecast to be further apart than the root of eps."""
    signal = audit.facts.signals[node.inputs[0]]
    apart = difference(signal, 0)
    if signal.moments is None or apart is None or signal.shape[0] != DEGENERATE:
        return None
    return passes_nothing(node, signal.moments.mean_square * apart / 2.0)
