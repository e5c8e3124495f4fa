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
    its lines (``--l1``), made of its colour, its width and where it is; lines on the path are thicker and of another colour.
    """
    lanes = range(1, MOST_LANES + 1)
    unset = "".join(_unset(lane) for lane in lanes)
    layers = ",".join(f"var(--l{lane})" for lane in lanes)
    half = f"{ROW / 2:g}rem"
    rules = [f"li{{--h:{half};--t:none;--d:none;{unset}}}", f"li::before{{background:var(--t),var(--d),{layers}}}"]
    for letter, color, width in (("", "var(--edge)", 1.5), ("p", "var(--o4)", 3)):
        line = f"linear-gradient({color},{color}) right calc({PITCH / 2:g}rem - {width / 2:g}px) top"
        rules.append(f".{'T' if letter else 't'}{{--t:{line} 0/{width:g}px var(--h) no-repeat}}")
        rules.append(f".{'D' if letter else 'd'}{{--d:{line} var(--h)/{width:g}px calc(100% - var(--h)) no-repeat}}")
    for lane in lanes:
        rules.append(f".p{lane}{{--c{lane}:var(--o4);--w{lane}:3px}}.w{lane}{{--wide:{lane * PITCH:g}rem}}")
        rules += [f".{shape}{lane}{{--l{lane}:{','.join(_layers(shape, lane))}}}" for shape in SHAPES]
    return f".netaudit .graph{{{''.join(rules)}}}"


def _unset(lane: int) -> str:
    """What a row says of a lane before its classes do: nothing is drawn, not on the path."""
    middle = f"right calc({(lane + 0.5) * PITCH:g}rem - var(--w{lane})/2) top"
    return (
        f"--l{lane}:none;--c{lane}:var(--edge);--w{lane}:1.5px;--g{lane}:linear-gradient(var(--c{lane}),var(--c{lane}));--x{lane}:{middle};"
    )


def _layers(shape: str, lane: int) -> Iterator[str]:
    top, height = {"s": ("var(--h)", "calc(100% - var(--h))"), "e": ("0", "var(--h)")}.get(shape, ("0", "100%"))
    yield f"var(--g{lane}) var(--x{lane}) {top}/var(--w{lane}) {height} no-repeat"
    if shape != "f":
        yield f"var(--g{lane}) right {PITCH / 2:g}rem top calc(var(--h) - var(--w{lane})/2)/{lane * PITCH:g}rem var(--w{lane}) no-repeat"
