"""What several checks of losses share: which value is the prediction, which the target, and what stands in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from netaudit import Audit, Graph, Node
from netaudit_rules.checks.common import MOVES

if TYPE_CHECKING:
    from netaudit import Facts

RESIDUAL = frozenset(f"aten.{name}" for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"))
"""Losses of a difference: prediction and target are broadcast against each other."""
CLASSES = frozenset({"aten.cross_entropy_loss", "aten.nll_loss", "aten.nll_loss_nd", "aten.nll_loss2d"})
"""Losses of class scores and labels."""
_CONVOLUTIONS = tuple(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))
WEIGHTED = frozenset(f"aten.{name}" for name in ("linear", "addmm", "convolution", *_CONVOLUTIONS))
"""Calls with a weight whose output has no bound of its own."""
_EXPANSIONS = frozenset({"aten.broadcast_tensors", "aten.expand", "aten.expand_as"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """A call of the loss that sets a prediction against a target, entry by entry.

    ``prediction`` depends on trained parameters; ``target`` does not, unless both do. Both are named as they are before they
    are broadcast. ``by_hand``: a difference or product in the code rather than one of torch's losses.
    """

    node: Node
    prediction: str
    target: str
    by_hand: bool


def dependent(graph: Graph) -> frozenset[str]:
    """The nodes whose value changes when trained parameters do."""
    trained = {info.node for info in graph.params.values() if info.trainable}
    return downstream(graph, trained | {stray.node for stray in graph.unregistered})


def downstream(graph: Graph, sources: Iterable[str]) -> frozenset[str]:
    """The given nodes and all whose value depends on them."""
    found = set(sources)
    for node in graph.nodes:
        if node.op not in _SHAPE_ONLY and not found.isdisjoint(node.inputs):
            found.add(node.name)
    return frozenset(found)


_SHAPE_ONLY = frozenset(
    f"aten.{name}" for name in ("new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like", "empty_like")
)
"""Calls that take the shape of a tensor, not its values."""


def tail(graph: Graph) -> frozenset[str]:
    """The nodes behind which no parameter is used on the way to the loss: the end of the network and the loss itself."""
    if graph.loss is None:
        return frozenset()
    parameters = {info.node for info in graph.params.values()} | {stray.node for stray in graph.unregistered}
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    result = {graph.loss}
    for node in reversed(graph.nodes):
        own = users.get(node.name, [])
        if own and all(user.name in result and parameters.isdisjoint(user.inputs) for user in own):
            result.add(node.name)
    return frozenset(result)


def unexpanded(facts: Facts, name: str) -> str:
    """A value before it was broadcast to the shape of another."""
    node = facts.nodes[name]
    while node.op in _EXPANSIONS and node.inputs:
        output = node.args.get("output")
        node = facts.nodes[node.inputs[output if isinstance(output, int) else 0]]
    return node.name


def comparisons(audit: Audit) -> Iterator[Comparison]:
    """Every call of the loss that compares two tensors entry by entry."""
    facts, moving = audit.facts, dependent(audit.graph)
    end = tail(audit.graph)
    for node in audit.graph.nodes:
        if node.op not in RESIDUAL and not (node.op in _BY_HAND and node.name in end):
            continue
        if len(node.operands) < 2 or not all(isinstance(o, str) for o in node.operands[:2]):
            continue
        first, second = (unexpanded(facts, str(o)) for o in node.operands[:2])
        if second in moving and first not in moving:
            first, second = second, first
        if first in moving:
            yield Comparison(node, first, second, node.op not in RESIDUAL)


_BY_HAND = frozenset(f"aten.{name}" for name in ("sub", "rsub", "mul", "div"))


def example(facts: Facts, name: str) -> Any:
    """The values of a target on the example input, as an array; None when they are not at hand."""
    known = facts.samples.get(name)
    return facts.signals[name].value if known is None else known


def source(facts: Facts, name: str) -> Node:
    """What computed a value, seen through calls that only move or repeat entries."""
    node = facts.nodes[name]
    while (node.op in MOVES or node.op in _EXPANSIONS) and node.inputs:
        output = node.args.get("output")
        node = facts.nodes[node.inputs[output if isinstance(output, int) and node.op in _EXPANSIONS else 0]]
    return node


_ENDS: dict[str, tuple[float, float]] = {
    **{f"aten.{name}": (0.0, 1.0) for name in ("sigmoid", "softmax", "_softmax", "hardsigmoid")},
    **{f"aten.{name}": (-1.0, 1.0) for name in ("tanh", "sin", "cos", "erf")},
    **{f"aten.{name}": (0.0, inf) for name in ("relu", "softplus", "abs", "square", "exp")},
    **{f"aten.{name}": (-inf, 0.0) for name in ("log_softmax", "_log_softmax", "log_sigmoid")},
    "aten.relu6": (0.0, 6.0),
}
"""What functions can give whatever their input is, and so whatever the weights in front of them become."""
_LIMITS = {"aten.hardtanh": ("min_val", "max_val"), "aten.clamp": ("min", "max")}


def reach(facts: Facts, name: str) -> tuple[float, float]:
    """The values that a tensor can have whatever the weights are: those of the function it ends in, scaled and shifted by numbers."""
    node = source(facts, name)
    if node.op in _ENDS:
        return _ENDS[node.op]
    if node.op in _LIMITS:
        low, high = (node.args.get(end) for end in _LIMITS[node.op])
        return (float(low) if isinstance(low, (int, float)) else -inf, float(high) if isinstance(high, (int, float)) else inf)
    if node.op in _AFFINE and len(node.operands) == 2 and isinstance(node.operands[0], str) and isinstance(node.operands[1], float):
        ends = sorted(_AFFINE[node.op](end, node.operands[1]) for end in reach(facts, node.operands[0]))
        return (ends[0], ends[1])
    return (-inf, inf)


_AFFINE: dict[str, Callable[[float, float], float]] = {
    "aten.add": lambda x, c: x + c,
    "aten.sub": lambda x, c: x - c,
    "aten.rsub": lambda x, c: c - x,
    "aten.mul": lambda x, c: x * c if c else 0.0,
    "aten.div": lambda x, c: x / c if c else inf,
}


def label(node: Node) -> str:
    """The name of an op as people know it: ``aten.cross_entropy_loss`` -> ``cross_entropy``."""
    return node.op.partition(".")[2].strip("_").removesuffix("_nd").removesuffix("_loss") or node.op
