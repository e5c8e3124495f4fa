"""What a probe measured, beside what was proved and forecast: a table of calls, one of parameters, findings, studies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tabulate import tabulate

from netaudit.finding import Finding, NodeRow, ParamRow, TargetReport
from netaudit.measured import Measured, Spread, Study

from .agreement import agreement
from .claimed import verdict
from .common import fill
from .numbers import cell, magnitude, size
from .plain import abridged

SHOWN = 40
"""Rows of a table without ``--full``."""
WIDTH = 80
"""Columns of what is no table."""
DIGITS = 4
"""Significant digits in the table of a study."""


def text(target: TargetReport, *, full: bool) -> str:
    """The tables, then how the analysis compares with them."""
    return "\n".join(_lines(target, full=full)) + "\n"


def _lines(target: TargetReport, *, full: bool) -> Iterator[str]:
    yield f"{target.id}: measured beside what is proved and forecast"
    found = target.measured
    if found is not None and found.nodes:
        yield ""
        calls = [_node(row, found) for row in target.nodes if row.id in found.nodes]
        yield _table(
            calls,
            ("module", "op", "rms forecast", "measured", "grad forecast", "measured", "gain typical", "largest >=", "proved <="),
            2,
            full,
        )
        params = [_param(row, found) for row in target.params if row.name in found.params]
        if params:
            yield ""
            yield _table(params, ("parameter", "grad forecast", "measured", "S forecast", "measured"), 1, full)
        for study in found.studies:
            yield ""
            yield _study(study)
    yield ""
    for finding in target.findings:
        yield from _verdict(finding)
    # what the studies say stands below their tables already
    for line in agreement(target, replace(found, studies=())) if found is not None else ("nothing was measured",):
        yield from fill(line, WIDTH, indent=2)
    # not wrapped: a problem may hold a command to copy
    yield from (f"incomplete: {problem}" for problem in target.problems)


def _table(rows: list[tuple[str, ...]], headers: tuple[str, ...], texts: int, full: bool) -> str:
    align = ("left",) * texts + ("right",) * (len(headers) - texts)
    return tabulate(abridged(rows, SHOWN, full=full), headers=headers, tablefmt="simple", disable_numparse=True, colalign=align)


def _node(row: NodeRow, found: Measured) -> tuple[str, ...]:
    one = found.nodes[row.id]
    gain = next(iter(one.gains.values()), None)
    largest = "" if gain is None or gain.largest is None else size(gain.largest) + ("" if gain.converged else " ...")
    return (
        row.module,
        row.op.removeprefix("aten."),
        magnitude(row.rms),
        _spread(one.rms),
        magnitude(row.gradient),
        _spread(one.gradient),
        "" if gain is None else size(gain.typical),
        largest,
        magnitude(row.lipschitz),
    )


def _param(row: ParamRow, found: Measured) -> tuple[str, ...]:
    one = found.params[row.name]
    return (row.name, magnitude(row.gradient), _spread(one.gradient), magnitude(row.sensitivity), _spread(one.sensitivity))


def _spread(one: Spread | None) -> str:
    """The middle, and the ends where they differ by more than a tenth."""
    if one is None:
        return ""
    return size(one.middle) if not one.high - one.low > 0.04 else f"{size(one.middle)} ({size(one.low)}..{size(one.high)})"


def _verdict(finding: Finding) -> Iterator[str]:
    yield from fill(f"{finding.verdict or 'not probed'}: {finding.code} {finding.message}", WIDTH, indent=4)
    yield from fill(f"    {verdict(finding).partition(': ')[2]}", WIDTH, indent=4)


def _study(study: Study) -> str:
    rows = [tuple(map(_cell, study.columns, row)) for row in study.rows]
    body = tabulate(rows, headers=study.columns, tablefmt="simple", disable_numparse=True)
    return f"{study.title}\n\n{body}" + (f"\n\n{study.says.replace('; ', chr(10))}" if study.says else "")


def _cell(column: str, value: str | float | None) -> str:
    known = cell(column, value, DIGITS)
    return "" if known is None else f"{known:.{DIGITS}g}" if isinstance(known, float) else known
