"""The coordinate check: for each quantity a table by module, a value a column and the exponent at the end; then what grows, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, isnan
from statistics import median
from textwrap import fill
from typing import TypeAlias

from tabulate import tabulate

from netaudit.measured import LAST, SWEPT, Coordinates, Growth, Slope, SweptQuantity, Trend

from . import schema, sweep_schema
from .numbers import outward, short
from .plain import abridged

TITLES: Mapping[SweptQuantity, str] = {
    "activation": "activations at initialisation: RMS of the output",
    "gradient": "gradients at initialisation: RMS of the output's cotangent",
    "change": "training",  # completed by what it was trained with
    "sensitivity": "S = ||W||_F ||G||_F at initialisation",
}
NAMES: Mapping[SweptQuantity, str] = {"activation": "activations", "gradient": "gradients", "change": "", "sensitivity": "S"}
WORDS: Mapping[Trend, tuple[str, str]] = {
    "grows": ("grows", "grow"),
    "vanishes": ("vanishes", "vanish"),
    "unclear": ("is unclear", "are unclear"),
    "unknown": ("has no exponent", "have no exponent"),
}
SHOWN = 24
"""Rows of a table without ``--full``; above it siblings are one row first."""
COLUMNS = 5
"""Values of a table without ``--full``: with more the line would be longer than 80."""
WIDTH = 80
CELL, EXPONENT = 9, 17
"""Letters of a size and of an exponent with what stands between columns; a name has the rest."""
Row: TypeAlias = tuple[str, Sequence[float | None], str]
"""A row of a table: a name, a size for every value, the exponent."""


def text(found: Coordinates, *, full: bool) -> str:
    """The tables, what they say, and what was not measured."""
    return "\n".join(_lines(found, full=full)) + "\n"


def _lines(found: Coordinates, *, full: bool) -> Iterator[str]:
    yield f"{found.target}: what changes with {found.argument}"
    for quantity in SWEPT:
        rows = [row for row in found.rows if row.quantity == quantity]
        if rows:
            yield ""
            yield _title(found, quantity)
            yield ""
            yield _table(found, rows, full=full)
    yield ""
    if found.rows:
        yield from (line for quantity in SWEPT if (line := _said(found, quantity)))
        yield _wrapped(f"size ~ {found.argument}^exponent; steady: below 1/4 either way; +- is the standard error of the fit")
        yield ""
    yield _where(found)
    if found.partial:
        yield "the sweep was interrupted: what is measured is a part"
    yield from map(_wrapped, found.notes)
    yield from (_wrapped(f"not measured: {problem}") for problem in found.problems)


def _where(found: Coordinates) -> str:
    seeds = sorted({seed for several in found.seeds for seed in several})
    if not seeds:
        return f"probe ({found.device}): nothing was measured"
    counts = [len(several) for several in found.seeds]
    missing = "" if min(counts) == max(counts) else f", {min(counts)} to {max(counts)} of them by value"
    middle = f"median of seeds {_listed(seeds)}{missing}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return _wrapped(f"probe ({found.device}, {found.dtype}, {middle}, inputs from {found.inputs}, gradient from {found.cotangent})")


def _listed(seeds: Sequence[int]) -> str:
    """``0, 1, 2``; many that follow each other as ``0 to 9``."""
    whole = len(seeds) > 3 and seeds[-1] - seeds[0] == len(seeds) - 1
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


def _title(found: Coordinates, quantity: SweptQuantity) -> str:
    if quantity != "change":
        return TITLES[quantity]
    return f"after {_steps(found)} of {_training(found)}: RMS of the output's change"


def _steps(found: Coordinates) -> str:
    return f"{found.steps} step" + ("s" if found.steps != 1 else "")


def _training(found: Coordinates) -> str:
    """How it was trained; that of the first and the last value where they differ."""
    said = list(dict.fromkeys(text for text in found.training if text))
    return said[0] if len(said) == 1 else f"{said[0]} ... {said[-1]}"


# tables -----------------------------------------------------------------------------------------------------------------


def _table(found: Coordinates, rows: Sequence[Growth], *, full: bool) -> str:
    shown = [_row_of(row) for row in rows] if full or len(rows) <= SHOWN else _folded(rows)
    columns = range(len(found.values)) if full else _columns(len(found.values))
    letters = max(len(name) for name, _, _ in shown) if full else WIDTH - CELL * len(columns) - EXPONENT
    cells = [(_cut(name, letters), *(_cell(sizes[i]) for i in columns), exponent) for name, sizes, exponent in shown]
    first = "parameter" if rows[0].quantity == "sensitivity" else "module"
    heads = (first, *(f"{found.values[i]:g}" for i in columns), "exponent")
    align = ("left", *("right" for _ in columns), "left")
    return tabulate(abridged(cells, SHOWN, full=full), headers=heads, tablefmt="simple", disable_numparse=True, colalign=align)


def _columns(count: int) -> Sequence[int]:
    """The places of the values that are shown: all, or the ends and some between them."""
    return range(count) if count <= COLUMNS else sorted({round(i * (count - 1) / (COLUMNS - 1)) for i in range(COLUMNS)})


def _folded(rows: Sequence[Growth]) -> list[Row]:
    """Siblings of numbered lists are one row: the median of their sizes, and the range of their exponents."""
    groups: dict[str, list[Growth]] = {}
    for row in rows:
        groups.setdefault(_pattern(row), []).append(row)
    return [_row_of(group[0]) if len(group) == 1 else _siblings(pattern, group) for pattern, group in groups.items()]


def _pattern(row: Growth) -> str:
    """The name with ``*`` for indices; the last module of ``blocks.0.mlp.2`` keeps its own, since it tells parts of a block apart."""
    parts = row.name.split(".")
    last = len(parts) - (2 if row.quantity == "sensitivity" else 1)
    places = [place for place, part in enumerate(parts) if part.isdigit() or part == LAST]
    starred = [place for place in places if place != last or len(places) == 1]
    return ".".join("*" if place in starred else part for place, part in enumerate(parts))


def _siblings(pattern: str, group: Sequence[Growth]) -> Row:
    sizes = [_middle([one for one in column if one is not None]) for column in zip(*(row.sizes for row in group), strict=True)]
    exponents = sorted(row.slope.exponent for row in group if row.slope is not None)
    shown = "?" if not exponents else f"{_signed(exponents[0])} to {_signed(exponents[-1])}"
    return f"{pattern} x{len(group)}", sizes, shown


def _row_of(row: Growth) -> Row:
    return row.name or "(model)", row.sizes, _exponent(row.slope)


def _middle(sizes: Sequence[float]) -> float | None:
    if not sizes:
        return None
    return float("nan") if any(map(isnan, sizes)) else median(sizes)


def _cut(name: str, letters: int) -> str:
    """A name in so many letters; its end says most."""
    return name if len(name) <= letters else f"...{name[3 - letters :]}"


def _cell(log: float | None) -> str:
    return "?" if log is None else "nan" if isnan(log) else short(log)


def _exponent(slope: Slope | None) -> str:
    if slope is None:
        return "?"
    return _signed(slope.exponent) if slope.error is None else f"{_signed(slope.exponent)} +- {slope.error:.2f}"


def _signed(number: float) -> str:
    return f"{round(number, 2) + 0.0:+.2f}"


# words ------------------------------------------------------------------------------------------------------------------


def _said(found: Coordinates, quantity: SweptQuantity) -> str:
    """What becomes of one quantity, in a sentence; empty where it was not measured."""
    rows = [row for row in found.rows if row.quantity == quantity]
    if not rows:
        return ""
    groups = {trend: [row for row in rows if row.trend == trend] for trend in WORDS}
    what = NAMES[quantity] or f"change in {_steps(found)}"
    parts = [_part(group, trend, found.argument, len(rows)) for trend, group in groups.items() if group]
    steady = sum(row.trend == "steady" for row in rows)
    parts += [f"{'all' if steady == len(rows) > 1 else steady} steady"] if steady else []
    return _wrapped(f"{what}: {'; '.join(parts)}") + _meaning(found, quantity, groups)


def _wrapped(line: str) -> str:
    return fill(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _part(group: Sequence[Growth], trend: Trend, argument: str, total: int) -> str:
    """``2 of 5 grow, head most (width^0.98)``."""
    one, several = WORDS[trend]
    count = f"{len(group)} of {total} {one if len(group) == 1 else several}"
    if trend not in ("grows", "vanishes"):
        return count
    most = max(group, key=lambda row: 0.0 if row.slope is None else abs(row.slope.exponent))
    assert most.slope is not None, "only what has an exponent has this trend"
    return f"{count}, {most.name or '(model)'}{' most' if len(group) > 1 else ''} ({argument}^{most.slope.exponent:.2f})"


def _meaning(found: Coordinates, quantity: SweptQuantity, groups: Mapping[Trend, Sequence[Growth]]) -> str:
    """What a trend of the change means for training: the others are what they are."""
    if quantity != "change":
        return ""
    more = f"the larger {found.argument}, the"
    lines: Mapping[Trend, str] = {
        "grows": f"{more} larger a step: the best learning rate of a small model is too large for a large one",
        "vanishes": f"{more} less these modules learn at this learning rate",
    }
    return "".join(f"\n{_wrapped('  ' + line)}" for trend, line in lines.items() if groups[trend])


# JSON -------------------------------------------------------------------------------------------------------------------


def document(results: Sequence[Coordinates], version: str, torch: str, packs: Sequence[str]) -> str:
    """The coordinate checks of targets as JSON: sorted, no NaN, no infinity, the same bytes for the same run."""
    whole = sweep_schema.SweepModel(
        tool=schema.Tool(version=version, torch=torch, packs=list(packs)), targets=[_target(found) for found in results]
    )
    return json.dumps(whole.model_dump(mode="json"), sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _target(found: Coordinates) -> sweep_schema.CoordinatesModel:
    return sweep_schema.CoordinatesModel(
        id=found.target,
        argument=found.argument,
        values=[
            sweep_schema.ValueModel(value=value, seeds=list(seeds), training=training)
            for value, seeds, training in zip(found.values, found.seeds, found.training, strict=True)
        ],
        steps=found.steps,
        device=found.device,
        dtype=found.dtype,
        inputs=found.inputs,
        cotangent=found.cotangent,
        rows=[_row(row) for row in found.rows],
        notes=list(found.notes),
        problems=list(found.problems),
        partial=found.partial,
    )


def _row(row: Growth) -> sweep_schema.GrowthModel:
    slope = None
    if row.slope is not None:
        error = None if row.slope.error is None else round(row.slope.error, 4) + 0.0
        slope = sweep_schema.SlopeModel(exponent=round(row.slope.exponent, 4) + 0.0, error=error)
    return sweep_schema.GrowthModel(
        quantity=row.quantity, name=row.name, sizes=[_size(one) for one in row.sizes], slope=slope, trend=row.trend
    )


def _size(log: float | None) -> sweep_schema.SizeModel:
    if log is None:
        return sweep_schema.SizeModel(log10=None, status="unknown")
    if isfinite(log):
        return sweep_schema.SizeModel(log10=outward(log, "measured"), status="measured")
    return sweep_schema.SizeModel(log10=None, status="zero" if log < 0.0 else "not finite")
