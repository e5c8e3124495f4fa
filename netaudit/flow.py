"""The backward sweep: the size of the gradient at every node and parameter, and the paths that carry it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite, isinf, log10, sqrt
from typing import Literal, TypeAlias

import numpy as np

from .doubt import CANCELS, NO_DOUBT, SHARED, Doubt
from .facts import Facts
from .graph import Node
from .moments import Cotangent, accumulate, constant, cotangent, independent
from .trust import cancels, drawn, in_front, used_in_series

Seed: TypeAlias = Literal["loss", "unit"]
NEVER = -inf
RESCALE = 60.0
"""Cotangents are rescaled when their log10 RMS leaves +-this: squares stay inside float64, the exponent is kept apart."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient at a node. Logarithms are base 10.

    ``bound``: PROVED log of its l2 norm, inf if there is none; ``forecast``: MODELLED log of its RMS, None when unknown,
    -inf when it is zero; ``via``: the user that carries most of it back, by forecast where there is one, else by bound;
    ``share``: the part of the energy sent by all users that it carries, MODELLED, None when unknown or there is none;
    ``doubt``: what thins the assumptions of the forecast on that way.
    """

    bound: float
    forecast: float | None
    via: str | None = None
    share: float | None = None
    doubt: Doubt = NO_DOUBT


@dataclass(frozen=True, slots=True, repr=False)
class Flow:
    """Gradients of the loss (or of a unit-RMS cotangent at the outputs) with respect to every node and parameter.

    ``reached``: nodes with a differentiable path to a head. ``reference``: log10 of ``||y||_F ||G_y||_F`` at the heads when
    there is no loss; sensitivities are divided by it, as if the loss were O(1).
    """

    facts: Facts
    seed: Seed
    nodes: Mapping[str, Gradient]
    params: Mapping[str, Gradient]
    reached: frozenset[str]
    reference: float = 0.0

    def sensitivity(self, param: str) -> float | None:
        """MODELLED log10 of ``S = ||W||_F ||G||_F``, the change of the loss for a 100 % change of the parameter.

        A zero-initialised parameter gets its fan-in scale ``1 / sqrt(fan_in)`` per entry instead of its own size.
        """
        info = self.facts.graph.params[param]
        gradient = self.params[param]
        signal = self.facts.signals[info.node]
        if gradient.forecast is None or signal.moments is None:
            return None
        size = signal.count
        scale = sqrt(signal.moments.mean_square) or 1.0 / sqrt(fan_in(info.shape))
        return log10(scale) + log10(max(size, 1)) + gradient.forecast - self.reference

    def sensitivity_bound(self, param: str) -> float | None:
        """PROVED log10 of ``S``, None when there is no bound (an input without a proved range)."""
        signal = self.facts.signals[self.facts.graph.params[param].node]
        size, bound = signal.norm_bound(tuple(range(len(signal.shape)))), self.params[param].bound
        if size == 0.0 or bound == NEVER:
            return NEVER
        total = bound + log10(size) if isfinite(size) else inf
        return total - self.reference if isfinite(total) and self.seed == "loss" else None

    def norm(self, name: str) -> float | None:
        """MODELLED log10 of the l2 norm of the gradient at a node."""
        forecast = self.nodes[name].forecast
        return None if forecast is None else forecast + 0.5 * log10(max(self.facts.signals[name].count, 1))

    def path(self, name: str) -> tuple[str, ...]:
        """The nodes through which most of the gradient of a node comes, from the node to the loss."""
        result = [name]
        while (via := self.nodes[result[-1]].via) is not None:
            result.append(via)
        return tuple(result)


def fan_in(shape: tuple[int, ...]) -> int:
    """The number of inputs of one output of a weight of this shape (out, in, taps ...)."""
    size = 1
    for n in shape[1:] if len(shape) > 1 else shape:
        size *= n
    return max(size, 1)


@np.errstate(all="ignore")  # as in the forward sweep: what overflows is unknown
def flow(facts: Facts) -> Flow:
    """One pass over the nodes in reverse: bounds add along parallel edges, cotangents add as their model says."""
    graph = facts.graph
    heads = graph.heads
    reached = _reached(facts)
    sweep = _Sweep({}, {})
    seed: Seed = "loss" if graph.loss is not None else "unit"
    for head in heads:
        if head in facts.signals and facts.nodes[head].is_float:
            _seed(sweep, facts, head, seed)
    gradients: dict[str, Gradient] = {}
    masks = drawn(facts)
    for node in reversed(graph.nodes):
        gradients[node.name] = _trusted(node, _visit(node, facts, sweep, reached), facts, gradients, masks)
    params = {key: gradients[info.node] for key, info in graph.params.items()}
    return Flow(facts, seed, gradients, params, reached, _reference(facts) if seed == "unit" else 0.0)


def _reference(facts: Facts) -> float:
    """``||y||_F ||G||_F`` for unit-RMS cotangents; outputs that are zero or unknown count with unit RMS."""
    size = energy = 0.0
    for head in facts.graph.heads:
        signal = facts.signals[head]
        if facts.nodes[head].is_float:
            size += signal.count
            energy += signal.count * ((signal.moments.mean_square if signal.moments is not None else 1.0) or 1.0)
    return 0.5 * (log10(size) + log10(energy)) if size and energy else 0.0


@dataclass(slots=True)
class _Sweep:
    """What has been sent back so far: proved bounds, and modelled cotangents with their exponents; None is an unknown part."""

    bounds: dict[str, list[tuple[float, str]]]
    parts: dict[str, list[tuple[Cotangent | None, float, str]]]

    def send(self, name: str, bound: float, part: Cotangent | None, exponent: float, user: str) -> None:
        self.bounds.setdefault(name, []).append((bound, user))
        self.parts.setdefault(name, []).append((part, exponent, user))


def _seed(sweep: _Sweep, facts: Facts, head: str, seed: Seed) -> None:
    shape = facts.nodes[head].shape
    size = max(facts.signals[head].count, 1)
    start = cotangent(independent(shape, 1.0) if seed == "unit" else constant(shape, 1.0))
    sweep.send(head, 0.5 * log10(size), start, 0.0, "")


def _reached(facts: Facts) -> frozenset[str]:
    """The nodes from which a differentiable path leads to a head. Jacobians that are zero and integer tensors cut it."""
    import networkx as nx  # 0.2 s that `netaudit rule` need not pay

    edges: nx.DiGraph[str] = nx.DiGraph()
    heads = [head for head in facts.graph.heads if head in facts.nodes]
    edges.add_nodes_from(heads)
    for name, effect in facts.effects.items():
        for operand, jac in zip(facts.nodes[name].operands, effect.jac, strict=True):
            if isinstance(operand, str) and jac is not None and "zero" not in jac.tags and facts.nodes[operand].is_float:
                edges.add_edge(operand, name)
    found = set(heads)
    for head in heads:
        found |= nx.ancestors(edges, head)
    return frozenset(found)


def _visit(node: Node, facts: Facts, sweep: _Sweep, reached: frozenset[str]) -> tuple[Gradient, Mapping[str, float]]:
    """The gradient of a node, and the log10 RMS that each user sent."""
    bounds, parts = sweep.bounds.pop(node.name, []), sweep.parts.pop(node.name, [])
    if not parts or node.name not in reached:
        return Gradient(NEVER, NEVER), {}
    bound = _log_sum(value for value, _ in bounds)
    total, exponent = _total(parts)
    forecast = None if total is None else _log_rms(total, exponent)
    via, sizes = _heaviest(bounds, parts)
    share = _share(via, sizes)
    if node.name in facts.effects:
        _send_on(node, facts, sweep, bound, total, exponent)
    return Gradient(bound, forecast, via, share), sizes


def _trusted(
    node: Node,
    found: tuple[Gradient, Mapping[str, float]],
    facts: Facts,
    behind: Mapping[str, Gradient],
    masks: Mapping[str, frozenset[str]],
) -> Gradient:
    """The gradient of a node with its doubts; one weight used in series gets the geometric middle of independent and coherent."""
    gradient, sizes = found
    if gradient.forecast is None or gradient.via is None:
        return gradient
    doubt = in_front(gradient.via, sizes, facts, {user: behind[user].doubt for user in sizes if user}, masks)
    forecast = gradient.forecast
    if used_in_series(node, sizes, facts):
        forecast, doubt = forecast + 0.5 * _coherence(sizes.values()), doubt.because(SHARED)
    if cancels(node, forecast, behind[gradient.via].forecast, facts.signals[gradient.via].count):
        doubt = doubt.because(CANCELS)
    return replace(gradient, forecast=forecast, doubt=doubt)


def _coherence(logs: Iterable[float]) -> float:
    """log10 of how much more the uses of one weight add up to in amplitude than as independent tensors.

    Inputs and gradients of layers in series resemble each other by an unknown amount: the truth lies between the two.
    """
    known = [log for log in logs if log > NEVER]
    return _log_sum(known) - 0.5 * _log_sum(2.0 * log for log in known) if known else 0.0


def _send_on(node: Node, facts: Facts, sweep: _Sweep, bound: float, total: Cotangent | None, exponent: float) -> None:
    effect = facts.effects[node.name]
    pulled: tuple[Cotangent | None, ...] | None = None
    if total is not None and effect.pull is not None:
        pulled = effect.pull(total)
    for slot, (operand, jac) in enumerate(zip(node.operands, effect.jac, strict=True)):
        if not isinstance(operand, str) or jac is None or "zero" in jac.tags or not facts.nodes[operand].is_float:
            continue
        part = None if pulled is None else pulled[slot] or _nothing(facts.nodes[operand])
        sweep.send(operand, _times(bound, jac.lip), part, exponent, node.name)


def _nothing(node: Node) -> Cotangent:
    """The cotangent of an operand that the model says gets none; its proved bound is another matter, and is sent."""
    return cotangent(constant(node.shape, 0.0))


def _times(bound: float, lip: float) -> float:
    """log10 of a bound times a Lipschitz constant; a zero factor wins over an unbounded one."""
    if lip == 0 or bound == NEVER:
        return NEVER
    return inf if isinf(lip) else bound + log10(lip)


def _total(parts: list[tuple[Cotangent | None, float, str]]) -> tuple[Cotangent | None, float]:
    """The sum of what users sent, on one exponent; unknown as soon as one part is, or where the model overflows."""
    known = [(part, exponent) for part, exponent, _ in parts if part is not None]
    if len(known) < len(parts):
        return None, 0.0
    # A part of no energy adds nothing, whatever its kernel says: what cancels there may round below zero, and would eat the rest.
    if len(known) > 1:
        known = [(part, exponent) for part, exponent in known if part.mean_square != 0.0] or known[:1]
    top = max(exponent for _, exponent in known)
    total = accumulate([part if exponent == top else part.scaled(10.0 ** (exponent - top)) for part, exponent in known])
    if not isfinite(total.mean_square):
        return None, 0.0
    size = _log_rms(total, 0.0)
    if abs(size) > RESCALE and not isinf(size):
        total, top = total.scaled(10.0**-size).resolved(), top + size
    return total, top


def _log_rms(part: Cotangent, exponent: float) -> float:
    square = part.mean_square
    return 0.5 * log10(square) + exponent if square > 0 else NEVER


def _log_sum(logs: Iterable[float]) -> float:
    values = [v for v in logs if v > NEVER]
    if not values:
        return NEVER
    top = max(values)
    return top if isinf(top) else top + log10(sum(10.0 ** (v - top) for v in values))


def _heaviest(bounds: list[tuple[float, str]], parts: list[tuple[Cotangent | None, float, str]]) -> tuple[str | None, Mapping[str, float]]:
    """The user that sends most, by forecast where all are known, else by bound; and the log10 RMS that each sends, if all are known."""
    sizes = {user: NEVER for _, _, user in parts}
    for part, exponent, user in parts:
        if part is None or not isfinite(part.mean_square):
            return max(bounds, key=lambda b: b[0])[1] or None, {}
        sizes[user] = 0.5 * _log_sum([2.0 * sizes[user], 2.0 * _log_rms(part, exponent)])
    return max(sizes, key=lambda name: sizes[name]) or None, sizes


def _share(via: str | None, sizes: Mapping[str, float]) -> float | None:
    """The part of the energy sent by all users that one of them carries."""
    whole = 0.5 * _log_sum(2.0 * size for size in sizes.values())
    return 10.0 ** (2.0 * (sizes[via or ""] - whole)) if whole > NEVER else None
