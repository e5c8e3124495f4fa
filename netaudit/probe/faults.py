"""Where a run first stopped being finite, and whether that was meant: -inf is how attention is told what not to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan

from netaudit.graph import Node
from netaudit.probe.calls import needed
from netaudit.probe.machine import Machine
from netaudit.probe.sizes import Extent, Size, Sizes

_SOFTMAX = """
aten.softmax aten._softmax aten.log_softmax aten._log_softmax aten.logsumexp aten.scaled_dot_product_attention netaudit.attention
"""
_SELECTING = "aten.where aten.masked_fill aten.max aten.amax aten.gather aten.cross_entropy_loss aten.nll_loss"
SOFTMAX = frozenset(_SOFTMAX.split())
"""What takes a -inf for a weight of zero. A row of nothing else is NaN, and then the softmax is where it breaks."""
SELECTING = frozenset(_SELECTING.split())
"""What may leave a -inf out: it was meant if what they return is finite."""


@dataclass(frozen=True, slots=True)
class Faults:
    """The calls and leaves whose value is the first that is not finite, and those whose gradient is, in the order of the passes."""

    values: tuple[str, ...]
    gradients: tuple[str, ...]

    @property
    def first(self) -> frozenset[str]:
        """Where it began: gradients that are not finite follow from values that are not."""
        return frozenset(self.values or self.gradients)


def faults(machine: Machine, seen: Sizes) -> Faults:
    """Where values and gradients of a run first stopped being finite, a deliberate -inf left out.

    A node is at fault if its value is not finite, is no deliberate -inf, and everything that it was computed from is one or the
    other. A -inf is deliberate if only softmaxes take it, and calls that leave it out or pass it on to such.
    """
    users: dict[str, list[Node]] = {}
    for node in machine.calls:
        for name in needed(node):
            users.setdefault(name, []).append(node)
    meant = _meant(machine, seen, users)
    sound = {name for name, size in seen.values.items() if size.is_finite} | meant
    values = [n.name for n in machine.graph.nodes if n.name in seen.values and n.name not in sound and _all(needed(n), seen.values, sound)]
    return Faults(tuple(values), tuple(seen.wrong_gradient))


def _all(names: Sequence[str], values: Mapping[str, Size], sound: set[str]) -> bool:
    return all(name in sound for name in names if name in values)


def _meant(machine: Machine, seen: Sizes, users: Mapping[str, Sequence[Node]]) -> set[str]:
    """The nodes that hold a deliberate -inf, found from the last to the first: it depends on who takes it."""
    found: set[str] = set()
    ends = {*machine.graph.heads, *machine.graph.outputs}
    for node in reversed(machine.graph.nodes):
        extent = seen.extents.get(node.name)
        if extent is None or not _is_masked(extent) or node.name in ends:
            continue
        takers = [user for user in users.get(node.name, ()) if user.is_float]
        if takers and all(user.name in found or _takes(user, seen.values.get(user.name)) for user in takers):
            found.add(node.name)
    return found


def _is_masked(extent: Extent) -> bool:
    return extent.least == -inf and not isnan(extent.most) and extent.most < inf


def _takes(user: Node, result: Size | None) -> bool:
    """Whether a call makes something finite of a -inf, or may yet do so: an interrupted run has not reached it."""
    return user.op in SOFTMAX or result is None or (user.op in SELECTING and result.is_finite)
