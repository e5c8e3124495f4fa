"""The modules of a model as a tree, with what is known of the calls inside each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from netaudit.finding import Finding, Magnitude, TargetReport

from .profile import Point, least, profile

OPEN_ROWS = 36
"""Rows of the tree that are open at first, at most: whole levels, from the root down."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module: ``path`` is its name in the model, ``share`` the least gradient share (forecast) of the calls within it.

    ``rms`` is that of its last call. ``calls`` and ``entries`` (of parameters) count those of the modules below it, too, and
    ``on_path`` says whether the dominating path goes through any of them.
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
    last: int = -1

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the tree is made of, by module: points, types, parameter entries, findings."""

    points: Mapping[str, Sequence[tuple[int, Point]]]
    types: Mapping[str, str]
    entries: Mapping[str, int]
    said: Mapping[str, Sequence[Finding]]
    children: Mapping[str, Sequence[str]]


def tree(target: TargetReport) -> Module | None:
    """The root of the tree; None when nothing was traced. Modules stand in the order of their first call, unused ones last."""
    points = profile(target)
    if not points:
        return None
    return _module("", _known(target, points))


def _known(target: TargetReport, points: Sequence[Point]) -> _Known:
    held: dict[str, list[tuple[int, Point]]] = {}
    types: dict[str, str] = {}
    for place, point in enumerate(points):
        held.setdefault(point.row.module, []).append((place, point))
        types.setdefault(point.row.module, point.row.where.module_type)
    entries: dict[str, int] = {}
    for param in target.params:
        owner = param.name.rpartition(".")[0]
        entries[owner] = entries.get(owner, 0) + prod(param.shape)
    said: dict[str, list[Finding]] = {}
    for finding in target.findings:
        said.setdefault(finding.module, []).append(finding)
    return _Known(held, types, entries, said, _children([*held, *entries]))


def _children(names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """The modules directly below each, in the order in which they are first met."""
    found: dict[str, dict[str, None]] = {}
    for name in names:
        child = name
        while child:
            parent = child.rpartition(".")[0]
            found.setdefault(parent, {})[child] = None
            child = parent
    return {parent: tuple(below) for parent, below in found.items()}


def _module(path: str, known: _Known) -> Module:
    children = tuple(_module(child, known) for child in known.children.get(path, ()))
    own = known.points.get(path, ())
    ends = [(place, point.row.rms) for place, point in own] + [(c.last, c.rms) for c in children]
    last, rms = max(ends, key=lambda end: end[0], default=(-1, Magnitude(None, "unknown")))
    return Module(
        path,
        known.types.get(path, ""),
        len(own) + sum(child.calls for child in children),
        known.entries.get(path, 0) + sum(child.entries for child in children),
        least([*(point.forecast for _, point in own), *(child.share for child in children if child.calls)]),
        rms,
        any(point.on_path for _, point in own) or any(child.on_path for child in children),
        tuple(known.said.get(path, ())),
        children,
        last,
    )


def open_levels(root: Module) -> int:
    """How many levels below the root are open at first."""
    level, shown, row = 0, 1, list(root.children)
    while row and shown + len(row) <= OPEN_ROWS:
        shown += len(row)
        row = [below for module in row for below in module.children]
        level += 1
    return level
