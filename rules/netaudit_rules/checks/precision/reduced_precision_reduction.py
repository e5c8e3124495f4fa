"""NA503."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log10, sqrt

from netaudit import Audit, Claim, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.places import Place, folded, module_at
from netaudit_rules.checks.ranges import FORMATS, Spread, entries, rms_of, spread_of

HALF = FORMATS["float16"]
ERROR_OF_FORECAST = 2.0
"""A forecast is good to a factor of two: what may reach the limit is said."""


@check("NA503", severity="warning", needs={"graph", "dtype"})
def reduced_precision_reduction(audit: Audit) -> Iterator[Remark]:
    """A half-precision result leaves the range of its format.

    Why:
        The largest number of float16 is 65504 and its smallest above 0 is 6e-8. Sums, squares, norms and products of matrices
        are accumulated in single precision, but their result is rounded: from 256 on a square is inf, a sum of a thousand
        entries of 66 is inf, and inf - inf in a softmax or norm is NaN.

    How it is found:
        The forecast of every float16 tensor: its largest entry (mean and deviations, by the number of entries) times the
        error of a forecast exceeds 65504, or its root mean square is below the smallest number. The first call on the way is
        named. An error when the root mean square itself is out of range.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Energy(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Linear(256, 256)

            def forward(self, x):
                return self.f(x).square().sum(1).sqrt()

        def build():
            return Energy().half()

        def example_inputs():
            return 100 * torch.randn(32, 256).half()
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Energy(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Linear(256, 256)

            def forward(self, x):
                return self.f(x).float().square().sum(1).sqrt()

        def build():
            return Energy().half()

        def example_inputs():
            return 100 * torch.randn(32, 256).half()
        ```

    References:
        Micikevicius et al. 2018, section 3.3; PyTorch, "CUDA ops that can autocast to float32".
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(audit, place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Range:
    size: float
    limit: float
    what: str


def _places(audit: Audit) -> Iterator[Place[_Range]]:
    """The first calls out of range: what comes after them is a consequence."""
    after: set[str] = set()
    for node in audit.graph.nodes:
        if after & set(node.inputs):
            after.add(node.name)
            continue
        place = _place(audit, node) if node.dtype == "float16" and node.inputs else None
        if place is not None:
            after.add(node.name)
            yield place


def _place(audit: Audit, node: Node) -> Place[_Range] | None:
    if audit.facts.signals[node.name].value is not None:
        return None
    return _of_logits(audit, node) or _of_result(audit, node)


def _of_result(audit: Audit, node: Node) -> Place[_Range] | None:
    spread, rms = spread_of(audit, node.name), rms_of(audit, node.name)
    if spread is None or rms is None:
        return None
    if audit.facts.signals[node.name].range.magnitude > HALF.largest:
        over = _overflow(node, node.op.partition(".")[2], spread, rms)
        if over is not None:
            return over
    if 0.0 < rms * ERROR_OF_FORECAST <= HALF.smallest:
        what = f"{node.op.partition('.')[2]} is forecast to be {rms:.3g} on average, which float16 rounds to 0"
        return Place(node, "warning", "underflow", _Range(rms, HALF.smallest, what))
    return None


def _overflow(node: Node, name: str, spread: Spread, rms: float) -> Place[_Range] | None:
    if spread.largest * ERROR_OF_FORECAST < HALF.largest:
        return None
    severity: Severity = "error" if rms >= HALF.largest else "warning"
    what = f"{name} is forecast to reach {spread.largest:.3g}, and float16 ends at {HALF.largest:g}"
    return Place(node, severity, "overflow", _Range(spread.largest, HALF.largest, what))


def _of_logits(audit: Audit, node: Node) -> Place[_Range] | None:
    """Attention by hand: ``q . k`` before it is scaled, of mean square ``d q^2 k^2`` for independent entries."""
    products = [inner for inner in node.folded if inner.op in ("aten.matmul", "aten.bmm")]
    if node.op != "netaudit.attention" or not products:
        return None
    q, k = (rms_of(audit, name) for name in node.inputs[:2])
    if q is None or k is None:
        return None
    rms = sqrt(audit.facts.signals[node.inputs[0]].shape[-1]) * q * k
    return _overflow(node, "the product of queries and keys", Spread(0.0, rms, entries(products[0])), rms)


def _remark(audit: Audit, node: Node, severity: Severity, found: _Range, siblings: tuple[str, ...]) -> Remark:
    return Remark(
        message=found.what,
        module=module_at(audit.facts, node),
        where=node.where,
        severity=severity,
        reason=f"the limit of float16 is {found.limit:.3g}; bfloat16 has the range of single precision; or call .float() before",
        evidence=Evidence("size", log10(found.limit), None, log10(found.size), None, "normal entries"),
        siblings=siblings,
        key=node.op,
        claim=_claim(node, found),
    )


def _claim(node: Node, found: _Range) -> Claim | None:
    """The result reaches an end of the format; what is inside a folded attention is not read."""
    if node.folded:
        return None
    quantity, side = ("largest", "above") if found.limit == HALF.largest else ("value", "below")
    return Claim("largest" if quantity == "largest" else "value", (node.name,), log10(found.limit), "above" if side == "above" else "below")
