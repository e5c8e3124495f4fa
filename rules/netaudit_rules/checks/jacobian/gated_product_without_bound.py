"""NA107."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isinf, log10
from typing import TYPE_CHECKING

from netaudit import Audit, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.claiming import signal_grows
from netaudit_rules.checks.forms import same
from netaudit_rules.checks.places import Place, folded
from netaudit_rules.checks.ranges import learning, rms_of

if TYPE_CHECKING:
    from netaudit import Facts

GROWTH = 10.0
"""Growth of a stream in one block by forecast from which a product in it is a warning: the second block grows it by its square."""
DEPTH = 8
"""How many calls a residual branch may have after the product."""


@check("NA107", severity="info", needs={"graph", "weights"})
def gated_product_without_bound(audit: Audit) -> Iterator[Remark]:
    """Two activations without bound are multiplied.

    Why:
        The product has degree 2: ten times the input is a hundred times the output, and the gain grows with the input. In a
        residual stream that nothing normalises, every block squares what the last one made.

    How it is found:
        A product of two different tensors that both depend on trained weights and of which neither has a proved bound (no
        normalisation, clamp, sigmoid or tanh in front). Info; a warning when the product is added back to the stream it came
        from, without normalisation, and the forecast of the stream grows more than tenfold in that block.

    Flagged:
        ```python
        import torch
        from torch import nn

        class GLU(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(16, 32), nn.Linear(16, 32)

            def forward(self, x):
                return nn.functional.silu(self.a(x)) * self.b(x)

        def build():
            return nn.Sequential(GLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class GLU(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.a, self.b = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(16, 32)

            def forward(self, x):
                x = self.norm(x)
                return nn.functional.silu(self.a(x)) * self.b(x)

        def build():
            return nn.Sequential(GLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Shazeer 2020, section 2; Dauphin et al. 2017, section 3.
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Growth:
    """By how much a stream grows in a block by forecast, and its values in front of and behind the sum."""

    factor: float
    before: str
    behind: str


def _places(audit: Audit) -> Iterator[Place[_Growth | None]]:
    trained = learning(audit)
    for node in audit.graph.nodes:
        if node.op != "aten.mul" or node.name not in trained or not _is_gate(audit.facts, node, trained):
            continue
        growth = _growth(audit, node)
        severity: Severity = "warning" if growth is not None and growth.factor >= GROWTH else "info"
        yield Place(node, severity, "product", growth)


def _is_gate(facts: Facts, node: Node, trained: frozenset[str]) -> bool:
    """Two tensors of several entries, both learned, both without a bound, and not one tensor twice."""
    if len(node.inputs) != 2 or not set(node.inputs) <= trained or same(facts, *node.inputs):
        return False
    signals = [facts.signals[name] for name in node.inputs]
    depends_on_input = all(signal.value is None for signal in signals)
    return depends_on_input and all(isinf(s.range.magnitude) and s.count > 1 for s in signals)


def _growth(audit: Audit, product: Node) -> _Growth | None:
    """How much a stream grows by forecast where a product of it is added back; None where it is not."""
    behind = _ancestors(audit.facts, product.name)
    frontier = {product.name}
    for _ in range(DEPTH):
        users = [n for n in audit.graph.nodes if frontier & set(n.inputs)]
        for user in users:
            stream = next((o for o in user.inputs if o in behind and o not in frontier), None)
            if user.op == "aten.add" and stream is not None:
                factor = _ratio(rms_of(audit, user.name), rms_of(audit, stream))
                return None if factor is None else _Growth(factor, stream, user.name)
        frontier = {user.name for user in users}
    return None


def _ratio(after: float | None, before: float | None) -> float | None:
    return None if after is None or not before else after / before


def _ancestors(facts: Facts, name: str) -> frozenset[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = [o for o in facts.nodes[waiting.pop()].inputs if o not in found]
        found.update(new)
        waiting.extend(new)
    return frozenset(found)


def _remark(node: Node, severity: Severity, growth: _Growth | None, siblings: tuple[str, ...]) -> Remark:
    large = growth if severity == "warning" else None
    stream = "" if large is None else f"; the stream grows by {large.factor:.3g} in this block"
    factor = None if growth is None or not growth.factor else log10(growth.factor)
    return Remark(
        message=f"two activations without bound are multiplied: the gain grows with the input{stream}",
        module=node.where.module,
        where=node.where,
        severity=severity,
        reason="no normalisation, clamp or bounded activation stands in front of either factor",
        evidence=Evidence("growth", log10(GROWTH), None, factor, None, "mean-field over random weights"),
        siblings=siblings,
        claim=None if large is None else signal_grows(large.before, large.behind, log10(GROWTH), "above"),
    )
