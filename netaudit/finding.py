"""What an audit says: findings with their evidence, and the report that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .change import Change
from .graph import Site, Where
from .measured import Claim, Measured, Verdict
from .training import Training

Severity: TypeAlias = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
Status: TypeAlias = Literal["proved", "forecast", "measured", "unbounded", "unknown"]
Baseline: TypeAlias = Literal["", "new", "unchanged", "worse"]
"""How a finding compares with the baseline; empty when none is applied."""


@dataclass(frozen=True, slots=True)
class Magnitude:
    """A size as its log10, with how it is known. Infinite and unknown sizes have no number: JSON has none either.

    ``error``: decades by which a forecast may be wrong, up or down; None for zero and for what is no forecast.
    """

    log10: float | None
    status: Status
    error: float | None = None


NOT_MEASURED = Magnitude(None, "unknown")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The three kinds of knowledge about one quantity, never mixed. Logarithms are base 10.

    ``proved`` holds for every input; ``forecast`` under ``assumptions``; ``measured`` on a device, with a seed.
    """

    quantity: str = ""
    threshold: float | None = None
    proved: float | None = None
    forecast: float | None = None
    measured: float | None = None
    assumptions: str = ""

    @property
    def kind(self) -> Literal["", "proved", "measured", "forecast"]:
        """What a finding with this evidence rests on: the strongest kind that supports it by itself; empty where no number does.

        An upper bound beside an estimate proves that something is small, never that it is large: it carries the finding when it is
        below the threshold. By itself it is what the finding is about.
        """
        estimate: Literal["", "measured", "forecast"] = (
            "measured" if self.measured is not None else "forecast" if self.forecast is not None else ""
        )
        if self.proved is None:
            return estimate
        return "proved" if not estimate or (self.threshold is not None and self.proved <= self.threshold) else estimate


@dataclass(frozen=True, slots=True)
class Step:
    """One block of a path: its label, and the log10 size of what the path carries there."""

    label: str
    module: str
    proved: float | None = None
    forecast: float | None = None
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class Remedy:
    """Something to change.

    A check gives ``changes`` in terms of the graph, and ``about``, the parameters whose S the outcome quotes. The audit makes
    them, analyses the model again, and fills in ``outcome``, what that gives, and ``resolves``, whether the finding disappears
    and no other takes its place: None when it was not analysed, and is no more than advice.
    """

    text: str
    outcome: str = ""
    changes: tuple[Change, ...] = ()
    about: tuple[str, ...] = ()
    resolves: bool | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth saying about one target.

    ``claim`` is what a probe can test of it, ``verdict`` what became of that (None when nothing was probed), and ``seen`` what was
    read of the claimed quantity, as log10.
    """

    code: str
    name: str
    severity: Severity
    message: str
    target: str
    module: str = ""
    where: Where = Where()
    reason: str = ""
    evidence: Evidence = Evidence()
    path: tuple[Step, ...] = ()
    help: tuple[Remedy, ...] = ()
    siblings: tuple[str, ...] = ()
    fingerprint: str = ""
    key: str = ""
    claim: Claim | None = None
    verdict: Verdict | None = None
    seen: float | None = None
    baseline: Baseline = ""

    @property
    def counts(self) -> bool:
        """Whether it counts for the verdict: what a baseline has accepted, and is not worse, does not."""
        return self.baseline != "unchanged"


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that does not count: by a ``comment``, which has a site and a reason, or by an ``override GLOB``."""

    finding: Finding
    by: str
    reason: str = ""
    site: Site | None = None


def fingerprint(code: str, target: str, module: str, key: str) -> str:
    """A name for a finding that survives edits: no line numbers, no values."""
    digest = hashlib.sha256("\0".join((code, target, module, key)).encode()).hexdigest()
    return f"na1:{digest[:16]}"


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node of the table: what it is, its bound, its size and that of its gradient.

    ``via``: the user that carries most of its gradient back, and ``share``, which part of the energy it carries; following
    it from node to node gives the dominating path to the loss. ``operands``: the rows whose values it takes; inputs and
    parameters are no rows. What was not measured is unknown.
    """

    id: str
    op: str
    module: str
    where: Where
    shape: tuple[int, ...]
    dtype: str
    lipschitz: Magnitude
    tags: tuple[str, ...]
    rms: Magnitude
    gradient_bound: Magnitude
    gradient: Magnitude
    via: str = ""
    share: float | None = None
    operands: tuple[str, ...] = ()
    rms_measured: Magnitude = NOT_MEASURED
    gradient_measured: Magnitude = NOT_MEASURED


@dataclass(frozen=True, slots=True)
class ParamRow:
    """A parameter: its gradient and its sensitivity ``S = ||W||_F ||G||_F``."""

    name: str
    shape: tuple[int, ...]
    trainable: bool
    gradient_bound: Magnitude
    gradient: Magnitude
    sensitivity: Magnitude
    gradient_measured: Magnitude = NOT_MEASURED


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the graph was understood.

    ``unknown``: ops without a transfer, with how often they occur. ``forecast`` of the ``params`` parameters have a forecast;
    where one holds NaN (``broken``) none can have, and a finding says so.
    """

    nodes: int = 0
    ruled: int = 0
    unknown: Mapping[str, int] = field(default_factory=dict)
    params: int = 0
    forecast: int = 0
    broken: bool = False

    @property
    def share(self) -> float:
        """The share of calls with a transfer, or of parameters with a forecast if that is smaller: what was checked."""
        calls = self.ruled / self.nodes if self.nodes else 1.0
        return min(calls, 1.0 if self.broken or not self.params else self.forecast / self.params)


@dataclass(frozen=True, slots=True)
class TargetReport:
    """The audit of one target. ``problems`` are what kept it from being complete: a trace that failed, a rule that crashed.

    ``file``: the python file that makes the model, empty where there is none (a program, a model of a library).
    ``spent``: the comments that suppressed something here, by file and key; ``heads``: the nodes from which the gradient starts.
    """

    id: str
    tracer: str = ""
    mode: str = "train"
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    inputs_from: str = ""
    guess: str = ""
    cotangent: str = ""
    training: Training = Training()
    notes: tuple[str, ...] = ()
    coverage: Coverage = Coverage()
    findings: tuple[Finding, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    spent: frozenset[tuple[str, str]] = frozenset()
    problems: tuple[str, ...] = ()
    nodes: tuple[NodeRow, ...] = ()
    params: tuple[ParamRow, ...] = ()
    measured: Measured | None = None
    heads: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    file: str = ""


@dataclass(frozen=True, slots=True)
class Since:
    """An earlier state of the project that findings are compared with, in words; ``notes`` say what could not be compared.

    ``gone``: how many of its findings there are no more.
    """

    what: str
    gone: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All targets of a run, and the versions that made it."""

    targets: tuple[TargetReport, ...]
    version: str
    torch: str
    packs: tuple[str, ...]
    seed: int = 0
    min_coverage: float = 1.0
    idle_overrides: tuple[str, ...] = ()
    since: Since | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all targets, by file, line, code and module."""
        found = [finding for target in self.targets for finding in target.findings]
        return tuple(sorted(found, key=_order))

    @property
    def counted(self) -> tuple[Finding, ...]:
        """Those that are not accepted by a baseline."""
        return tuple(finding for finding in self.findings if finding.counts)

    def count(self, severity: Severity) -> int:
        """How many findings that count have a severity."""
        return sum(finding.severity == severity for finding in self.counted)

    @property
    def incomplete(self) -> tuple[TargetReport, ...]:
        """The targets that were not wholly checked."""
        return tuple(t for t in self.targets if t.problems or t.coverage.share < self.min_coverage)


def _order(finding: Finding) -> tuple[str, str, int, str, str]:
    site = finding.where.created or finding.where.called
    return (finding.target, site.file if site else "", site.line if site else 0, finding.code, finding.module)
