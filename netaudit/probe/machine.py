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
from typing import Any, Protocol

import torch
from torch import Tensor

from netaudit.facts import LEAVES
from netaudit.graph import Graph, Node, Ref
from netaudit.intake.interpret import is_not_implemented, picked, results
from netaudit.intake.lower import Lowered
from netaudit.probe.linear import Map, jacobian


@dataclass(frozen=True, eq=False)
class Machine:
    """The calls of a graph in order and the tensors of its leaves, on one device.

    The leaves are copies: nothing that runs here changes the model, its buffers included.
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
        last = {name: node.name for node in self.calls for name in (node.name, *needed(node))}
        over: dict[str, list[str]] = {node.name: [] for node in self.calls}
        for name, node in last.items():
            if name not in self.graph.heads:
                over[node].append(name)
        return {node: tuple(names) for node, names in over.items()}

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


def needed(node: Node) -> tuple[str, ...]:
    """The nodes whose values a call takes, each once, those of the calls that a composite was folded from included."""
    inner = {call.name for call in node.folded}
    folded = (name for call in node.folded for name in call.inputs if name not in inner)
    return tuple(dict.fromkeys((*node.inputs, *folded)))


def _call_of(node: Node) -> str:
    """The name of a node's call: one call with several results is one node for each."""
    return node.name.rpartition(".")[0] if "output" in node.args else node.name


def machine_of(lowered: Lowered, device: torch.device) -> Machine:
    """A lowered graph on a device. The leaves are copied: a normalisation updates its statistics in place."""
    kept = {node.name for node in lowered.graph.nodes if node.op in LEAVES}
    return Machine(lowered.graph, {n: t.detach().to(device, copy=True) for n, t in lowered.tensors.items() if n in kept}, device)


# one differentiable run -------------------------------------------------------------------------------------------------


def forward(machine: Machine, leaves: Mapping[str, Tensor], *, seed: int = 0) -> Mapping[str, Tensor]:
    """The values of the graph's results through torch's own autograd graph; ``leaves`` stand for the machine's."""
    values = {**machine.leaves, **leaves}
    raw: dict[str, Any] = {}
    with drawing(machine.device, seed):
        for node in machine.calls:
            with _mode(node):
                values[node.name] = _value(node, values, raw, machine.device)
            for name in machine.ends[node.name]:
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
class Local:
    """One call at one point, with its own autograd graph: ``output`` as a function of the ``operands`` that carry a gradient.

    ``fixed`` are the values of the other operands.
    """

    node: Node
    operands: Mapping[str, Tensor]
    output: Tensor
    fixed: Mapping[str, Tensor]

    def pulled(self, cotangent: Tensor) -> Mapping[str, Tensor]:
        """The cotangent of every operand that gets one. The call's graph is let go with the call, so more can be asked of it."""
        names = list(self.operands)
        leaves = [self.operands[n] for n in names]
        try:
            found = torch.autograd.grad(self.output, leaves, cotangent.to(self.output.dtype), retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            if not is_not_implemented(error):
                raise
            return {}  # torch has no derivative of this op: a real backward pass would end here
        return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}

    def jacobian(self, operand: str, dtype: torch.dtype | None = None, seed: int = 0) -> Map:
        """The Jacobian for one operand at this point; in another ``dtype`` if asked, with random numbers of its own."""
        values = {name: _as(value.detach(), dtype) for name, value in {**self.fixed, **self.operands}.items()}
        device = self.output.device

        def function(x: Tensor) -> Tensor:
            with drawing(device, seed):
                return picked(self.node, results(self.node, {**values, operand: x}, device))

        return jacobian(function, values[operand])


def _as(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    return value if dtype is None or not value.is_floating_point() else value.to(dtype)


class Watch(Protocol):
    """What looks on while a machine is swept."""

    def value(self, node: Node, value: Tensor) -> None:
        """The value of a leaf or of a call, in execution order."""

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        """The whole cotangent of a node that got one, in reverse order, then those of leaves."""

    def pulled(self, local: Local, parts: Mapping[str, Tensor]) -> None:
        """What a call made of the cotangent of its output, for each operand."""


def sweep(machine: Machine, heads: Mapping[str, Tensor], watch: Watch, *, segments: int = 1, seed: int = 0) -> None:
    """One forward and one backward pass. ``heads`` are the cotangents that the graph's results start with.

    With several ``segments`` only the values between them are kept, and each is run again on the way back with the same random
    numbers: the memory of the graph becomes that of its largest segment, for one more forward pass.
    """
    parts = _parts(machine.calls, segments)
    values = dict(machine.leaves)
    for name, value in values.items():
        watch.value(machine.nodes[name], value)
    starts: list[tuple[Mapping[str, Tensor], int]] = []
    last: list[Local] = []
    for index, part in enumerate(parts):
        starts.append((dict(values), seed + index))
        last = _run(machine, part, values, seed + index, watch, keep=index == len(parts) - 1)
    values.clear()
    waiting = dict(heads)
    for part in reversed(parts):
        start, own = starts.pop()
        locals_ = last or _run(machine, part, dict(start), own, None, keep=True)
        last = []
        _back(locals_, waiting, watch)
    for name in machine.differentiated:
        if name in waiting:
            watch.cotangent(machine.nodes[name], waiting.pop(name))


def _parts(calls: Sequence[Node], segments: int) -> list[Sequence[Node]]:
    """The calls in ``segments`` runs of about one length; the results of one call stay together."""
    length = -(-len(calls) // max(segments, 1))
    parts: list[list[Node]] = [[]]
    for node in calls:
        if len(parts[-1]) >= length and _call_of(node) != _call_of(parts[-1][-1]):
            parts.append([])
        parts[-1].append(node)
    return [part for part in parts if part]


def _run(machine: Machine, part: Sequence[Node], values: dict[str, Tensor], seed: int, watch: Watch | None, *, keep: bool) -> list[Local]:
    """Run calls; ``values`` is brought up to their end. The calls with their graphs, if those are to be kept."""
    kept: list[Local] = []
    raw: dict[str, Any] = {}
    leaves: dict[str, Mapping[str, Tensor]] = {}  # by call: several results of one have one set of operands
    with drawing(machine.device, seed):
        for node in part:
            operands = leaves.setdefault(_call_of(node), {n: _leaf(values[n]) for n in machine.carrying(node)} if keep else {})
            with _mode(node) if keep else torch.no_grad():
                others = {n: values[n] for n in needed(node) if n not in operands}
                operands, fixed, output = _applied(node, operands, others, raw, machine.device)
            values[node.name] = output.detach()
            if watch is not None:
                watch.value(node, values[node.name])
            if output.requires_grad:
                kept.append(Local(node, operands, output, fixed))
            for name in machine.ends[node.name]:
                values.pop(name, None)
    return kept


def _applied(
    node: Node, operands: Mapping[str, Tensor], fixed: Mapping[str, Tensor], raw: dict[str, Any], device: torch.device
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor], Tensor]:
    """A call, with the operands that torch differentiates and the others: some losses refuse a target that asks for a gradient."""
    try:
        return operands, fixed, _value(node, {**fixed, **operands}, raw, device)
    except RuntimeError as error:
        refused = re.search(r"not differentiable with respect to argument '(\w+)'", str(error))
        argument = node.args.get(refused[1]) if refused else None
        if not isinstance(argument, Ref):
            raise
        kept = {name: leaf for name, leaf in operands.items() if name != argument.name}
        fixed = {**fixed, argument.name: operands[argument.name].detach()}
        return kept, fixed, _value(node, {**fixed, **kept}, raw, device)


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def _back(calls: list[Local], waiting: dict[str, Tensor], watch: Watch) -> None:
    """Pull cotangents back through calls, the last first; ``waiting`` holds what has been sent to each node so far."""
    while calls:
        local = calls.pop()
        cotangent = waiting.pop(local.node.name, None)
        if cotangent is None:
            continue
        parts = local.pulled(cotangent)
        watch.cotangent(local.node, cotangent)
        watch.pulled(local, parts)
        for name, part in parts.items():
            waiting[name] = waiting[name] + part if name in waiting else part
