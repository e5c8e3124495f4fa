"""The graph on numbers, as far as one node depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as field_
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from netaudit import Node

from . import field
from .field import Numbers
from .moves import Known, picked
from .step import Step, seed_of
from .table import CHOICES, PICKS, stepped

if TYPE_CHECKING:
    from netaudit import Facts

LARGEST = 1 << 21
"""Entries of a node beyond which nothing is said of it."""
BUDGET = 1 << 22
"""Entries of all nodes together that the questions about one graph may cost: about a second."""
RUNS = (0, 1)


@dataclass(slots=True)
class Identities:
    """What is asked of one graph. Holds the numbers that earlier questions needed: they depend on each other."""

    facts: Facts
    _held: dict[tuple[int, bool], dict[str, Numbers | None]] = field_(default_factory=dict)
    _spent: int = 0

    def zeros(self, name: str, *, on_example: bool) -> NDArray[np.bool_] | None:
        """The entries of a node that are exactly zero at initialisation: for every input, or on the example input.

        None when the question is too large. Two runs on other numbers must agree.
        """
        return self._where(name, on_example, lambda numbers: numbers == 0)

    def ones(self, name: str, *, on_example: bool) -> NDArray[np.bool_] | None:
        """The entries that are exactly 1 or -1 likewise (the cosine of a row with itself)."""
        return self._where(name, on_example, lambda numbers: (numbers == 1) | (numbers == field.P - 1))

    def _where(self, name: str, on_example: bool, test: Callable[[Numbers], NDArray[np.bool_]]) -> NDArray[np.bool_] | None:
        result: NDArray[np.bool_] | None = None
        for run in RUNS:
            numbers = self._numbers(name, run, on_example)
            if numbers is None:
                return None
            found = test(numbers)
            result = found if result is None else result & found
            if not result.any():
                break
        return result

    def _numbers(self, name: str, run: int, on_example: bool) -> Numbers | None:
        values = self._held.setdefault((run, on_example), {})
        new = [node for node in _cone(self.facts, name) if node.name not in values]
        cost = sum(prod(node.shape) for node in new)
        if self._spent + cost > BUDGET:
            return None
        self._spent += cost
        for node in new:
            values[node.name] = _of_node(self.facts, node, values, run, on_example)
        return values[name]


def _cone(facts: Facts, name: str) -> list[Node]:
    """What a node is computed from, in the order of execution."""
    wanted = {name}
    kept = []
    for node in reversed(facts.graph.nodes):
        if node.name in wanted:
            kept.append(node)
            if not (facts.signals[node.name].value is not None and facts.signals[node.name].constant):
                wanted.update(node.inputs)
    return kept[::-1]


def _of_node(facts: Facts, node: Node, values: Mapping[str, Numbers | None], run: int, on_example: bool) -> Numbers | None:
    signal = facts.signals[node.name]
    if prod(node.shape) > LARGEST:
        return None
    if signal.value is not None and signal.value.shape == node.shape and (signal.constant or on_example or node.op == "parameter"):
        return field.of_values(signal.value)
    if signal.range.lo == signal.range.hi:
        return np.broadcast_to(field.of_values(np.asarray(signal.range.lo)), node.shape)
    if node.op in ("input", "parameter", "constant"):
        return field.fresh(node.shape, field.salt(run, node.name))
    return _of_call(facts, node, values, run, on_example)


def _of_call(facts: Facts, node: Node, values: Mapping[str, Numbers | None], run: int, on_example: bool) -> Numbers | None:
    seed = seed_of(node, run)
    xs = tuple(None if o is None else values[o] if isinstance(o, str) else field.of_values(np.asarray(o)) for o in node.operands)
    missing = any(isinstance(o, str) and x is None for o, x in zip(node.operands, xs, strict=True))
    if missing or not _conditions_known(facts, node, on_example):
        return field.fresh(node.shape, field.salt(run, node.name))
    if node.op in PICKS:
        result = picked(node, _filled(xs[0]), list(_indices(facts, node)))
    elif _keeps_values(facts, node):
        result = xs[0]
    else:
        result = stepped(Step(node, xs, seed))
    if result is None or result.shape != node.shape:
        return field.fresh(node.shape, field.salt(run, node.name))
    return result


def _filled(x: Numbers | None) -> Numbers:
    assert x is not None
    return x


_EXACT_CASTS = {("float16", "float32"), ("bfloat16", "float32"), ("float16", "float64"), ("bfloat16", "float64"), ("float32", "float64")}


def _keeps_values(facts: Facts, node: Node) -> bool:
    """Whether a cast changes no value: to the same dtype, a wider one, or from integers and booleans."""
    if node.op not in ("aten.to", "aten._to_copy", "aten.type_as", "aten.float") or not node.inputs:
        return False
    source = facts.nodes[node.inputs[0]]
    return source.dtype == node.dtype or (source.dtype, node.dtype) in _EXACT_CASTS or (node.is_float and not source.is_float)


def _conditions_known(facts: Facts, node: Node, on_example: bool) -> bool:
    """Whether the indices or the condition of a call are known values: of constants, or of the example where it is asked about."""
    if node.op in PICKS:
        needed = [o for o in node.operands[1:] if isinstance(o, str)]
    elif node.op in CHOICES:
        condition = node.operands[CHOICES[node.op]]
        needed = [condition] if isinstance(condition, str) else []
    else:
        return True
    signals = [facts.signals[name] for name in needed]
    return all(s.value is not None and (s.constant or on_example) for s in signals)


def _indices(facts: Facts, node: Node) -> Iterator[Known | None]:
    for operand in node.operands[1:]:
        yield facts.signals[operand].value if isinstance(operand, str) else None
