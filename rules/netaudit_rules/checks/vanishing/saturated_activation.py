"""NA215."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, log10

from netaudit import Audit, Claim, Evidence, Node, Remark, check
from netaudit_rules.checks.common import common_module, home
from netaudit_rules.checks.gaussian import mean_and_std, outside
from netaudit_rules.checks.losses import dependent, downstream, label

ENDS: dict[str, tuple[float, float]] = {
    "aten.tanh": (-2.9931, 2.9931),
    "aten.sigmoid": (-5.9809, 5.9809),
    "aten.hardtanh": (-1.0, 1.0),
    "aten.hardsigmoid": (-3.0, 3.0),
    "aten.erf": (-2.1460, 2.1460),
}
"""Between these the slope is at least 1 % of its largest: tanh' = 0.01, sigmoid' = 0.0025, 2 / sqrt(pi) exp(-x^2) = 0.0113."""
FLAT = frozenset({"aten.clamp", "aten.clamp_min", "aten.clamp_max"})
ALL = 0.9
"""Share for a clamp, whose ends are a choice: half of its entries may be meant to be cut off."""
SHARE = 0.5
"""Share of a layer that is saturated, from which on it does not recover by itself: on 300 models healthy ones stay below."""


@check("NA215", severity="warning", needs={"graph", "weights", "inputs"}, yields_to=("NA201", "NA301"))
def saturated_activation(audit: Audit) -> Iterator[Remark]:
    """Most of a tanh or sigmoid layer is forecast to be saturated.

    Why:
        Far from 0 the slope of tanh and sigmoid decays exponentially. A layer whose inputs are large passes almost no gradient
        and outputs -1, 0 or 1 whatever it gets. Unscaled inputs (raw pixels, prices) and weights of unit variance do this.

    How it is found:
        Mean and variance in front of each activation are forecast; the share of entries where the slope is below 1 % of the
        largest follows for a normal value. A warning above one half, for a clamp above nine tenths. Gates on trained numbers
        alone are left out.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))

        def example_inputs():
            return 255 * torch.rand(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))

        def example_inputs():
            return torch.rand(8, 16)
        ```

    References:
        Glorot & Bengio 2010, section 3; LeCun et al. 1998, "Efficient backprop", section 4.3.
    """
    moving = dependent(audit.graph) & downstream(audit.graph, audit.graph.inputs)
    found: list[tuple[Node, float]] = []
    for node in audit.graph.nodes:
        if node.op in ENDS.keys() | FLAT and node.inputs and node.inputs[0] in moving and node.name in audit.flow.reached:
            share = _saturated(audit, node)
            if share is not None and share > _limit(node):
                found.append((node, share))
    if found:
        yield _remark(audit, found)


def _limit(node: Node) -> float:
    """A clamp, or a hardtanh that is not symmetric (ReLU6 is one), cuts off by design."""
    low, high = _ends(node)
    return SHARE if node.op not in FLAT and low == -high else ALL


def _ends(node: Node) -> tuple[float, float]:
    low, high = node.args.get("min_val", node.args.get("min")), node.args.get("max_val", node.args.get("max"))
    if node.op in ENDS and not isinstance(low, (int, float)):
        return ENDS[node.op]
    return float(low) if isinstance(low, (int, float)) else -inf, float(high) if isinstance(high, (int, float)) else inf


def _saturated(audit: Audit, node: Node) -> float | None:
    known = mean_and_std(audit.facts.signals[node.inputs[0]])
    return None if known is None else outside(*_ends(node), *known)


def _remark(audit: Audit, found: Sequence[tuple[Node, float]]) -> Remark:
    first, share = found[0]
    mean, std = mean_and_std(audit.facts.signals[first.inputs[0]]) or (0.0, 0.0)
    low, high = _ends(first)
    alike = tuple(node.inputs[0] for node, _ in found if _ends(node) == (low, high))
    return Remark(
        message=f"{share:.0%} of {label(first)} is forecast to be saturated: its input has mean {mean:.3g} and deviation {std:.3g}",
        module=common_module(home(audit.facts, node.name) for node, _ in found) or home(audit.facts, first.name),
        where=first.where,
        reason=f"outside [{low:.3g}, {high:.3g}] its slope is below 1 % of the largest",
        evidence=Evidence("", None, None, None, None, "forecast mean and variance, normal"),
        siblings=tuple(node.where.module or node.name for node, _ in found[1:]),
        claim=Claim("outside", alike, log10(_limit(first)), "above", slack=0.0, between=(low, high), aside=True),
    )
