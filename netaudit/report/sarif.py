"""SARIF 2.1.0 (OASIS), for GitHub code scanning and others: a run a target, the path of a gradient as a code flow.

Every result has a physical location, since GitHub refuses a whole file over one result without. Where no line is known it is the
target's file without a region, and for a target without a file the target as it was named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from netaudit.check import Check, sections
from netaudit.finding import Baseline, Evidence, Finding, Report, Severity, Step, Suppressed, TargetReport
from netaudit.graph import Site

from .common import advice, compared, reasons, rules, site, unchecked
from .numbers import evidence, outward
from .style import Style

Json: TypeAlias = dict[str, Any]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
PRECISION = {"proved": "very-high", "measured": "high", "forecast": "medium"}
BASELINE: Mapping[Baseline, str] = {"new": "new", "unchanged": "unchanged", "worse": "updated"}
RUNS = 20
"""Runs of a file that GitHub takes; beyond it all targets share one."""
STEPS = 1000
"""Locations of a code flow that GitHub shows."""


def render(report: Report, style: Style) -> str:
    """The report as a SARIF log; with ``quiet`` without what is suppressed or in the baseline, which GitHub would show as open."""
    known = rules()
    groups = [[target] for target in report.targets] if len(report.targets) <= RUNS else [list(report.targets)]
    runs = [_run(group, report, known, style) for group in groups]
    if runs and report.idle_overrides:
        said = [_notification("warning", f"unused override {override}") for override in report.idle_overrides]
        runs[0]["invocations"][0]["toolConfigurationNotifications"] = said
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": runs}
    return json.dumps(log, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _run(targets: Sequence[TargetReport], report: Report, known: Mapping[str, Check], style: Style) -> Json:
    gone = [(target, s) for target in targets for s in target.suppressed] if not style.quiet else []
    said = [(target, finding) for target in targets for finding in target.findings if finding.counts or not style.quiet]
    codes = sorted({finding.code for _, finding in said} | {s.finding.code for _, s in gone})
    results = [_result(finding, target, codes) for target, finding in said]
    results += [{**_result(s.finding, target, codes), "suppressions": [_suppression(s)]} for target, s in gone]
    if any("baselineState" in result for result in results):  # on all of a run's results or on none (3.27.24); suppressed is accepted
        results = [{"baselineState": "unchanged", **result} for result in results]
    everything = [finding for _, finding in said] + [s.finding for _, s in gone]
    driver = {
        "name": "netaudit",
        "version": report.version,
        "rules": [_rule(code, known.get(code), [f for f in everything if f.code == code]) for code in codes],
        "properties": {"torch": report.torch, "packs": list(report.packs)},
    }
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"netaudit/{targets[0].id}/" if len(targets) == 1 else "netaudit/"},
        "artifacts": [{"location": _artifact(_file(target)), "roles": ["analysisTarget"]} for target in targets],
        "invocations": [_invocation(targets, report)],
        "results": results,
    }


def _invocation(targets: Sequence[TargetReport], report: Report) -> Json:
    """What was not checked fails the invocation; notes and guesses do not."""
    said = [_notification("error", f"{t.id}: {sentence}") for t in targets for sentence in unchecked(t, report)]
    said += [_notification("note", f"{t.id}: {n}") for t in targets for n in (t.guess, *t.training.notes, *t.notes) if n]
    said += [_notification("note", line) for line in compared(report)]
    return {"executionSuccessful": not any(t in report.incomplete for t in targets), "toolExecutionNotifications": said}


def _notification(level: str, text: str) -> Json:
    return {"level": level, "message": {"text": text}}


# rules ------------------------------------------------------------------------------------------------------------------


def _rule(code: str, check: Check | None, findings: Sequence[Finding]) -> Json:
    """A rule with its whole text. Its precision is that of its least certain finding here; none when no finding has a number."""
    precisions = [PRECISION[f.evidence.kind] for f in findings if f.evidence.kind]
    properties = {"precision": max(precisions, key=list(PRECISION.values()).index)} if precisions else {}
    rule: Json = {"id": code, "name": findings[0].name, "properties": properties}
    if check is None:  # a rule of a pack that is no longer installed
        return rule
    text = sections(check.doc)
    parts = "".join(f"\n\n## {heading}\n\n{body}" for heading, body in text.parts.items())
    return {
        **rule,
        "name": check.name,
        "shortDescription": {"text": text.summary},
        "fullDescription": {"text": text.parts.get("Why", text.summary)},
        "help": {"text": check.doc, "markdown": f"# {code} {check.name}\n\n{text.summary}{parts}\n"},
        "defaultConfiguration": {"level": LEVELS[check.severity]},
    }


# results ----------------------------------------------------------------------------------------------------------------


def _result(finding: Finding, target: TargetReport, codes: Sequence[str]) -> Json:
    place = site(finding)
    result: Json = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "locations": [_location(target, place, finding.module)],
        "partialFingerprints": {"netauditFinding/v1": finding.fingerprint},
        "properties": _properties(finding),
    }
    called = finding.where.called
    if called is not None and called != place:
        result["relatedLocations"] = [{"id": 1, "message": {"text": "called here"}, **_physical(called.file, called)}]
    if finding.path:
        result["codeFlows"] = [_flow(finding.path, target)]
    if finding.baseline:
        result["baselineState"] = BASELINE[finding.baseline]
    return result


def _message(finding: Finding) -> str:
    """The message, why, what to do: viewers show no other text of a result."""
    return "\n".join([finding.message, *reasons(finding), *map(advice, finding.help)])


def _properties(finding: Finding) -> Json:
    known = finding.evidence
    numbers = {
        "threshold": outward(known.threshold, "forecast"),
        "proved": outward(known.proved, "proved"),
        "forecast": outward(known.forecast, "forecast"),
        "measured": outward(known.measured, "measured"),
    }
    found: Json = {"evidence": known.kind or "none", "target": finding.target, "also": list(finding.siblings)}
    if known.kind:
        found["precision"] = PRECISION[known.kind]
    if any(value is not None for value in numbers.values()):
        found["log10"] = {name: value for name, value in numbers.items() if value is not None}
    return found


def _suppression(gone: Suppressed) -> Json:
    """A comment is in the source, with its place; an override of the configuration is outside."""
    if gone.by != "comment":
        return {"kind": "external", "status": "accepted", "justification": gone.reason or gone.by}
    place = {"location": _physical(gone.site.file, gone.site)} if gone.site is not None else {}
    return {"kind": "inSource", "status": "accepted", "justification": gone.reason or "no reason given", **place}


# places -----------------------------------------------------------------------------------------------------------------


def _file(target: TargetReport) -> str:
    return target.file or target.id


def _artifact(file: str) -> Json:
    return {"uri": quote(file)}


def _physical(file: str, place: Site | None) -> Json:
    region = {"region": {"startLine": place.line}} if place is not None and place.line > 0 else {}
    return {"physicalLocation": {"artifactLocation": _artifact(file), **region}}


def _location(target: TargetReport, place: Site | None, module: str) -> Json:
    name = {"fullyQualifiedName": module, "kind": "member"} if module else {"fullyQualifiedName": target.id, "kind": "module"}
    return {**_physical(place.file if place is not None else _file(target), place), "logicalLocations": [name]}


def _flow(path: Sequence[Step], target: TargetReport) -> Json:
    """The gradient on its way back, from the end of the path to its start, where the finding is."""
    back = path[::-1]
    half = STEPS // 2
    shown = back if len(back) <= STEPS else (*back[:half], *back[-half:])
    text = "the share of the gradient at the end of the path that reaches each block"
    if len(shown) < len(back):
        text += f" ({len(back) - len(shown)} blocks in the middle are left out)"
    places = _places(target)
    return {"message": {"text": text}, "threadFlows": [{"locations": [_step(step, target, places) for step in shown]}]}


def _places(target: TargetReport) -> Mapping[tuple[str, str], Site]:
    """Where modules, and the ops that they call, are built or else called; only what has one line alone."""
    found: dict[tuple[str, str], set[Site | None]] = {}
    for node in target.nodes:
        for key in (node.module, node.module), (node.module, node.op):
            found.setdefault(key, set()).add(node.where.created or node.where.called)
    return {key: place for key, sites in found.items() if len(sites) == 1 for place in sites if place is not None}


def _step(step: Step, target: TargetReport, places: Mapping[tuple[str, str], Site]) -> Json:
    known = evidence(Evidence(proved=step.proved, forecast=step.forecast, measured=step.measured))
    message = {"message": {"text": f"{step.label}: {known or 'unknown'}"}}
    return {"location": {**_location(target, places.get((step.module, step.label)), step.module), **message}}
