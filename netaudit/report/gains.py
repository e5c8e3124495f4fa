"""What the blocks on the dominating path to a parameter do to its gradient: a table for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf, isfinite
from typing import Literal, TypeAlias

from tabulate import tabulate

from netaudit.claims import EXPLODING, error_of
from netaudit.flow import Flow
from netaudit.paths import Gain, blocks, change_of, entry, forward_path, gains, rms, share

from .documents import BlockModel, Decibels, Part, PathModel
from .numbers import short

SHOWN = 12
"""Rows of a table without ``--full``."""
FAR = 1.0
"""Decades from an RMS of 1 beyond which the activations that enter a weight's call are shown too."""


def extremes(flow: Flow) -> Mapping[str, Literal["least", "largest"]]:
    """The weight of the least S, and that of the largest if it explodes, with which of the two it is.

    Weights are matrices; where there are none, all parameters stand for them. What gets no gradient at all has no path.
    """
    params = flow.facts.graph.params
    known = {n: s for n, info in params.items() if info.trainable and (s := flow.sensitivity(n)) is not None and isfinite(s)}
    weights = {n: s for n, s in known.items() if sum(size > 1 for size in params[n].shape) > 1} or known
    if not weights:
        return {}
    least, largest = (choose(weights, key=lambda n: weights[n]) for choose in (min, max))
    found: dict[str, Literal["least", "largest"]] = {least: "least"}
    if weights[largest] > EXPLODING + error_of(flow, largest):
        found[largest] = "largest"
    return found


def path_to(flow: Flow, param: str) -> tuple[str, ...]:
    """The dominating path from the call that uses a parameter to the loss."""
    return flow.path(flow.facts.graph.params[param].node)[1:]


def text(flow: Flow, *, full: bool) -> str:
    """For each extreme parameter the blocks back to it from the loss, and those that the activations cross before they meet it."""
    tables = (
        table(flow, param, which, full=full) for param, which in extremes(flow).items() for table in (_gradient_table, _activations_table)
    )
    return "\n".join(table for table in tables if table)


def _gradient_table(flow: Flow, param: str, which: str, *, full: bool) -> str:
    """The gains of the path's blocks; empty when it crosses one block only."""
    path = path_to(flow, param)
    if len(blocks(flow.facts, path)) < 2:
        return ""
    rows = gains(flow, path)
    part = share(flow, flow.path(flow.facts.graph.params[param].node))
    carried = "?" if part is None else f"{100 * part:.3g}"
    total = change_of([gain for row in rows for gain in row.backward])
    return _table(
        f"{which} S: {param}\nthe path that carries most of its gradient ({carried} % of the energy), in dB a block",
        [(row, change_of(row.backward), (_mean(row.backward), change_of(row.backward), _mean(row.forward))) for row in rows],
        ("block", "module", "gradient", "in all", "activations"),
        f"in all {_decibels(total)}{'' if total in (None, -inf) else ' dB'}, from the loss to the call that uses the weight",
        full=full,
    )


def _activations_table(flow: Flow, param: str, which: str, *, full: bool) -> str:
    """The blocks that make what enters a weight's call large or small; empty when it is neither."""
    del which
    facts = flow.facts
    _, operand = entry(facts, facts.graph.params[param].node, path_to(flow, param))
    size = None if operand is None else rms(facts, operand)
    if operand is None or size is None or abs(size) <= FAR:
        return ""
    rows = gains(flow, forward_path(facts, operand))
    return _table(
        f"{param}\nis applied to values of RMS {short(size)}, which come through, in dB a block",
        [(row, change_of(row.forward), (_mean(row.forward), change_of(row.forward))) for row in rows],
        ("block", "module", "activations", "in all"),
        "",
        full=full,
    ) if rows else ""  # fmt: skip


Row: TypeAlias = tuple[Gain, float | None, tuple[float | None, ...]]
"""A row of a table: the block, what it changes in all, the gains in its columns."""


def _table(title: str, rows: Sequence[Row], headers: Sequence[str], total: str, *, full: bool) -> str:
    shown, hidden = _shown(rows, full=full)
    cells = [(_name(gain), gain.place, *map(_decibels, columns)) for gain, _, columns in shown]
    align = ("left", "left", *("right" for _ in headers[2:]))
    lines = [title, "", tabulate(cells, headers=headers, tablefmt="simple", disable_numparse=True, colalign=align)]
    if hidden:
        lines.append(f"... {len(hidden)} more, each below {ceil(10 * max(map(_size, hidden)) + 0.1) / 10:.1f} in all (--full)")
    return "\n".join([*lines, *([total] if total else [])]) + "\n"


def _shown(rows: Sequence[Row], *, full: bool) -> tuple[Sequence[Row], Sequence[Row]]:
    """The rows that change most, in the order of the path, and the others: too many, or without effect (views, dropout)."""
    if full:
        return rows, ()
    kept = sorted(range(len(rows)), key=lambda i: -_size(rows[i]))[:SHOWN]
    kept = [i for i in kept if any(value is None or abs(value) >= 0.05 for value in rows[i][2])]
    return [row for i, row in enumerate(rows) if i in kept], [row for i, row in enumerate(rows) if i not in kept]


def _size(row: Row) -> float:
    return inf if row[1] is None else abs(row[1])


def _name(row: Gain) -> str:
    return row.label + (f" x{len(row.modules)}" if len(row.modules) > 1 else "")


def _mean(values: Sequence[float | None]) -> float | None:
    total = change_of(values)
    return None if total is None else total / len(values)


def _decibels(value: float | None) -> str:
    if value is None:
        return "?"
    return "cut" if value == -inf else f"{value:+.1f}"


# JSON -------------------------------------------------------------------------------------------------------------------


def path_models(flow: Flow) -> dict[str, PathModel]:
    """The paths to the extreme parameters: their nodes, the share they carry, and the gains of the blocks."""
    found = {}
    for param, which in extremes(flow).items():
        part = share(flow, flow.path(flow.facts.graph.params[param].node))
        path = path_to(flow, param)
        found[param] = PathModel(
            which=which,
            nodes=list(path),
            share=Part(value=None if part is None else round(part, 4), status="unknown" if part is None else "forecast"),
            gains=[_block(row) for row in gains(flow, path)],
        )
    return found


def _block(row: Gain) -> BlockModel:
    return BlockModel(
        block=row.label,
        place=row.place,
        modules=list(row.modules),
        gradient_db=[_number(value) for value in row.backward],
        activations_db=[_number(value) for value in row.forward],
    )


def _number(value: float | None) -> Decibels:
    if value is None:
        return Decibels(value=None, status="unknown")
    return Decibels(value=round(value, 3) + 0.0 if isfinite(value) else None, status="forecast")


def least_and_largest(flow: Flow) -> tuple[float | None, float | None]:
    """log10 of the least and the largest S of all parameters that a gradient reaches."""
    known = [s for name in flow.facts.graph.params if (s := flow.sensitivity(name)) is not None and s > -inf]
    return (min(known), max(known)) if known else (None, None)
