"""The figure along the depth: three rows of gradient share, and the RMS of activations and gradients on log axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import TypeVar

from netaudit.finding import Magnitude, TargetReport
from netaudit.measured import Spread
from netaudit.report.numbers import magnitude, short
from netaudit.report.svg import (
    OPEN,
    SHADES,
    ZERO,
    area,
    band,
    cells,
    coordinate,
    curve,
    decades,
    document,
    line,
    marks,
    power,
    rect,
    shade,
    text,
    ticks,
    whiskers,
)

from .profile import Point, Span, least, order, profile, spans

WIDTH, LEFT, RIGHT = 960, 106, 12
ROW, GAP, PANEL, HEAD = 16, 5, 118, 28
COLUMNS = 160
"""Cells of a strip at most: several calls share one in a deeper model, which then shows the least of their gradients."""
ENDS = 300
"""Places at which the error bars of a curve are drawn, at most."""
USUAL = 2.1
"""The factor by which a forecast may be wrong without a word about it."""
INNER = WIDTH - LEFT - RIGHT
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart on a log axis: its name, and for every call a forecast, a measured size, and the least and largest over all runs."""

    name: str
    forecast: Sequence[Magnitude]
    measured: Sequence[Magnitude]
    spread: Sequence[Spread | None]

    @property
    def ends(self) -> Iterator[float]:
        """The log10 of everything that is drawn."""
        for size in (*self.forecast, *self.measured):
            if size.log10 is not None:
                yield size.log10 - (size.error or 0.0)
                yield size.log10 + (size.error or 0.0)
        for one in self.spread:
            if one is not None:
                yield from (end for end in (one.low, one.high) if isfinite(end))


def figure(target: TargetReport, *, alone: bool = False) -> str:
    """The drawing of one target; empty when no call carries a gradient. ``alone``: an SVG file of its own, with the target's name."""
    points = profile(target)
    if not points:
        return ""
    parts, bottom = _drawn(target.id if alone else "", points)
    label = f"{target.id}: gradient share, activation RMS and gradient RMS of {len(points)} calls in execution order"
    return document(WIDTH, bottom, parts, label, alone=alone)


def _drawn(name: str, points: Sequence[Point]) -> tuple[list[str], float]:
    """The parts of the figure from top to bottom, and its height."""
    parts = [text(0, 10, name, "name")] if name else []
    y = 34.0 if name else 4.0
    parts += _strips(points, y)
    top, y = y + 18, y + 20 + 4 * (ROW + GAP) + 26
    for panel in _panels(points):
        parts += _panel(panel, y)
        y += HEAD + PANEL + 26
    parts += _hits(points, top, y - 16)
    for labels in spans(points):
        parts += _axis(labels, len(points), y - 14)
        y += 24
    return parts, y - 8


# strips -----------------------------------------------------------------------------------------------------------------


def _strips(points: Sequence[Point], y: float) -> Iterator[str]:
    yield text(0, y + 12, "Gradient share", "head")
    yield from _scale(WIDTH - RIGHT, y)
    top = y + 20
    rows = (
        ("proved at most", [p.proved for p in points]),
        ("forecast", [p.forecast for p in points]),
        ("measured", [p.measured for p in points]),
    )
    for name, sizes in rows:
        yield text(LEFT - 10, top + 12, name, "end")
        if all(size.status == "unknown" for size in sizes):
            yield text(LEFT, top + 12, "not measured" if name == "measured" else "not known")
        else:
            yield cells([shade(least(group)) for group in _columns(sizes)], LEFT, top, INNER, ROW)
        top += ROW + GAP
    yield text(LEFT - 10, top + 10, "main path", "end")
    yield from _route([any(p.on_path for p in group) for group in _columns(points)], top + 4)


def _columns(values: Sequence[T], most: int = COLUMNS) -> list[Sequence[T]]:
    """Calls put together into so many columns at most."""
    each = ceil(len(values) / most)
    return [values[start : start + each] for start in range(0, len(values), each)]


def _route(marked: Sequence[bool], y: float) -> Iterator[str]:
    step = INNER / len(marked)
    path = "".join(
        f"M{coordinate(LEFT + i * step)} {coordinate(y)}h{coordinate(step)}v5h-{coordinate(step)}z" for i, on in enumerate(marked) if on
    )
    yield f'<path class="route" d="{path}"/>' if path else text(LEFT, y + 6, "no gradient reaches any call")


def _scale(right: float, y: float) -> Iterator[str]:
    """The legend: colours, zero, and the thin line of what is unknown or rules nothing out."""
    x = right - 506.0
    yield text(x, y + 12, "1e-10", "end")
    for place, name in enumerate(SHADES):
        yield rect(x + 6 + 16 * place, y + 3, 16, 10, name)
    x += 6 + 16 * len(SHADES)
    yield text(x + 6, y + 12, "1e+10")
    yield rect(x + 62, y + 3, 10, 10, ZERO)
    yield text(x + 77, y + 12, "zero")
    yield rect(x + 116, y + 7.5, 14, 1, OPEN)
    yield text(right, y + 12, "no bound below 1, or unknown", "end")


# panels -----------------------------------------------------------------------------------------------------------------


def _panels(points: Sequence[Point]) -> tuple[Panel, ...]:
    rows, seen = [point.row for point in points], [point.seen for point in points]
    return (
        Panel("Activation RMS", [r.rms for r in rows], [r.rms_measured for r in rows], [s.rms if s else None for s in seen]),
        Panel("Gradient RMS", [r.gradient for r in rows], [r.gradient_measured for r in rows], [s.gradient if s else None for s in seen]),
    )


def _panel(panel: Panel, y: float) -> Iterator[str]:
    low, high = decades(panel.ends)
    top = y + HEAD
    step = INNER / len(panel.forecast)

    def height(log10: float) -> float:
        return top + PANEL * (high - min(max(log10, low), high)) / (high - low)

    def place(index: int, size: Magnitude) -> tuple[float, float] | None:
        return None if size.log10 is None else (LEFT + (index + 0.5) * step, height(size.log10))

    yield text(0, y + 12, panel.name, "head")
    yield from _legend(panel, y + 12)
    for tick in ticks(low, high):
        yield text(LEFT - 10, height(tick) + 4, power(tick), "end")
        yield line(LEFT, height(tick), WIDTH - RIGHT, height(tick), "grid")
    close = _columns(panel.forecast, ENDS)
    yield band(
        found and (LEFT + (i + 0.5) * INNER / len(close), height(found[1]), height(found[0])) for i, found in enumerate(map(_error, close))
    )
    yield curve(place(i, size) for i, size in enumerate(panel.forecast))
    wide = INNER / len(_columns(panel.spread))
    yield whiskers(
        (LEFT + (i + 0.5) * wide, height(found.high), height(found.low))
        for i, found in enumerate(map(_spread, _columns(panel.spread)))
        if found is not None
    )
    yield marks(place(i, size) for i, size in enumerate(panel.measured))


def _error(group: Sequence[Magnitude]) -> tuple[float, float] | None:
    """The ends of the error bars of several forecasts; None where there is none."""
    known = [(size.log10, size.error or 0.0) for size in group if size.log10 is not None]
    return (min(log - error for log, error in known), max(log + error for log, error in known)) if known else None


def _spread(group: Sequence[Spread | None]) -> Spread | None:
    """The ends of several spreads; None where every run gave the same."""
    known = [one for one in group if one is not None and one.high > one.low]
    return Spread(known[0].middle, min(one.low for one in known), max(one.high for one in known)) if known else None


def _legend(panel: Panel, y: float) -> Iterator[str]:
    x = LEFT + 30.0
    yield band([(x, y - 9, y + 1), (x + 22, y - 9, y + 1)])
    yield line(x, y - 4, x + 22, y - 4, "curve")
    yield text(x + 28, y, "forecast, and its error")
    if any(size.log10 is not None for size in panel.measured):
        yield marks([(x + 180, y - 4)])
        yield text(x + 190, y, "measured")
    if any(one is not None and one.high > one.low for one in panel.spread):
        yield whiskers([(x + 262, y - 9, y + 1)])
        yield text(x + 271, y, "least and largest run")


def _axis(labels: Sequence[Span], calls: int, y: float) -> Iterator[str]:
    """Brackets under the charts with the names of modules, where there is room for a name."""
    step = INNER / calls
    for label in labels:
        left, right = LEFT + label.start * step, LEFT + label.stop * step
        yield line(left + 1, y, max(right - 1, left + 1.5), y, "brace")
        room = int((right - left - 4) / 6.5)
        name = label.name.rpartition(".")[2] if len(label.name) > room else label.name
        if name and len(name) <= room:
            yield text((left + right) / 2, y + 16, name, "mid")


# what a pointer finds -------------------------------------------------------------------------------------------------------


def _hits(points: Sequence[Point], top: float, bottom: float) -> Iterator[str]:
    groups = _columns(points)
    step = INNER / len(groups)
    for index, group in enumerate(groups):
        yield area(LEFT + index * step, top, step, bottom - top, "\n".join(_words(group)))


def _words(group: Sequence[Point]) -> Iterator[str]:
    """A column in words: its call, or the one of the least gradient among several."""
    shown = min(group, key=lambda point: order(point.forecast))
    row = shown.row
    more = f" (least of {len(group)} calls)" if len(group) > 1 else ""
    yield f"{row.module or row.id} {row.op.removeprefix('aten.')}{more}"
    measured = f", measured {magnitude(shown.measured)}" if shown.measured.status == "measured" else ""
    yield f"gradient share: proved <= {magnitude(shown.proved)}, forecast {magnitude(shown.forecast)}{measured}"
    yield f"RMS {_size(row.rms)}, gradient RMS {_size(row.gradient)} (forecast)"
    if shown.seen is not None:
        yield f"RMS {_runs(shown.seen.rms)}, gradient RMS {_runs(shown.seen.gradient)} (measured)"


def _size(size: Magnitude) -> str:
    """A forecast with its error as a factor, where it is not the usual two."""
    factor = 10.0 ** (size.error or 0.0)
    return magnitude(size) + (f" (x{factor:.2g} either way)" if factor > USUAL else "")


def _runs(one: Spread | None) -> str:
    """The middle run, and the ends where they differ."""
    if one is None:
        return "none"
    return short(one.middle) if not one.high > one.low else f"{short(one.middle)} ({short(one.low)} to {short(one.high)})"
