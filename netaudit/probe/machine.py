"""A lowered graph that runs on a device, call by call: values forward, cotangents backward, each call with its own autograd graph.

A call is differentiated alone: its vector-Jacobian product is asked for when the cotangent of its output is complete. So every
value and every cotangent passes by once, belongs to a node, and can be looked at and let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from netaudit.facts import LEAVES
from netaudit.graph import Graph, Node
from netaudit.intake.interpret import picked, results
from netaudit.intake.lower import Lowered
from netaudit.probe.calls import Applied, Local, applied, call_of, drawing, local_of, mode_of, needed


@dataclass(frozen=True, eq=False)
class Machine:
    """The calls of a graph in order and the tensors of its leaves, on one device.

    Nothing that runs here changes the model: trained parameters may be its own, everything else is a copy.
    """

    graph: Graph
    leaves: Mapping[str, Tensor]
    device: torch.device

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes, by name."""
        return self.graph.by_name()

    @cached_property
    def calls(self) -> tuple[Node, ...]:
        """The nodes that are run: no leaves."""
        return tuple(node for node in self.graph.nodes if node.op not in LEAVES)

    @cached_property
    def differentiated(self) -> tuple[str, ...]:
        """The leaves that a gradient is taken for: trained parameters, other trained tensors, and floating inputs."""
        trained = {info.node for info in self.graph.params.values() if info.trainable}
        trained |= {stray.node for stray in self.graph.unregistered if stray.is_leaf} | set(self.graph.inputs)
        return tuple(name for name, leaf in self.leaves.items() if name in trained and (leaf.is_floating_point() or leaf.is_complex()))

    @cached_property
    def ends(self) -> Mapping[str, tuple[str, ...]]:
        """By call, the values that no later one needs: its operands for the last time, or its own that nobody takes."""
        return _grouped({name: node.name for node in self.calls for name in (node.name, *needed(node))})

    @cached_property
    def begins(self) -> Mapping[str, tuple[str, ...]]:
        """By call, the differentiated leaves that it is the first to take: on the way back nothing more comes for them after it."""
        first = {name: node.name for node in reversed(self.calls) for name in needed(node)}
        return _grouped({name: first[name] for name in self.differentiated if name in first})

    @cached_property
    def closing(self) -> frozenset[str]:
        """The nodes that are the last of the results of their call."""
        return frozenset({call_of(node): node.name for node in self.calls}.values())

    @cached_property
    def _graded(self) -> frozenset[str]:
        """The nodes that depend on a differentiated leaf through floating values: the others have no gradient."""
        found = set(self.differentiated)
        for node in self.calls:
            if node.is_float and "no_grad" not in node.regions and not found.isdisjoint(needed(node)):
                found.add(node.name)
        return frozenset(found)

    def carrying(self, node: Node) -> tuple[str, ...]:
        """The operands of a call that a gradient may be taken for."""
        return tuple(name for name in needed(node) if name in self._graded)


def _grouped(by_name: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """The names by what each is mapped to."""
    found: dict[str, tuple[str, ...]] = {}
    for name, group in by_name.items():
        found[group] = (*found.get(group, ()), name)
    return found


def machine_of(lowered: Lowered, device: torch.device) -> Machine:
    """A lowered graph on a device.

    A normalisation updates its statistics in place, so that leaves are copied, but for trained parameters: torch lets no call
    write to those.
    """
    kept = {node.name for node in lowered.graph.nodes if node.op in LEAVES}
    own = {info.node for info in lowered.graph.params.values() if info.trainable}
    return Machine(lowered.graph, {n: t.detach().to(device, copy=n not in own) for n, t in lowered.tensors.items() if n in kept}, device)


# one differentiable run -------------------------------------------------------------------------------------------------


def forward(machine: Machine, leaves: Mapping[str, Tensor], *, seed: int = 0) -> Mapping[str, Tensor]:
    """The values of the graph's results through torch's own autograd graph; ``leaves`` stand for the machine's."""
    values = {**machine.leaves, **leaves}
    raw: dict[str, Any] = {}
    with drawing(machine.device, seed):
        for node in machine.calls:
            with mode_of(node):
                values[node.name] = _value(node, values, raw, machine.device)
            for name in machine.ends.get(node.name, ()):
                if name not in machine.graph.heads:
                    values.pop(name, None)
    return {head: values[head] for head in machine.graph.heads}


def _value(node: Node, values: Mapping[str, Tensor], raw: dict[str, Any], device: torch.device) -> Tensor:
    """The value of a node; a call with several results runs once for all of them."""
    if "output" not in node.args:
        return picked(node, results(node, values, device))
    if call_of(node) not in raw:
        raw[call_of(node)] = results(node, values, device)
    return picked(node, raw[call_of(node)])


# node by node -----------------------------------------------------------------------------------------------------------


class Viewer(Protocol):
    """What looks on while a machine runs forward."""

    def value(self, node: Node, value: Tensor) -> None:
        """The value of a leaf or of a call, in execution order."""


class Watch(Viewer, Protocol):
    """What looks on while a machine is swept."""

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        """The whole cotangent of a node that got one, in reverse order; that of a leaf as soon as it is whole."""

    def pulled(self, local: Local, parts: Mapping[str, Tensor]) -> None:
        """What a call made of the cotangent of its output, for each operand."""

    def left(self, local: Local) -> None:
        """A call that had a cotangent, for the last time: that cotangent has been let go, and the call's graph is next."""


def sweep(
    machine: Machine,
    heads: Mapping[str, Tensor],
    watch: Watch,
    *,
    cuts: Sequence[int] = (),
    seed: int = 0,
    points: frozenset[str] = frozenset(),
) -> None:
    """One forward and one backward pass. ``heads`` are the cotangents that the graph's results start with.

    With ``cuts``, places between calls, only the values that live there are kept, and each segment is run again on the way back with
    the same random numbers: the memory of the graph becomes that of its largest segment, for one more forward pass.
    ``points``: calls whose operands are kept as well, so that their Jacobians can be asked for.
    """
    parts = segments(machine.calls, cuts)
    values = dict(machine.leaves)
    for name, value in values.items():
        watch.value(machine.nodes[name], value)
    starts: list[tuple[Mapping[str, Tensor], int]] = []
    last: list[Local] = []
    for index, part in enumerate(parts):
        starts.append((dict(values), seed + index))
        last = _run(machine, part, values, seed + index, watch, points if index == len(parts) - 1 else None)
    values.clear()
    waiting = dict(heads)
    del heads  # the caller may have let go of them, too
    for part in reversed(parts):
        start, own = starts.pop()
        locals_ = last or _run(machine, part, dict(start), own, None, points)
        del start
        last = []
        _back(machine, locals_, waiting, watch)
    for name in machine.differentiated:
        if name in waiting:
            watch.cotangent(machine.nodes[name], waiting.pop(name))


def trial(machine: Machine, viewer: Viewer, *, seed: int = 0) -> None:
    """The forward pass of a sweep, with the graph of every call, on copies of what a call may write to."""
    own = {info.node for info in machine.graph.params.values() if info.trainable}
    values = {name: leaf if name in own else leaf.clone() for name, leaf in machine.leaves.items()}
    for name, value in values.items():
        viewer.value(machine.nodes[name], value)
    _run(machine, machine.calls, values, seed, viewer, frozenset())


def segments(calls: Sequence[Node], cuts: Sequence[int]) -> list[Sequence[Node]]:
    """The calls from each cut to the next; a cut between results of one call is made behind them."""
    inside = {i for i in range(1, len(calls)) if call_of(calls[i]) == call_of(calls[i - 1])}
    behind = (next(i for i in range(cut, len(calls) + 1) if i not in inside) for cut in cuts if 0 < cut < len(calls))
    return [calls[a:b] for a, b in pairwise(sorted({0, len(calls), *behind}))]


def _run(
    machine: Machine, part: Sequence[Node], values: dict[str, Tensor], seed: int, watch: Viewer | None, points: frozenset[str] | None
) -> list[Local]:
    """Run calls; ``values`` is brought up to their end. The calls with their graphs, unless ``points`` is None."""
    kept: list[Local] = []
    open_: dict[str, Applied] = {}  # by call: several results of one come of one run
    with drawing(machine.device, seed):
        for node in part:
            name = call_of(node)
            call = open_.get(name) or applied(node, values, None if points is None else machine.carrying(node), machine.device)
            output = picked(node, call.result)
            values[node.name] = output.detach()
            if watch is not None:
                watch.value(node, values[node.name])
            if output.requires_grad:
                kept.append(local_of(node, call, output, machine.device, keep=points is not None and node.name in points))
            open_[name] = call
            del call, output  # else the call's values live as long as the next one runs
            if node.name in machine.closing:
                del open_[name]
            for over in machine.ends.get(node.name, ()):
                values.pop(over, None)
    return kept


def _back(machine: Machine, calls: list[Local], waiting: dict[str, Tensor], watch: Watch) -> None:
    """Pull cotangents back through calls, the last first; ``waiting`` holds what has been sent to each node so far."""
    while calls:
        local = calls.pop()
        cotangent = waiting.pop(local.node.name, None)
        if cotangent is not None:
            parts = local.pulled(cotangent)
            watch.cotangent(local.node, cotangent)
            watch.pulled(local, parts)
            _add(waiting, parts)
            del parts
        for name in machine.begins.get(local.node.name, ()):
            if name in waiting:
                watch.cotangent(machine.nodes[name], waiting.pop(name))
        if cotangent is not None:
            del cotangent  # what looks on needs memory, too
            watch.left(local)


def _add(waiting: dict[str, Tensor], parts: Mapping[str, Tensor]) -> None:
    for name, part in parts.items():
        waiting[name] = waiting[name] + part if name in waiting else part
