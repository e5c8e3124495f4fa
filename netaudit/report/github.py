"""Workflow commands of GitHub Actions: annotations beside the code, the worst first.

GitHub shows ten annotations of a kind a step; the rest belongs in the job's summary, which the command line writes as Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netaudit.finding import Finding, Report, Severity

from .common import advice, headline, reasons, site, unchecked, worst_first
from .style import Style

SHOWN = 10
"""Annotations of one kind that GitHub shows a step."""
COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


@dataclass(frozen=True, slots=True)
class _Annotation:
    """A workflow command; without a line it stands in the log and in the summary of annotations only."""

    command: str
    title: str
    message: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = {"file": self.file, "line": str(self.line)} if self.file and self.line > 0 else {}
        properties = ",".join(f"{key}={_property(value)}" for key, value in {**place, "title": self.title}.items())
        return f"::{self.command} {properties}::{_data(self.message)}"


def render(report: Report, style: Style) -> str:
    """What was not checked, then findings; a plain line says how many are left out."""
    del style
    said = [*_incomplete(report), *_apart(report), *map(_annotation, worst_first(report.counted))]
    kept: list[_Annotation] = []
    left = 0
    for one in said:
        if sum(other.command == one.command for other in kept) < SHOWN:
            kept.append(one)
        else:
            left += 1
    lines = [str(one) for one in kept]
    if left:
        lines.append(f"netaudit: {left} more in the summary of this job; GitHub shows {SHOWN} annotations of a kind")
    return "\n".join(lines) + "\n" if lines else ""


def _incomplete(report: Report) -> Iterator[_Annotation]:
    for target in report.incomplete:
        for sentence in unchecked(target, report):
            yield _Annotation("error", "netaudit: not wholly checked", f"{target.id}: {sentence}")


def _apart(report: Report) -> Iterator[_Annotation]:
    """What could not be compared with an earlier state, so that all of it counts."""
    for note in report.since.notes if report.since is not None else ():
        yield _Annotation("notice", "netaudit: not compared", note)


def _annotation(finding: Finding) -> _Annotation:
    place = site(finding)
    head = headline(finding) if place is not None else f"{finding.target}: {headline(finding)}"
    message = "\n".join([head, *reasons(finding), *map(advice, finding.help[:1])])
    where = (place.file, place.line) if place is not None else ("", 0)
    return _Annotation(COMMANDS[finding.severity], f"{finding.code} {finding.name}", message, *where)


def _data(text: str) -> str:
    """The message of a command, escaped as GitHub's own toolkit does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property of a command: colon and comma end one."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
