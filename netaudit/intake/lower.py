"""From an fx graph to a Graph: pure calls by schema, one node an output, constants evaluated, dead nodes dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from netaudit.graph import Arg, Graph, Node, Operand, ParamInfo, Ref, Site

from .calls import Call, Value, flatten
from .clones import clones
from .composites import recognise
from .functional import functionalise
from .hollow import is_hollow
from .interpret import call as run
from .placeholders import dtype_name, leaf_nodes, named_inputs, stand_ins
from .strays import unregistered
from .subject import Subject
from .trace import Traced
from .where import where


@dataclass(frozen=True, slots=True)
class Lowered:
    """A graph and the tensors of its leaves, by node name."""

    graph: Graph
    tensors: Mapping[str, Tensor]


def lower(traced: Traced, subject: Subject) -> Lowered:
    """Lower a traced subject."""
    calls, results, fakes = flatten(traced.module)
    calls, results = functionalise(calls, results, fakes)
    placed = named_inputs(traced.leaves, {call.name for call in calls})
    leaves, tensors, params = leaf_nodes(list(placed.values()), subject.created)
    alias = stand_ins(placed, params)
    names = _node_names(calls, results)
    drawn = _seeded_draws(calls, traced.generators)
    tensors |= drawn
    nodes = [*leaves, *_nodes([_constant_call(c) if c.name in drawn else c for c in calls], names, alias, subject.created)]
    outputs = tuple(names.get((v.name, v.output), alias.get(v.name, v.name)) for v in results)
    loss, outputs = (outputs[0], outputs[1:]) if traced.has_loss else (None, outputs)
    roots = (*outputs, *((loss,) if loss else ()))
    nodes = _alive(nodes, roots)
    strays = unregistered(subject, list(placed.values()))
    nodes, tensors = _folded_constants(nodes, tensors, frozenset(stray.node for stray in strays))
    nodes = _alive(list(recognise(tuple(nodes), roots)), roots)
    kept = {node.name for node in nodes}
    graph = Graph(
        tuple(nodes),
        params,
        tuple(n.name for n in nodes if n.op == "input"),
        tuple(dict.fromkeys(o for o in outputs if o in kept)),
        loss,
        traced.tracer,
        traced.notes,
        tuple(stray for stray in strays if stray.node in kept),
        clones(params, tensors),
    )
    return Lowered(graph, {name: tensor for name, tensor in tensors.items() if name in kept or name in _param_nodes(params)})


def _param_nodes(params: Mapping[str, ParamInfo]) -> set[str]:
    return {info.node for info in params.values()}


# calls ------------------------------------------------------------------------------------------------------------------


def _node_names(calls: Sequence[Call], results: Sequence[Value]) -> dict[tuple[str, int | None], str]:
    """A name for every output that is used: the call's own for single results, ``name.i`` for one of several."""
    used: dict[tuple[str, int | None], str] = {}
    several = {call.name for call in calls if isinstance(call.fake, (tuple, list))}
    for value in [*_values(calls), *results]:
        if value.name in several:
            used[(value.name, value.output)] = f"{value.name}.{value.output}"
    return used


def _values(calls: Sequence[Call]) -> Iterable[Value]:
    for call in calls:
        yield from _values_in((call.args, tuple(call.kwargs.values())))


def _values_in(tree: Any) -> Iterable[Value]:
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from _values_in(item)


def _nodes(
    calls: Sequence[Call],
    names: Mapping[tuple[str, int | None], str],
    alias: Mapping[str, str],
    created: Mapping[str, Site],
) -> list[Node]:
    result = []
    for call in calls:

        def rename(v: Value) -> str:
            return names.get((v.name, v.output), alias.get(v.name, v.name))

        if isinstance(call.fake, (tuple, list)):
            for (name, output), own in names.items():
                if name == call.name and output is not None:
                    result.append(_node(call, own, output, call.fake[output], rename, created))
        else:
            result.append(_node(call, call.name, None, call.fake, rename, created))
    return result


def _node(call: Call, name: str, output: int | None, fake: Any, rename: Any, created: Mapping[str, Site]) -> Node:
    if call.target is _DRAWN:
        return Node(name, "constant", (), {}, tuple(int(n) for n in fake.shape), dtype_name(fake), where(call, created))
    args = _arguments(call, rename)
    if output is not None:
        args["output"] = output
    shape = tuple(int(n) for n in fake.shape) if isinstance(fake, Tensor) else ()
    target = str(call.target) if call.is_aten else call.packet
    return Node(
        name,
        _packet(call),
        _operands(call, args),
        args,
        shape,
        dtype_name(fake),
        where(call, created),
        target,
        call.regions,
    )


_SAME = {
    "aten.multiply": "aten.mul",
    "aten.divide": "aten.div",
    "aten.true_divide": "aten.div",
    "aten.subtract": "aten.sub",
}


def _packet(call: Call) -> str:
    return _SAME.get(call.packet, call.packet)


def _arguments(call: Call, rename: Any) -> dict[str, Arg]:
    """The call by the schema's argument names, defaults filled in."""
    if not call.is_aten:
        return {f"arg{i}": _plain(value, rename) for i, value in enumerate([*call.args, *call.kwargs.values()])}
    result: dict[str, Arg] = {}
    for position, argument in enumerate(call.target._schema.arguments):
        if position < len(call.args):
            value = call.args[position]
        elif argument.name in call.kwargs:
            value = call.kwargs[argument.name]
        else:
            value = argument.default_value
        result[argument.name] = _plain(value, rename)
    return result


def _plain(value: Any, rename: Any) -> Arg:
    if isinstance(value, Value):
        return Ref(rename(value))
    if isinstance(value, (tuple, list)):
        return tuple(_plain(v, rename) for v in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return int(value) if isinstance(value, torch.SymInt) else str(value)


def _operands(call: Call, args: Mapping[str, Arg]) -> tuple[Operand, ...]:
    """What stands in the tensor slots, lists flattened. A slot is an argument that some overload of the packet takes as a tensor."""
    slots = _tensor_slots(call.target.overloadpacket) if call.is_aten else frozenset(args)
    result: list[Operand] = []
    for name, value in args.items():
        if name not in slots:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Ref):
                result.append(item.name)
            elif isinstance(item, (bool, int, float)):
                result.append(float(item))
            else:
                result.append(None)
    return tuple(result)


@lru_cache(maxsize=4096)
def _tensor_slots(packet: Any) -> frozenset[str]:
    slots = set()
    for overload in packet.overloads():
        for argument in getattr(packet, overload)._schema.arguments:
            if "Tensor" in str(argument.type) and not argument.is_out:
                slots.add(argument.name)
    return frozenset(slots)


def _seeded_draws(calls: Sequence[Call], generators: Mapping[str, torch.Generator]) -> dict[str, Tensor]:
    """What calls that draw from a generator of their own return, in the order of the calls."""
    fresh: dict[int, torch.Generator] = {}
    result = {}
    for call in calls:
        given = {name: _generator(value, generators) for name, value in call.kwargs.items()}
        name, source = next(((n, g) for n, g in given.items() if g is not None), ("", None))
        if source is None or list(_values_in((call.args, [v for k, v in call.kwargs.items() if k != name]))):
            continue
        own = fresh.setdefault(id(source), source.clone_state())
        with torch.no_grad():
            result[call.name] = call.target(*call.args, **{**call.kwargs, name: own})
    return result


def _generator(value: Any, generators: Mapping[str, torch.Generator]) -> torch.Generator | None:
    if isinstance(value, torch.Generator):  # make_fx really drew from it: start again
        return torch.Generator(value.device).manual_seed(value.initial_seed())
    return generators.get(value.name) if isinstance(value, Value) else None


def _constant_call(call: Call) -> Call:
    return replace(call, target=_DRAWN, args=(), kwargs={})


_DRAWN = object()
"""Stands in the place of the operator of a draw that was evaluated."""


# passes -----------------------------------------------------------------------------------------------------------------


def _alive(nodes: Sequence[Node], roots: Sequence[str]) -> list[Node]:
    """The nodes that the results depend on, and every input and parameter."""
    wanted = set(roots)
    kept = []
    for node in reversed(nodes):
        if node.name in wanted or node.op in ("input", "parameter"):
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1]


def _folded_constants(
    nodes: Sequence[Node], tensors: Mapping[str, Tensor], trained: frozenset[str]
) -> tuple[list[Node], dict[str, Tensor]]:
    """Calls on constants alone (positions, masks, rotary tables) become constants, evaluated on the CPU; not those ``trained``."""
    values = dict(tensors)
    constant = {node.name for node in nodes if node.op == "constant" and not is_hollow(values[node.name]) and node.name not in trained}
    result = []
    for node in (_as_cast(node, constant) for node in nodes):
        if node.op in ("input", "parameter", "constant") or not _is_constant(node, constant):
            result.append(node)
            continue
        try:
            with torch.no_grad():
                values[node.name] = run(node, values, torch.device("cpu"))
        except (NotImplementedError, RuntimeError, TypeError, AttributeError):  # it stays a call, with its transfer
            result.append(node)
            continue
        constant.add(node.name)
        result.append(Node(node.name, "constant", (), {}, node.shape, node.dtype, node.where))
    return result, values


def _as_cast(node: Node, constant: set[str]) -> Node:
    """``x.type_as(y)`` takes but the dtype of y: a constant x stays constant, whatever y is."""
    if node.op != "aten.type_as" or node.inputs[0] not in constant:
        return node
    args = {"self": node.args["self"], "dtype": node.dtype}
    return replace(node, op="aten._to_copy", operands=node.operands[:1], args=args, target="aten._to_copy.default")


def _is_constant(node: Node, constant: set[str]) -> bool:
    return all(name in constant for name in node.inputs) and not node.is_random
