"""Parameters that hold each other at zero: what a gradient would reach if zero-initialised factors were not zero."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netaudit import Audit, Node, ever_reached
from netaudit_rules.checks.common import trained
from netaudit_rules.checks.losses import WEIGHTED, downstream
from netaudit_rules.checks.norms import NORMS

if TYPE_CHECKING:
    from netaudit import Facts

WITH_BIAS = (WEIGHTED - {"aten.addmm"}) | NORMS
"""Calls of (data, weight, bias, ...): what stands behind the weight is added, and is no factor."""


def zero_parameters(audit: Audit) -> frozenset[str]:
    """The trained parameters that are exactly zero; one without entries is not."""
    held = ((name, info) for name, info in trained(audit) if prod(info.shape))
    return frozenset(name for name, info in held if audit.facts.signals[info.node].range.magnitude == 0.0)


def locked(audit: Audit) -> frozenset[str]:
    """The trained parameters that no gradient ever reaches, only because of factors that are zero-initialised.

    One zero factor gets a gradient and frees the other; with two on one path neither does. What is cut by an op, whatever
    the values, is not locked.
    """
    reached = ever_reached(audit.flow, audit.later)
    lost = [name for name, info in trained(audit) if info.node not in reached]
    if not lost:
        return frozenset()
    zeros = zero_parameters(audit)
    moving = downstream(audit.graph, (audit.graph.params[name].node for name in zeros))
    open_to = _reached_but_for_zeros(audit, moving)
    return frozenset(name for name in lost if audit.graph.params[name].node in open_to)


def _reached_but_for_zeros(audit: Audit, moving: frozenset[str]) -> frozenset[str]:
    facts = audit.facts
    found = {name for name in audit.graph.heads if name in facts.nodes}
    for node in reversed(audit.graph.nodes):
        effect = facts.effects.get(node.name)
        if node.name not in found or effect is None:
            continue
        for slot, (operand, jac) in enumerate(zip(node.operands, effect.jac, strict=True)):
            if not isinstance(operand, str) or jac is None or not facts.nodes[operand].is_float:
                continue
            if "zero" not in jac.tags or _is_zero_by_value(facts, node, slot, moving):
                found.add(operand)
    return frozenset(found)


def _is_zero_by_value(facts: Facts, node: Node, slot: int, moving: frozenset[str]) -> bool:
    """Whether a Jacobian is zero because another factor is, and that one would move with a zero-initialised parameter."""
    factors = node.operands[:2] if node.op in WITH_BIAS else node.operands
    others = [o for i, o in enumerate(factors) if i != slot and isinstance(o, str)]
    return any(o in moving and facts.signals[o].range.magnitude == 0.0 for o in others)
