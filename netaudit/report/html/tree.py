"""The modules of a model as a tree whose rows are connected: what is known of the calls inside each, and which value goes where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import prod

from netaudit.finding import Finding, Magnitude, TargetReport

from .lanes import Edge, drawn
from .profile import Point, least, path, profile

OPEN_ROWS = 36
"""Rows of the tree that are open at first, at most: whole levels, from the root down."""


@dataclass(frozen=True, slots=True)
class Module:
    """A row: a module while it runs, or one call of its own forward (``op``).

    ``path`` is the name of the module, ``share`` the least gradient share (forecast) of the calls within it, ``rms`` that of its last
    call. ``calls`` and ``entries`` (of parameters) count those of the modules below it, too; ``on_path`` says whether the dominating
    path goes through any of them. A module that runs again is a row again (``again``), and has its parameters in the first.
    ``marks``, ``lanes`` and ``hidden`` are the drawing: the classes of the row, and the lanes beside the rows inside.
    """

    path: str
    type: str
    calls: int
    entries: int
    share: Magnitude
    rms: Magnitude
    on_path: bool
    said: tuple[Finding, ...]
    children: tuple[Module, ...]
    op: str = ""
    again: bool = False
    marks: str = ""
    lanes: int = 0
    hidden: int = 0

    @property
    def name(self) -> str:
        """The last part of the path, or the call."""
        return self.op or self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class _Known:
    """What rows are made of.

    By call: the calls that use its value, in ``users``. By module: its ``first`` call, ``types``, ``entries`` of parameters, what is
    ``said`` of it, the modules ``below`` that hold parameters. ``route``: the connections on the dominating path.
    """

    users: Mapping[str, Sequence[str]]
    route: frozenset[tuple[str, str]]
    first: Mapping[str, str]
    types: Mapping[str, str]
    entries: Mapping[str, int]
    said: Mapping[str, Sequence[Finding]]
    below: Mapping[str, Sequence[str]]


def tree(target: TargetReport) -> Module | None:
    """The root of the tree; None when nothing was traced. Rows stand in execution order, unused modules last."""
    points = profile(target)
    if not points:
        return None
    return _module("", points, _known(target, points))


def route(root: Module) -> tuple[str, ...]:
    """The dominating path in words: the rows at the first level that has several."""
    on = [child for child in root.children if child.on_path]
    return route(on[0]) if len(on) == 1 and on[0].children else tuple(child.name for child in on)


def _known(target: TargetReport, points: Sequence[Point]) -> _Known:
    users: dict[str, list[str]] = {point.row.id: [] for point in points}
    first: dict[str, str] = {}
    for point in points:
        for operand in point.row.operands:
            if operand in users:
                users[operand].append(point.row.id)
        for module in (point.row.module, *_holders(point.row.module)):
            first.setdefault(module, point.row.id)
    entries: dict[str, int] = {}
    for param in target.params:
        for owner in _holders(param.name):
            entries[owner] = entries.get(owner, 0) + prod(param.shape)
    said: dict[str, list[Finding]] = {}
    for finding in target.findings:
        said.setdefault(finding.module, []).append(finding)
    types = {point.row.module: point.row.where.module_type for point in reversed(points)}
    return _Known(users, frozenset(pairwise(path(target))), first, types, entries, said, _below(entries))


def _holders(name: str) -> Iterator[str]:
    """What holds a parameter or a module, from the nearest to the model itself."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _below(names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """The modules directly below each."""
    found: dict[str, dict[str, None]] = {}
    for name in names:
        if name:
            found.setdefault(name.rpartition(".")[0], {})[name] = None
    return {parent: tuple(below) for parent, below in found.items()}


def _module(path: str, points: Sequence[Point], known: _Known) -> Module:
    again = bool(points) and points[0].row.id != known.first[path]
    unused = () if again else tuple(_module(name, (), known) for name in known.below.get(path, ()) if name not in known.first)
    items = _items(path, points)
    whole = Module(
        path,
        known.types.get(path, ""),
        len(points),
        0 if again else known.entries.get(path, 0),
        least([point.forecast for point in points]),
        points[-1].row.rms if points else Magnitude(None, "unknown"),
        any(point.on_path for point in points),
        () if again else tuple(known.said.get(path, ())),
        (),
        again=again,
    )
    if len(items) == 1 and items[0][0] == path:
        return replace(whole, children=unused)
    rows = [_call(held[0]) if name == path else _module(name, held, known) for name, held in items]
    lines = drawn(len(items), _edges(items, known))
    children = [replace(row, marks=marks) for row, marks in zip(rows, lines.classes, strict=True)]
    return replace(whole, children=(*children, *unused), lanes=lines.lanes, hidden=lines.hidden)


def _call(point: Point) -> Module:
    """A call of a module's own forward."""
    op = point.row.op.removeprefix("aten.").removeprefix("netaudit.")
    return Module(point.row.module, "", 1, 0, point.forecast, point.row.rms, point.on_path, (), (), op=op)


def _items(path: str, points: Sequence[Point]) -> list[tuple[str, Sequence[Point]]]:
    """The rows inside a module: calls of its own one by one, those of the modules directly below it as long as each runs."""
    found: list[tuple[str, Sequence[Point]]] = []
    for name, run in groupby(points, key=lambda point: _child(path, point.row.module)):
        held = tuple(run)
        found += [(path, (one,)) for one in held] if name == path else [(name, held)]
    return found


def _child(path: str, module: str) -> str:
    """The module directly below ``path`` that holds ``module``; itself when they are the same."""
    if module == path:
        return path
    inside = module[len(path) + 1 :] if path else module
    first = inside.partition(".")[0]
    return f"{path}.{first}" if path else first


def _edges(items: Sequence[tuple[str, Sequence[Point]]], known: _Known) -> Iterator[Edge]:
    """The values that go from row to row, that come from outside and that are used there."""
    rows = {point.row.id: place for place, (_, held) in enumerate(items) for point in held}
    for name, row in rows.items():
        for user in known.users.get(name, ()):
            if rows.get(user, len(items)) != row:
                yield Edge(row, rows.get(user, len(items)), (name, user) in known.route)
    for place, (_, held) in enumerate(items):
        for point in held:
            for operand in point.row.operands:
                if operand in known.users and operand not in rows:
                    yield Edge(-1, place, (operand, point.row.id) in known.route)


def open_levels(root: Module) -> int:
    """How many levels below the root are open at first."""
    level, shown, row = 0, 1, list(root.children)
    while row and shown + len(row) <= OPEN_ROWS:
        shown += len(row)
        row = [below for module in row for below in module.children]
        level += 1
    return level
