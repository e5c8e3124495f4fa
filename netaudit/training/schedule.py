"""The learning rate over time, as the corners of a polygon."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Literal, TypeAlias

Shape: TypeAlias = Literal["constant", "linear", "cosine"]
SHAPES: tuple[Shape, ...] = ("constant", "linear", "cosine")
ARC = 64
"""Corners of a cosine: the polygon is then within ``(pi / 64)^2 / 16`` of it, 0.015 % of the peak (times 4 where corners are rounded)."""
EXACT = 1e-3
"""The relative error that leaving out points of a replayed schedule may make."""
NOTHING = 1e-6
"""Learning rates below this share of the peak need not be told apart."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rates by update: ``points`` are (update, lr) in order, the first at 0, with straight lines between.

    What lies behind the last point is not known. ``broken`` says why the schedule stops there when it does so by raising.
    """

    points: tuple[tuple[int, float], ...]
    broken: str = ""

    @property
    def first(self) -> float:
        """The learning rate of the first update."""
        return self.points[0][1]

    @property
    def last(self) -> float:
        """The last learning rate that is known."""
        return self.points[-1][1]

    @property
    def known(self) -> int:
        """The update up to which it is known."""
        return self.points[-1][0]

    @property
    def peak(self) -> float:
        """The largest learning rate."""
        return max(lr for _, lr in self.points)

    @property
    def warmup(self) -> int:
        """How many updates it takes to get from less than half the peak to the peak; 0 when it starts above."""
        top = self.peak
        return next(step for step, lr in self.points if lr == top) if self.first < top / 2 else 0

    def at(self, step: int) -> float:
        """The learning rate of an update; that of the last point behind it."""
        if step >= self.known:
            return self.last
        right = bisect_right(self.points, step, key=lambda point: point[0])
        (a, low), (b, high) = self.points[right - 1], self.points[right]
        return low + (high - low) * (step - a) / (b - a)

    def stretched(self, factor: float) -> Schedule:
        """The same with every step of it standing for ``factor`` updates."""
        return Schedule(tuple((round(step * factor), lr) for step, lr in self.points), self.broken)


def evaluated(lr: float, shape: Shape | None, warmup: int | None, steps: int | None) -> Schedule:
    """A linear warm-up from 0 to ``lr``, and what follows as far as it is known.

    ``lr(t) = lr t / warmup``; then constant, ``lr (1 - s)`` or ``lr (1 + cos(pi s)) / 2`` with s from 0 to 1 at the last update.
    """
    start = warmup or 0
    rise = [(0, 0.0), (start, lr)] if start else [(0, lr)]
    if steps is not None and start >= steps:
        return Schedule(((0, 0.0), (steps, lr * steps / start)))
    if shape is None or steps is None:
        return Schedule(tuple(rise))
    length = steps - start
    corners = min(ARC, length) if shape == "cosine" else 1
    later = [round(length * k / corners) for k in range(1, corners + 1)]
    return Schedule((*rise, *((start + t, lr * _remaining(shape, t / length)) for t in later)))


def _remaining(shape: Shape, share: float) -> float:
    return {"constant": 1.0, "linear": 1.0 - share, "cosine": 0.5 * (1.0 + cos(pi * share))}[shape]


def compressed(lrs: Sequence[float], broken: str = "") -> Schedule:
    """A schedule from the learning rate of every update, with those left out that lie on a line between their neighbours.

    Every rate stays within ``EXACT`` of itself, or of ``NOTHING`` of the peak (swinging door: the slopes that a line from the last
    corner may have are narrowed until none is left).
    """
    floor = NOTHING * max(map(abs, lrs), default=0.0)
    points = [(0, lrs[0])]
    low, high = float("-inf"), float("inf")
    for step in range(1, len(lrs)):
        start, value = points[-1]
        slope = (lrs[step] - value) / (step - start)
        if not low <= slope <= high:
            points.append((step - 1, lrs[step - 1]))
            start, value, low, high = step - 1, lrs[step - 1], float("-inf"), float("inf")
        room = EXACT * max(abs(lrs[step]), floor)
        low = max(low, (lrs[step] - room - value) / (step - start))
        high = min(high, (lrs[step] + room - value) / (step - start))
    if len(lrs) > 1:
        points.append((len(lrs) - 1, lrs[-1]))
    return Schedule(tuple(points), broken)
