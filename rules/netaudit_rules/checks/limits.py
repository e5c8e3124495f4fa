"""How large the gradient of a parameter may be, by what kind of parameter it is, and by how much the forecast exceeds that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10, prod
from typing import Literal, TypeAlias

from netaudit import EXPLODING, Audit
from netaudit_rules.checks.common import is_matrix, trained
from netaudit_rules.checks.optimiser.invariance import normalises

RMS_LIMIT = 3.0
"""log10 of a gradient RMS that is too large whatever the weight's scale."""
NARROW = 16
"""The width up to which the limit of S holds as it is: it was found on models that are hardly wider."""
HIDDEN = 2.0
"""Decades more for what a normalisation stands behind. Deep published networks with BatchNorm reach S = 1e4 in 32 channels."""

Quantity: TypeAlias = Literal["S", "RMS of the gradient"]


@dataclass(frozen=True, slots=True)
class Excess:
    """A parameter, and the size of its gradient that is furthest beyond its limit (log10 both)."""

    param: str
    quantity: Quantity
    value: float
    limit: float

    @property
    def decades(self) -> float:
        """By how much the limit is exceeded; negative below it."""
        return self.value - self.limit


def largest_s(shape: Sequence[int]) -> float:
    """log10 of the largest S of a healthy parameter: 100, and more for a matrix that is wide on both sides.

    With inputs and a loss of order 1, ``||W||_F ||G||_F`` of a random layer grows with the root of its narrower side: its norm
    is spread over as many directions, and the gradient of a few samples lies in a few of them.
    """
    width = min(shape[0], prod(shape[1:])) if is_matrix(shape) else 1
    return EXPLODING + 0.5 * log10(max(width / NARROW, 1.0))


def excesses(audit: Audit) -> Iterator[Excess]:
    """For each trained parameter with a forecast, what comes nearest to its limit or is furthest beyond it."""
    for name, info in trained(audit):
        sizes = _sizes(audit, name)
        if sizes is not None:
            more = HIDDEN if _is_normalised(audit, name) else 0.0
            by_s = Excess(name, "S", sizes[0], largest_s(info.shape) + more)
            by_rms = Excess(name, "RMS of the gradient", sizes[1] - audit.flow.reference, RMS_LIMIT + more)
            yield max(by_s, by_rms, key=lambda excess: excess.decades)


def _sizes(audit: Audit, name: str) -> tuple[float, float] | None:
    """log10 of S and of the gradient's RMS.

    Of a parameter that is zero now, those after it has moved if they are less: a row of zeros in front of a normalisation
    (class tokens, tables of positions) has a gradient of 1 / sqrt(eps) for one step.
    """
    s, gradient = audit.flow.sensitivity(name), audit.flow.params[name].forecast
    if s is None or gradient is None:
        return None
    if audit.later is not None and audit.facts.signals[audit.graph.params[name].node].range.magnitude == 0.0:
        s_later, gradient_later = audit.later.sensitivity(name), audit.later.params[name].forecast
        if s_later is not None and gradient_later is not None:
            return min(s, s_later), min(gradient, gradient_later)
    return s, gradient


def _is_normalised(audit: Audit, name: str) -> bool:
    """Whether most of a parameter's gradient comes through a normalisation.

    A weight that a large step throws away then changes what is computed, and no size: nothing diverges.
    """
    path = audit.flow.path(audit.graph.params[name].node)
    return any(normalises(audit, audit.facts.nodes[user], operand) for operand, user in pairwise(path))


def worst_excess(audit: Audit) -> tuple[str, float] | None:
    """The trained parameter that exceeds its nearest limit by most, and by how many decades; None without a forecast."""
    worst = max(excesses(audit), key=lambda excess: excess.decades, default=None)
    return None if worst is None else (worst.param, worst.decades)
