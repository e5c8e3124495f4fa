"""NA106."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log1p, log10

from netaudit import Audit, Claim, Evidence, Node, Remark, Severity, check, ever_reached
from netaudit_rules.checks.common import trained
from netaudit_rules.checks.places import Place, folded
from netaudit_rules.checks.ranges import learning, spread_of

SMALLEST = 4.5e-5
"""Jumps below that of softplus at threshold 10 are rounding: ``log1p(e^-10)``."""
STEPS = {
    "aten.round": 1.0,
    "aten.floor": 1.0,
    "aten.ceil": 1.0,
    "aten.trunc": 1.0,
    "aten.sign": 2.0,
    "aten.sgn": 2.0,
    "aten.heaviside": 1.0,
}


REMAINDERS = ("aten.remainder", "aten.fmod")


@check("NA106", severity="info", needs={"graph", "weights"})
def discontinuous_op(audit: Audit) -> Iterator[Remark]:
    """An op on the way to the loss jumps.

    Why:
        A jump has no gradient: the loss changes by a finite amount for an arbitrarily small step, in a direction that no
        gradient tells. No Lipschitz constant exists.

    How it is found:
        Hardshrink with lambda > 0, Threshold whose value is not its threshold, Softplus that becomes linear early
        (threshold below 10), remainders, and rounding, sign or heaviside whose value the loss depends on beside a
        differentiable path. Straight-through estimators (a detached difference, a custom autograd.Function) and what cuts the
        gradient altogether (NA206) are left out. Info; a warning when the jump is larger than the forecast deviation of the
        operand: it then dominates the output (remainders, which wrap angles, stay info).

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 16), nn.Threshold(0.1, 20.0), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 16), nn.Threshold(0.1, 0.1), nn.Softshrink(0.5), nn.Softplus(), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Bengio et al. 2013, section 1; the jump of softplus is ``log1p(exp(-threshold)) / beta`` by its definition in torch.
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Jump:
    size: float
    at: str
    deviation: float | None


def _places(audit: Audit) -> Iterator[Place[_Jump]]:
    through, reached = learning(audit), ever_reached(audit.flow, audit.later)
    for node in audit.graph.nodes:
        jump = _jump(node)
        if jump is None or jump[0] < SMALLEST or node.custom_function:
            continue
        if node.name in through or (node.op in STEPS and node.name in reached and _is_beside(audit, node, reached)):
            yield _place(audit, node, jump)


def _place(audit: Audit, node: Node, jump: tuple[float, str]) -> Place[_Jump]:
    spread = spread_of(audit, node.inputs[0])
    deviation = None if spread is None else spread.deviation
    alone = node.op not in STEPS and node.op not in REMAINDERS  # what wraps an angle is often undone by a sine
    large = alone and deviation is not None and jump[0] > deviation
    severity: Severity = "warning" if large else "info"
    return Place(node, severity, node.op, _Jump(*jump, deviation))


def _is_beside(audit: Audit, step: Node, reached: frozenset[str]) -> bool:
    """Whether trained parameters stand behind a step, and all of them get their gradient on another path (else it is NA206's)."""
    behind: set[str] = set()
    waiting = [step.name]
    while waiting:
        new = [o for o in audit.facts.nodes[waiting.pop()].inputs if o not in behind]
        behind.update(new)
        waiting.extend(new)
    params = [info.node for _, info in trained(audit) if info.node in behind]
    return bool(params) and all(name in reached for name in params)


def _jump(node: Node) -> tuple[float, str] | None:
    """The size of the largest jump of an op, and where."""
    args = {key: float(v) for key, v in node.args.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    if node.op in STEPS:
        return STEPS[node.op], "0" if STEPS[node.op] > 1 or node.op == "aten.heaviside" else "whole and half numbers"
    if node.op == "aten.hardshrink":
        at = args.get("lambd", 0.5)
        return at, f"+-{at:g}"
    if node.op == "aten.threshold":
        at = args.get("threshold", 0.0)
        return abs(at - args.get("value", 0.0)), f"{at:g}"
    if node.op == "aten.softplus":
        at, beta = args.get("threshold", 20.0), args.get("beta", 1.0)
        return log1p(exp(-max(at, -700.0))) / beta, f"{at / beta:g}"
    if node.op in REMAINDERS and isinstance(node.operands[1], float):
        return abs(node.operands[1]), f"multiples of {node.operands[1]:g}"
    return None


def _remark(node: Node, severity: Severity, jump: _Jump, siblings: tuple[str, ...]) -> Remark:
    against = "" if jump.deviation is None else f"; the operand's forecast deviation is {jump.deviation:.3g}"
    return Remark(
        message=f"{node.op.removeprefix('aten.')} jumps by {jump.size:.3g} at {jump.at}: it has no Lipschitz constant",
        module=node.where.module,
        where=node.where,
        severity=severity,
        reason=f"no gradient tells of the jump{against}",
        evidence=Evidence("jump", None, log10(jump.size), None, None, "the op's definition"),
        siblings=siblings,
        claim=Claim("deviation", node.inputs[:1], log10(jump.size), "below", aside=True) if severity == "warning" else None,
    )
