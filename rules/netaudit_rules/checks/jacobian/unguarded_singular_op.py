"""NA102."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from netaudit import Audit, Evidence, Remark, Remedy, Severity, check
from netaudit_rules.checks.claiming import breaks, may_break
from netaudit_rules.checks.compositions import is_unstable
from netaudit_rules.checks.masking import masks_singularity
from netaudit_rules.checks.places import Place, folded, module_at
from netaudit_rules.checks.reach import Reach, context_of, reach_of
from netaudit_rules.checks.singular import Singular, exposed, is_length, is_root_of_squares

CERTAIN = 100.0
"""Entries a batch that are forecast to be singular, from which it is an error: a hundred times the one that is enough."""


@check("NA102", severity="warning", needs={"graph", "weights"})
def unguarded_singular_op(audit: Audit) -> Iterator[Remark]:
    """An operand reaches the point where the slope of its op is infinite.

    Why:
        The slope of sqrt, log, 1 / x, acos and their like is infinite at one point. An infinite slope times the zero slope of
        the op before it is NaN, one NaN in a gradient makes all weights NaN, and the forward pass may never show it:
        ``sqrt(0)`` is 0. Logarithms and quotients are infinite in the forward pass as well.

    How it is found:
        The proved range of the operand, its sign and the conditions around it are asked first: behind ``+ eps``, a clamp,
        softplus or a double where nothing is said. Otherwise the entries that are exactly at the point are derived from the
        graph (a tensor less itself, padding, dropped or clipped entries), and what happens to the gradient behind them: ops
        that select (relu, masked_fill) stop it, ops that multiply (square, abs, a mask) turn it into NaN. Certain zeros are
        an error, forecast ones a warning, an error from a hundred a batch on. What is merely not excluded is info.

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
                return (y[:, None] - y[None]).abs().sum(-1).sqrt()

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Linear(16, 8)

            def forward(self, x):
                return torch.log(torch.relu(self.f(x)))

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
                return ((y[:, None] - y[None]).abs().sum(-1) + 1e-6).sqrt()

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Linear(16, 8)

            def forward(self, x):
                return torch.log(nn.functional.softplus(self.f(x)) + 1e-4)

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Griewank & Walther 2008, section 14.1 (nondifferentiable points); what torch returns at each point is asserted in
        ``tests/rules/test_singular.py``.
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(audit, *place.found, place.severity, siblings)


def _places(audit: Audit) -> Iterator[Place[tuple[Singular, Reach]]]:
    context = context_of(audit)
    for singular in exposed(audit, context.learning):
        if _is_for_another(audit, singular):
            continue
        reach = reach_of(context, singular)
        severity = None if reach is None else _severity(singular, reach, singular.operand in context.learning)
        if reach is not None and severity is not None:
            yield Place(singular.node, severity, f"{singular.node.op} {reach.how}", (singular, reach))


def _is_for_another(audit: Audit, singular: Singular) -> bool:
    """Hand-written norms are NA104's, choices that mask a value NA103's, unstable compositions NA507's."""
    facts, node = audit.facts, singular.node
    by_length = node.op == "aten.div" and is_length(facts, singular.operand)
    return is_root_of_squares(facts, node) or by_length or is_unstable(facts, node) or masks_singularity(facts, singular) is not None


def _severity(singular: Singular, reach: Reach, learned: bool) -> Severity | None:
    harms = singular.forward or reach.escapes
    if reach.is_certain:
        return "error" if harms else "info"
    if not learned:  # data: what the example does not show is no concern
        return None
    if reach.how in ("often", "outside"):
        return "info" if not harms else "error" if reach.count >= CERTAIN else "warning"
    return "warning" if reach.how == "pole" else "info"


def _remark(audit: Audit, singular: Singular, reach: Reach, severity: Severity, siblings: tuple[str, ...]) -> Remark:
    node = singular.node
    return Remark(
        message=_message(singular, reach),
        module=module_at(audit.facts, node, singular.operand),
        where=node.where,
        severity=severity,
        reason=_reason(singular, reach),
        evidence=Evidence(
            "share of entries at the point",
            None,
            log10(reach.share) if reach.how == "always" else None,
            log10(reach.share) if reach.how in ("often", "outside") and reach.share else None,
            None,
            "arithmetic on the example input" if reach.how == "example" else "normal entries" if not reach.is_certain else "",
        ),
        help=(Remedy(_remedy(singular)),),
        siblings=siblings,
        key=f"{node.op} {reach.how}",
        claim=may_break(node.name) if reach.how in ("possible", "pole") else breaks(node.name, certain=reach.is_certain),
    )


def _message(singular: Singular, reach: Reach) -> str:
    op, point = singular.node.op.removeprefix("aten."), " or ".join(f"{p:g}" for p in singular.points)
    what = "the divisor" if op == "div" else f"the operand of {op}"
    if reach.how == "always":
        return f"{what} is exactly {point} in {reach.why}, for every input"
    if reach.how == "example":
        return f"{what} is exactly {point} in {reach.why} on the example input"
    if reach.how == "often":
        return f"{what} is {point} in {reach.why}"
    if reach.how == "outside":
        return f"{what} leaves [{singular.lo:g}, {singular.hi:g}], where {op} is defined: {reach.why}"
    if reach.how == "pole":
        return f"{what} takes both signs around {point}: {reach.why}"
    return f"{what} is not kept away from {point or 'what is undefined'}: {reach.why}"


def _remedy(singular: Singular) -> str:
    if singular.hi < float("inf"):
        return f"clamp the operand inside the domain first: clamp({singular.lo:g} + eps, {singular.hi:g} - eps)"
    if singular.pole:
        return "keep the divisor away from 0 first: clamp(min=eps), or + eps where it is not negative"
    return "keep the operand away from the point first: clamp(min=eps), or + eps where it is not negative"


def _reason(singular: Singular, reach: Reach) -> str:
    if reach.how == "outside":
        return "the value there is NaN, and so is every gradient"
    if reach.how == "pole":
        return "1 / x has neither mean nor variance over such values: single entries dominate the output and the gradient"
    slope = "the value is infinite there" if singular.forward else "the slope is infinite there"
    if reach.how == "possible":
        return slope
    if singular.forward:
        return slope
    if not reach.escapes:
        return f"{slope}; what comes before stops the gradient at these entries, and small entries next to them get a huge one"
    return f"{slope}, and times the zero slope of what comes before it is NaN: weights are lost in the first step"
