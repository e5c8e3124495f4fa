"""Whether an operand gets to a singular point, and whether an infinite gradient from there reaches a parameter."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, TypeAlias

from netaudit import Audit, Node
from netaudit_rules.checks.common import MOVES
from netaudit_rules.checks.forms import PICKS, aten, is_near_normal, is_non_negative
from netaudit_rules.checks.ranges import entries, format_of, learning, spread_of
from netaudit_rules.checks.singular import Singular, is_safe

if TYPE_CHECKING:
    from netaudit_rules.ops.identities import Identities

How: TypeAlias = Literal["always", "example", "often", "outside", "pole", "possible"]


@dataclass(frozen=True, slots=True)
class Reach:
    """How an operand comes to a singular point.

    ``always``: some entries are there for every input; ``example``: on the example input; ``often``: by forecast, a ``share``
    of the entries; ``outside``: by forecast, a share leaves the domain; ``pole``: by forecast, values of both signs lie around
    it; ``possible``: nothing keeps it away. ``escapes``: the infinite slope reaches a trained parameter.
    """

    how: How
    share: float
    count: float
    escapes: bool
    why: str

    @property
    def is_certain(self) -> bool:
        """Whether the point is met for sure, by structure or on the example."""
        return self.how in ("always", "example")


RARE = 1e-4
"""Shares below this are not forecast: they depend on tails, which no second moments tell."""
LEAVES, LEAVES_OTHERWISE = 0.01, 0.25
"""Share of entries outside the domain from which it is said: of what is near normal, and of what need not be. A positive tensor
whose sign is not known (a product of activations, of deviation about its mean) looks like 16 % to a normal law."""
NEAR_POLE, NEAR_POLE_OTHERWISE = 2.0, 0.5
"""Deviations between the mean and a pole below which both sides are common, likewise."""


@dataclass(frozen=True, slots=True)
class Context:
    """What every question about reach needs: the nodes that a gradient to a parameter passes, and what is exactly zero."""

    audit: Audit
    learning: frozenset[str]
    exact: Identities


def context_of(audit: Audit) -> Context:
    """The context of one audit."""
    from netaudit_rules.ops.identities import Identities  # numpy, which a rule's text does without

    return Context(audit, learning(audit), Identities(audit.facts))


def reach_of(context: Context, found: Singular) -> Reach | None:
    """How the operand reaches a singular point or leaves the domain; None when that is excluded."""
    audit = context.audit
    if is_safe(audit.facts, found):
        return None
    return _exact(context, found) or _by_mass(audit, found, context.learning) or _by_forecast(audit, found) or _possible(audit, found)


def _exact(context: Context, found: Singular) -> Reach | None:
    """Entries that are at the point by arithmetic: for every input, else on the example."""
    audit = context.audit
    search = context.exact.zeros if 0.0 in found.points else context.exact.ones if 1.0 in found.points else None
    if search is None:
        return None
    on_example = search(found.operand, on_example=True)
    if on_example is None or not on_example.any():
        return None
    always = search(found.operand, on_example=False)
    for_every = always is not None and bool(always.any())
    hit = always if for_every and always is not None else on_example
    escapes = escapes_from(audit, found.operand, context.learning)
    count, share = float(hit.sum()), float(hit.mean())
    return Reach("always" if for_every else "example", share, count, escapes, _counted(count, entries(audit.facts.nodes[found.operand])))


def _counted(count: float, total: int) -> str:
    return f"{count:.0f} of {total} entries"


def _by_mass(audit: Audit, found: Singular, trained: frozenset[str]) -> Reach | None:
    if 0.0 not in found.points:
        return None
    mass = mass_at_zero(audit, found.operand, trained)
    total = entries(audit.facts.nodes[found.operand])
    if mass is None or mass.share < RARE or mass.share * total < 1.0:
        return None
    count = mass.share * total
    return Reach("often", mass.share, count, mass.escapes, f"about {_counted(max(count, 1.0), total)}, {mass.why}")


def _by_forecast(audit: Audit, found: Singular) -> Reach | None:
    spread = spread_of(audit, found.operand)
    if spread is None or (found.lo == 0.0 and is_non_negative(audit.facts, found.operand)):
        return None
    normal = is_near_normal(audit.facts, found.operand)
    outside = spread.below(found.lo) + (1.0 - spread.below(found.hi))
    if outside >= (LEAVES if normal else LEAVES_OTHERWISE) and (found.lo > -inf or found.hi < inf):
        why = f"about {outside:.0%} of the entries, of forecast mean {spread.mean:.2g} and deviation {spread.deviation:.2g}"
        return Reach("outside", outside, outside * spread.count, True, why)
    close = abs(spread.mean) < (NEAR_POLE if normal else NEAR_POLE_OTHERWISE) * spread.deviation
    if found.pole and close and not spread.positive and not is_non_negative(audit.facts, found.operand):
        why = f"forecast mean {spread.mean:.2g}, deviation {spread.deviation:.2g}"
        return Reach("pole", 0.0, 0.0, True, why)
    return None


def _possible(audit: Audit, found: Singular) -> Reach:
    values = audit.facts.signals[found.operand].range
    return Reach("possible", 0.0, 0.0, True, f"proved range {values}")


# mass at zero -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mass:
    """MODELLED: the share of entries that are exactly 0, whether an infinite gradient there reaches a parameter, and why."""

    share: float
    escapes: bool
    why: str


_CUT_BELOW = frozenset({"aten.relu", "aten.relu6", "aten.hardswish", "aten.hardsigmoid"})
_KEEPING = aten("abs square sqrt neg tanh sin expm1 log1p gelu silu leaky_relu elu pow relu softsign")
_GATHERING = frozenset({"aten.sum", "aten.mean", "aten.linalg_vector_norm", "aten.norm", "aten.amax"})
_EXPONENTIAL = frozenset({"aten.exp", "aten.sigmoid", "aten.softplus"})
_DROPPING = frozenset({"aten.dropout", "aten.feature_dropout", "aten.native_dropout"})


def mass_at_zero(audit: Audit, name: str, trained: frozenset[str], depth: int = 12) -> Mass | None:
    """The mass that clipping, dropping and underflow put at exactly 0, carried through what keeps zeros; None when there is none.

    Sums take their entries to be zero independently.
    """
    node = audit.facts.nodes[name]
    if not depth or not node.inputs:
        return None
    source = node.inputs[0]
    created = _created(audit, node, source, trained)
    if created is not None:
        return created
    inner = mass_at_zero(audit, source, trained, depth - 1)
    if node.op in MOVES | PICKS | _KEEPING and inner is not None:
        return None if node.op == "aten.pow" and not _is_positive_power(node) else inner
    if node.op in _GATHERING and inner is not None:
        count = entries(audit.facts.nodes[source]) // max(entries(node), 1)
        return Mass(inner.share**count, inner.escapes, f"rows of {count} whose entries all are 0: {inner.why}")
    if node.op in ("aten.mul", "aten.div"):
        return _of_factors(audit, node, trained, depth)
    if node.op == "aten.add" and len(node.inputs) == 2 and all(is_non_negative(audit.facts, o) for o in node.inputs):
        other = mass_at_zero(audit, node.inputs[1], trained, depth - 1)
        return None if inner is None or other is None else Mass(inner.share * other.share, inner.escapes or other.escapes, inner.why)
    return None


def _created(audit: Audit, node: Node, source: str, trained: frozenset[str]) -> Mass | None:
    """The mass that an op puts at 0 by itself."""
    spread = spread_of(audit, source)
    if node.op in _DROPPING and node.args.get("train") is not False:
        p = node.args.get("p")
        share = float(p) if isinstance(p, (int, float)) else 0.5
        return Mass(share, source in trained, f"dropped with p = {share:g}")
    if spread is None:
        return None
    if node.op in _CUT_BELOW or _is_floor_at_zero(node):
        floor = -3.0 if node.op.startswith("aten.hards") else 0.0
        return Mass(spread.below(floor), False, f"clipped at 0 by {node.op.removeprefix('aten.')}")
    if node.op in _EXPONENTIAL:
        limit = format_of(node).exp_underflow
        return Mass(spread.below(limit), source in trained, f"{node.op.removeprefix('aten.')} underflows below {limit:.3g}")
    return None


def _is_floor_at_zero(node: Node) -> bool:
    if node.op in ("aten.clamp", "aten.clamp_min", "aten.hardtanh"):
        return node.args.get("min", node.args.get("min_val")) == 0
    if node.op == "aten.threshold":
        return node.args.get("threshold") == 0 and node.args.get("value") == 0
    return node.op == "aten.maximum" and 0.0 in node.operands


def _is_positive_power(node: Node) -> bool:
    p = node.operands[1]
    return isinstance(p, float) and p > 0


def _of_factors(audit: Audit, node: Node, trained: frozenset[str], depth: int) -> Mass | None:
    """A product is 0 where a factor is; the other factor then gets ``inf * 0``."""
    operands = node.operands if node.op == "aten.mul" else node.operands[:1]
    found: Mass | None = None
    for operand in operands:
        own = mass_at_zero(audit, operand, trained, depth - 1) if isinstance(operand, str) else None
        if own is None:
            continue
        others = any(o in trained for o in node.operands if o != operand)
        made = Mass(own.share, own.escapes or others, own.why)
        found = made if found is None or made.share > found.share else found
    return found


# the way back -----------------------------------------------------------------------------------------------------------

STOPPING = frozenset({"aten.relu", "aten.relu6", "aten.threshold", "aten.hardshrink", "aten.softshrink", "aten.where", "aten.masked_fill"})
"""Ops whose backward writes 0 where they gave 0, whatever comes: NaN and inf stop there. (clamp passes them at its bound.)"""


def escapes_from(audit: Audit, name: str, trained: frozenset[str]) -> bool:
    """Whether an infinite gradient at exact zeros of a node reaches a trained parameter: some way back meets no op that stops it."""
    seen: set[str] = set()
    waiting = [name]
    params = {info.node for info in audit.graph.params.values() if info.trainable}
    while waiting:
        current = waiting.pop()
        if current in seen or current not in trained:
            continue
        seen.add(current)
        node = audit.facts.nodes[current]
        if current in params:
            return True
        if node.op not in STOPPING and not (node.op == "aten.hardtanh" and node.args.get("min_val") == 0):
            waiting.extend(node.inputs)
    return False
