"""Ops with a singular point, hand-written norms, and choices that mask a value: the shared part of NA102 to NA104."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from netaudit import Audit, Node
from netaudit_rules.checks.common import MOVES, behind_moves
from netaudit_rules.checks.forms import aten, excludes, same, stays_within

if TYPE_CHECKING:
    from netaudit import Facts


@dataclass(frozen=True, slots=True)
class Singular:
    """An operand of a call, the points where the call's slope is infinite, and the interval outside of which there is no value.

    ``forward``: the value is infinite (or NaN) there too. ``pole``: the function is defined on both sides of the point.
    """

    node: Node
    operand: str
    points: tuple[float, ...]
    lo: float = -inf
    hi: float = inf
    forward: bool = False
    pole: bool = False


_TABLE: dict[str, tuple[tuple[float, ...], float, float, bool, bool]] = {
    "aten.sqrt": ((0.0,), 0.0, inf, False, False),
    "aten.rsqrt": ((0.0,), 0.0, inf, True, False),
    "aten.log": ((0.0,), 0.0, inf, True, False),
    "aten.log2": ((0.0,), 0.0, inf, True, False),
    "aten.log10": ((0.0,), 0.0, inf, True, False),
    "aten.log1p": ((-1.0,), -1.0, inf, True, False),
    "aten.reciprocal": ((0.0,), -inf, inf, True, True),
    "aten.acos": ((-1.0, 1.0), -1.0, 1.0, False, False),
    "aten.asin": ((-1.0, 1.0), -1.0, 1.0, False, False),
    "aten.atanh": ((-1.0, 1.0), -1.0, 1.0, True, False),
    "aten.acosh": ((1.0,), 1.0, inf, False, False),
}
"""Points, domain, whether the value is infinite there, whether it is a pole: what torch returns is in the tests of the rule."""


def singular_of(node: Node) -> Singular | None:
    """The singular operand of a call, if it has one."""
    operands = node.operands
    if node.op in _TABLE and isinstance(operands[0], str):
        points, lo, hi, forward, pole = _TABLE[node.op]
        return Singular(node, operands[0], points, lo, hi, forward, pole)
    if node.op == "aten.div" and node.args.get("rounding_mode") is None and isinstance(operands[1], str):
        return Singular(node, operands[1], (0.0,), forward=True, pole=True)
    if node.op == "aten.pow" and isinstance(operands[0], str):
        p = operands[1]
        return _of_power(node, operands[0], p) if isinstance(p, float) else Singular(node, operands[0], (), 0.0)  # p is learned
    return None


def _of_power(node: Node, operand: str, p: float) -> Singular | None:
    whole = p == int(p)
    if p < 0:
        return Singular(node, operand, (0.0,), -inf if whole else 0.0, inf, True, whole)
    return None if whole else Singular(node, operand, (0.0,) if p < 1 else (), 0.0)


def is_safe(facts: Facts, found: Singular) -> bool:
    """PROVED: the operand stays in the domain and away from the points."""
    inside = stays_within(facts, found.operand, found.lo, found.hi)
    return inside and all(excludes(facts, found.operand, point) for point in found.points)


# hand-written norms -----------------------------------------------------------------------------------------------------


def is_root_of_squares(facts: Facts, node: Node) -> bool:
    """``sqrt`` of a sum or mean of squares, or of a variance, with nothing added: a norm or deviation written out."""
    if node.op not in ("aten.sqrt", "aten.rsqrt") and not (node.op == "aten.pow" and node.operands[1] in (0.5, -0.5)):
        return False
    return bool(node.inputs) and _is_sum_of_squares(facts, node.inputs[0])


def _is_sum_of_squares(facts: Facts, name: str) -> bool:
    inner = behind_moves(facts, name)
    if inner.op in ("aten.clamp", "aten.clamp_min") and inner.args.get("min") == 0:
        inner = behind_moves(facts, inner.inputs[0])
    if inner.op in ("aten.var", "aten.var_mean"):
        return inner.args.get("output") != 1
    if inner.op not in ("aten.sum", "aten.mean") or not inner.inputs:
        return False
    return is_square(facts, behind_moves(facts, inner.inputs[0]))


def is_square(facts: Facts, node: Node) -> bool:
    """``x^2`` in the ways people write it."""
    if node.op == "aten.square" or (node.op == "aten.pow" and node.operands[1] == 2.0):
        return True
    return node.op == "aten.mul" and len(node.inputs) == 2 and same(facts, *node.inputs)


NORMS = frozenset({"aten.linalg_vector_norm", "aten.norm", "aten.std", "aten.std_mean", "aten.cdist"})


def is_length(facts: Facts, name: str) -> bool:
    """Whether a value is a norm or deviation, by torch's own op or written out."""
    node = behind_moves(facts, name)
    return (node.op in NORMS and node.args.get("output") != 1) or is_root_of_squares(facts, node)


# who asks ---------------------------------------------------------------------------------------------------------------


def masked_by(facts: Facts, node: Node, depth: int = 6) -> tuple[Node, bool] | None:
    """The choice that replaces some of a call's values, and whether it keeps them where its condition holds; None if none does.

    Every use of the value must lead to one through ops that act entry by entry.
    """
    users = [n for n in facts.graph.nodes if node.name in n.inputs]
    if not users or node.name in facts.graph.heads or not depth:
        return None
    found = None
    for user in users:
        if user.op == "aten.where" and node.name in user.operands[1:]:
            own: tuple[Node, bool] | None = (user, user.operands[1] == node.name)
        elif (user.op == "aten.masked_fill" and user.operands[0] == node.name) or user.op == "aten.nan_to_num":
            own = (user, False)
        elif user.op in _ENTRYWISE:
            own = masked_by(facts, user, depth - 1)
        else:
            return None
        if own is None:
            return None
        found = found or own
    return found


_ENTRYWISE = MOVES | aten("mul add sub rsub neg div exp log sqrt pow square abs tanh sigmoid clamp")


def exposed(audit: Audit, learning: frozenset[str]) -> Iterator[Singular]:
    """The singular calls that a gradient to a parameter passes, and those on data alone whose value can be infinite.

    A logarithm of data that a softmax takes is left out: ``log(mask)`` is how some write a mask.
    """
    for node in audit.graph.nodes:
        found = singular_of(node)
        if found is None or not node.is_float:
            continue
        by_value = found.forward and found.operand not in learning
        is_mask = by_value and node.op.startswith("aten.log") and reaches_softmax(audit.facts, node)
        if (by_value and not is_mask) or (node.name in learning and found.operand in learning):
            yield found


_SOFTMAX = aten("softmax _softmax log_softmax _log_softmax scaled_dot_product_attention") | {"netaudit.attention"}
_ADDED = MOVES | aten("add sub rsub mul where masked_fill")


def reaches_softmax(facts: Facts, node: Node, depth: int = 6) -> bool:
    """Whether a softmax takes a value, perhaps added to logits first."""
    frontier = {node.name}
    for _ in range(depth):
        users = [n for n in facts.graph.nodes if frontier & set(n.inputs)]
        if any(n.op in _SOFTMAX for n in users):
            return True
        frontier = {n.name for n in users if n.op in _ADDED}
    return False
