"""Shortcuts: which sums add a branch to the stream that it came from, what stands on the shortcut, and how blocks follow each other.

A sum is residual when one operand leads back, through calls without weights (views, scales, norms, activations, dropout), to a
value that the other operand was computed from with weights: ``x + f(x)``, ``norm(x) + f(x)``, ``2 x + f(x)``, ``conv1x1(x) + f(x)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10

from netaudit import Audit, Graph, Node
from netaudit_rules.checks.axes import ATTENTION, PRODUCTS, RECURRENT
from netaudit_rules.checks.common import MOVES
from netaudit_rules.checks.losses import WEIGHTED
from netaudit_rules.checks.norms import DIRECTION, NORMS

SUMS = frozenset({"aten.add", "aten.sub"})
PRODUCING = WEIGHTED | PRODUCTS | ATTENTION | RECURRENT | {"aten.embedding", "aten.bilinear", "aten.einsum"}
"""Calls at which a shortcut ends: they mix features with weights, or with one another."""
LONGEST = 12
"""Calls that a shortcut may hold."""


@dataclass(frozen=True, slots=True)
class Residual:
    """One residual sum. ``skip`` are the calls on the shortcut from ``fork`` to the sum, in order, ``branch`` those of the branch.

    ``gain`` is the product of the plain numbers that the shortcut is multiplied by; ``projected``: the shortcut holds a layer.
    """

    add: str
    fork: str
    skip: tuple[str, ...]
    branch: tuple[str, ...]
    end: str
    gain: float
    projected: bool


class _Reach:
    """Who depends on whom, as bit sets: one integer a node."""

    def __init__(self, graph: Graph) -> None:
        self.index = {node.name: i for i, node in enumerate(graph.nodes)}
        self.before: list[int] = []
        for node in graph.nodes:
            mask = 0
            for name in node.inputs:
                mask |= self.before[self.index[name]] | 1 << self.index[name]
            self.before.append(mask)

    def depends(self, name: str, on: str) -> bool:
        """Whether a value was computed from another one."""
        return bool(self.before[self.index[name]] >> self.index[on] & 1)


_last: list[tuple[Graph, tuple[Residual, ...]]] = []


def residuals(audit: Audit) -> tuple[Residual, ...]:
    """The residual sums of a graph in execution order; worked out once for a graph that several checks look at."""
    if not _last or _last[0][0] is not audit.graph:
        _last[:] = [(audit.graph, _found(audit))]
    return _last[0][1]


def _found(audit: Audit) -> tuple[Residual, ...]:
    reach, nodes = _Reach(audit.graph), audit.facts.nodes
    live = _data(audit.graph)
    result = []
    for node in audit.graph.nodes:
        operands = [o for o in node.operands[:2] if isinstance(o, str)]
        if node.op in SUMS and len(operands) == 2 and set(operands) <= live and node.shape in {nodes[o].shape for o in operands}:
            found = _residual(audit.graph, nodes, reach, node, operands)
            if found is not None:
                result.append(found)
    return tuple(result)


def _data(graph: Graph) -> frozenset[str]:
    """The nodes that depend on an input."""
    found = set(graph.inputs)
    for node in graph.nodes:
        if not found.isdisjoint(node.inputs):
            found.add(node.name)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Chain:
    """A way back from an operand: the calls passed, from the nearest on, where it leads, and whether a layer was passed."""

    passed: tuple[str, ...]
    source: str
    projected: bool


def _residual(graph: Graph, nodes: Mapping[str, Node], reach: _Reach, node: Node, operands: list[str]) -> Residual | None:
    candidates = []
    for shortcut, branch in (operands, operands[::-1]):
        for chain in _chains(nodes, shortcut):
            if chain.source == branch or reach.depends(branch, chain.source):
                inner = _between(graph, reach, chain.source, branch, chain.passed)
                layers = sum(nodes[name].op in PRODUCING for name in inner)
                if layers and (not chain.projected or layers > 1):
                    candidates.append((chain.projected, len(chain.passed), -layers, chain, branch, inner))
                break
    if not candidates:
        return None
    *_, chain, branch, inner = min(candidates, key=lambda c: c[:3])
    return Residual(node.name, chain.source, chain.passed[::-1], inner, branch, _gain(nodes, chain.passed), chain.projected)


def _chains(nodes: Mapping[str, Node], start: str) -> list[_Chain]:
    """The values that an operand leads back to, nearest first, through calls on one tensor of data and at most one layer."""
    result = [_Chain((), start, False)]
    passed: list[str] = []
    current, projected = start, False
    while len(passed) < LONGEST:
        node = nodes[current]
        before = _single(nodes, node)
        if before is None or (node.op in PRODUCING and (projected or node.op not in WEIGHTED)):
            return result
        projected = projected or node.op in PRODUCING
        passed.append(current)
        current = before
        result.append(_Chain(tuple(passed), current, projected))
    return result


def _single(nodes: Mapping[str, Node], node: Node) -> str | None:
    """The one tensor of data that a call works on; of a product with a gate none, of ``x + x`` that one."""
    data = list(dict.fromkeys(o for o in node.inputs if nodes[o].op not in ("parameter", "constant") and not _is_static(nodes, o)))
    return data[0] if len(data) == 1 and node.op not in ("input",) else None


def _is_static(nodes: Mapping[str, Node], name: str) -> bool:
    """Whether a value is a parameter or constant behind a few views."""
    node = nodes[name]
    for _ in range(4):
        if node.op in ("parameter", "constant"):
            return True
        if len(node.inputs) != 1:
            return False
        node = nodes[node.inputs[0]]
    return node.op in ("parameter", "constant")


def _between(graph: Graph, reach: _Reach, fork: str, end: str, skip: tuple[str, ...]) -> tuple[str, ...]:
    """The calls from a fork to the end of a branch, in execution order."""
    wanted = reach.before[reach.index[end]] | 1 << reach.index[end]
    first = reach.index[fork]
    shortcut = frozenset(skip)
    return tuple(
        node.name
        for node in graph.nodes[first + 1 : reach.index[end] + 1]
        if wanted >> reach.index[node.name] & 1 and reach.before[reach.index[node.name]] >> first & 1 and node.name not in shortcut
    )


def _gain(nodes: Mapping[str, Node], passed: tuple[str, ...]) -> float:
    """The product of the numbers by which a chain multiplies; ``x + x`` doubles."""
    gain = 1.0
    for name in passed:
        node = nodes[name]
        numbers = [o for o in node.operands[:2] if isinstance(o, float)]
        if node.op == "aten.mul" and numbers:
            gain *= numbers[0]
        elif node.op == "aten.div" and numbers and numbers[0]:
            gain /= numbers[0]
        elif node.op == "aten.add" and len(node.inputs) > 1 and len(set(node.inputs)) == 1:
            gain *= 2.0
    return gain


# what a block is made of ------------------------------------------------------------------------------------------------


def norms_in(audit: Audit, names: tuple[str, ...]) -> tuple[str, ...]:
    """The normalisations among calls."""
    return tuple(name for name in names if audit.facts.nodes[name].op in NORMS | DIRECTION)


def streams(audit: Audit) -> tuple[tuple[Residual, ...], ...]:
    """Residual sums in series: each forks from the sum of the one before, perhaps through calls without weights."""
    nodes = audit.facts.nodes
    by_add = {one.add: one for one in residuals(audit)}
    runs: list[list[Residual]] = []
    tail: dict[str, list[Residual]] = {}
    for one in by_add.values():
        before = next((chain.source for chain in _chains(nodes, one.fork) if chain.source in by_add and not chain.projected), None)
        run = tail.pop(before, None) if before is not None else None
        if run is None:
            run = []
            runs.append(run)
        run.append(one)
        tail[one.add] = run
    return tuple(tuple(run) for run in runs)


def between_blocks(audit: Audit, first: Residual, second: Residual) -> tuple[str, ...]:
    """The calls on the stream from the sum of one block to the fork of the next, in order: a norm there makes it post-norm."""
    for chain in _chains(audit.facts.nodes, second.fork):
        if chain.source == first.add:
            return chain.passed[::-1]
    return ()


NON_NEGATIVE = frozenset(
    f"aten.{name}" for name in ("relu", "relu6", "sigmoid", "hardsigmoid", "softplus", "softmax", "abs", "square", "exp")
)
_KEEP_SIGN = MOVES | {"aten.dropout"}


def end_of_branch(audit: Audit, one: Residual) -> Node:
    """The call that makes a branch what it is, seen through views, dropout and positive numbers."""
    node = audit.facts.nodes[one.end]
    while node.inputs and (node.op in _KEEP_SIGN or _is_positive_scale(node)):
        node = audit.facts.nodes[node.inputs[0]]
    return node


def _is_positive_scale(node: Node) -> bool:
    numbers = [o for o in node.operands if isinstance(o, float)]
    return node.op in ("aten.mul", "aten.div") and len(numbers) == 1 and numbers[0] > 0.0


def ends_nonnegative(audit: Audit, one: Residual) -> bool:
    """Whether what a branch adds is never negative."""
    return audit.facts.nodes[one.add].op == "aten.add" and end_of_branch(audit, one).op in NON_NEGATIVE


def growth(audit: Audit, run: Sequence[Residual]) -> float | None:
    """log10 of the forecast RMS of the stream behind a run over that in front of it; None without a forecast."""
    before, behind = (audit.facts.signals[name].moments for name in (run[0].fork, run[-1].add))
    if before is None or behind is None or before.mean_square <= 0.0 or behind.mean_square <= 0.0:
        return None
    return 0.5 * log10(behind.mean_square / before.mean_square)
