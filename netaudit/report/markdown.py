"""Markdown for comments on pull requests and summaries of jobs: counts, what was not checked, a table, folded details.

GitHub takes 65536 characters a comment: what does not fit is left out and counted, the worst first stays.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from netaudit.finding import Finding, Report, Step

from .common import accepted, advice, compared, counts, fold, reasons, site, unchecked, verdict, worst_first
from .numbers import at_most, short
from .style import Style

LIMIT = 65_000
"""Characters, unless everything is asked for."""
ROOM = 1_000
"""Characters of the limit kept for what stands around tables and details."""
SHOWN_STEPS = 8
_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"([\\`*_\[\]<~$&])")
_BLOCK = re.compile(r"^([#+\-=>]|\d+(?=[.)]))")


def render(report: Report, style: Style) -> str:
    """With ``quiet`` without the table of targets."""
    findings = worst_first(report.counted)
    room = sys.maxsize if style.full else LIMIT - ROOM
    missing = [f"- **not wholly checked**: {inline(f'{t.id}: {sentence}')}" for t in report.targets for sentence in unchecked(t, report)]
    missing += [f"- {inline(line)}" for line in compared(report)[style.quiet :]]
    parts = [f"### netaudit: {_title(report)}", *_lines(missing, room // 4)]
    parts += _rows(("severity", "rule", "where", "what"), [_row(f) for f in findings], room // 4, "findings")
    ending = [] if style.quiet else [*_rows(("target", "verdict", "checked"), list(_targets(report)), room // 4, "targets")]
    details = [told for f in findings if (told := _details(f, style))]
    shown = _within(details, room - sum(len(part) + 2 for part in (*parts, *ending)))
    parts += details[:shown]
    if shown < len(details):
        parts.append(f"Details of {len(details) - shown} more findings: `netaudit check` tells them.")
    return "\n\n".join([*parts, *ending]) + "\n"


def _title(report: Report) -> str:
    said = counts(report.counted) or "no findings"
    return said + (f", {len(report.incomplete)} of {len(report.targets)} targets not wholly checked" if report.incomplete else "")


def _within(texts: Sequence[str], budget: int) -> int:
    """How many texts fit, from the first on."""
    for number, text in enumerate(texts):
        budget -= len(text) + 2
        if budget < 0:
            return number
    return len(texts)


def _lines(lines: Sequence[str], budget: int) -> Iterator[str]:
    kept = _within(lines, budget)
    rest = [f"- {len(lines) - kept} more that was not checked"] if kept < len(lines) else []
    if lines:
        yield "\n".join([*lines[:kept], *rest])


def _rows(headers: Sequence[str], rows: Sequence[tuple[str, ...]], budget: int, what: str) -> Iterator[str]:
    kept = _within([_table(headers, [row]) for row in rows], budget)
    if kept:
        yield _table(headers, rows[:kept])
    if kept < len(rows):
        yield f"{len(rows) - kept} more {what}: `netaudit check` lists them."


def _row(finding: Finding) -> tuple[str, ...]:
    place = site(finding)
    where = f"{place.file}:{place.line}" if place is not None else finding.target
    state = f" ({finding.baseline})" if finding.baseline else ""
    what = f"{_code(finding.module)}: {inline(finding.message)}" if finding.module else inline(finding.message)
    return finding.severity + state, f"{finding.code} {finding.name}", _code(where), what


def _targets(report: Report) -> Iterator[tuple[str, ...]]:
    for target in report.targets:
        c = target.coverage
        gone = f"; {len(target.suppressed)} suppressed" if target.suppressed else ""
        gone += f"; {known}" if (known := accepted(target, report)) else ""
        covered = f"{c.ruled} of {c.nodes} calls, {c.forecast} of {c.params} parameters" if c.nodes else "nothing"
        yield inline(target.id), verdict(target, report) + gone, covered


def _table(headers: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    """A table without the padding that aligns columns: one long cell would widen all rows. Cells hold no runs of spaces."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True).splitlines()
    lines[1] = re.sub("-{3,}", "---", lines[1])
    return "\n".join(re.sub(" {2,}", " ", line) for line in lines)


# details ----------------------------------------------------------------------------------------------------------------


def _details(finding: Finding, style: Style) -> str:
    """Everything that the table does not say, folded; empty when it says all."""
    name = f"{finding.severity} {finding.code} {finding.name}" + (f": {finding.module}" if finding.module else "")
    parts = [*_list(reasons(finding)), *_path(finding.path, style)]
    if finding.help:
        parts += ["What would help:", *_list(advice(remedy).removeprefix("help: ") for remedy in finding.help)]
    if finding.siblings:
        shown = finding.siblings if style.full else finding.siblings[:8]
        rest = len(finding.siblings) - len(shown)
        parts.append("also: " + ", ".join(map(_code, shown)) + (f" and {rest} more" if rest else ""))
    if not parts:
        return ""
    body = "\n\n".join([inline(finding.message), *parts])
    return f"<details><summary>{html.escape(fold(name))}</summary>\n\n{body}\n\n</details>"


def _list(lines: Iterable[str]) -> list[str]:
    found = [f"- {inline(line)}" for line in lines]
    return ["\n".join(found)] if found else []


def _path(path: Sequence[Step], style: Style) -> Iterator[str]:
    if not path:
        return
    half = SHOWN_STEPS // 2
    whole = style.full or len(path) <= SHOWN_STEPS
    shown = path if whole else (*path[:half], *path[-half:])
    rows = [(_code(step.label), at_most(step.proved) if step.proved is not None else "inf", _size(step.forecast)) for step in shown]
    if not whole:
        rows.insert(half, (f"... {len(path) - len(shown)} more", "", ""))
    yield "Share of the gradient at the end of the path that reaches each block:"
    yield _table(("block", "proved <=", "forecast"), rows)


def _size(value: float | None) -> str:
    return short(value) if value is not None else "?"


# text -------------------------------------------------------------------------------------------------------------------


def inline(text: str) -> str:
    """Text on one line that Markdown shows as it is; what stands between backticks stays code."""
    folded = fold(text)
    parts = _CODE.split(folded) if "``" not in folded else [folded]
    shown = "".join(part if number % 2 else _MARKUP.sub(r"\\\1", part) for number, part in enumerate(parts))
    return _BLOCK.sub(lambda found: f"\\{found[0]}" if not found[0].isdigit() else f"{found[0]}\\", shown)


def _code(text: str) -> str:
    """Text as code; with a backtick inside, as text."""
    folded = fold(text)
    return f"`{folded}`" if folded and "`" not in folded else inline(folded)
