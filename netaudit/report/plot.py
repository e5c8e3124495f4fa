"""A plot for a terminal: series on a log axis against a number, with limits drawn as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

MARKS = "●○◆◇"
WIDTH, HEIGHT = 80, 16
GUTTER = 9
"""Columns in front of the axis, for its labels."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a plot: log10 values at every x, None where there is none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where data lie on the canvas: columns and rows as linear functions of x and of log10 y."""

    low_x: float
    high_x: float
    low: int
    high: int
    columns: int
    rows: int

    def column(self, x: float) -> int:
        span = self.high_x - self.low_x
        return round((x - self.low_x) / span * (self.columns - 1)) if span else self.columns // 2

    def row(self, y: float) -> int:
        return round((self.high - y) / (self.high - self.low) * (self.rows - 1))


def plot(xs: Sequence[float], series: Sequence[Series], limits: Mapping[str, float], *, label: str = "", width: int = WIDTH) -> str:
    """Series of log10 values against ``xs``, on as many columns as ``width``.

    The y axis covers the data and the limits, from one power of ten to another; x is on a log axis when it spans a factor of
    ten or more. Points are joined by dots. Empty when there is no point to draw.
    """
    known = [y for one in series for y in one.values if y is not None]
    if not known:
        return ""
    logarithmic = min(xs) > 0 and max(xs) / min(xs) >= 10
    places = [log10(x) for x in xs] if logarithmic else list(xs)
    low, high = floor(min(*known, *limits.values())), ceil(max(*known, *limits.values()))
    margin = max(map(len, limits), default=0) + 2
    frame = _Frame(min(places), max(places), low, max(high, low + 1), width - GUTTER - 1 - margin, HEIGHT)
    names = _limits(frame, limits)
    canvas = [["┄" if row in names else " "] * frame.columns for row in range(frame.rows)]
    for one, mark in zip(series, MARKS, strict=False):
        _draw(canvas, frame, [(x, y) for x, y in zip(places, one.values, strict=True) if y is not None], mark)
    ticks = _ticks(frame)
    body = [
        f"{ticks.get(row, ''):>{GUTTER - 1}} {'┤' if row in ticks else '│'}{''.join(cells)} {names.get(row, '')}".rstrip()
        for row, cells in enumerate(canvas)
    ]
    legend = "   ".join(f"{mark} {one.name}" for one, mark in zip(series, MARKS, strict=False))
    return "\n".join([" " * GUTTER + " " + legend, *body, *_axis(frame, xs, places, label)]) + "\n"


def _limits(frame: _Frame, limits: Mapping[str, float]) -> Mapping[int, str]:
    """The name of the limit in each row that has one; on a scale so coarse that they share a row, a word for all."""
    rows: dict[int, str] = {}
    for name, value in limits.items():
        row = frame.row(value)
        rows[row] = "limits" if row in rows else name
    return rows


def _draw(canvas: list[list[str]], frame: _Frame, points: Sequence[tuple[float, float]], mark: str) -> None:
    points = sorted(points)
    for (x, y), (next_x, next_y) in pairwise(points):
        start, stop = frame.column(x), frame.column(next_x)
        for column in range(start + 1, stop):
            row = frame.row(y + (next_y - y) * (column - start) / (stop - start))
            if canvas[row][column] in " ┄":
                canvas[row][column] = "·"
    for x, y in points:
        canvas[frame.row(y)][frame.column(x)] = mark


def _ticks(frame: _Frame) -> Mapping[int, str]:
    """About five labels by row, each at the row nearest its power of ten."""
    step = max(ceil((frame.high - frame.low) / 5), 1)
    return {frame.row(power): f"1e{power:+03d}" for power in range(frame.low, frame.high + 1) if power % step == 0}


def _axis(frame: _Frame, xs: Sequence[float], places: Sequence[float], label: str) -> list[str]:
    line, names = ["─"] * frame.columns, [" "] * (frame.columns + 1)
    free = 0
    for x, place in sorted(zip(xs, places, strict=True)):
        column, text = frame.column(place), f"{x:g}"
        start = min(max(column - len(text) // 2, 0), len(names) - len(text))
        line[column] = "┬"
        if start >= free:
            names[start : start + len(text)] = text
            free = start + len(text) + 1
    return [
        " " * GUTTER + "└" + "".join(line),
        " " * (GUTTER + 1) + "".join(names).rstrip(),
        " " * (GUTTER + 1) + f"{label:^{frame.columns}}".rstrip(),
    ]
