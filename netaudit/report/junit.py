"""JUnit XML: a suite a target, a case a finding, and one case that says whether the target was wholly checked."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from netaudit.finding import Finding, Report, Suppressed, TargetReport

from .common import advice, fold, headline, known_from, reasons, site, unchecked, worst_first
from .style import Style

_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


def render(report: Report, style: Style) -> str:
    """Errors and warnings fail, info passes with its text, what is suppressed is skipped, what was not checked is an error."""
    suites = [_suite(target, report, style) for target in report.targets]
    root = ET.Element("testsuites", {"name": "netaudit", **_totals(suites)})
    root.extend(suites)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(target: TargetReport, report: Report, style: Style) -> ET.Element:
    cases = [_whole(target, report), *(_case(finding, report) for finding in worst_first(target.findings))]
    cases += [] if style.quiet else [_skipped(gone) for gone in target.suppressed]
    counts = {kind: str(sum(case.find(tag) is not None for case in cases)) for kind, tag in _TAGS.items()}
    suite = ET.Element("testsuite", {"name": _clean(target.id), "tests": str(len(cases)), **counts})
    suite.extend(cases)
    return suite


_TAGS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def _totals(suites: list[ET.Element]) -> dict[str, str]:
    return {name: str(sum(int(suite.attrib[name]) for suite in suites)) for name in ("tests", *_TAGS)}


def _whole(target: TargetReport, report: Report) -> ET.Element:
    case = ET.Element("testcase", {"classname": _clean(target.id), "name": "wholly checked"})
    missing = unchecked(target, report)
    if missing:
        _said(case, "error", "incomplete", "; ".join(missing), "\n".join(missing))
    return case


def _case(finding: Finding, report: Report) -> ET.Element:
    case = _named(finding)
    if not finding.counts:
        why = "accepted by the baseline" if report.since is None else known_from(report)
        ET.SubElement(case, "skipped", {"message": why}).text = _clean(f"{finding.severity}: {headline(finding)}")
        return case
    text = "\n".join([*reasons(finding), *map(advice, finding.help)])
    if finding.severity == "info":
        ET.SubElement(case, "system-out").text = _clean(f"info: {headline(finding)}\n{text}".strip())
    else:
        _said(case, "failure", finding.severity, headline(finding), text)
    return case


def _skipped(gone: Suppressed) -> ET.Element:
    case = _named(gone.finding)
    why = f"suppressed by {gone.by}" + (f": {gone.reason}" if gone.reason else "")
    ET.SubElement(case, "skipped", {"message": _clean(fold(why))}).text = _clean(f"{gone.finding.severity}: {headline(gone.finding)}")
    return case


def _named(finding: Finding) -> ET.Element:
    name = f"{finding.code} {finding.name}" + (f": {finding.module}" if finding.module else "")
    place = site(finding)
    where = {"file": _clean(place.file), "line": str(place.line)} if place is not None else {}
    return ET.Element("testcase", {"classname": _clean(finding.target), "name": _clean(name), **where})


def _said(case: ET.Element, tag: str, kind: str, message: str, text: str) -> None:
    ET.SubElement(case, tag, {"type": kind, "message": _clean(fold(message))}).text = _clean(text) or None


def _clean(text: str) -> str:
    """Text that XML can hold; what it cannot is written as Python writes it."""
    return _FORBIDDEN.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
