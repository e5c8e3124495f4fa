"""Along the dominating path of a gradient: the share it carries, what each block does to it, the shortest run that explains it.

A path runs from the node nearest a parameter to the loss, each node followed by the user that sends most of its gradient
(``Flow.path``). The blocks on it are module instances. Everything here is MODELLED; sizes are log10, gains decibels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf, log10
from typing import TYPE_CHECKING

from .graph import Graph, Node

if TYPE_CHECKING:  # rules load this, and are to load fast
    from .facts import Facts
    from .flow import Flow

SHARE = 0.9
"""The share of a change that a run of nodes must hold to explain it."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive nodes of a path that belong to one module."""

    module: str
    module_type: str
    nodes: tuple[str, ...]


def blocks(facts: Facts, path: Sequence[str]) -> tuple[Block, ...]:
    """A path of nodes grouped by the module that made them, in the order of the path."""
    result: list[Block] = []
    for name in path:
        where = facts.nodes[name].where
        if result and result[-1].module == where.module:
            result[-1] = Block(where.module, where.module_type, (*result[-1].nodes, name))
        else:
            result.append(Block(where.module, where.module_type, (name,)))
    return tuple(result)


def share(flow: Flow, path: Sequence[str]) -> float | None:
    """The share of the energy of the gradient at the start of a path that the path alone carries; None where it is unknown.

    The product over its nodes of ``||part of the heaviest user||^2 / sum over users ||part||^2``: parts are counted as if
    they did not interfere.
    """
    product = 1.0
    for name in path:
        part = flow.nodes[name].share
        if part is None:
            return None
        product *= part
    return product


# gains ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gain:
    """What one block on a path does, in decibels; siblings of one type at one place are one row.

    ``place``: the module, indices of lists written ``*``; ``label``: the module's type, or the ops that its own ``forward``
    calls. ``backward``: ``20 log10`` of the l2 norm of the gradient before the block over that after it, by block;
    ``forward``: the same of the RMS of the activations after it over that before it. None where it is unknown.
    """

    place: str
    label: str
    modules: tuple[str, ...]
    backward: tuple[float | None, ...]
    forward: tuple[float | None, ...]


def gains(flow: Flow, path: Sequence[str]) -> tuple[Gain, ...]:
    """The gains of the blocks of a path, in its order. They add up to the change of the gradient's norm along it.

    The first node has no gain: what it does to the gradient of the parameter depends on its input, not on the path.
    """
    facts = flow.facts
    holders = _holders(facts.graph)
    before = dict(zip(path[1:], path[:-1], strict=True))
    rows: dict[tuple[str, str], list[tuple[str, float | None, float | None]]] = {}
    for block in blocks(facts, path[1:]):
        start, end = before[block.nodes[0]], block.nodes[-1]
        back = _difference(flow.norm(start), flow.norm(end))
        ahead = _difference(rms(facts, end), rms(facts, start))
        rows.setdefault((_place(block.module), _label(facts, block, holders)), []).append((block.module, back, ahead))
    return tuple(
        Gain(place, label, tuple(m for m, _, _ in row), tuple(b for _, b, _ in row), tuple(f for _, _, f in row))
        for (place, label), row in rows.items()
    )


def _difference(one: float | None, other: float | None) -> float | None:
    """Decibels between two log10 sizes; nothing is known of what follows a zero."""
    return None if one is None or other is None or isinf(other) else 20.0 * (one - other)


def _place(module: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in module.split("."))


def _holders(graph: Graph) -> frozenset[str]:
    """The modules that hold others that make calls."""
    found = {""}
    for module in {node.where.module for node in graph.nodes}:
        parts = module.split(".")
        found |= {".".join(parts[:i]) for i in range(1, len(parts))}
    return frozenset(found)


def _label(facts: Facts, block: Block, holders: frozenset[str]) -> str:
    if block.module not in holders and block.module_type:
        return block.module_type
    telling = [name for name in block.nodes if not _moves(facts, name)] or list(block.nodes)
    ops = list(dict.fromkeys(facts.nodes[name].op.partition(".")[2] for name in telling))
    return ", ".join(ops[:2]) + (", ..." if len(ops) > 2 else "")


def _moves(facts: Facts, name: str) -> bool:
    """Whether a call only moves or selects entries, by its Jacobian."""
    jac = facts.jacobian(name, 0)
    return jac is not None and bool({"isometry", "selection"} & jac.tags)


def rms(facts: Facts, name: str) -> float | None:
    """MODELLED log10 of the RMS of a node's value."""
    moments = facts.signals[name].moments
    if moments is None:
        return None
    square = moments.mean_square
    return 0.5 * log10(square) if square > 0 else -inf


# runs -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive nodes of a path, the log10 by which each changes what it carries, and the change of the whole path."""

    nodes: tuple[str, ...]
    changes: tuple[float, ...]
    total: float

    @property
    def change(self) -> float:
        """The change of all of the run."""
        return sum(self.changes)


def shortest_run(changes: Sequence[float], share: float = SHARE) -> tuple[int, int]:
    """``(start, stop)`` of the fewest consecutive changes whose sum is ``share`` of the sum of all, or more.

    Of several as short, the one with the largest sum. Changes may have either sign, so the sums of windows are not monotone in
    their ends: a queue of increasing prefix sums finds it in linear time. An infinite change is a run by itself.
    """
    total = sum(changes)
    infinite = next((i for i, change in enumerate(changes) if isinf(change)), None)
    if infinite is not None:
        return infinite, infinite + 1
    sign = 1.0 if total > 0 else -1.0
    wanted = share * abs(total) - 1e-12 * sum(map(abs, changes))  # prefix sums round
    sums = [0.0]
    for change in changes:
        sums.append(sums[-1] + sign * change)
    best, best_sum = (0, len(changes)), abs(total)
    starts: deque[int] = deque()
    for stop, value in enumerate(sums):
        while starts and value - sums[starts[0]] >= wanted and stop > starts[0]:
            start = starts.popleft()
            length, found = stop - start, value - sums[start]
            if (length, -found) < (best[1] - best[0], -best_sum):
                best, best_sum = (start, stop), found
        while starts and sums[starts[-1]] >= value:
            starts.pop()
        starts.append(stop)
    return best


def against_usual(flow: Flow, name: str) -> float | None:
    """MODELLED log10 of ``||G||_F sqrt(n)``: the gradient at a node of ``n`` entries against its usual size.

    A loss of order one that depends on ``n`` entries of RMS 1 changes by ``||x||_F ||G||_F = sqrt(n) ||G||_F`` when they
    change by 100 %; means and sums over entries leave it as it is.
    """
    norm = flow.norm(name)
    return None if norm is None else norm + 0.5 * log10(max(flow.facts.signals[name].count, 1))


def backward_run(flow: Flow, path: Sequence[str]) -> Run | None:
    """The shortest run of a path that explains how its gradient changes, from the loss back to its start.

    The change at a node is that of ``against_usual`` from its output to its operand on the path. Where the gradient becomes
    exactly zero, it is the node at which it does. None when a size is unknown.
    """
    sizes = [against_usual(flow, name) for name in path]
    return _run(path[1:], [*zip(sizes[1:], sizes[:-1], strict=True)])


def forward_run(facts: Facts, path: Sequence[str]) -> Run | None:
    """The shortest run of a path of values that explains the RMS at its end, against an RMS of 1 before its start."""
    sizes = [rms(facts, name) for name in path]
    return _run(path, [*zip([0.0, *sizes[:-1]], sizes, strict=True)])


def _run(nodes: Sequence[str], pairs: Sequence[tuple[float | None, float | None]]) -> Run | None:
    changes = [_change(before, after) for before, after in pairs]
    known = [change for change in changes if change is not None]
    if not known or len(known) < len(changes):
        return None
    start, stop = shortest_run(known)
    return Run(tuple(nodes[start:stop]), tuple(known[start:stop]), sum(known))


def _change(before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    return 0.0 if before == after == -inf else after - before


def forward_path(facts: Facts, name: str) -> tuple[str, ...]:
    """The nodes through which the size of a value comes, from the input to it: at each the operand of the largest RMS.

    Only values that depend on an input count, and only calls into which one with a forecast goes; what is made of parameters
    alone (a position table) is part of the call that adds it.
    """
    live = live_nodes(facts.graph)
    result = [name]
    while (operand := _largest(facts, facts.nodes[result[-1]], live)) is not None:
        result.append(operand)
    return tuple(reversed(result))


def _largest(facts: Facts, node: Node, live: frozenset[str]) -> str | None:
    sizes: Mapping[str, float | None] = {o: rms(facts, o) for o in node.inputs if o in live and facts.nodes[o].is_float}
    known = {operand: size for operand, size in sizes.items() if size is not None}
    return max(known, key=lambda operand: known[operand]) if known else None


def live_nodes(graph: Graph) -> frozenset[str]:
    """The nodes whose value depends on an input."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.op == "input" or found.intersection(node.inputs):
            found.add(node.name)
    return frozenset(found)


def entry(facts: Facts, param: str, path: Sequence[str]) -> tuple[str | None, str | None]:
    """The first call on a parameter's path that depends on an input, and the largest of the values that enter it beside it.

    What precedes it is computed from parameters alone (a transpose, a weight normalisation). None where there is none: the
    operand of an embedding is a tensor of integers.
    """
    live = live_nodes(facts.graph)
    call = next((name for name in path if name in live), None)
    return call, None if call is None else _largest(facts, facts.nodes[call], live - {param})


def change_of(values: Sequence[float | None]) -> float | None:
    """The sum of gains in decibels; None when one is unknown."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return -inf if -inf in known else None
    return sum(known)
