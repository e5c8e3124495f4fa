"""Connections between the rows of a list, drawn beside it as lines: which line runs where, and what each row shows of it.

Rows stand below each other in execution order, so that every connection leads down. One to the next row is a straight line; what
passes rows by runs in a lane of its own. A row says by classes what it shows of each lane, and a style sheet draws them over the
whole height of the row, whatever is folded out inside it: no script has to follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

MOST_LANES = 6
"""Lanes beside a list, at most: what would need more is counted, not drawn."""
PITCH = 0.75
"""rem from one lane to the next."""
ROW = 1.85
"""rem: the height of a row that holds nothing."""
SHAPES = {"f": "passes", "s": "starts", "e": "ends", "g": "passes and has a branch to the row"}


@dataclass(frozen=True, slots=True)
class Edge:
    """A value that goes from one row to another: -1 is what stands above the list, its length what stands below.

    ``on``: whether it is a part of the dominating path.
    """

    start: int
    stop: int
    on: bool = False


@dataclass(frozen=True, slots=True)
class Trunk:
    """A line in a lane, from a row down to the last of its ``stops``. Lanes count from 1."""

    start: int
    stops: tuple[int, ...]
    on: bool
    lane: int = 0

    @property
    def end(self) -> int:
        """The row where it ends."""
        return self.stops[-1]

    def meets(self, other: Trunk) -> bool:
        """Whether the two have a row in common."""
        return self.start <= other.end and other.start <= self.end


@dataclass(frozen=True, slots=True)
class Drawn:
    """The classes of each row, how many lanes there are, and how many connections have none."""

    classes: tuple[str, ...]
    lanes: int
    hidden: int


def drawn(count: int, edges: Iterable[Edge]) -> Drawn:
    """Connections between so many rows, as classes of the rows.

    ``t`` and ``d`` are straight lines up and down, capital on the path; ``f1``, ``s1``, ``e1`` or ``g1`` is what the row shows of
    the first lane (``SHAPES``), and with ``p1`` that is a part of the path.
    """
    merged = _merged(edges)
    straight = [edge for edge in merged if edge.stop == edge.start + 1]
    known = allotted(trunks(merged))
    shown = [trunk for trunk in known if trunk.lane <= MOST_LANES]
    marks: list[list[str]] = [[] for _ in range(count)]
    for edge in straight:
        for row, mark in ((edge.start, "d"), (edge.stop, "t")):
            if 0 <= row < count:
                marks[row].append(mark.upper() if edge.on else mark)
    for trunk in shown:
        for row, shape in _shapes(trunk, count):
            marks[row].append(f"{shape}{trunk.lane}")
            marks[row] += [f"p{trunk.lane}"] * trunk.on
    hidden = sum(len(trunk.stops) for trunk in known if trunk.lane > MOST_LANES)
    return Drawn(tuple(" ".join(row) for row in marks), max((trunk.lane for trunk in shown), default=0), hidden)


def _merged(edges: Iterable[Edge]) -> list[Edge]:
    """Each connection once, on the path if any of its values is."""
    found: dict[tuple[int, int], bool] = {}
    for edge in edges:
        found[edge.start, edge.stop] = found.get((edge.start, edge.stop), False) or edge.on
    return [Edge(start, stop, on) for (start, stop), on in sorted(found.items())]


def trunks(edges: Sequence[Edge]) -> list[Trunk]:
    """Connections that pass rows by. Those of one row share a line; what is on the path has its own."""
    stops: dict[tuple[int, bool], list[int]] = {}
    for edge in edges:
        if edge.stop > edge.start + 1:
            stops.setdefault((edge.start, edge.on), []).append(edge.stop)
    return [Trunk(start, tuple(sorted(found)), on) for (start, on), found in stops.items()]


def allotted(given: Iterable[Trunk]) -> list[Trunk]:
    """Trunks with their lanes: the path first, so that it is always drawn, then short ones nearest to the rows."""
    found: list[Trunk] = []
    for trunk in sorted(given, key=lambda one: (not one.on, one.end - one.start, one.start)):
        taken = {other.lane for other in found if other.meets(trunk)}
        found.append(replace(trunk, lane=next(lane for lane in range(1, len(found) + 2) if lane not in taken)))
    return found


def _shapes(trunk: Trunk, count: int) -> Iterator[tuple[int, str]]:
    for row in range(max(trunk.start, 0), min(trunk.end, count - 1) + 1):
        yield row, "s" if row == trunk.start else "e" if row == trunk.end else "g" if row in trunk.stops else "f"


def style() -> str:
    """The rules that draw the classes, for a list of class ``graph``.

    A row's ``::before`` lies left of it, as high as the row with all that it holds. Each lane is a custom property with the layers of
    its lines; lines on the path are thicker and of another colour.
    """
    half = f"{ROW / 2:g}rem"
    lanes = range(MOST_LANES + 1)
    nothing = "".join(f"--l{lane}:none;--c{lane}:var(--edge);--w{lane}:1.5px;" for lane in lanes) + "--l:none;"
    layers = ",".join(f"var(--l{lane})" for lane in lanes)
    rules = [f".netaudit .graph li{{{nothing}}}", f".netaudit .graph li::before{{background:var(--l),{layers}}}"]
    for letter, prop, place, size in (("t", "--l", "top 0", half), ("d", "--l0", f"top {half}", f"calc(100% - {half})")):
        for name, color, width in ((letter, "var(--edge)", 1.5), (letter.upper(), "var(--o4)", 3)):
            layer = f"linear-gradient({color},{color}) right {_middle(0, width)} {place}/{width:g}px {size} no-repeat"
            rules.append(f".netaudit .graph .{name}{{{prop}:{layer}}}")
    for lane in range(1, MOST_LANES + 1):
        rules.append(f".netaudit .graph .p{lane}{{--c{lane}:var(--o4);--w{lane}:3px}}")
        rules += [f".netaudit .graph .{shape}{lane}{{--l{lane}:{','.join(_layers(shape, lane, half))}}}" for shape in SHAPES]
        rules.append(f".netaudit .graph .w{lane}{{--wide:{lane * PITCH:g}rem}}")
    return "".join(rules)


def _middle(lane: int, width: float) -> str:
    """From the right edge to a line of this width in the middle of a lane."""
    return f"calc({(lane + 0.5) * PITCH:g}rem - {width / 2:g}px)"


def _layers(shape: str, lane: int, half: str) -> Iterator[str]:
    color = f"linear-gradient(var(--c{lane}),var(--c{lane}))"
    place = f"right calc({(lane + 0.5) * PITCH:g}rem - var(--w{lane})/2)"
    top, height = {"s": (half, f"calc(100% - {half})"), "e": ("0", half)}.get(shape, ("0", "100%"))
    yield f"{color} {place} top {top}/var(--w{lane}) {height} no-repeat"
    if shape != "f":
        yield f"{color} right {PITCH / 2:g}rem top calc({half} - var(--w{lane})/2)/{lane * PITCH:g}rem var(--w{lane}) no-repeat"
