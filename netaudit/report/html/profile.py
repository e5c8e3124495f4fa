"""A model along its depth: every call that carries a gradient, in execution order, with the share of the gradient that reaches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf, log10, prod

from netaudit.finding import Magnitude, NodeRow, TargetReport
from netaudit.measured import NodeMeasured

LABELS, MOST_LABELS = 4, 40
"""How many runs of calls the labels of the axis tell apart, if there is a level of names that does."""


@dataclass(frozen=True, slots=True)
class Point:
    """A call. Shares are the l2 norm of the gradient at its output over that where the gradient starts; all sizes are log10.

    ``seen``: what a probe measured over its runs, None without one.
    """

    row: NodeRow
    proved: Magnitude
    forecast: Magnitude
    measured: Magnitude
    on_path: bool
    seen: NodeMeasured | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive calls of one module."""

    name: str
    start: int
    stop: int


def profile(target: TargetReport) -> tuple[Point, ...]:
    """The calls on floating-point values, in execution order. Integers have no gradient, and no place among those that lost theirs."""
    whole = _whole(target)
    route = frozenset(path(target))
    seen = target.measured.nodes if target.measured is not None else {}
    return tuple(_point(row, whole, row.id in route, seen.get(row.id)) for row in target.nodes if is_float(row))


def is_float(row: NodeRow) -> bool:
    """Whether a call's value can carry a gradient."""
    return row.dtype.startswith(("float", "bfloat", "complex"))


def _point(row: NodeRow, whole: float, on_path: bool, seen: NodeMeasured | None) -> Point:
    size = 0.5 * log10(max(prod(row.shape), 1))
    shares = (_moved(row.gradient_bound, -whole), _moved(row.gradient, size - whole), _moved(row.gradient_measured, size - whole))
    return Point(row, *shares, on_path, seen)


def _moved(size: Magnitude, by: float) -> Magnitude:
    return size if size.log10 is None else replace(size, log10=size.log10 + by)


def _whole(target: TargetReport) -> float:
    """log10 of the l2 norm of the gradient where it starts: one for a loss, one an entry for outputs."""
    heads = frozenset(target.heads)
    entries = sum(prod(row.shape) for row in target.nodes if row.id in heads and is_float(row))
    return 0.5 * log10(entries) if entries else 0.0


def least(sizes: Sequence[Magnitude]) -> Magnitude:
    """The smallest of several sizes, which is what a reader looks for; unknown only if all are."""
    return min(sizes, key=order, default=Magnitude(None, "unknown"))


def order(size: Magnitude) -> float:
    """A size to sort by: zero before any number, what is unknown or has no bound after."""
    if size.status in ("unknown", "unbounded"):
        return inf
    return -inf if size.log10 is None else size.log10


def path(target: TargetReport) -> tuple[str, ...]:
    """The dominating path: from the first call that a gradient reaches, each followed by the user that carries most of it back."""
    rows: Mapping[str, NodeRow] = {row.id: row for row in target.nodes}
    start = next((row for row in target.nodes if row.via and is_float(row)), None)
    found: list[str] = []
    while start is not None:
        found.append(start.id)
        start = rows.get(start.via) if start.via not in found else None
    return tuple(found)


def spans(points: Sequence[Point]) -> tuple[tuple[Span, ...], ...]:
    """Modules by which the depth is labelled, finest first, with those that hold them.

    The first level of names that tells enough of them apart, none being most of the model.
    """
    deepest = max((point.row.module.count(".") + 1 for point in points), default=1)
    levels = [_runs(points, level) for level in range(1, deepest + 1)]
    telling = [level for level, found in enumerate(levels) if LABELS <= len(found) <= MOST_LABELS]
    even = [level for level in telling if max(span.stop - span.start for span in levels[level]) <= len(points) / 2]
    chosen = next(iter([*even, *telling, 0]))
    return tuple(reversed(levels[max(chosen - 1, 0) : chosen + 1]))


def _runs(points: Sequence[Point], level: int) -> tuple[Span, ...]:
    found, start = [], 0
    for name, run in groupby(points, key=lambda point: ".".join(point.row.module.split(".")[:level])):
        stop = start + sum(1 for _ in run)
        found.append(Span(name, start, stop))
        start = stop
    return tuple(found)
