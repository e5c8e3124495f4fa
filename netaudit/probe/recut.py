"""The same machine cut otherwise: in a wider precision, from its outputs instead of its loss, with a call's value as an input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netaudit.errors import ProbeError
from netaudit.graph import Arg, Node
from netaudit.intake.interpret import dtype_of
from netaudit.probe.calls import needed
from netaudit.probe.machine import Machine, forward

LOOKUPS = frozenset({"aten.embedding", "aten.embedding_bag", "aten._embedding_bag", "aten.index", "aten.index_select"})
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def at_least(machine: Machine, dtype: str) -> Machine:
    """The machine with every floating type that is narrower than float32 or float64 replaced by that; float32 where a device has no other.

    Every cast of the graph goes there as well, so that what is run is the function that the model rounds.
    """
    wide = "float32" if machine.device.type == "mps" else dtype
    narrow = frozenset(_FLOATS[: _FLOATS.index(wide)])
    nodes = tuple(_retyped(node, narrow, wide) for node in machine.graph.nodes)
    kinds = {dtype_of(name) for name in narrow}
    leaves = {name: leaf.to(dtype_of(wide)) for name, leaf in machine.leaves.items() if leaf.dtype in kinds}
    return given(replace(machine, graph=replace(machine.graph, nodes=nodes)), leaves)


def _retyped(node: Node, narrow: frozenset[str], wide: str) -> Node:
    args: Mapping[str, Arg] = {k: wide if isinstance(v, str) and v in narrow else v for k, v in node.args.items()}
    own = wide if node.dtype in narrow else node.dtype
    return replace(node, args=args, dtype=own, folded=tuple(_retyped(inner, narrow, wide) for inner in node.folded))


def outputs(machine: Machine) -> tuple[str, ...]:
    """The floating results of the model; the loss where it returned none inside it."""
    found = tuple(name for name in machine.graph.outputs if machine.nodes[name].is_float)
    return found or machine.graph.heads


def answering(machine: Machine, heads: Iterable[str]) -> Machine:
    """The machine with these nodes as its results, and only what they need."""
    heads = tuple(heads)
    kept = needed_for(machine, heads)
    nodes = tuple(node for node in machine.graph.nodes if node.name in kept)
    inputs = tuple(name for name in machine.graph.inputs if name in kept)
    graph = replace(machine.graph, nodes=nodes, inputs=inputs, outputs=heads, loss=None)
    return replace(machine, graph=graph, leaves={name: leaf for name, leaf in machine.leaves.items() if name in kept})


def needed_for(machine: Machine, heads: Iterable[str]) -> frozenset[str]:
    """The nodes that some nodes are computed from, themselves included."""
    wanted = set(heads)
    for node in reversed(machine.graph.nodes):
        if node.name in wanted:
            wanted.update(needed(node))
    return frozenset(wanted)


def opened(machine: Machine, name: str, *, seed: int = 0) -> Machine:
    """The machine with the value of a call as one more input."""
    with torch.no_grad():
        value = forward(answering(machine, (name,)), {}, seed=seed)[name]
    nodes = tuple(replace(n, op="input", operands=(), args={}, folded=()) if n.name == name else n for n in machine.graph.nodes)
    graph = replace(machine.graph, nodes=nodes, inputs=(*machine.graph.inputs, name))
    return replace(machine, graph=graph, leaves={**machine.leaves, name: value})


def given(machine: Machine, leaves: Mapping[str, Tensor]) -> Machine:
    """The machine with other values for some of its leaves.

    Its constants are copied: a normalisation updates its statistics in place, and would hand what one run did to them on to the next.
    """
    constants = {node.name for node in machine.graph.nodes if node.op == "constant"}
    known = {**machine.leaves, **leaves}
    return replace(machine, leaves={name: leaf.clone() if name in constants else leaf for name, leaf in known.items()})


# where signals come in --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Entrance:
    """A machine and the inputs that a floating signal comes in by; ``word`` is what a report calls them."""

    machine: Machine
    names: tuple[str, ...]
    word: str


def entrance(machine: Machine, *, seed: int = 0) -> Entrance:
    """The floating inputs that an output depends on; where there are none, the first embedding is made one.

    Masks are no signal, and what only the loss takes is a target.

    Raises:
        ProbeError: there is neither.
    """
    reached = needed_for(machine, outputs(machine))
    names = tuple(n for n in machine.graph.inputs if n in reached and machine.leaves[n].is_floating_point() and not is_mask(machine, n))
    if names:
        return Entrance(machine, names, "input")
    first = next((node for node in machine.calls if node.name in reached and _is_embedding(machine, node)), None)
    if first is None:
        raise ProbeError("no output depends on a floating input or on an embedding", "its signal cannot be changed a little")
    return Entrance(opened(machine, first.name, seed=seed), (first.name,), "embedding")


def is_mask(machine: Machine, name: str) -> bool:
    """Whether an input says what is looked at: by its name, or because it is boolean."""
    return "mask" in name.lower() or machine.leaves[name].dtype == torch.bool


def _is_embedding(machine: Machine, node: Node) -> bool:
    """A floating value that is looked up by whole numbers that depend on an input: positions do not."""
    indices = [name for name in needed(node) if machine.nodes[name].dtype.startswith("int")]
    return node.op in LOOKUPS and node.is_float and bool(needed_for(machine, indices) & set(machine.graph.inputs))
