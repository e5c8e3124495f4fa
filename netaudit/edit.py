"""A graph and what is known of its leaves, with changes made: as if the model had been written so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .change import Change, Normalised, Removed, Replaced, Rescaled, Residual, ScaledBranch, WithArg
from .errors import EditError, did_you_mean
from .facts import Leaves
from .graph import Arg, Graph, Node, Operand, Ref
from .moments import independent, of
from .signal import Signal

EPS = 1e-5
"""The eps of an inserted normalisation: torch's default for LayerNorm and BatchNorm."""


def edited(graph: Graph, leaves: Leaves, changes: Sequence[Change]) -> tuple[Graph, Leaves]:
    """The graph and its leaves after the changes, all named by the nodes of the graph as it was.

    What was evaluated from something that changed, and norms of weights that changed, are no longer known.

    Raises:
        EditError: a name is not in the graph, shapes do not fit, or a call has no operand that could take its place.
    """
    plan = _plan(graph, changes)
    nodes, renamed = _rewritten(graph, plan)
    result = replace(
        graph,
        nodes=nodes,
        outputs=tuple(renamed.get(name, name) for name in graph.outputs),
        loss=None if graph.loss is None else renamed.get(graph.loss, graph.loss),
    )
    old = graph.by_name()
    touched = {node.name for node in nodes if old.get(node.name) != node}
    fresh = {
        graph.params[param].node: Signal(graph.params[param].shape, moments=of(independent(graph.params[param].shape, size * size)))
        for param, size in plan.sizes.items()
    }
    known = leaves.without(result, touched | set(fresh))
    return result, replace(known, signals={**known.signals, **fresh})


# what to do at which node -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Plan:
    """The changes by node: new ops, new arguments, what is left out, and what is put after a node, in order."""

    ops: dict[str, str] = field(default_factory=dict)
    args: dict[str, dict[str, Arg]] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    after: dict[str, list[Node]] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)


def _plan(graph: Graph, changes: Sequence[Change]) -> _Plan:
    plan, nodes = _Plan(), graph.by_name()
    for change in changes:
        if isinstance(change, Rescaled):
            _require(change.params, graph.params)
            plan.sizes |= dict(zip(change.params, change.rms, strict=True))
            continue
        named = [name for pair in change.pairs for name in pair] if isinstance(change, Residual) else change.nodes
        _require(named, nodes)
        _add(plan, change, nodes)
    return plan


def _require(names: Iterable[str], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            raise EditError(f"a change names {name!r}, which the graph does not have", did_you_mean(name, known))


def _add(plan: _Plan, change: Change, nodes: Mapping[str, Node]) -> None:
    if isinstance(change, WithArg):
        for name in change.nodes:
            plan.args.setdefault(name, {})[change.name] = change.value
    elif isinstance(change, Replaced):
        plan.ops |= dict.fromkeys(change.nodes, change.op)
    elif isinstance(change, Removed):
        plan.removed |= set(change.nodes)
    else:
        for name, made in _insertions(change, nodes):
            plan.after.setdefault(name, []).append(made)


def _insertions(change: Change, nodes: Mapping[str, Node]) -> Iterator[tuple[str, Node]]:
    """The calls to put after nodes; their first operand stands for whatever the node's value has become."""
    if isinstance(change, Normalised):
        for name in change.nodes:
            yield name, _normalisation(nodes[name], change.over)
    elif isinstance(change, ScaledBranch):
        for name in change.nodes:
            yield name, _call(nodes[name], "scaled", "aten.mul", (name, change.factor), {"other": change.factor})
    elif isinstance(change, Residual):
        for before, name in change.pairs:
            if nodes[before].shape != nodes[name].shape:
                raise EditError(f"{before!r} and {name!r} have different shapes, and cannot be added")
            yield name, _call(nodes[name], "residual", "aten.add", (name, before), {"alpha": 1})


def _normalisation(node: Node, over: str) -> Node:
    if over == "channels":
        if len(node.shape) < 2:
            raise EditError(f"{node.name!r} has no axis of channels")
        return _call(node, "norm", "aten.batch_norm", (node.name, *(None,) * 4), {"training": True, "eps": EPS})
    if not node.shape:
        raise EditError(f"{node.name!r} is a scalar, and cannot be normalised")
    return _call(node, "norm", "aten.layer_norm", (node.name, None, None), {"normalized_shape": node.shape[-1:], "eps": EPS})


def _call(node: Node, what: str, op: str, operands: tuple[Operand, ...], args: Mapping[str, Arg]) -> Node:
    return Node(f"{node.name}__{what}", op, operands, args, node.shape, node.dtype, node.where)


# one pass over the nodes ------------------------------------------------------------------------------------------------


def _rewritten(graph: Graph, plan: _Plan) -> tuple[tuple[Node, ...], Mapping[str, str]]:
    """The new nodes in execution order, and which name each old value now has."""
    result: list[Node] = []
    now: dict[str, str] = {}
    for node in graph.nodes:
        if node.name in plan.removed:
            now[node.name] = _first(node, graph, now)
            continue
        result.append(_changed(_rewired(node, now), plan))
        for extra in plan.after.get(node.name, ()):
            result.append(_rewired(extra, now))
            now[node.name] = extra.name
    return tuple(result), now


def _first(node: Node, graph: Graph, now: Mapping[str, str]) -> str:
    operand = node.operands[0] if node.operands else None
    shapes = {other.name: other.shape for other in graph.nodes} if isinstance(operand, str) else {}
    if not isinstance(operand, str) or shapes[operand] != node.shape:
        raise EditError(f"{node.name!r} cannot be left out: it has no first operand of its own shape")
    return now.get(operand, operand)


def _changed(node: Node, plan: _Plan) -> Node:
    if node.name in plan.ops:
        return replace(node, op=plan.ops[node.name], operands=node.operands[:1], args={}, target="", folded=())
    if node.name in plan.args:
        return replace(node, args={**node.args, **plan.args[node.name]})
    return node


def _rewired(node: Node, now: Mapping[str, str]) -> Node:
    """A node that reads the present values; calls that a composite was folded from read them too."""
    if not now.keys() & {*node.inputs, *(name for inner in node.folded for name in inner.inputs)}:
        return node
    return replace(
        node,
        operands=tuple(now.get(o, o) if isinstance(o, str) else o for o in node.operands),
        args={name: _renamed(value, now) for name, value in node.args.items()},
        folded=tuple(_rewired(inner, now) for inner in node.folded),
    )


def _renamed(value: Arg, now: Mapping[str, str]) -> Arg:
    if isinstance(value, Ref):
        return Ref(now.get(value.name, value.name))
    return tuple(_renamed(v, now) for v in value) if isinstance(value, tuple) else value
