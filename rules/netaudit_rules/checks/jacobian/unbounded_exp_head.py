"""NA108."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log10, sqrt

from netaudit import Audit, Claim, Evidence, Node, Remark, Remedy, Severity, check
from netaudit_rules.checks.claiming import breaks
from netaudit_rules.checks.common import behind_moves
from netaudit_rules.checks.compositions import composition_of, is_rest_of_sum, is_shifted
from netaudit_rules.checks.places import Place, folded, module_at
from netaudit_rules.checks.ranges import Spread, format_of, learning, mean_exp, spread_of

STEEP = 1e3
"""Root mean square of the slope from which it is a warning: the gradient RMS beyond which no weight is trained (NA301)."""
CERTAIN = 100.0
"""Overflowing entries a batch from which it is an error."""
OPS = ("aten.exp", "aten.exp2", "aten.expm1", "aten.poisson_nll_loss")


@check("NA108", severity="info", needs={"graph", "weights"})
def unbounded_exp_head(audit: Audit) -> Iterator[Remark]:
    """The exponential of a value that nothing bounds.

    Why:
        The slope of exp is its value: a log-variance or log-rate of 10 multiplies the gradient by 22026, one of 89 is inf in
        single precision (11.1 in half). Heads that are exponentiated grow with their input scale and with training.

    How it is found:
        exp() whose operand has no proved upper bound below the overflow of its format, outside softmax and logsumexp. It is a
        warning when the forecast largest entry overflows or the forecast slope exceeds 1000 on average, an error when a
        hundred entries a batch overflow; otherwise info. ``exp(-x^2)``, what is shifted by its maximum and the decay that is
        left of a sum of negative terms (state space models) are bounded.

    Flagged:
        ```python
        import torch
        from torch import nn

        class VAE(nn.Module):
            def __init__(self):
                super().__init__()
                self.mu, self.logvar = nn.Linear(16, 4), nn.Linear(16, 4)

            def forward(self, x):
                mu, logvar = self.mu(x), self.logvar(x)
                return (logvar.exp() + mu.square() - logvar).sum(1).mean()

        def build():
            return VAE()

        def example_inputs():
            return 300 * torch.rand(64, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class VAE(nn.Module):
            def __init__(self):
                super().__init__()
                self.mu, self.logvar = nn.Linear(16, 4), nn.Linear(16, 4)

            def forward(self, x):
                mu, logvar = self.mu(x), self.logvar(x).clamp(-10, 10)
                return (logvar.exp() + mu.square() - logvar).sum(1).mean()

        def build():
            return VAE()

        def example_inputs():
            return 300 * torch.rand(64, 16)
        ```

    References:
        Radford et al. 2021 (CLIP), section 2.5: the learned scale is clipped at 100; Kingma & Welling 2014, appendix B.
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(audit, place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Exp:
    operand: str
    spread: Spread | None
    overflow: float


def _places(audit: Audit) -> Iterator[Place[_Exp]]:
    trained = learning(audit)
    elsewhere = _inside_compositions(audit)
    for node in audit.graph.nodes:
        if node.op not in OPS or node.name not in trained or node.name in elsewhere or not node.inputs:
            continue
        operand = node.inputs[0]
        limit = format_of(node).exp_overflow
        if node.op == "aten.poisson_nll_loss" and node.args.get("log_input") is False:
            continue
        if is_shifted(audit.facts, operand) or is_rest_of_sum(audit.facts, operand) or not _is_unbounded(audit, operand, limit):
            continue
        found = _Exp(operand, spread_of(audit, operand), limit)
        if found.spread is None or found.spread.high > 0.0:  # a slope below 1 harms nothing
            yield Place(node, _severity(found), "exp", found)


def _inside_compositions(audit: Audit) -> frozenset[str]:
    """Exponentials of softmax, logsumexp and softplus written out: NA507 speaks of them."""
    ends = (composition_of(audit.facts, node) for node in audit.graph.nodes)
    sources = {found.source for found in ends if found is not None}
    return frozenset(node.name for node in audit.graph.nodes if node.op in OPS and node.inputs and node.inputs[0] in sources)


def _is_unbounded(audit: Audit, operand: str, limit: float) -> bool:
    """No proved bound; that of a trained parameter holds at initialisation only."""
    if behind_moves(audit.facts, operand).op == "parameter":
        return True
    return audit.facts.signals[operand].range.hi > limit


def _slope(spread: Spread) -> float:
    """The forecast root mean square of exp over the entries there are: the law's, or what its largest entry allows."""
    by_law = mean_exp(spread, 2.0)
    by_largest = exp(min(2.0 * spread.high, 700.0)) / spread.count
    return sqrt(min(by_law, max(by_largest, exp(min(2.0 * spread.mean, 700.0)))))


def _severity(found: _Exp) -> Severity:
    spread = found.spread
    if spread is None:
        return "info"
    if (1.0 - spread.below(found.overflow)) * spread.count >= CERTAIN:
        return "error"
    return "warning" if spread.high >= found.overflow or _slope(spread) >= STEEP else "info"


def _remark(audit: Audit, node: Node, severity: Severity, found: _Exp, siblings: tuple[str, ...]) -> Remark:
    spread = found.spread
    largest = "" if spread is None else f", forecast to reach {spread.high:.3g}"
    return Remark(
        message=f"exp of a value without bound{largest}: it overflows above {found.overflow:.3g} in {node.dtype}",
        module=module_at(audit.facts, node),
        where=node.where,
        severity=severity,
        reason=_reason(spread),
        evidence=Evidence(
            "largest operand",
            log10(found.overflow),
            None,
            log10(spread.high) if spread is not None and spread.high > 0 else None,
            None,
            "normal entries" if spread is not None else "",
        ),
        help=(Remedy("clamp the operand before exp, or use softplus"),),
        siblings=siblings,
        claim=None if severity == "info" or spread is None else _claim(node, spread, found.overflow),
    )


def _claim(node: Node, spread: Spread, overflow: float) -> Claim:
    """The exponential overflows; where only its slope is large, its RMS (a value that is its own slope) is."""
    if spread.high >= overflow:
        return breaks(node.name, certain=False)
    return Claim("value", (node.name,), log10(STEEP), "above", aside=True)


def _reason(spread: Spread | None) -> str:
    if spread is None:
        return "the slope of exp is its value; there is no forecast of its operand"
    return f"the slope of exp is its value: of forecast root mean square {_slope(spread):.3g}"
