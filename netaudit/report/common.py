"""What formats for other programs share: order, places, words, and what was not checked."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator

from netaudit.check import Check
from netaudit.finding import SEVERITIES, Finding, Remedy, Report, TargetReport
from netaudit.graph import Site
from netaudit.pack import installed

from .claimed import verdict as probed
from .numbers import evidence


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity; otherwise as they come."""
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def site(finding: Finding) -> Site | None:
    """The line a finding is shown at: the one that builds the module, else the one that calls it."""
    return finding.where.created or finding.where.called


_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def fold(text: str) -> str:
    """A text on one line."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Control characters, which would reach a terminal, are written as Python writes them; those that are layout stay."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def fill(text: str, width: int, *, indent: int) -> list[str]:
    """A paragraph in lines of a width; words, paths and names of modules stay whole. Later lines are indented."""
    start = " " * (len(text) - len(text.lstrip(" ")))
    return textwrap.wrap(
        visible(text.strip(" ")),
        width,
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def headline(finding: Finding) -> str:
    """``module: message`` on one line."""
    return fold(f"{finding.module}: {finding.message}" if finding.module else finding.message)


def reasons(finding: Finding) -> Iterator[str]:
    """Why, line by line: the labelled numbers, then the reason, then what a probe says of it."""
    known = evidence(finding.evidence)
    if known:
        yield known + (f" ({finding.evidence.assumptions})" if finding.evidence.assumptions else "")
    yield from (line for line in finding.reason.splitlines() if line.strip())
    if finding.verdict is not None:
        yield f"probe: {probed(finding)}"


def advice(remedy: Remedy) -> str:
    """What to do, and what it gives."""
    return f"help: {remedy.text} -> {remedy.outcome or 'untested advice'}"


def counts(findings: Iterable[Finding]) -> str:
    """``1 error, 2 warnings``; empty when there are none."""
    told = [finding.severity for finding in findings]
    numbers = [(severity, told.count(severity)) for severity in SEVERITIES]
    return ", ".join(f"{n} {severity}{'s' if n > 1 and severity != 'info' else ''}" for severity, n in numbers if n)


def unchecked(target: TargetReport, report: Report) -> tuple[str, ...]:
    """What kept a target from being wholly checked, one sentence each; empty when nothing did."""
    covered = target.coverage
    if covered.share >= report.min_coverage:
        return target.problems
    unknown = ", ".join(f"{op} ({n})" if n > 1 else op for op, n in covered.unknown.items())
    missing = [f"no transfer for {unknown}"] if unknown else []
    if covered.forecast < covered.params:
        missing.append(f"no forecast for {covered.params - covered.forecast} parameters, whose gradients no rule has judged")
    what = "; ".join(missing) or f"{covered.ruled} of {covered.nodes} calls have a transfer"
    return (*target.problems, f"{what} (--min-coverage {report.min_coverage:g})")


def accepted(target: TargetReport, report: Report) -> str:
    """How many findings of a target are there and do not count, and why; empty when there are none."""
    known = sum(not finding.counts for finding in target.findings)
    return f"{known} {known_from(report)}" if known else ""


def known_from(report: Report) -> str:
    """Where the findings that do not count are known from."""
    return "in the baseline" if report.since is None else "known before"


def compared(report: Report) -> tuple[str, ...]:
    """What findings were compared with, beside a baseline, and what came of it; then what could not be compared."""
    since = report.since
    if since is None:
        return ()
    told = Counter(finding.baseline for finding in report.findings)
    numbers = [("new", told["new"]), ("worse", told["worse"]), ("known before", told["unchanged"]), ("gone", since.gone)]
    said = ", ".join(f"{n} {word}" for word, n in numbers if n)
    return f"since {since.what}: {said or 'nothing found, then or now'}", *since.notes


def verdict(target: TargetReport, report: Report) -> str:
    """What a target's audit came to, in a few words; never ``clean`` when it was not wholly checked."""
    said = counts(finding for finding in target.findings if finding.counts)
    if target not in report.incomplete:
        return said or ("nothing new" if target.findings else "clean")
    return said or ("no findings" if target.coverage.nodes else "not checked")


def rules() -> dict[str, Check]:
    """The rules of the installed packs, by code."""
    return dict(installed(checks_only=True).checks)
