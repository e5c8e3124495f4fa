"""A target built for several values of one argument of its factory, with several seeds, and what is summed up of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isnan
from statistics import median

from netaudit.errors import TargetError
from netaudit.intake.subject import Subject
from netaudit.measured import SWEPT, Coordinates, Growth, SweptQuantity
from netaudit.probe.devices import title

from .fit import matched, slope
from .points import Asked, Point, point

Load = Callable[[float, int], AbstractContextManager[Iterable[Subject]]]
"""Everything that a target names, built for a value and fed with a seed; what is done inside may have a limit on time."""
Job = tuple[float, int]
"""A value and a seed."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What is swept: the argument, its values in order, and the seeds that each of them is built with."""

    argument: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every value with every seed; all values with the first seed go first, so that an interrupt leaves something to compare."""
        return tuple((value, seed) for seed in self.seeds for value in self.values)


def swept(load: Load, jobs: Sequence[Job], asked: Asked) -> tuple[Point, ...]:
    """Every subject for every value and seed, one at a time in memory. What fails is said; an interrupt ends it, what there is is kept.

    Raises:
        ConfigError: what is said of training does not fit together.
    """
    found: list[Point] = []
    tell = asked.manner.plan.progress
    for index, (value, seed) in enumerate(jobs):
        tell("models of the sweep", index, len(jobs))
        try:
            found += _of_job(load, value, seed, asked)
        except KeyboardInterrupt:
            found.append(Point(value, seed, partial=True))
        if any(one.partial for one in found):
            break
    tell("models of the sweep", len(jobs), len(jobs))
    return tuple(found)


def _of_job(load: Load, value: float, seed: int, asked: Asked) -> Iterator[Point]:
    try:
        with load(value, seed) as subjects:
            for subject in subjects:
                yield point(subject, value, seed, asked)
    except TargetError as error:
        yield Point(value, seed, problem=error.message, hint=error.hint)


def summed_up(points: Sequence[Point], what: Swept, asked: Asked, target: str) -> tuple[Coordinates, ...]:
    """For each subject its sizes by value, the middle of all seeds, and how they grow.

    Raises:
        TargetError: no model was built at all; what the first one said.
    """
    names = tuple(dict.fromkeys(one.subject for one in points if one.subject))
    failed = [one for one in points if one.problem and not one.subject]
    if not names and failed:
        first = failed[0]
        raise TargetError(f"{what.argument}={first.value:g}: {first.problem}", first.hint)
    return tuple(_of_subject([one for one in points if one.subject in ("", name)], what, asked, name) for name in names or (target,))


def _of_subject(points: Sequence[Point], what: Swept, asked: Asked, name: str) -> Coordinates:
    good = [one for one in points if one.readings]
    by_value = [[one for one in good if one.value == value] for value in what.values]
    first = good[0] if good else None
    rows, lost = _rows(by_value, what)
    return Coordinates(
        target=name,
        argument=what.argument,
        values=what.values,
        seeds=tuple(tuple(one.seed for one in several) for several in by_value),
        steps=asked.steps,
        training=tuple(next((one.training for one in several), "") for several in by_value),
        device=title(asked.manner.device),
        dtype=first.dtype if first is not None else "",
        inputs=first.inputs if first is not None else "",
        cotangent=first.cotangent if first is not None else "",
        rows=rows,
        notes=(*_said([(one, note) for one in good for note in one.notes], len(good), what), *lost),
        problems=tuple(_said([(one, one.problem) for one in points if one.problem], len(points), what)),
        partial=any(one.partial for one in points),
    )


def _said(texts: Sequence[tuple[Point, str]], everywhere: int, what: Swept) -> Iterator[str]:
    """Each text once, with the values and seeds that it was said of, unless that is all of them."""
    for text in dict.fromkeys(text for _, text in texts):
        of = [f"{what.argument}={one.value:g}, seed {one.seed}" for one, other in texts if other == text]
        yield text if len(of) == everywhere > 1 else f"{'; '.join(of)}: {text}"


def _rows(by_value: Sequence[Sequence[Point]], what: Swept) -> tuple[tuple[Growth, ...], tuple[str, ...]]:
    """The rows of all quantities, and what is to be said of modules and parameters that have no place in them."""
    rows: list[Growth] = []
    lost: dict[str, int] = {}
    for quantity in SWEPT:
        found, missing = _of_quantity(by_value, quantity, what.values)
        rows += found
        if missing:
            lost["parameters" if quantity == "sensitivity" else "modules"] = missing
    return tuple(rows), tuple(f"left out: {count} {kind} that are not in every model by this name" for kind, count in lost.items())


def _of_quantity(by_value: Sequence[Sequence[Point]], quantity: SweptQuantity, values: Sequence[float]) -> tuple[list[Growth], int]:
    there = [index for index, several in enumerate(by_value) if any(quantity in one.readings for one in several)]
    readings = [[one.readings[quantity] for one in by_value[index] if quantity in one.readings] for index in there]
    common = [[name for name in several[0] if all(name in one for one in several)] for several in readings]
    labels, lost = matched(common)
    rows = []
    for label in labels[0] if labels else ():
        sizes: list[float | None] = [None] * len(values)
        for index, several, names in zip(there, readings, labels, strict=True):
            sizes[index] = _middle([one[names[label]] for one in several])
        rows.append(Growth(quantity, label, tuple(sizes), slope(values, sizes)))
    return rows, lost


def _middle(sizes: Sequence[float]) -> float:
    """The median; what is not finite once is not finite."""
    return float("nan") if any(map(isnan, sizes)) else median(sizes)
