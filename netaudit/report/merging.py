"""Several reports as one, as if their targets had been audited in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from netaudit.choose import agreed
from netaudit.errors import ConfigError
from netaudit.finding import Report, Since, TargetReport

Origin: TypeAlias = tuple[str, Report]
"""Where a report comes from, and the report."""


def merged(reports: Sequence[Origin], min_coverage: float | None = None) -> Report:
    """One report of all targets, in order. A target that says the same in several is one; where they differ, each names its origin.

    ``min_coverage``: what makes a target incomplete; what the reports were made with if None.

    Raises:
        ConfigError: they were made in ways that no one run is.
    """
    first = _common(reports, "netaudit", lambda report: report.version)
    packs = _common(reports, "the packs", lambda report: ", ".join(report.packs)).packs
    seed = _common(reports, "--seed", lambda report: str(report.seed)).seed
    if min_coverage is None:
        min_coverage = _common(reports, "--min-coverage", lambda report: f"{report.min_coverage:g}").min_coverage
    targets = agreed(_united([(origin, target) for origin, report in reports for target in report.targets]))
    torch = ", ".join(dict.fromkeys(version for _, report in reports for version in report.torch.split(", ")))
    whole = Report(targets, first.version, torch, packs, seed, min_coverage, since=_since([report for _, report in reports]))
    return whole if any(t.problems for t in targets) else replace(whole, idle_overrides=_idle([r.idle_overrides for _, r in reports]))


def _common(reports: Sequence[Origin], what: str, of: Callable[[Report], str]) -> Report:
    """The first report, when all say the same of something."""
    (name, first), *others = reports
    for other, report in others:
        if of(report) != of(first):
            hint = "say which with --min-coverage" if what == "--min-coverage" else "make all of them in the same way"
            raise ConfigError(f"{name} was made with {what} {of(first)}, and {other} with {of(report)}", hint)
    return first


def _united(targets: Iterable[tuple[str, TargetReport]]) -> list[TargetReport]:
    """Every target once; those of one name that differ with where they come from in their names."""
    kept: dict[str, list[tuple[str, TargetReport]]] = {}
    for origin, target in targets:
        same = kept.setdefault(target.id, [])
        if not any(target == other for _, other in same):
            same.append((origin, target))
    return [_named(target, f"{target.id} ({origin})") if len(same) > 1 else target for same in kept.values() for origin, target in same]


def _named(target: TargetReport, name: str) -> TargetReport:
    """The same under another name; fingerprints stay, since they are of the finding and not of the report."""
    return replace(
        target,
        id=name,
        findings=tuple(replace(finding, target=name) for finding in target.findings),
        suppressed=tuple(replace(gone, finding=replace(gone.finding, target=name)) for gone in target.suppressed),
    )


def _since(reports: Sequence[Report]) -> Since | None:
    """What they were compared with, each once; a report that came twice says nothing more the second time."""
    found: list[Report] = []
    for report in reports:
        if report.since is not None and report not in found:
            found.append(report)
    said = [report.since for report in found if report.since is not None]
    if not said:
        return None
    notes = dict.fromkeys(note for one in said for note in one.notes)
    return Since(" and ".join(dict.fromkeys(one.what for one in said)), sum(one.gone for one in said), tuple(notes))


def _idle(said: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The overrides that suppress nothing in any of the runs; what a run does not list it has used."""
    heads = [{tuple(text.split(": ")[:2]) for text in texts} for texts in said]
    everywhere = set.intersection(*heads) if heads else set()
    return tuple(dict.fromkeys(text for texts in said[:1] for text in texts if tuple(text.split(": ")[:2]) in everywhere))
