"""`netaudit probe --sweep`: the coordinate check."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from .app import CLEAN, INCOMPLETE, INTERRUPTED
from .common import subjects

if TYPE_CHECKING:
    from netaudit.intake.subject import Options, Subject
    from netaudit.measured import Coordinates
    from netaudit.pack import Catalog
    from netaudit.probe.coordinates import Asked
    from netaudit.probe.processes import World

    from .sweeps import Sweep

SweepOption = Annotated[
    str | None,
    typer.Option(
        "--sweep",
        help="The coordinate check: how sizes at initialisation and first steps grow with an argument of the factory.",
        metavar="NAME=V1,V2,...",
    ),
]
SweepSteps = Annotated[int, typer.Option("--sweep-steps", min=0, help="Optimiser steps after which a sweep measures what has changed.")]


def coordinates(
    target: str, sweep: Sweep, by_value: Mapping[float, Options], asked: Asked, seeds: int, here: World, timeout: int
) -> Sequence[Coordinates]:
    """What grows in a target; nothing but in the first process, the others only measure their share.

    Raises:
        TargetError: no model was built.
    """
    from netaudit.probe.coordinates import Swept, summed_up, swept
    from netaudit.probe.processes import everywhere

    start = next(iter(by_value.values())).seed
    what = Swept(sweep.name, tuple(by_value), tuple(range(start, start + seeds)))

    def load(value: float, seed: int) -> AbstractContextManager[Iterable[Subject]]:
        return subjects(target, replace(by_value[value], seed=seed), timeout)

    places = {job: place for place, job in enumerate(what.jobs)}
    mine = [job for job, place in places.items() if place % here.size == here.rank]
    measure = everywhere(here, lambda: swept(load, mine, asked), lambda one: places[one.value, one.seed])
    points = measure()
    return () if here.rank else summed_up(points, what, asked, target)


def told(found: Sequence[Coordinates], catalog: Catalog, output: str, *, full: bool) -> int:
    """Print what grows; the exit code says whether everything was measured."""
    import torch

    from netaudit import __version__
    from netaudit.report import sweep as report

    if output == "json":
        sys.stdout.write(report.document(found, __version__, torch.__version__, catalog.packs))
    else:
        sys.stdout.write("\n".join(report.text(one, full=full) for one in found))
    if any(one.partial for one in found):
        return INTERRUPTED
    return INCOMPLETE if any(one.problems or not one.rows for one in found) else CLEAN
