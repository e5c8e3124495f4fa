"""What follows from how a tensor is computed: the same value computed twice, signs, values that a condition keeps away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from netaudit import Node
from netaudit_rules.checks.common import MOVES, behind_moves

if TYPE_CHECKING:
    from netaudit import Facts


def aten(words: str) -> frozenset[str]:
    """Packet names, from a list of words."""
    return frozenset(f"aten.{word}" for word in words.split())


PICKS = aten("topk sort gather index index_select take_along_dim amax amin max min flip roll")
"""Ops that return some of their first operand's entries."""
DEPTH = 12
"""How many calls back a structural argument goes."""
_POSITIVE = frozenset({"aten.exp", "aten.exp2", "aten.softplus", "aten.sigmoid", "aten.softmax", "aten._softmax", "aten.cosh"})
_SUMS = frozenset({"aten.sum", "aten.mean", "aten.cumsum", "aten.prod", "aten.avg_pool1d", "aten.avg_pool2d", "aten.max_pool2d"})
_PRODUCTS = aten("matmul bmm mm mv dot linear einsum conv1d conv2d conv3d convolution")
_COMPARISONS = {"aten.gt": (">", "<="), "aten.ge": (">=", "<"), "aten.lt": ("<", ">="), "aten.le": ("<=", ">"), "aten.ne": ("!=", "=="),
                "aten.eq": ("==", "!=")}  # fmt: skip


def same(facts: Facts, a: str, b: str, depth: int = DEPTH) -> bool:
    """Whether two nodes hold the same value: one node seen through moves, or the same pure call on the same operands."""
    first, second = facts.nodes[a], facts.nodes[b]
    if first.name == second.name:
        return True
    if not depth or first.op != second.op or first.is_random or len(first.operands) != len(second.operands) or not first.operands:
        return False
    if _settings(first) != _settings(second):
        return False
    return all(
        same(facts, x, y, depth - 1) if isinstance(x, str) and isinstance(y, str) else x == y
        for x, y in zip(first.operands, second.operands, strict=True)
    )


def _settings(node: Node) -> dict[str, str]:
    return {key: repr(value) for key, value in node.args.items() if "Ref(" not in repr(value)}


# signs ------------------------------------------------------------------------------------------------------------------


def is_positive(facts: Facts, name: str | float, depth: int = DEPTH) -> bool:
    """PROVED in exact arithmetic: every entry is above 0. Underflow is another matter."""
    if not isinstance(name, str):
        return name > 0
    node = facts.nodes[name]
    if facts.signals[name].range.lo > 0:
        return True
    if not depth:
        return False
    if node.op in _POSITIVE:
        return not _may_hide(facts, node)
    operands = _numbers(node)
    if node.op in MOVES | PICKS | _SUMS | {"aten.sqrt", "aten.rsqrt", "aten.reciprocal", "aten.pow"}:
        return is_positive(facts, operands[0], depth - 1)
    if node.op in ("aten.mul", "aten.div", "aten.cat", "aten.stack") or node.op in _PRODUCTS:
        return all(is_positive(facts, o, depth - 1) for o in operands)
    if node.op == "aten.add":
        return any(is_positive(facts, o, depth - 1) for o in operands) and all(is_non_negative(facts, o, depth - 1) for o in operands)
    if node.op == "aten.maximum":
        return any(is_positive(facts, o, depth - 1) for o in operands)
    return False


def _may_hide(facts: Facts, node: Node) -> bool:
    """Whether a softmax may see -inf: a hidden entry gets the weight 0."""
    if not node.op.endswith("softmax"):
        return False
    seen = node
    for _ in range(DEPTH):
        if any(_is_minus_infinity(facts, o) for o in seen.operands):
            return True
        if not seen.inputs or seen.op not in MOVES | {"aten.masked_fill", "aten.where", "aten.add", "aten.mul", "aten.div"}:
            return False
        seen = facts.nodes[seen.inputs[1] if seen.op == "aten.where" and len(seen.inputs) > 1 else seen.inputs[0]]
    return True


def _is_minus_infinity(facts: Facts, operand: str | float | None) -> bool:
    if isinstance(operand, str):
        signal = facts.signals[operand]
        return signal.constant and signal.range.lo == -inf
    return operand == -inf


def is_non_negative(facts: Facts, name: str | float, depth: int = DEPTH) -> bool:
    """PROVED in exact arithmetic: no entry is below 0."""
    if not isinstance(name, str):
        return name >= 0
    node = facts.nodes[name]
    if facts.signals[name].range.lo >= 0 or is_positive(facts, name, depth):
        return True
    if not depth:
        return False
    operands = _numbers(node)
    if node.op in MOVES | PICKS | _SUMS | {"aten.dropout", "aten.sqrt", "aten.tril", "aten.triu"}:
        return is_non_negative(facts, operands[0], depth - 1)
    if node.op == "aten.mul" and len(node.inputs) == 2 and same(facts, *node.inputs):
        return True
    if node.op in ("aten.add", "aten.mul", "aten.div", "aten.cat", "aten.stack", "aten.maximum") or node.op in _PRODUCTS:
        return all(is_non_negative(facts, o, depth - 1) for o in operands)
    return False


def _numbers(node: Node) -> list[str | float]:
    return [o for o in node.operands if o is not None]


_NORMAL = aten("linear conv1d conv2d conv3d convolution addmm layer_norm native_layer_norm batch_norm group_norm instance_norm") | {
    "netaudit.layer_norm"
}
_AFFINE = MOVES | aten("add sub rsub mul div neg")


def is_near_normal(facts: Facts, name: str) -> bool:
    """Whether a tensor is an affine image of a layer's output or of a normalisation: sums of many terms of both signs."""
    node = facts.nodes[name]
    for _ in range(DEPTH):
        if node.op in _NORMAL:
            return True
        others = [o for o in node.inputs[1:] if facts.nodes[o].op not in ("parameter", "constant")]
        if node.op not in _AFFINE or not node.inputs or others:
            return False
        node = facts.nodes[node.inputs[0]]
    return False


# conditions -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Branch:
    """One of the values that a choice puts in its result, and whether it does where the condition holds."""

    value: str | float
    condition: str
    holds: bool


def branches(node: Node) -> tuple[Branch, ...]:
    """The branches of ``where`` and ``masked_fill``; none of other ops."""
    if node.op == "aten.where" and len(node.operands) == 3 and isinstance(node.operands[0], str):
        condition, kept, other = node.operands
        assert isinstance(condition, str)
        return tuple(Branch(v, condition, holds) for v, holds in ((kept, True), (other, False)) if v is not None)
    if node.op == "aten.masked_fill" and len(node.operands) == 3 and isinstance(node.operands[1], str):
        kept, condition, filled = node.operands
        assert isinstance(condition, str)
        return tuple(Branch(v, condition, holds) for v, holds in ((kept, False), (filled, True)) if v is not None)
    return ()


@dataclass(frozen=True, slots=True)
class Limit:
    """``value`` compared with a number: what a condition says of one tensor."""

    value: str
    relation: str
    number: float


_NOT, _AND, _OR = (aten(f"logical_{w} bitwise_{w} __{w}__") for w in ("not", "and", "or"))


def limits(facts: Facts, condition: str, holds: bool) -> Iterator[Limit]:
    """What is known of tensors where a condition holds (or does not): comparisons with a number, negated and joined."""
    node = behind_moves(facts, condition)
    if node.op in _NOT and node.inputs:
        yield from limits(facts, node.inputs[0], not holds)
    elif (node.op in _AND and holds) or (node.op in _OR and not holds):
        for name in node.inputs:
            yield from limits(facts, name, holds)
    elif node.op in _COMPARISONS and len(node.operands) == 2 and isinstance(node.operands[0], str):
        number = _literal(facts, node.operands[1])
        if number is not None:
            yield Limit(node.operands[0], _COMPARISONS[node.op][0 if holds else 1], number)


def _literal(facts: Facts, operand: str | float | None) -> float | None:
    if isinstance(operand, str):
        signal = facts.signals[operand]
        return signal.range.lo if signal.constant and signal.range.lo == signal.range.hi else None
    return operand


def allows(limit: Limit, point: float) -> bool:
    """Whether a comparison leaves a value possible."""
    n = limit.number
    return {">": point > n, ">=": point >= n, "<": point < n, "<=": point <= n, "!=": point != n, "==": point == n}[limit.relation]


def excludes(facts: Facts, value: str | float, point: float, depth: int = DEPTH) -> bool:
    """PROVED: no entry equals the point: by its range, its sign, or a condition that keeps it away (the double where)."""
    if not isinstance(value, str):
        return value != point
    if point not in facts.signals[value].range or (point == 0.0 and is_positive(facts, value)):
        return True
    node = facts.nodes[value]
    if not depth:
        return False
    chosen = branches(node)
    if chosen:
        return all(_branch_excludes(facts, branch, point, depth - 1) for branch in chosen)
    if node.op in MOVES and node.inputs:
        return excludes(facts, node.inputs[0], point, depth - 1)
    if point == 0.0 and node.op in ("aten.abs", "aten.square", "aten.neg", "aten.sqrt"):
        return excludes(facts, node.inputs[0], 0.0, depth - 1)
    if point == 0.0 and node.op == "aten.mul":
        return all(excludes(facts, o, 0.0, depth - 1) for o in node.operands if o is not None)
    return False


def _branch_excludes(facts: Facts, branch: Branch, point: float, depth: int) -> bool:
    if excludes(facts, branch.value, point, depth):
        return True
    if not isinstance(branch.value, str):
        return False
    return any(_speaks_of(facts, limit, branch.value, point) for limit in limits(facts, branch.condition, branch.holds))


def _speaks_of(facts: Facts, limit: Limit, value: str, point: float) -> bool:
    """Whether a comparison keeps a value from the point: of the value itself, or at 0 of its size."""
    compared, own = behind_moves(facts, limit.value), behind_moves(facts, value)
    if same(facts, compared.name, own.name):
        return not allows(limit, point)
    is_size = compared.op in ("aten.abs", "aten.square") and same(facts, behind_moves(facts, compared.inputs[0]).name, own.name)
    return is_size and point == 0.0 and not allows(limit, 0.0)


def stays_within(facts: Facts, value: str | float, lo: float, hi: float, depth: int = DEPTH) -> bool:
    """PROVED: every entry lies in ``[lo, hi]``: by its range, its sign, or a condition."""
    if not isinstance(value, str):
        return lo <= value <= hi
    known = facts.signals[value].range
    if known.lo >= lo and known.hi <= hi:
        return True
    if lo == 0.0 and known.hi <= hi and is_non_negative(facts, value):
        return True
    if not depth:
        return False
    node = facts.nodes[value]
    chosen = branches(node)
    if chosen:
        return all(_branch_within(facts, branch, lo, hi, depth - 1) for branch in chosen)
    return node.op in MOVES and bool(node.inputs) and stays_within(facts, node.inputs[0], lo, hi, depth - 1)


def _branch_within(facts: Facts, branch: Branch, lo: float, hi: float, depth: int) -> bool:
    if stays_within(facts, branch.value, lo, hi, depth):
        return True
    if not isinstance(branch.value, str):
        return False
    known = facts.signals[branch.value].range
    low, high = known.lo, known.hi
    for limit in limits(facts, branch.condition, branch.holds):
        if same(facts, behind_moves(facts, limit.value).name, behind_moves(facts, branch.value).name):
            low = max(low, limit.number) if limit.relation in (">", ">=", "==") else low
            high = min(high, limit.number) if limit.relation in ("<", "<=", "==") else high
    return low >= lo and high <= hi
