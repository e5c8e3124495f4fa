"""Proved bounds held against what was measured: one that does not hold is a mistake of netaudit's, whatever else is true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isinf, log10

import torch

from netaudit.facts import Facts
from netaudit.flow import Flow
from netaudit.graph import Graph
from netaudit.intake.interpret import dtype_of
from netaudit.probe.sizes import Sizes

ROUNDINGS = 1000.0
"""Relative slack of a measured norm, in units of the format's rounding: long sums, and a product on either side."""
LEAST = 1e-9
"""The slack of float64, in which ill-conditioned calls lose more than their sums do."""


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """A proved bound that did not hold, in words, and the node it is of."""

    text: str
    node: str


@dataclass(frozen=True, slots=True)
class Held:
    """How many proved bounds were held against a measurement, and those that did not hold."""

    count: int
    violations: tuple[Violation, ...]


def held(facts: Facts, flow: Flow, found: Sequence[Sizes], graph: Graph) -> Held:
    """Every bound of every run: gains of calls, ranges of values, norms of gradients. ``graph`` is the one that ran."""
    kinds = {dtype_of(node.dtype) for node in graph.nodes if node.is_float}
    slack = max([LEAST, *(ROUNDINGS * torch.finfo(kind).eps for kind in kinds)])
    checked = [*_gains(facts, found, slack), *_ranges(facts, found, slack), *_gradients(flow, found, slack)]
    return Held(len(checked), tuple(sorted({one for one in checked if one is not None})))


def lip(facts: Facts, node: str, operand: str) -> float:
    """PROVED bound of a call's gain for an operand: those of parallel slots add."""
    slots = [slot for slot, name in enumerate(facts.nodes[node].operands) if name == operand]
    jacobians = (facts.jacobian(node, slot) for slot in slots)
    return sum(jac.lip for jac in jacobians if jac is not None) if slots else inf


def _gains(facts: Facts, found: Sequence[Sizes], slack: float) -> Iterator[Violation | None]:
    for run in found:
        for node, pulls in run.pulls.items():
            climbed = run.largest.get(node, {})
            for operand, pull in pulls.items():
                gain = max(pull.ratio, climbed[operand].gain if operand in climbed else 0.0)
                bound = lip(facts, node, operand)
                if isfinite(bound) and isfinite(gain):
                    text = f"the gain of `{node}` for `{operand}` is {gain:.6g}, proved to be at most {bound:.6g}"
                    yield Violation(text, node) if gain > bound * (1.0 + slack) + slack else None


def _ranges(facts: Facts, found: Sequence[Sizes], slack: float) -> Iterator[Violation | None]:
    for run in found:
        for node, size in run.values.items():
            allowed = facts.signals[node].range
            if not size.count or not size.is_finite or (isinf(allowed.lo) and isinf(allowed.hi)):
                continue
            extent = run.extents[node]
            low, high = (edge - abs(edge) * slack - slack for edge in (allowed.lo, -allowed.hi))
            text = f"`{node}` lies in [{extent.least:.6g}, {extent.most:.6g}], proved to be in [{allowed.lo:.6g}, {allowed.hi:.6g}]"
            yield Violation(text, node) if extent.least < low or -extent.most < high else None


def _gradients(flow: Flow, found: Sequence[Sizes], slack: float) -> Iterator[Violation | None]:
    for run in found:
        most = max((size.norm for size in run.gradients.values() if isfinite(size.norm)), default=0.0)
        for node, size in run.gradients.items():
            bound = flow.nodes[node].bound
            dust = most if bound == -inf else 0.0  # what is proved to cancel does so but for rounding
            if (isinf(bound) and bound > 0) or not isfinite(size.norm):
                continue
            measured = log10(size.norm) if size.norm > slack * dust else -inf
            text = f"the gradient at `{node}` has norm 10^{measured:.6g}, proved to be at most 10^{bound:.6g}"
            yield Violation(text, node) if measured > bound + slack else None
