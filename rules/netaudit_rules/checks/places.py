"""Findings of one kind at several places, folded: one for each cause, the others named as siblings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from netaudit import Node, Severity

if TYPE_CHECKING:
    from netaudit import Facts

T = TypeVar("T")
RANK: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Place(Generic[T]):
    """A call, how bad it is there, what tells its cause from others, and what is known of it."""

    node: Node
    severity: Severity
    cause: str
    found: T


def folded(places: Iterable[Place[T]]) -> Sequence[tuple[Place[T], tuple[str, ...]]]:
    """One place for each line and op (the worst), then one for each cause and severity, with the names of the others."""
    lines: dict[object, list[Place[T]]] = {}
    for place in places:
        site = place.node.where.called
        lines.setdefault((place.node.op, site if site is not None else place.node.name), []).append(place)
    causes: dict[tuple[Severity, str], list[tuple[Place[T], list[Place[T]]]]] = {}
    for group in lines.values():
        worst = min(group, key=lambda place: RANK[place.severity])
        rest = [place for place in group if place is not worst]
        causes.setdefault((worst.severity, worst.cause), []).append((worst, rest))
    result = []
    for members in causes.values():
        first, rest = members[0]
        others = [*rest, *(place for other, more in members[1:] for place in (other, *more))]
        result.append((first, tuple(label(place.node) for place in others)))
    return sorted(result, key=lambda item: RANK[item[0].severity])


WALKED = 16
"""How many calls back the module that made an operand is looked for."""


def module_at(facts: Facts, node: Node, operand: str | None = None) -> str:
    """The module whose ``forward`` makes a call; for one in the model's own, that of the layer its operand comes from."""
    found = operand if operand is not None else next(iter(node.inputs), None)
    for _ in range(WALKED):
        if node.where.module or found is None:
            break
        node = facts.nodes[found]
        found = next(iter(node.inputs), None)
    return node.where.module


def label(node: Node) -> str:
    """How a call is named among siblings: by its module, or by itself where the module is the model."""
    return node.where.module or node.name
