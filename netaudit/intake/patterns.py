"""A small pattern language over the operands of a graph's nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import TypeAlias

from netaudit.graph import Arg, Node, Operand, Ref


@dataclass(frozen=True, slots=True)
class Free:
    """Matches any operand and binds it; every occurrence of a name must be the same operand."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """Matches a literal, of a given value if there is one, and binds it if it has a name."""

    name: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Op:
    """Matches a call of one of the packets whose operands match. ``binds`` keeps arguments of the call under names."""

    packets: tuple[str, ...]
    operands: tuple[Pattern, ...]
    commutes: bool = False
    binds: tuple[tuple[str, str], ...] = ()
    needs: Callable[[Node], bool] | None = None


@dataclass(frozen=True, slots=True)
class Either:
    """Matches when one of the alternatives does."""

    options: tuple[Pattern, ...]


Pattern: TypeAlias = "Free | Number | Op | Either"
Binding: TypeAlias = Mapping[str, Arg]


CASTS = frozenset({"aten.to", "aten._to_copy", "aten.float", "aten.type_as", "aten.contiguous", "aten.clone", "aten.alias"})


@dataclass(slots=True)
class Matcher:
    """One attempt at one node: the operands bound and the nodes used so far."""

    nodes: Mapping[str, Node]

    def match(self, pattern: Pattern, operand: Operand, bound: Binding, used: frozenset[str]) -> tuple[Binding, frozenset[str]] | None:
        """The bindings and the nodes used when an operand fits a pattern, given those so far; None when it does not."""
        if isinstance(pattern, Free):
            return self._bind(pattern, operand, bound, used)
        if isinstance(pattern, Number):
            return _number(pattern, self._literal(operand), bound, used)
        if isinstance(pattern, Either):
            found = (self.match(option, operand, bound, used) for option in pattern.options)
            return next((f for f in found if f is not None), None)
        return self._match_op(pattern, operand, bound, used)

    def _bind(self, pattern: Free, operand: Operand, bound: Binding, used: frozenset[str]) -> tuple[Binding, frozenset[str]] | None:
        value: Arg = Ref(operand) if isinstance(operand, str) else operand
        if pattern.name not in bound:
            return {**bound, pattern.name: value}, used
        known = bound[pattern.name]
        if known == value:
            return bound, used
        if isinstance(known, Ref) and isinstance(value, Ref):  # the same tensor before and after a cast
            a, b = self._through_casts(known.name), self._through_casts(value.name)
            if a[0] == b[0]:
                return {**bound, pattern.name: Ref(a[0])}, used | a[1] | b[1]
        return None

    def _literal(self, operand: Operand) -> float | None:
        return None if isinstance(operand, str) else operand

    def _through_casts(self, name: str) -> tuple[str, frozenset[str]]:
        passed: set[str] = set()
        while self.nodes[name].op in CASTS and isinstance(self.nodes[name].operands[0], str):
            passed.add(name)
            name = self.nodes[name].inputs[0]
        return name, frozenset(passed)

    def _match_op(self, pattern: Op, operand: Operand, bound: Binding, used: frozenset[str]) -> tuple[Binding, frozenset[str]] | None:
        if not isinstance(operand, str):
            return None
        name, passed = self._through_casts(operand)
        if self.nodes[name].op not in pattern.packets and self.nodes[operand].op in pattern.packets:
            name, passed = operand, frozenset()
        node = self.nodes[name]
        if node.op not in pattern.packets or not _is_plain(node) or (pattern.needs is not None and not pattern.needs(node)):
            return None
        found = {own: node.args.get(argument) for own, argument in pattern.binds}
        if any(own in bound and bound[own] != value for own, value in found.items()):  # mean and variance over different axes
            return None
        bound = {**bound, **found}
        used = used | passed | {name}
        operands = [o for o in node.operands if o is not None][: len(pattern.operands)]
        orders = [operands, operands[::-1]] if pattern.commutes and len(operands) == 2 else [operands]
        for order in orders:
            matched = self._match_all(pattern.operands, order, bound, used)
            if matched is not None:
                return matched
        return None

    def _match_all(
        self, patterns: Sequence[Pattern], operands: Sequence[Operand], bound: Binding, used: frozenset[str]
    ) -> tuple[Binding, frozenset[str]] | None:
        if len(patterns) > len(operands):
            return None
        for pattern, operand in zip(patterns, operands, strict=False):
            found = self.match(pattern, operand, bound, used)
            if found is None:
                return None
            bound, used = found
        return bound, used


def _is_plain(node: Node) -> bool:
    """Whether a sum has no factor (``alpha``) and a quotient no rounding: patterns mean the plain call."""
    return node.args.get("alpha", 1) == 1 and node.args.get("rounding_mode") is None


def _number(pattern: Number, value: float | None, bound: Binding, used: frozenset[str]) -> tuple[Binding, frozenset[str]] | None:
    if value is None or (pattern.value is not None and not isclose(value, pattern.value, rel_tol=1e-4)):
        return None
    return ({**bound, pattern.name: value} if pattern.name else bound), used
