"""NA104."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from netaudit import Audit, Evidence, Node, Remark, Remedy, Severity, check
from netaudit_rules.checks.claiming import breaks, may_break
from netaudit_rules.checks.common import behind_moves
from netaudit_rules.checks.masking import masks_singularity
from netaudit_rules.checks.places import Place, folded, module_at
from netaudit_rules.checks.ranges import entries
from netaudit_rules.checks.reach import Reach, context_of, reach_of
from netaudit_rules.checks.singular import Singular, exposed, is_length, is_root_of_squares

DEVIATIONS = frozenset({"aten.var", "aten.std", "aten.var_mean", "aten.std_mean"})
CERTAIN = 100.0
"""Zero rows a batch by forecast from which it is an error."""


@check("NA104", severity="warning", needs={"graph", "weights"})
def composed_norm_at_zero(audit: Audit) -> Iterator[Remark]:
    """A norm or deviation has no gradient at zero: it is written out without eps, or divides.

    Why:
        ``x.pow(2).sum().sqrt()`` has a NaN gradient at x = 0: the slope of sqrt is infinite, that of the square is 0. The
        same holds for ``var().sqrt()`` at a constant and for distances of equal points. ``torch.linalg.vector_norm``, ``std``
        and ``cdist`` return 0 there. ``x / x.norm()`` is 0 / 0 already in the forward pass.

    How it is found:
        A root of a sum or mean of squares (or of a variance) with nothing added, and a quotient by a norm without eps. It is
        an error where rows are exactly zero, by structure (the diagonal of pairwise differences) or on the example input
        (padding behind layers without bias, a pair of equal samples), and the NaN is not stopped on its way back. Rows that
        are zero by forecast (dropped, clipped) are a warning. A norm of which no row is known to be zero is info. A variance
        or deviation over a single entry, divided by n - 1 = 0, is an error.

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
                return (y[:, None] - y[None]).pow(2).sum(-1).sqrt()

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
                return torch.cdist(y, y) + ((y[:, None] - y[None]).pow(2).sum(-1) + 1e-8).sqrt()

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Moindrot 2018, "Triplet loss and online triplet mining"; richzhang/PerceptualSimilarity issue 69.
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(audit, *place.found, place.severity, siblings)
    for one, siblings in folded(_of_one_entry(audit)):
        yield _of_one_remark(audit, one.node, one.found, siblings)


def _places(audit: Audit) -> Iterator[Place[tuple[Singular, Reach]]]:
    context = context_of(audit)
    for singular in exposed(audit, context.learning):
        if not _is_norm(audit, singular) or masks_singularity(audit.facts, singular) is not None:
            continue
        reach = reach_of(context, singular)
        if reach is not None and (reach.is_certain or singular.operand in context.learning):
            yield Place(singular.node, _severity(singular, reach), reach.how, (singular, reach))


def _of_one_entry(audit: Audit) -> Iterator[Place[int]]:
    """Deviations that divide by n - 1 = 0."""
    for node in audit.graph.nodes:
        if node.op not in DEVIATIONS or node.args.get("output") == 1 or not node.inputs:
            continue
        count = entries(audit.facts.nodes[node.inputs[0]]) // max(entries(node), 1)
        correction = node.args.get("correction")
        less = 0 if node.args.get("unbiased") is False else correction if isinstance(correction, (int, float)) else 1
        if 0 < count <= less:
            yield Place(node, "error", "one entry", count)


def _of_one_remark(audit: Audit, node: Node, count: int, siblings: tuple[str, ...]) -> Remark:
    op = node.op.removeprefix("aten.").removesuffix("_mean")
    return Remark(
        message=f"{op} over {count} entry divides by n - 1 = 0: it is NaN for every input",
        module=module_at(audit.facts, node),
        where=node.where,
        severity="error",
        reason="the default divides by n - 1; correction=0 gives 0 for one entry",
        evidence=Evidence("entries", None, None, None, None, "the shapes of the example"),
        siblings=siblings,
        key="one entry",
        claim=breaks(node.name, certain=True),
    )


def _is_norm(audit: Audit, singular: Singular) -> bool:
    """A root of squares, or a quotient by a norm; where a root of squares divides, the root is the cause."""
    facts, node = audit.facts, singular.node
    if is_root_of_squares(facts, node):
        return True
    divides = node.op == "aten.div" and is_length(facts, singular.operand)
    return divides and not is_root_of_squares(facts, behind_moves(facts, singular.operand))


def _severity(singular: Singular, reach: Reach) -> Severity:
    harms = singular.forward or reach.escapes
    if reach.is_certain:
        return "error" if harms else "info"
    if reach.how == "often" and harms:
        return "error" if reach.count >= CERTAIN else "warning"
    return "info"


def _remark(audit: Audit, singular: Singular, reach: Reach, severity: Severity, siblings: tuple[str, ...]) -> Remark:
    node = singular.node
    return Remark(
        message=_message(audit, node, reach),
        module=module_at(audit.facts, node, singular.operand),
        where=node.where,
        severity=severity,
        reason=_reason(singular, reach),
        evidence=Evidence(
            "share of zero rows",
            None,
            log10(reach.share) if reach.how == "always" else None,
            log10(reach.share) if reach.how == "often" else None,
            None,
            "" if reach.how == "always" else "arithmetic on the example input" if reach.how == "example" else "independent entries",
        ),
        help=(Remedy("put eps inside the root, `(x.square().sum() + eps).sqrt()`, or call torch.linalg.vector_norm"),),
        siblings=siblings,
        key=f"{node.op} {reach.how}",
        claim=may_break(node.name) if reach.how == "possible" else breaks(node.name, certain=reach.is_certain),
    )


def _message(audit: Audit, node: Node, reach: Reach) -> str:
    written = is_root_of_squares(audit.facts, node)
    what = "a norm written out without eps" if written else "a quotient by a norm without eps"
    if reach.how == "always":
        return f"{what} is taken of zero: {reach.why}, for every input"
    if reach.how == "example":
        return f"{what} is taken of zero: {reach.why} on the example input"
    if reach.how == "often":
        return f"{what} is taken of zero: {reach.why}"
    return f"{what}: its gradient is NaN should a row be zero"


def _reason(singular: Singular, reach: Reach) -> str:
    if singular.node.op == "aten.div":
        return "0 / 0 is NaN in the forward pass"
    if not reach.escapes:
        return "the slope of the root is infinite there; what comes before stops the gradient at these entries"
    return (
        "the slope of the root is infinite there and that of the square is 0: their product is NaN, and so is every weight after one step"
    )
