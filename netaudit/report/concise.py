"""One line a finding, no boxes: for editors, grep and pre-commit."""

from __future__ import annotations

from netaudit.finding import Finding, Report

from .style import Style


def render(report: Report, style: Style) -> str:
    """``file:line: CODE severity module: message``, then one line per target that was not wholly checked."""
    del style
    lines = [_line(finding) for finding in report.findings]
    lines += [f"{t.id}: incomplete: {problem}" for t in report.targets for problem in t.problems]
    lines += [
        f"{t.id}: incomplete: {t.coverage.ruled} of {t.coverage.nodes} calls have a transfer, "
        f"{t.coverage.forecast} of {t.coverage.params} parameters a forecast"
        for t in report.incomplete
        if t.coverage.share < report.min_coverage
    ]
    lines += [f"unused override {override}" for override in report.idle_overrides]
    return "\n".join(lines) + "\n" if lines else ""


def _line(finding: Finding) -> str:
    site = finding.where.created or finding.where.called
    place = f"{site.file}:{site.line}" if site else finding.target
    module = f"{finding.module}: " if finding.module else ""
    return f"{place}: {finding.code} {finding.severity} {module}{finding.message}"
