"""Drawings as SVG text: small pure functions from numbers to markup. What they are given as text is escaped here.

Colours are classes (``CSS``), so that one drawing serves light and dark. Sizes are log10; a scale of blue to orange shows them,
two decades a step, beside the number itself or a title, never alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from math import ceil, floor

from netaudit.finding import Magnitude

DECADES = 2.0
"""Decades for one step of the colour scale; five steps to either side."""
SHADES = ("b5", "b4", "b3", "b2", "b1", "n", "o1", "o2", "o3", "o4", "o5")
ZERO, UNKNOWN, OPEN = "z", "u", "v"
"""Exactly zero; not known; a proved bound that rules nothing out. The last two are drawn as lines, not as cells."""

_LIGHT = "--ink:#1d2530;--soft:#4f5a67;--faint:#656f7c;--line:#e3e6eb;--card:#fff;--z:#10233f"
_LIGHT_SCALE = ("#1b5c9e", "#3d82c2", "#6fa6d8", "#a5c8e8", "#d0e2f3", "#dfe2e6", "#fae0c6", "#f6bf8b", "#ee9a50", "#dc7624", "#b4560d")
_DARK = "--ink:#e4e8ee;--soft:#a9b3bf;--faint:#8792a1;--line:#2c333d;--card:#1a1f27;--z:#e9f3ff"
_DARK_SCALE = ("#8fc6ff", "#5aa3ea", "#4384c4", "#3c668f", "#384d64", "#3a414b", "#594a3a", "#83603a", "#b57a36", "#e39b41", "#ffc278")


def _palette(base: str, scale: Sequence[str]) -> str:
    return base + "".join(f";--{name}:{color}" for name, color in zip(SHADES, scale, strict=True))


CSS = f"""\
.netaudit{{color-scheme:light dark;{_palette(_LIGHT, _LIGHT_SCALE)}}}
@media (prefers-color-scheme:dark){{.netaudit{{{_palette(_DARK, _DARK_SCALE)}}}}}
{"".join(f".netaudit .{name}{{fill:var(--{name});background:var(--{name})}}" for name in (*SHADES, ZERO))}
.netaudit .u,.netaudit .v{{fill:var(--faint)}}
.netaudit svg text,svg.netaudit text{{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}}
.netaudit svg .head,svg.netaudit .head{{font-weight:600;fill:var(--ink)}}
svg.netaudit .name{{font-size:15px;font-weight:600;fill:var(--ink)}}
.netaudit .end{{text-anchor:end}}.netaudit .mid{{text-anchor:middle}}
.netaudit .grid{{stroke:var(--line);fill:none}}
.netaudit .brace{{stroke:var(--faint);fill:none}}
.netaudit .curve{{stroke:var(--b4);fill:none;stroke-width:2;stroke-linejoin:round}}
.netaudit .dot{{fill:var(--card);stroke:var(--o4);stroke-width:1.5}}
.netaudit .seen{{stroke:var(--o4);stroke-width:5;stroke-linecap:round;fill:none}}
.netaudit .whisker{{stroke:var(--o4);stroke-width:1.5;fill:none}}
.netaudit .band{{fill:var(--b4);fill-opacity:.16}}
.netaudit .route{{fill:var(--o4)}}
.netaudit .limit{{stroke:var(--ink);fill:none;stroke-width:1.5}}
.netaudit .hit{{fill:transparent}}.netaudit .hit:hover{{fill:var(--ink);fill-opacity:.08}}
"""
"""The classes that drawings use, within anything of class ``netaudit``."""


def shade(size: Magnitude) -> str:
    """The class of a size: blue below one, orange above. A proved bound of one or more rules nothing out, and is no cause for colour."""
    if size.status in ("unknown", "unbounded"):
        return UNKNOWN if size.status == "unknown" else OPEN
    if size.log10 is None:
        return ZERO
    if size.status == "proved" and size.log10 >= 0.0:
        return OPEN
    return SHADES[5 + min(max(round(size.log10 / DECADES), -5), 5)]


def coordinate(value: float) -> str:
    """A number with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, words: str, classes: str = "") -> str:
    """Words at a place."""
    marked = f' class="{classes}"' if classes else ""
    return f'<text x="{coordinate(x)}" y="{coordinate(y)}"{marked}>{escape(words)}</text>'


def rect(x: float, y: float, width: float, height: float, classes: str, title: str = "") -> str:
    """A rectangle, with a title if there is one."""
    at = f'x="{coordinate(x)}" y="{coordinate(y)}" width="{coordinate(width)}" height="{coordinate(height)}" class="{classes}"'
    return f"<rect {at}><title>{escape(title)}</title></rect>" if title else f"<rect {at}/>"


def line(x: float, y: float, to_x: float, to_y: float, classes: str) -> str:
    """A straight line."""
    return f'<path class="{classes}" d="M{coordinate(x)} {coordinate(y)}L{coordinate(to_x)} {coordinate(to_y)}"/>'


FEW = 64
"""Cells that are few enough to stand apart."""


def cells(shades: Sequence[str], x: float, y: float, width: float, height: float) -> str:
    """A row of cells of equal width that fill ``width``, one path for each shade. Many cells join with equal neighbours."""
    step = width / max(len(shades), 1)
    apart = len(shades) <= FEW
    paths: dict[str, list[str]] = {}
    start = 0
    for _, run in groupby(enumerate(shades), key=lambda cell: cell if apart else cell[1]):
        names = [name for _, name in run]
        paths.setdefault(names[0], []).append(_cell(names[0], x + start * step, y, len(names) * step - apart, height))
        start += len(names)
    return "".join(f'<path class="{name}" d="{"".join(parts)}"/>' for name, parts in paths.items())


def _cell(name: str, x: float, y: float, width: float, height: float) -> str:
    if name in (UNKNOWN, OPEN):  # a thin line
        y, height = y + height / 2 - 0.5, 1.0
    return f"M{coordinate(x)} {coordinate(y)}h{coordinate(width)}v{coordinate(height)}h-{coordinate(width)}z"


def curve(points: Iterable[tuple[float, float] | None]) -> str:
    """A line through points, interrupted where there is none; a point between two gaps is drawn as a short dash."""
    parts, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        place = f"{coordinate(point[0])} {coordinate(point[1])}"
        parts.append(f"M{place}h.1L{place}" if pen == "M" else f"L{place}")
        pen = "L"
    return f'<path class="curve" d="{"".join(parts)}"/>' if parts else ""


def dots(points: Iterable[tuple[float, float] | None]) -> str:
    """Small circles at points."""
    return "".join(f'<circle class="dot" cx="{coordinate(p[0])}" cy="{coordinate(p[1])}" r="2.5"/>' for p in points if p is not None)


def marks(points: Iterable[tuple[float, float] | None]) -> str:
    """Small discs at points, in one path: strokes of no length with round ends."""
    places = "".join(f"M{coordinate(p[0])} {coordinate(p[1])}h0" for p in points if p is not None)
    return f'<path class="seen" d="{places}"/>' if places else ""


def whiskers(ends: Iterable[tuple[float, float, float]]) -> str:
    """Upright lines at ``x``, from one height to another."""
    places = "".join(f"M{coordinate(x)} {coordinate(top)}V{coordinate(bottom)}" for x, top, bottom in ends)
    return f'<path class="whisker" d="{places}"/>' if places else ""


def band(ends: Iterable[tuple[float, float, float] | None]) -> str:
    """The area between an upper and a lower height at each ``x``, interrupted where there is none."""
    parts = []
    for is_gap, run in groupby(ends, key=lambda place: place is None):
        if not is_gap:
            known = [place for place in run if place is not None]
            around = [(x, top) for x, top, _ in known] + [(x, bottom) for x, _, bottom in reversed(known)]
            parts.append("M" + "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in around) + "z")
    return f'<path class="band" d="{"".join(parts)}"/>' if parts else ""


def area(x: float, y: float, width: float, height: float, title: str) -> str:
    """A place that shows a title to a pointer."""
    shape = f"M{coordinate(x)} {coordinate(y)}h{coordinate(width)}v{coordinate(height)}h-{coordinate(width)}z"
    return f'<path class="hit" d="{shape}"><title>{escape(title)}</title></path>'


def decades(values: Iterable[float], least: int = 2) -> tuple[int, int]:
    """The powers of ten around values, at least so many apart: noise is not to look like a trend."""
    known = list(values)
    low, high = (floor(min(known)), ceil(max(known))) if known else (-1, 1)
    missing = max(least - (high - low), 0)
    return low - missing // 2, high + (missing + 1) // 2


def ticks(low: int, high: int, most: int = 5) -> range:
    """Powers of ten to label: few, evenly spaced, with 0 among them if it is in between."""
    step = max(ceil((high - low) / most), 1)
    return range(low + (-low) % step, high + 1, step)


def power(log10: int) -> str:
    """``1``, ``0.1``, ``1e-07``: a power of ten as a label."""
    return {-1: "0.1", 0: "1", 1: "10"}.get(log10, f"1e{log10:+03d}")


def bar(forecast: Magnitude, proved: Magnitude, measured: Magnitude, span: tuple[float, float], width: int = 200) -> str:
    """One quantity on a log axis: the forecast as a bar, the proved bound as an upright line, what was measured as a circle.

    ``span``: the log10 of the left and the right end; what lies beyond stops there.
    """
    low, high = span

    def place(log10: float) -> float:
        return 2.0 + (width - 4) * min(max((log10 - low) / max(high - low, 1e-9), 0.0), 1.0)

    parts = []
    if forecast.log10 is not None:
        filled = coordinate(max(place(forecast.log10) - 2.0, 1.0))
        parts.append(f'<path class="{shade(forecast)}" d="M2 3h{filled}v6h-{filled}z"/>')
    if proved.log10 is not None:
        parts.append(f'<path class="limit" d="M{coordinate(place(proved.log10))} 1v10"/>')
    if measured.log10 is not None:
        parts.append(dots([(place(measured.log10), 6.0)]))
    return f'<svg class="bar" viewBox="0 0 {width} 12" aria-hidden="true">{"".join(parts)}</svg>'


MARGIN = 16
"""Around a drawing that is a file of its own."""


def document(width: int, height: float, parts: Iterable[str], label: str, *, alone: bool = False) -> str:
    """A drawing with its label; ``alone``: with a margin, a background and the classes, as a file of its own."""
    named = f'role="img" aria-label="{escape(label)}"'
    if not alone:
        return f'<svg viewBox="0 0 {width} {coordinate(height)}" {named}>{"".join(parts)}</svg>'
    wide, tall = width + 2 * MARGIN, height + 2 * MARGIN
    frame = f'viewBox="{-MARGIN} {-MARGIN} {wide} {coordinate(tall)}" width="{wide}" height="{coordinate(tall)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="netaudit" {frame} {named}><title>{escape(label)}</title>'
    ground = rect(-MARGIN, -MARGIN, wide, tall, "ground")
    return f"{head}<style>{CSS}.ground{{fill:var(--card)}}</style>{ground}{''.join(parts)}</svg>\n"
