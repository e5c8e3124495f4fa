"""The forward sweep: from a graph and its leaves to a signal and an effect for every node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .effect import UNKNOWN, ZERO, Effect, Jacobian, Pull, Transfer
from .graph import SAMPLED_BACKWARD, Graph, Node
from .moments import Cotangent, accumulate
from .pack import Catalog
from .signal import Signal, WeightNorms, number

LEAVES = frozenset({"input", "parameter", "constant"})


@dataclass(frozen=True, slots=True, repr=False)
class Leaves:
    """What is known before the sweep.

    ``signals``: of inputs, parameters and constants, and of every node that could be evaluated without the input (computed
    weights, position tables) or on the example input alone (ids, masks, labels). ``norms``: the certified norms of a weight
    at a use, keyed by the node that uses it and the operand's slot. ``non_finite``: parameters that hold NaN or inf.
    ``samples``: the example's own values of float inputs, for what is said of targets; no bound and no model rests on them.
    ``without_values``: the nodes of parameters that hold none, whose norms are unknown for no fault of the model.
    """

    signals: Mapping[str, Signal]
    norms: Mapping[tuple[str, int], WeightNorms] = field(default_factory=dict)
    non_finite: tuple[str, ...] = ()
    samples: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    without_values: frozenset[str] = frozenset()

    def without(self, graph: Graph, changed: Iterable[str]) -> Leaves:
        """What is still known of a graph once some of its nodes have changed: what was evaluated from them no longer holds."""
        stale = set(changed)
        for node in graph.nodes:
            if stale.intersection(node.inputs):
                stale.add(node.name)
        operands = {node.name: node.operands for node in graph.nodes}
        norms = {
            (user, slot): n for (user, slot), n in self.norms.items() if not stale.intersection(operands.get(user, ())[slot : slot + 1])
        }
        return replace(self, signals={name: signal for name, signal in self.signals.items() if name not in stale}, norms=norms)


@dataclass(frozen=True, slots=True, repr=False)
class Facts:
    """A graph with, for each node, its signal and (for calls) its effect. ``unmodelled`` are calls without a transfer.

    ``samples`` are the example's own values of float inputs.
    """

    graph: Graph
    signals: Mapping[str, Signal]
    effects: Mapping[str, Effect]
    unmodelled: tuple[str, ...]
    nodes: Mapping[str, Node]
    transfers: Mapping[str, Transfer]
    non_finite: tuple[str, ...] = ()
    samples: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    without_values: frozenset[str] = frozenset()

    def jacobian(self, node: str, slot: int) -> Jacobian | None:
        """The Jacobian of a call with respect to one of its operands."""
        effect = self.effects.get(node)
        return effect.jac[slot] if effect is not None else None

    @property
    def calls(self) -> int:
        """How many nodes are calls."""
        return len(self.effects)

    @property
    def coverage(self) -> float:
        """The share of calls that have a transfer."""
        return 1.0 - len(self.unmodelled) / self.calls if self.calls else 1.0


@np.errstate(all="ignore")  # a model that overflows is unknown, and no reason for numpy to warn the user
def derive(graph: Graph, leaves: Leaves, catalog: Catalog) -> Facts:
    """One pass over the nodes in execution order."""
    signals: dict[str, Signal] = {}
    effects: dict[str, Effect] = {}
    unmodelled: list[str] = []
    for node in graph.nodes:
        if node.op in LEAVES:
            signals[node.name] = leaves.signals.get(node.name, Signal(node.shape))
            continue
        operands = tuple(_operand(node, slot, signals, leaves) for slot in range(len(node.operands)))
        found = _effect(node, operands, catalog)
        if found is None or (node.custom_function and SAMPLED_BACKWARD not in node.regions):
            unmodelled.append(node.name)
        effect = _within_regions(node, found or _unknown(node, operands))
        effects[node.name] = effect
        signals[node.name] = _merged(effect.out, leaves.signals.get(node.name))
    known = graph.by_name(), catalog.transfers, leaves.non_finite, leaves.samples, leaves.without_values
    return Facts(graph, signals, effects, tuple(unmodelled), *known)


def _merged(out: Signal, evaluated: Signal | None) -> Signal:
    """What the transfer says of an output, and what is known because it could be evaluated."""
    if evaluated is None:
        return out
    return Signal(
        out.shape,
        out.range.meet(evaluated.range),
        out.rows,
        out.moments if evaluated.moments is None else evaluated.moments,
        evaluated.value,
        evaluated.constant,
    )


def _operand(node: Node, slot: int, signals: Mapping[str, Signal], leaves: Leaves) -> Signal | None:
    operand = node.operands[slot]
    if operand is None:
        return None
    if not isinstance(operand, str):
        return number(operand)
    norms = leaves.norms.get((node.name, slot))
    return signals[operand] if norms is None else replace(signals[operand], norms=norms)


def _effect(node: Node, operands: tuple[Signal | None, ...], catalog: Catalog) -> Effect | None:
    transfer = catalog.transfers.get(node.op)
    if transfer is not None:
        effect = transfer(node, *operands)
        return _with_folded_model(node, effect, operands, catalog) if node.folded and effect.out.moments is None else effect
    if not node.is_float:  # the class rule: integers and booleans carry no gradient, whatever computed them
        return Effect(Signal(node.shape), tuple(None if o is None else ZERO for o in operands), _cut(len(operands)))
    return None


def _unknown(node: Node, operands: tuple[Signal | None, ...]) -> Effect:
    return Effect(Signal(node.shape), tuple(None if o is None else UNKNOWN for o in operands))


def _within_regions(node: Node, effect: Effect) -> Effect:
    """The Jacobians that autograd sees: zero inside no_grad, unknown inside a custom Function; the values are as they are.

    A backward that was sampled, and was the derivative of its forward, has a forecast and still no bound.
    """
    if node.custom_function:
        seen = replace(UNKNOWN, why=f"the backward of autograd.Function {node.custom_function} is user code")
        pull = effect.pull if SAMPLED_BACKWARD in node.regions else None
        return replace(effect, jac=tuple(None if j is None else seen for j in effect.jac), pull=pull)
    if "no_grad" in node.regions:
        cut = replace(ZERO, why="inside no_grad")
        return Effect(effect.out, tuple(None if j is None else cut for j in effect.jac), _cut(len(effect.jac)))
    return effect


def _cut(slots: int) -> Pull:
    return lambda _g: (None,) * slots


def _with_folded_model(node: Node, effect: Effect, operands: tuple[Signal | None, ...], catalog: Catalog) -> Effect:
    """A composite proves its own bound; where it has no model of its own, the calls it was folded from give the moments."""
    signals = {name: signal for name, signal in zip(node.operands, operands, strict=True) if isinstance(name, str) and signal is not None}
    effects: dict[str, Effect] = {}
    for inner in node.folded:
        inputs = tuple(None if o is None else signals.get(o) if isinstance(o, str) else number(o) for o in inner.operands)
        found = catalog.transfers.get(inner.op)
        if found is None or any(i is None for i, o in zip(inputs, inner.operands, strict=True) if o is not None):
            return effect
        effects[inner.name] = found(inner, *inputs)
        signals[inner.name] = effects[inner.name].out
    last = effects[node.folded[-1].name].out
    if last.moments is None:
        return effect
    return replace(effect, out=replace(effect.out, moments=last.moments), pull=lambda g: _pulled_through(node, effects, g))


def _pulled_through(node: Node, effects: Mapping[str, Effect], g: Cotangent) -> tuple[Cotangent | None, ...]:
    """The cotangents of a composite's operands: its calls in reverse."""
    waiting: dict[str, list[Cotangent]] = {node.folded[-1].name: [g]}
    for inner in reversed(node.folded):
        parts = waiting.pop(inner.name, None)
        pull = effects[inner.name].pull
        if not parts or pull is None:
            continue
        for operand, part in zip(inner.operands, pull(accumulate(parts)), strict=True):
            if isinstance(operand, str) and part is not None:
                waiting.setdefault(operand, []).append(part)
    return tuple(accumulate(waiting[o]) if isinstance(o, str) and o in waiting else None for o in node.operands)
