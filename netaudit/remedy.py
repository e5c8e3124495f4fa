"""Remedies are analysed before they are shown: the change is made in the graph, the sweeps and the checks run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TypeAlias

from .check import Audit
from .claims import EXPLODING, FORECAST_ERROR, VANISHING, best_sensitivity
from .edit import edited
from .errors import EditError
from .facts import Facts, Leaves
from .finding import SEVERITIES, Finding, Remedy
from .flow import Flow
from .graph import Graph

Sweep: TypeAlias = Callable[[Graph, Leaves], tuple[Facts, Flow, Flow | None]]
"""Facts, the flow now, and the flow once zero-initialised factors have moved."""
Judge: TypeAlias = Callable[[Audit], tuple[Sequence[Finding], Sequence[str]]]
"""What the checks find, and those that crashed."""
TRIED = 6
"""Remedies of one target that are analysed; what is beyond is advice."""
CALLS = 5_000
"""Calls of a target that remedies may have analysed in all, which caps their number on large models."""
BEYOND = "not re-analysed: {} remedies a target are"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where remedies are tried: the audit as it is, its leaves, how to sweep a changed graph, and how to judge it."""

    audit: Audit
    leaves: Leaves
    sweep: Sweep
    judge: Judge

    @property
    def tries(self) -> int:
        """How many remedies are analysed."""
        return max(1, min(TRIED, CALLS // max(len(self.audit.graph.nodes), 1)))


def remedied(kept: Sequence[Finding], found: Sequence[Finding], bench: Bench) -> tuple[Finding, ...]:
    """The findings that are kept of those found, with the outcome of their remedies, those that resolve them first.

    Of remedies with changes, the first ``Bench.tries`` of all findings are analysed, errors before warnings before notes. One
    that makes nothing better, or brings more than it takes, is dropped; one without changes, or whose effect has no forecast,
    stays as it is: advice.
    """
    left = bench.tries
    result = list(kept)
    for i in sorted(range(len(kept)), key=lambda i: SEVERITIES.index(kept[i].severity)):
        finding = kept[i]
        tried, remedies = min(left, sum(bool(remedy.changes) for remedy in finding.help)), []
        left -= tried
        for remedy in finding.help:
            if not remedy.changes:
                remedies.append(remedy)
            elif tried > 0:
                tried -= 1
                remedies += _tried(finding, remedy, bench, found)
            else:
                remedies.append(replace(remedy, outcome=BEYOND.format(bench.tries)))
        result[i] = replace(finding, help=tuple(sorted(remedies, key=lambda r: (r.resolves is None, not r.resolves))))
    return tuple(result)


def _tried(finding: Finding, remedy: Remedy, bench: Bench, before: Sequence[Finding]) -> list[Remedy]:
    """The remedy with its outcome; as it is where it cannot be made or has no forecast, nothing where it does not help."""
    try:
        graph, leaves = edited(bench.audit.graph, bench.leaves, remedy.changes)
    except EditError:
        return [remedy]
    facts, now, later = bench.sweep(graph, leaves)
    audit = replace(bench.audit, facts=facts, flow=now, later=later)
    sizes = _Sizes(_sensitivities(bench.audit, remedy.about), _sensitivities(audit, remedy.about), _largest(finding))
    after, problems = bench.judge(audit)
    if None in sizes.after or problems:
        return [remedy]
    remaining = _alike(finding, after)
    resolved = len(remaining) < len(_alike(finding, before))
    appeared, gone = sorted(_codes(after) - _codes(before)), _codes(before) - _codes(after)
    helps = (resolved and not appeared) or sizes.better or _milder(finding, remaining)
    if not helps or len(appeared) > len(gone):
        return []
    outcome = _outcome(finding.code, remedy, sizes, resolved=resolved, appeared=appeared)
    return [replace(remedy, outcome=outcome, resolves=resolved and not appeared and not sizes.doubtful)]


def _alike(finding: Finding, found: Sequence[Finding]) -> Sequence[Finding]:
    """The findings of the same kind of thing by the same check."""
    return [other for other in found if other.code == finding.code and other.key == finding.key]


def _codes(found: Sequence[Finding]) -> frozenset[str]:
    """The codes of the findings that are more than notes."""
    return frozenset(finding.code for finding in found if finding.severity != "info")


def _milder(finding: Finding, remaining: Sequence[Finding]) -> bool:
    rank = SEVERITIES.index(finding.severity)
    return bool(remaining) and all(SEVERITIES.index(other.severity) > rank for other in remaining)


# sizes ------------------------------------------------------------------------------------------------------------------


def _sensitivities(audit: Audit, params: Sequence[str]) -> tuple[float | None, ...]:
    return tuple(best_sensitivity(audit.flow, audit.later, name) for name in params)


def _largest(finding: Finding) -> float:
    """log10 of the largest S that is healthy: a finding about an S that is too large has the limit of its parameter."""
    known = finding.evidence
    return EXPLODING if known.quantity != "S" or known.threshold is None else max(EXPLODING, known.threshold)


@dataclass(frozen=True, slots=True)
class _Sizes:
    """log10 of S of the parameters that a remedy is about, as they are and after it, and the most that is healthy."""

    before: tuple[float | None, ...]
    after: tuple[float | None, ...]
    largest: float = EXPLODING

    @property
    def worst(self) -> Callable[[Sequence[float]], float]:
        """Least or largest: the one that was further beyond its limit."""
        known = _known(self.before)
        return min if VANISHING - min(known) > max(known) - self.largest else max

    @property
    def better(self) -> bool:
        """Whether the S that is furthest beyond its limit comes nearer to it by more than the error of a forecast."""
        return bool(self.before) and self._furthest(self.after) < self._furthest(self.before) - FORECAST_ERROR

    def _furthest(self, sizes: Sequence[float | None]) -> float:
        """The most decades that one of them lies outside the limits."""
        return max((max(VANISHING - size, size - self.largest, 0.0) for size in _known(sizes)), default=0.0)

    @property
    def doubtful(self) -> bool:
        """Whether an S stays beyond the limit that it was beyond, if only by less than the error of a forecast."""
        if not self.after:
            return False
        return self.worst(_known(self.after)) < VANISHING if self.worst is min else self.worst(_known(self.after)) > self.largest


def _known(sizes: Sequence[float | None]) -> list[float]:
    return [size for size in sizes if size is not None]


def _outcome(code: str, remedy: Remedy, sizes: _Sizes, *, resolved: bool, appeared: Sequence[str]) -> str:
    gone = "beyond the limit still, by less than the error of a forecast" if sizes.doubtful else "the finding disappears"
    verdict = gone if resolved else f"still {code}"
    if appeared:
        verdict += f", but {', '.join(appeared)} appear{'s' if len(appeared) == 1 else ''}"
    after = _known(sizes.after)
    if not after:
        return verdict
    word = "least" if sizes.worst is min else "largest"
    whose = f"S of `{remedy.about[0]}`" if len(after) == 1 else f"the {word} S of these {len(after)} parameters"
    return f"{whose} becomes {_written(sizes.worst(after))} (forecast); {verdict}"


def _written(log10: float) -> str:
    return "0" if log10 == -inf else f"10^{log10:.0f}" if abs(log10) > 300 else f"{10.0**log10:.2g}"
