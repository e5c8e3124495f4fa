"""What thins the forecast of a gradient on its way back: the doubts of calls put together along a graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isinf, log10, prod

from .doubt import CANCELLED, Doubt
from .facts import Facts
from .graph import Node


def drawn(facts: Facts) -> Mapping[str, frozenset[str]]:
    """The caveats of what depends on neither an input nor a parameter: masks that are drawn, and what is computed from them."""
    found: dict[str, frozenset[str]] = {}
    for node in facts.graph.nodes:
        alone = node.op not in ("input", "parameter") and all(name in found for name in node.inputs)
        if alone:
            own = facts.effects[node.name].caveats if node.name in facts.effects else ()
            found[node.name] = frozenset(own).union(*(found[name] for name in node.inputs))
    return found


def in_front(via: str, users: Iterable[str], facts: Facts, behind: Mapping[str, Doubt], masks: Mapping[str, frozenset[str]]) -> Doubt:
    """The doubt of a gradient that came through calls: causes along the heaviest, layers without normalisation along any of them."""
    found = {user: _through(user, facts, behind[user], masks) for user in users if user}
    return found[via].at_least(max(doubt.layers for doubt in found.values()))


def _through(user: str, facts: Facts, behind: Doubt, masks: Mapping[str, frozenset[str]]) -> Doubt:
    node, effect = facts.nodes[user], facts.effects[user]
    beside = (cause for name in node.inputs for cause in masks.get(name, ()))
    weights = [shape for name in node.inputs if facts.nodes[name].op == "parameter" and len(shape := facts.nodes[name].shape) > 1]
    width = min((shape[1] if shape[1] > 1 else shape[0] for shape in weights), default=None)  # of the layer it comes back to
    return behind.through((*effect.caveats, *beside), width, normalises=effect.normalises)


def used_in_series(node: Node, users: Collection[str], facts: Facts) -> bool:
    """Whether the result of one use of a parameter goes into another: layers that share a weight, not branches that do."""
    if node.op != "parameter" or len(users) < 2:
        return False
    behind: set[str] = set()
    for later in facts.graph.nodes:
        follows = not behind.isdisjoint(later.inputs)
        if follows and later.name in users:
            return True
        if follows or later.name in users:
            behind.add(later.name)
    return False


def cancels(node: Node, forecast: float, arrived: float | None, count: int) -> bool:
    """Whether what arrives at a bias or a gain nearly sums to zero: far less is left than of as many independent terms."""
    if node.op != "parameter" or sum(n > 1 for n in node.shape) > 1 or arrived is None or isinf(arrived) or isinf(forecast):
        return False
    return forecast < arrived + 0.5 * log10(max(count / max(prod(node.shape), 1), 1.0)) - CANCELLED
