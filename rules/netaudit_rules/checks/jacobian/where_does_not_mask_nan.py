"""NA103."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netaudit import Audit, Evidence, Node, Remark, Remedy, Severity, check
from netaudit_rules.checks.claiming import breaks, may_break
from netaudit_rules.checks.masking import masks_singularity
from netaudit_rules.checks.places import Place, folded, module_at
from netaudit_rules.checks.ranges import entries, format_of, spread_of
from netaudit_rules.checks.reach import RARE, Context, Reach, context_of, reach_of
from netaudit_rules.checks.singular import Singular, masked_by, singular_of

NAN_OUTSIDE = frozenset({"aten.sqrt", "aten.rsqrt", "aten.pow", "aten.acos", "aten.asin", "aten.acosh"})
"""Ops whose slope is NaN where they have no value; that of log(x) is 1 / x there, and times 0 it is 0."""


@check("NA103", severity="error", needs={"graph", "weights"})
def where_does_not_mask_nan(audit: Audit) -> Iterator[Remark]:
    """A choice masks the value of a singular op, but not its gradient.

    Why:
        ``where(x > 0, x.sqrt(), 0)`` has the right value. Its backward pass sends 0 to the branch that was not chosen, and 0
        times the infinite (or NaN) slope of ``sqrt`` is NaN: the choice has to be made on the operand as well.

    How it is found:
        From where(), masked_fill() and nan_to_num() back to a singular op whose operand the condition is about. It is an
        error when entries of the operand are at the singular point, by structure, on the example input or by forecast, or
        leave the domain of a root; info when it is merely not excluded. An operand that a second choice or a clamp has made
        safe is not flagged.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Linear(16, 8)

            def forward(self, x):
                y = self.f(x)
                return torch.where(y > 0, y.sqrt(), torch.zeros_like(y))

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
                self.f = nn.Linear(16, 8)

            def forward(self, x):
                y = self.f(x)
                safe = torch.where(y > 0, y, torch.ones_like(y))
                return torch.where(y > 0, safe.sqrt(), torch.zeros_like(y))

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        JAX, frequently asked questions, "Gradients contain NaN where using where"; pytorch/pytorch issue 23156.
    """
    context = context_of(audit)
    found = (*_masked_singularities(context), *_masked_overflows(audit, context.learning))
    for place, siblings in folded(Place(f.inner, f.severity, f.choice.op, f) for f in found):
        yield _remark(audit, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Masked:
    choice: Node
    inner: Node
    severity: Severity
    what: str
    exact: bool


def _masked_singularities(context: Context) -> Iterator[_Masked]:
    for node in context.audit.graph.nodes:
        singular = singular_of(node)
        if singular is None or node.name not in context.learning:
            continue
        choice = masks_singularity(context.audit.facts, singular)
        reach = None if choice is None else _reached(context, singular)
        if choice is not None and reach is not None:
            yield _Masked(choice, node, _severity(singular, reach), _what(singular, reach), reach.is_certain)


def _reached(context: Context, singular: Singular) -> Reach | None:
    """How the operand gets there; data (a count that divides) counts when the example shows it: the numerator gets the NaN."""
    reach = reach_of(context, singular)
    if reach is None or singular.operand in context.learning:
        return reach
    return reach if reach.is_certain else None


def _severity(singular: Singular, reach: Reach) -> Severity:
    if reach.is_certain or reach.how == "often":
        return "error" if reach.escapes or singular.node.op == "aten.div" else "info"
    return "error" if reach.how == "outside" and singular.node.op in NAN_OUTSIDE else "info"


def _what(singular: Singular, reach: Reach) -> str:
    op = singular.node.op.removeprefix("aten.")
    if reach.how in ("possible", "pole") or (reach.how == "outside" and singular.node.op not in NAN_OUTSIDE):
        return f"nothing keeps the operand of {op} away from its singular point"
    where = " on the example input" if reach.how == "example" else ""
    return f"the operand of {op} is singular in {reach.why}{where}"


def _masked_overflows(audit: Audit, trained: frozenset[str]) -> Iterator[_Masked]:
    """``where(x < c, exp(x), ...)``: where exp overflows, 0 * inf arrives."""
    for node in audit.graph.nodes:
        if node.op != "aten.exp" or node.name not in trained:
            continue
        masked, spread, limit = masked_by(audit.facts, node), spread_of(audit, node.inputs[0]), format_of(node).exp_overflow
        if masked is None or spread is None or audit.facts.signals[node.inputs[0]].range.hi <= limit:
            continue
        share = 1.0 - spread.below(limit)
        if share > RARE and share * entries(node) >= 1.0:
            yield _Masked(masked[0], node, "error", f"exp overflows above {limit:.4g}: about {share:.0%} of the entries", False)


def _remark(audit: Audit, found: _Masked, siblings: tuple[str, ...]) -> Remark:
    by = found.choice.op.removeprefix("aten.")
    assumed = "" if found.exact else "normal entries"
    return Remark(
        message=f"{by} masks the value of {found.inner.op.removeprefix('aten.')}, not its gradient: {found.what}",
        module=module_at(audit.facts, found.inner),
        where=found.inner.where,
        severity=found.severity,
        reason="the branch that is not chosen gets a gradient of 0, and 0 times an infinite slope is NaN",
        evidence=Evidence("slope", None, None, None, None, assumed),
        help=(Remedy("choose the operand as well: f(where(condition, x, 1)) inside where(condition, ..., 0)"),),
        siblings=siblings,
        key=f"{found.inner.op} {by}",
        claim=breaks(found.inner.name, certain=found.exact) if found.severity == "error" else may_break(found.inner.name),
    )
