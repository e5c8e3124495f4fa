"""One line a finding, no boxes: for editors, grep and pre-commit."""

from __future__ import annotations

from netaudit.finding import Finding, Report

from .common import compared, fold, headline, site, unchecked
from .style import Style


def render(report: Report, style: Style) -> str:
    """``file:line: CODE severity module: message``, then one line per target that was not wholly checked."""
    lines = [_line(finding) for finding in report.counted]
    lines += [f"{t.id}: incomplete: {fold(sentence)}" for t in report.targets for sentence in unchecked(t, report)]
    lines += map(fold, compared(report)[style.quiet :])
    lines += [f"unused override {override}" for override in (() if style.quiet else report.idle_overrides)]
    return "\n".join(lines) + "\n" if lines else ""


def _line(finding: Finding) -> str:
    at = site(finding)
    place = f"{at.file}:{at.line}" if at else finding.target
    return f"{place}: {finding.code} {finding.severity} {headline(finding)}"
