"""NA507."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log10

from netaudit import Audit, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.compositions import GROWTH, by_difference, composition_of, feeds_nll, largest_of
from netaudit_rules.checks.places import Place, folded, module_at
from netaudit_rules.checks.ranges import format_of, learning, spread_of

CERTAIN = 1.0
"""How far the forecast must be beyond the limit without any growth to be an error: it fails on the first batch."""
LOST = 1e-2
"""Share of a variance that rounding may take before it is a warning."""


@check("NA507", severity="info", needs={"graph", "weights"})
def unstable_composition(audit: Audit) -> Iterator[Remark]:
    """A function is written out in a form that overflows or cancels, where a fused op does not.

    Why:
        ``log(1 - sigmoid(x))`` is -inf above x = 17 in single precision, ``log(sum(exp(x)))`` is inf above 89,
        ``log(softmax(x))`` is -inf where logits differ by 104, each with NaN gradients; ``mean(x^2) - mean(x)^2`` loses all
        digits when the mean is large against the deviation. The fused ops compute the same from finite numbers.

    How it is found:
        Patterns on the graph, seen through views: logarithms of softmax, of sigmoid, of one less either, of 1 + exp, of sums
        of exponentials; exp over its sum; soft_margin_loss; variances by difference. What is shifted by its maximum is
        stable. Info; a warning when the forecast operand, grown tenfold as logits do in training, reaches the limit, an error
        when it does at initialisation.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Linear(16, 4)

            def forward(self, x):
                return torch.log(1 - torch.sigmoid(self.f(x))).mean()

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Linear(16, 4)

            def forward(self, x):
                return nn.functional.logsigmoid(-self.f(x)).mean()

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Blanchard, Higham & Higham 2021, section 1 (logsumexp and softmax); Chan, Golub & LeVeque 1983, section 1 (variances).
    """
    for place, siblings in folded((*_compositions(audit), *_differences(audit))):
        yield _remark(audit, place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Unstable:
    name: str
    failure: str
    fused: str
    quantity: str
    limit: float
    size: float | None


def _compositions(audit: Audit) -> Iterator[Place[_Unstable]]:
    trained = learning(audit)
    for node in audit.graph.nodes:
        found = composition_of(audit.facts, node) if node.name in trained else None
        if found is None or feeds_nll(audit.facts, node):  # the latter is NA112's
            continue
        size = largest_of(audit, found)
        quantity = "difference of logits" if found.across else "operand"
        unstable = _Unstable(found.name, found.failure, found.fused, quantity, found.limit, size)
        yield Place(node, _severity(size, found.limit), found.name, unstable)


def _severity(size: float | None, limit: float) -> Severity:
    if size is None or size * GROWTH < limit:
        return "info"
    return "error" if size >= CERTAIN * limit else "warning"


def _differences(audit: Audit) -> Iterator[Place[_Unstable]]:
    """Rounding takes ``u mean^2 / variance`` of a variance by difference, u half a step."""
    trained = learning(audit)
    for node in audit.graph.nodes:
        source = by_difference(audit.facts, node) if node.name in trained else None
        if source is None:
            continue
        spread = spread_of(audit, source)
        lost = None
        if spread is not None and spread.deviation > 0:
            lost = 0.5 * format_of(node).step * (spread.mean / spread.deviation) ** 2
        failure = "the digits of the variance cancel; it may be negative"
        unstable = _Unstable("mean(x^2) - mean(x)^2", failure, "torch.var", "share lost to rounding", LOST, lost)
        yield Place(node, "warning" if lost is not None and lost >= LOST else "info", "variance", unstable)


def _remark(audit: Audit, node: Node, severity: Severity, found: _Unstable, siblings: tuple[str, ...]) -> Remark:
    reach = "" if found.size is None else f" (forecast: {found.size:.3g})"
    return Remark(
        message=f"{found.name} is written out: {found.failure} from a {found.quantity} of {found.limit:.3g} on{reach}",
        module=module_at(audit.facts, node),
        where=node.where,
        severity=severity,
        reason=f"{found.fused} computes the same without leaving the range of {node.dtype}",
        evidence=Evidence(
            found.quantity,
            log10(found.limit),
            None,
            None if not found.size else log10(found.size),
            None,
            "normal entries" if found.size is not None else "",
        ),
        siblings=siblings,
        key=found.name,
    )
