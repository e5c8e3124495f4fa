"""NA205."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Claim, Node, Remark, Severity, check
from netaudit_rules.checks.claiming import blocks, passes_nothing
from netaudit_rules.checks.common import common_module
from netaudit_rules.checks.norms import BATCH, CENTRED, DIRECTION, NORMS, RMS, SPOKEN, group_size
from netaudit_rules.checks.similarity import difference

FEW = 4
"""Entries up to which a group is worth a note: its own mean and variance then carry most of what it holds."""


@check("NA205", severity="error")
def degenerate_norm_group(audit: Audit) -> Iterator[Remark]:
    """A normalisation works on groups of one or two entries, of which nothing is left.

    Why:
        One entry minus its own mean is 0: the output is the constant bias, and no gradient passes. Two entries become -1 and
        1 whatever they were: a step function, whose slope is eps / s^3. LayerNorm over a feature axis of one, GroupNorm with
        as many groups as channels and InstanceNorm on 1x1 maps do this without raising.

    How it is found:
        The number of entries per group follows from the shapes of the trace: an error for one, a warning for two, a note for
        three or four. RMSNorm does not subtract the mean: one entry leaves its sign (an error), two are a note. BatchNorm in
        training is NA411, and in eval it normalises nothing. What is computed without a gradient (the power iteration of
        spectral_norm) is not meant.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(16, 16))
            return nn.Sequential(body, nn.Flatten(), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 3, 16, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(2, 16))
            return nn.Sequential(body, nn.Flatten(), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 3, 16, 16)
        ```

    References:
        Ba et al. 2016; Wu & He 2018; Ulyanov et al. 2016. The Jacobian's spectrum {0, eps / s^3, 1 / s} is derived in the
        transfer of aten.layer_norm.
    """
    sizes: dict[tuple[int, str], list[Node]] = {}
    for node in audit.graph.nodes:
        if node.op in (NORMS | DIRECTION) - BATCH and node.name in audit.flow.reached and "no_grad" not in node.regions:
            size = group_size(node, audit.facts.nodes[node.inputs[0]].shape)
            if size is not None and size <= FEW and _severity(node, size) is not None:
                sizes.setdefault((size, SPOKEN[node.op]), []).append(node)
    for (size, name), nodes in sorted(sizes.items()):
        yield _remark(audit, size, name, nodes)


def _severity(node: Node, size: int) -> Severity | None:
    if size <= 1:
        return "error"
    if node.op in DIRECTION:
        return None
    return "warning" if size == 2 and node.op in CENTRED else "info"


def _remark(audit: Audit, size: int, name: str, nodes: Sequence[Node]) -> Remark:
    first = nodes[0]
    left = "its sign" if first.op in RMS | DIRECTION else "the constant bias"
    effect = {1: f"only {left} is left, and no gradient passes", 2: "two entries become -1 and 1 whatever they were"}
    if first.op in RMS:
        effect[2] = "what is left is an angle"
    return Remark(
        message=f"{name} normalises groups of {size} {'entry' if size == 1 else 'entries'} at this input shape",
        module=common_module(node.where.module for node in nodes) or first.where.module,
        where=first.where,
        severity=_severity(first, size),
        reason=effect.get(size, f"{size} entries keep {size - 2} directions of their {size}"),
        siblings=tuple(node.where.module or node.name for node in nodes[1:]),
        key=f"{name}:{size}",
        claim=_claim(audit, first, size),
    )


def _claim(audit: Audit, node: Node, size: int) -> Claim | None:
    """No gradient passes: of one entry that is centred none at all, of its sign or of two entries as far as eps is small."""
    signal = audit.facts.signals[node.inputs[0]]
    if size == 1 and node.op in CENTRED:
        return blocks(node)
    if size > 2 or (size == 2 and node.op not in CENTRED) or signal.moments is None:
        return None
    apart = 1.0 if size == 1 else difference(signal, 1 if len(signal.shape) > 2 else -1)
    return passes_nothing(node, None if apart is None else signal.moments.mean_square * apart / size)
