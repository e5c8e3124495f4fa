"""What happens to the part of a graph that depends on the input: each call as a move of a certificate matrix, or as a norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from netaudit.effect import Jacobian
from netaudit.facts import Facts
from netaudit.graph import Node
from netaudit.intake.interpret import call

Kind: TypeAlias = Literal["move", "linear", "slope", "norm", "jump"]
"""Entries moved; linear in everything live; a scalar function of bounded slope; known by its norm only; not continuous."""

JOINTLY_LINEAR = frozenset(f"aten.{name}" for name in ("add", "sub", "rsub", "cat", "concat", "concatenate", "stack", "lerp"))
"""Ops that are linear in all their operands together, not only in each."""
CONSTANT = frozenset(
    f"aten.{n}" for n in ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_tensor", "fill")
)
"""Ops whose result does not depend on the values of their operand."""
TRANSPARENT = frozenset({"aten.detach"})
"""Ops that hide a value from autograd, not from the result."""
MOVING = frozenset({"isometry", "selection"})


@dataclass(frozen=True, slots=True, repr=False)
class Live:
    """The calls between the sources and the results, in execution order.

    ``values`` are those that do not depend on a source, and the sources' own on the example.
    """

    facts: Facts
    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Tensor]
    last_use: Mapping[str, int]
    live: frozenset[str] = field(default_factory=frozenset)

    @property
    def centre(self) -> Tensor:
        """The sources on the example, stacked and flattened."""
        return torch.cat([self.values[name].reshape(-1) for name in self.sources] or [torch.zeros(0, dtype=torch.float64)])

    def size(self, name: str) -> int:
        """The number of entries."""
        return prod(self.facts.nodes[name].shape)

    def operands(self, node: Node) -> tuple[str, ...]:
        """The live operands of a call, each once, in slot order."""
        return tuple(dict.fromkeys(name for name in node.inputs if name in self.live))

    def function(self, node: Node) -> Callable[..., Tensor]:
        """A call as a function of its live operands, everything else fixed; float64."""
        names = self.operands(node)

        def run(*xs: Tensor) -> Tensor:
            return call(node, {**self.values, **dict(zip(names, xs, strict=True))})

        return run

    def kind(self, node: Node) -> Kind:
        """How a call enters the certificate."""
        return _kind(self, node)

    def is_known(self, node: Node) -> bool:
        """Whether anything is known of a call's Jacobian by its live operands."""
        slots = zip(node.operands, _jacobians(self.facts, node), strict=True)
        return all(jac is None or jac.kind != "unknown" for name, jac in slots if name in self.live)


def live_part(facts: Facts, tensors: Mapping[str, Tensor]) -> Live:
    """The live part of a graph: what depends on a float input, or, where there is none, on what is looked up by integer ones."""
    graph = facts.graph
    sources = _sources(facts)
    live = set(sources)
    for node in graph.nodes:
        if node.op not in CONSTANT and live & set(node.inputs):
            live.add(node.name)
    outputs = tuple(name for name in graph.outputs if name in live and facts.nodes[name].is_float)
    wanted = set(outputs)
    for node in reversed(graph.nodes):
        if node.name in wanted and node.name not in sources:
            wanted.update(name for name in node.inputs if name in live)
    nodes = tuple(node for node in graph.nodes if node.name in wanted and node.name in live and node.name not in sources)
    last_use = {name: len(nodes) for name in outputs}
    for position, node in reversed(list(enumerate(nodes))):
        for name in node.inputs:
            last_use.setdefault(name, position)
    return Live(facts, sources, outputs, nodes, _values(facts, tensors, live, nodes, sources), last_use, frozenset(live))


def _sources(facts: Facts) -> tuple[str, ...]:
    graph = facts.graph
    floats = tuple(name for name in graph.inputs if facts.nodes[name].is_float)
    if floats:
        return floats
    by_index = set(graph.inputs)
    found = []
    for node in graph.nodes:
        if node.is_float and node.op not in ("input", "parameter", "constant") and by_index & set(node.inputs):
            found.append(node.name)
        elif by_index & set(node.inputs):
            by_index.add(node.name)
    return tuple(found)


def _values(
    facts: Facts, tensors: Mapping[str, Tensor], live: set[str], nodes: Sequence[Node], sources: Sequence[str]
) -> dict[str, Tensor]:
    """The values that live calls need and that do not depend on the sources, and those of the sources on the example; float64."""
    needed = {name for node in nodes for name in node.inputs if name not in live} | set(sources)
    for node in reversed(facts.graph.nodes):
        if node.name in needed and node.name not in tensors:
            needed.update(node.inputs)
    values = {name: _double(tensor) for name, tensor in tensors.items() if name in needed}
    with torch.no_grad():
        for node in facts.graph.nodes:
            if node.name in needed and node.name not in values and all(name in values for name in node.inputs):
                values[node.name] = _double(call(node, values))
    return values


def _double(value: Tensor) -> Tensor:
    return value.detach().double() if value.is_floating_point() else value.detach()


def _kind(part: Live, node: Node) -> Kind:
    slots = [(name, jac) for name, jac in zip(node.operands, _jacobians(part.facts, node), strict=True) if name in part.live]
    known = [jac for _, jac in slots if jac is not None]
    if any(not part.facts.nodes[str(name)].is_float for name, _ in slots) or not node.is_float:
        return "jump"
    if node.op in TRANSPARENT:
        return "move"
    if any("step" in jac.tags for jac in known) or "no_grad" in node.regions:
        return "jump"
    if node.is_random or any(name not in part.values and name not in part.live for name in node.inputs):
        return "norm"
    if len(slots) == 1 and known:
        (jac,) = known
        if jac.slope is not None:
            return "slope"
        if "linear" not in jac.tags:  # a maximum selects too, but which entries depends on the values
            return "norm"
        return "move" if jac.tags & MOVING else "linear"
    return "linear" if node.op in JOINTLY_LINEAR and node.args.get("rounding_mode") is None and _weights_are_fixed(part, node) else "norm"


def _weights_are_fixed(part: Live, node: Node) -> bool:
    return node.op != "aten.lerp" or not {str(o) for o in node.operands[2:]} & part.live


def _jacobians(facts: Facts, node: Node) -> tuple[Jacobian | None, ...]:
    return facts.effects[node.name].jac


# the matrices -----------------------------------------------------------------------------------------------------------


def moved_entries(part: Live, node: Node) -> Tensor | None:
    """For each entry of the result, the index of the operand's entry that it is; None where an entry is anything else.

    The call is run on the numbers 1, 2, ... and on -1, -2, ...: an entry that is filled in does not change its sign.
    """
    (name,) = part.operands(node)
    shape = part.facts.nodes[name].shape
    counted = torch.arange(1.0, prod(shape) + 1.0, dtype=torch.float64).reshape(shape)
    function = part.function(node)
    with torch.no_grad():
        there, back = function(counted).reshape(-1), function(-counted).reshape(-1)
    if not bool(((there + back == 0.0) & (there >= 1.0) & (there == there.round())).all()):
        return None
    return there.long() - 1


def linear_matrices(part: Live, node: Node) -> tuple[tuple[Tensor, ...], Tensor]:
    """The Jacobian of an affine call by each of its live operands, (out, in) each, and its value at zero.

    The Jacobian times unit vectors: every entry is a weight, or one product of weights, so a few roundings at most.
    """
    names = part.operands(node)
    points = [torch.zeros(part.facts.nodes[name].shape, dtype=torch.float64) for name in names]
    outputs = prod(node.shape)
    differentiate = torch.func.jacrev if outputs <= max(prod(point.shape) for point in points) else torch.func.jacfwd
    function = part.function(node)
    found = differentiate(function, argnums=tuple(range(len(names))))(*points)
    matrices = tuple(jacobian.detach().reshape(outputs, -1) for jacobian in found)
    return matrices, function(*points).detach().reshape(-1)
