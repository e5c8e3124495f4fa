"""A lowered graph that runs on a device, call by call: values forward, cotangents backward, each call with its own autograd graph.

A call is differentiated alone: its operands are leaves, and its vector-Jacobian product is asked for when the cotangent of its
output is complete. So every value and every cotangent passes by once, belongs to a node, and can be looked at and let go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from netaudit.facts import LEAVES
from netaudit.graph import Graph, Node, Ref
from netaudit.intake.interpret import picked, results
from netaudit.intake.lower import Lowered
from netaudit.probe.linear import Map, jacobian


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
        return frozenset({_call_of(node): node.name for node in self.calls}.values())

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


def needed(node: Node) -> tuple[str, ...]:
    """The nodes whose values a call takes, each once, those of the calls that a composite was folded from included."""
    inner = {call.name for call in node.folded}
    folded = (name for call in node.folded for name in call.inputs if name not in inner)
    return tuple(dict.fromkeys((*node.inputs, *folded)))


def _call_of(node: Node) -> str:
    """The name of a node's call: one call with several results is one node for each."""
    return node.name.rpartition(".")[0] if "output" in node.args else node.name


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
            with _mode(node):
                values[node.name] = _value(node, values, raw, machine.device)
            for name in machine.ends.get(node.name, ()):
                if name not in machine.graph.heads:
                    values.pop(name, None)
    return {head: values[head] for head in machine.graph.heads}


def _value(node: Node, values: Mapping[str, Tensor], raw: dict[str, Any], device: torch.device) -> Tensor:
    """The value of a node; a call with several results runs once for all of them."""
    if "output" not in node.args:
        return picked(node, results(node, values, device))
    if _call_of(node) not in raw:
        raw[_call_of(node)] = results(node, values, device)
    return picked(node, raw[_call_of(node)])


def _mode(node: Node) -> AbstractContextManager[object]:
    return torch.no_grad() if "no_grad" in node.regions else nullcontext()


@contextmanager
def drawing(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from a seed, with the generators put back afterwards. Only the device's own generator is woken."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield


# node by node -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A call and the values of its operands; ``carrying`` are those of them that a gradient is taken for."""

    node: Node
    values: Mapping[str, Tensor]
    carrying: tuple[str, ...]
    device: torch.device

    def jacobian(self, operand: str, dtype: torch.dtype | None = None, seed: int = 0) -> Map:
        """The Jacobian for one operand at this point; in another ``dtype`` if asked, with random numbers of its own."""
        values = {name: _as(value.detach(), dtype) for name, value in self.values.items()}

        def function(x: Tensor) -> Tensor:
            with drawing(self.device, seed):
                return picked(self.node, results(self.node, {**values, operand: x}, self.device))

        return jacobian(function, values[operand])


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """One call with its own autograd graph, which holds what its derivative needs and nothing else: neither operands nor output.

    ``example`` has the shape, the precision and the device of the output, and no memory. ``point`` is there for calls whose
    operands were asked to be kept.
    """

    node: Node
    example: Tensor
    root: GradientEdge
    edges: Mapping[str, GradientEdge]
    point: Point | None = None

    def pulled(self, cotangent: Tensor) -> Mapping[str, Tensor]:
        """The cotangent of every operand that gets one. The call's graph is let go with the call, so more can be asked of it."""
        given = cotangent.to(self.example.dtype)
        try:
            found = torch.autograd.grad([self.root], list(self.edges.values()), [given], retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            if "is not implemented" not in str(error):
                raise
            return {}  # torch has no derivative of this op: a real backward pass would end here
        return {name: gradient for name, gradient in zip(self.edges, found, strict=True) if gradient is not None}


def _as(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    return value if dtype is None or not value.is_floating_point() else value.to(dtype)


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
    inside = {i for i in range(1, len(calls)) if _call_of(calls[i]) == _call_of(calls[i - 1])}
    behind = (next(i for i in range(cut, len(calls) + 1) if i not in inside) for cut in cuts if 0 < cut < len(calls))
    return [calls[a:b] for a, b in pairwise(sorted({0, len(calls), *behind}))]


class _Source(torch.autograd.Function):
    """A value that a gradient is taken for. A leaf of torch's would stay in memory as long as the graph that starts from it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, value: Tensor) -> Tensor:
        """The value itself; the anchor only makes torch follow what becomes of it."""
        del ctx, anchor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[None, Tensor]:
        """Never run: the gradient is taken off on its way here."""
        del ctx
        return None, cotangents[0]


def _source(value: Tensor) -> Tensor:
    found: Tensor = _Source.apply(torch.empty((), requires_grad=True), value)  # type: ignore[no-untyped-call]  # torch's stub
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """A call that was run: the operands that torch differentiates, the values of the others, and everything that it returned."""

    operands: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]
    result: Any


def _run(
    machine: Machine, part: Sequence[Node], values: dict[str, Tensor], seed: int, watch: Viewer | None, points: frozenset[str] | None
) -> list[Local]:
    """Run calls; ``values`` is brought up to their end. The calls with their graphs, unless ``points`` is None."""
    kept: list[Local] = []
    open_: dict[str, Applied] = {}  # by call: several results of one come of one run
    with drawing(machine.device, seed):
        for node in part:
            call = _call_of(node)
            applied = open_.get(call) or applied_to(machine, node, values, graph=points is not None)
            output = picked(node, applied.result)
            values[node.name] = output.detach()
            if watch is not None:
                watch.value(node, values[node.name])
            if output.requires_grad:
                kept.append(_local(machine, node, applied, output, keep=points is not None and node.name in points))
            open_[call] = applied
            del applied, output  # else the call's values live as long as the next one runs
            if node.name in machine.closing:
                del open_[call]
            for name in machine.ends.get(node.name, ()):
                values.pop(name, None)
    return kept


def applied_to(machine: Machine, node: Node, values: Mapping[str, Tensor], *, graph: bool) -> Applied:
    """A call of the machine at these values, with an autograd graph of its own if asked."""
    with _mode(node) if graph else torch.no_grad():
        operands = {n: _source(values[n]) for n in machine.carrying(node)} if graph else {}
        fixed = {n: values[n] for n in needed(node) if n not in operands}
        try:
            return Applied(operands, fixed, results(node, {**fixed, **operands}, machine.device))
        except RuntimeError as error:  # some losses refuse a target that asks for a gradient
            refused = re.search(r"not differentiable with respect to argument '(\w+)'", str(error))
            argument = node.args.get(refused[1]) if refused else None
            if not isinstance(argument, Ref):
                raise
            rest = {name: operand for name, operand in operands.items() if name != argument.name}
            fixed = {**fixed, argument.name: values[argument.name]}
            return Applied(rest, fixed, results(node, {**fixed, **rest}, machine.device))


def _local(machine: Machine, node: Node, applied: Applied, output: Tensor, *, keep: bool) -> Local:
    edges = {name: get_gradient_edge(operand) for name, operand in applied.operands.items() if operand.requires_grad}
    values = {name: value.detach() for name, value in {**applied.fixed, **applied.operands}.items()} if keep else {}
    point = Point(node, values, tuple(edges), machine.device) if keep else None
    return Local(node, output.detach().new_empty(()).expand(output.shape), get_gradient_edge(output), edges, point)


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
