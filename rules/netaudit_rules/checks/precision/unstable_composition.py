"""NA507."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isinf, log10

from netaudit import Audit, Claim, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.claiming import breaks
from netaudit_rules.checks.compositions import SOFTMAX, Composition, by_difference, composition_of, feeds_nll, largest_of
from netaudit_rules.checks.hidden import hidden
from netaudit_rules.checks.places import Place, folded, module_at
from netaudit_rules.checks.ranges import format_of, learning, spread_of
from netaudit_rules.checks.singular import reaches_softmax

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
        of exponentials; exp over its sum; sigmoid, tanh and log(cosh) by hand; soft_margin_loss; variances by difference; a mask
        times -inf. What is shifted by its maximum is
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
    for place, siblings in folded((*_compositions(audit), *_differences(audit), *_infinite_masks(audit), *_nan_masks(audit))):
        yield _remark(audit, place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Unstable:
    name: str
    failure: str
    fused: str
    quantity: str
    limit: float
    size: float | None
    made: Composition | None = None


def _compositions(audit: Audit) -> Iterator[Place[_Unstable]]:
    trained = learning(audit)
    for node in audit.graph.nodes:
        found = composition_of(audit.facts, node) if node.name in trained else None
        if found is None or feeds_nll(audit.facts, node):  # the latter is NA112's
            continue
        size = largest_of(audit, found)
        quantity = "a difference of logits" if found.across else "an operand"
        unstable = _Unstable(
            found.name, found.failure, found.fused, quantity, found.limit, inf if _is_masked(audit, found) else size, found
        )
        yield Place(node, _severity(unstable.size, found), found.name, unstable)


def _is_masked(audit: Audit, found: Composition) -> bool:
    """Whether some logits of a ``log(softmax(x))`` are -inf on the example: their probability is exactly 0."""
    return found.across and hidden(audit.facts, audit.facts.nodes, found.source).mask is not None


def _severity(size: float | None, found: Composition) -> Severity:
    if size is None or size * found.grows < found.limit:
        return "info"
    return "error" if size >= found.limit else "warning"


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
        unstable = _Unstable("mean(x^2) - mean(x)^2", failure, "torch.var", "a share lost to rounding", LOST, lost)
        yield Place(node, "warning" if lost is not None and lost >= LOST else "info", "variance", unstable)


def _from(found: _Unstable) -> str:
    """Where it fails, and how far the forecast is from there."""
    if not found.limit:
        return ""
    if found.size is not None and isinf(found.size):
        return "; some logits of the example are -inf"
    return f" from {found.quantity} of {found.limit:.3g} on" + ("" if found.size is None else f" (forecast: {found.size:.3g})")


def _infinite_masks(audit: Audit) -> Iterator[Place[_Unstable]]:
    """``(1 - mask) * -inf``: NaN where the mask is 1."""
    for node in audit.graph.nodes:
        if node.op != "aten.mul" or len(node.operands) != 2 or not node.is_float:
            continue
        for own, other in (node.operands, node.operands[::-1]):
            if isinstance(own, str) and _is_infinite(audit, other) and _has_zeros(audit, own):
                yield Place(node, "error", "mask", _Unstable("mask * -inf", "0 times inf is NaN", "masked_fill", "mask", 0.0, 0.0))


def _nan_masks(audit: Audit) -> Iterator[Place[_Unstable]]:
    """The same of a constant mask: it was computed when the graph was made, and is NaN."""
    import numpy as np  # a rule can be explained without it

    for node in audit.graph.nodes:
        value = audit.facts.signals[node.name].value if node.op == "constant" and node.is_float else None
        if value is not None and bool(np.isnan(value).any()) and reaches_softmax(audit.facts, node):
            yield Place(node, "error", "mask", _Unstable("a mask", "it holds NaN, as 0 times inf is", "masked_fill", "mask", 0.0, 0.0))


def _is_infinite(audit: Audit, operand: str | float | None) -> bool:
    if isinstance(operand, str):
        signal = audit.facts.signals[operand]
        return signal.constant and isinf(signal.range.lo) and signal.range.lo == signal.range.hi
    return operand is not None and isinf(operand)


def _has_zeros(audit: Audit, name: str) -> bool:
    from netaudit_rules.ops.identities import Identities  # numpy

    found = Identities(audit.facts).zeros(name, on_example=True)
    return found is not None and bool(found.any())


def _remark(audit: Audit, node: Node, severity: Severity, found: _Unstable, siblings: tuple[str, ...]) -> Remark:
    return Remark(
        message=f"{found.name} is written out: {found.failure}{_from(found)}",
        module=module_at(audit.facts, node),
        where=node.where,
        severity=severity,
        reason=f"{found.fused} computes the same without leaving the range of {node.dtype}",
        evidence=Evidence(
            found.quantity,
            log10(found.limit) if found.limit else None,
            None,
            log10(found.size) if found.size and not isinf(found.size) else None,
            None,
            "normal entries" if found.size and not isinf(found.size) else "the example input" if found.size is not None else "",
        ),
        siblings=siblings,
        key=found.name,
        claim=_claim(audit, node, severity, found),
    )


def _claim(audit: Audit, node: Node, severity: Severity, found: _Unstable) -> Claim | None:
    """It breaks now, or its operand comes so near that it does after the growth that is allowed for."""
    if severity == "error":
        return breaks(node.name, certain=found.made is None or (found.size is not None and isinf(found.size)))
    if severity == "info" or found.made is None:
        return None
    limit = log10(found.made.limit / found.made.grows)
    if not found.made.across:
        return Claim("largest", (found.made.source,), limit, "above")
    user = next(n for n in audit.graph.nodes if found.made.source in n.inputs and n.op in SOFTMAX)
    dim = user.args.get("dim")
    return Claim("span", (found.made.source,), limit, "above", axis=dim if isinstance(dim, int) else None)
