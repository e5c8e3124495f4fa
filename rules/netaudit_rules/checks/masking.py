"""Choices that mask the value of a singular op, and not its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netaudit import Node
from netaudit_rules.checks.singular import Singular, masked_by

if TYPE_CHECKING:
    from netaudit import Facts

DEPTH = 6
"""How many calls back a condition and an operand are compared."""


def masks_singularity(facts: Facts, found: Singular) -> Node | None:
    """The choice that is to hide where the operand is singular: its condition and the operand come from one tensor."""
    masked = masked_by(facts, found.node)
    if masked is None:
        return None
    choice, _ = masked
    if choice.op == "aten.nan_to_num":
        return choice
    condition = choice.operands[0] if choice.op == "aten.where" else choice.operands[1]
    if not isinstance(condition, str):
        return None
    return choice if _behind(facts, condition) & _behind(facts, found.operand) else None


def _behind(facts: Facts, name: str) -> frozenset[str]:
    """A node and what it is computed from, a few calls back; parameters say nothing of a relation."""
    found, frontier = {name}, {name}
    for _ in range(DEPTH):
        frontier = {o for n in frontier for o in facts.nodes[n].inputs if facts.nodes[o].op != "parameter"} - found
        found |= frontier
    return frozenset(found)
