"""GitLab's Code Quality report: a JSON array that a merge request shows.

GitLab takes no entry without a path and a line. Where no line is known, line 1 of the target's file stands in, or of the target as
it was named when it has no file; the description says so.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping

from netaudit.finding import Finding, Report, Severity, TargetReport, fingerprint

from .common import fold, headline, reasons, site, unchecked
from .style import Style

SEVERITY: Mapping[Severity, str] = {"error": "critical", "warning": "major", "info": "info"}
UNPLACED = " (no line is known: line 1 stands in)"


def render(report: Report, style: Style) -> str:
    """One entry a finding, and one for each thing that was not checked."""
    del style
    files = {target.id: target.file for target in report.targets}
    entries = [*_incomplete(report), *(_entry(finding, files) for finding in report.findings)]
    return json.dumps(_unique(entries), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _entry(finding: Finding, files: Mapping[str, str]) -> dict[str, object]:
    place = site(finding)
    if place is not None and place.line > 0:
        path, line, note = place.file, place.line, ""
    else:
        path, line, note = files.get(finding.target) or finding.target, 1, UNPLACED
    return {
        "check_name": finding.code,
        "description": f"{finding.code} {finding.name}: {headline(finding)}{note}",
        "content": {"body": "\n\n".join(reasons(finding))},
        "severity": SEVERITY[finding.severity],
        "fingerprint": finding.fingerprint or fingerprint(finding.code, finding.target, finding.module, finding.key),
        "location": {"path": path, "lines": {"begin": line}},
    }


def _incomplete(report: Report) -> Iterator[dict[str, object]]:
    """What was not checked blocks: a pipeline that looks no further must not take silence for an answer."""
    for target in report.incomplete:
        for number, sentence in enumerate(unchecked(target, report)):
            yield _unchecked(target, number, sentence)


def _unchecked(target: TargetReport, number: int, sentence: str) -> dict[str, object]:
    return {
        "check_name": "not-wholly-checked",
        "description": f"{target.id} was not wholly checked: {fold(sentence)}{UNPLACED}",
        "severity": "blocker",
        "fingerprint": fingerprint("not-wholly-checked", target.id, "", str(number)),
        "location": {"path": target.file or target.id, "lines": {"begin": 1}},
    }


def _unique(entries: list[dict[str, object]]) -> list[dict[str, object]]:
    """Entries with fingerprints of their own: GitLab shows one entry a fingerprint. They hold no line and no value."""
    seen: Counter[object] = Counter()
    result = []
    for entry in entries:
        name = entry["fingerprint"]
        digest = hashlib.sha256(f"{name}\0{seen[name]}".encode()).hexdigest()[:32]
        seen[name] += 1
        result.append({**entry, "fingerprint": digest})
    return result
