"""The pipeline, one page: target -> subject -> fx graph -> Graph -> facts -> flow -> checks -> report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import sqrt

from .cache.proofs import Proofs
from .causes import one_per_cause
from .check import Audit, Check, Remark
from .choose import naming, selected
from .clock import Clock
from .errors import NetauditError, TraceError
from .facts import Facts, Leaves, derive
from .finding import Finding, Suppressed, TargetReport, fingerprint
from .flow import NEVER, Flow, fan_in, flow
from .graph import Graph
from .intake.comments import ignores_of
from .intake.evaluation import drops_in_evaluation
from .intake.heads import Head, with_head
from .intake.lower import Lowered, lower
from .intake.subject import Subject
from .intake.trace import trace
from .intake.training import Said, training_of
from .intake.uses import Certifying
from .intake.weights import Assumed, leaves, named_ranges
from .moments import independent, of
from .norms import Effort
from .pack import Catalog
from .probe import Known, Probing, probed
from .progress import Progress, silent
from .remedy import Bench, remedied
from .signal import Interval, Signal
from .suppress import Override, outcomes, suppressed
from .tables import coverage, input_rows, node_rows, param_rows
from .training import Training


@dataclass(frozen=True, slots=True)
class Settings:
    """How a target is audited: mode of the model, checks to run, effort of the certified norms, ranges of inputs by name.

    ``said``: how the model is said to be trained, beside what the target itself makes.

    ``head``: where the gradient starts; ``stats``: mean and standard deviation of float inputs, the example's own if None.

    ``probe``: what is to be measured, None for nothing.

    ``proofs``: certified norms of earlier runs; ``tell``: who is told what is being done.

    ``raise_internal`` lets our own mistakes through as exceptions; otherwise they become problems of the report, so that the
    other targets are still audited.
    """

    mode: str = "train"
    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    preview: bool = False
    effort: Effort = "quick"
    ranges: Mapping[str, Interval] = field(default_factory=dict)
    head: Head = "loss"
    stats: tuple[float, float] | None = None
    said: Said = Said()
    probe: Probing | None = None
    proofs: Proofs = Proofs()
    tell: Progress = silent
    raise_internal: bool = False


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything known about one target before it is judged."""

    subject: Subject
    lowered: Lowered
    leaves: Leaves
    facts: Facts
    flow: Flow
    later: Flow | None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The model."""
        return self.lowered.graph

    @property
    def cotangent(self) -> str:
        """Where the gradient starts, in words."""
        return "traced loss" if self.graph.loss is not None else "unit RMS at the outputs"


def analyse(subject: Subject, catalog: Catalog, settings: Settings) -> Analysis:
    """Trace, lower and sweep a subject.

    Raises:
        TraceError: the model could not be traced.
    """
    clock = Clock()
    subject = with_head(subject, settings.head)
    settings.tell("tracing", 0, 0)
    traced = trace(subject, mode=settings.mode)
    clock.lap("trace")
    lowered = lower(traced, subject)
    del traced  # as large as all that follows
    clock.lap("lower")
    assumed = Assumed(bool(subject.guess), named_ranges(lowered.graph, settings.ranges), settings.stats, subject.absent)
    settings.tell("parameters and constants", 0, 0)
    known = leaves(lowered, assumed, Certifying(settings.effort, settings.proofs, settings.tell))
    clock.lap("norms")
    settings.tell("sweep forward", 0, 0)
    facts = derive(lowered.graph, known, catalog)
    clock.lap("facts")
    settings.tell("sweep backward", 0, 0)
    first = flow(facts)
    later = _once_moved(lowered.graph, known, facts, first, catalog)
    clock.lap("flow")
    return Analysis(subject, lowered, known, facts, first, later, clock.laps)


def _swept(graph: Graph, known: Leaves, catalog: Catalog) -> tuple[Facts, Flow, Flow | None]:
    """Both sweeps of a changed graph."""
    facts = derive(graph, known, catalog)
    first = flow(facts)
    return facts, first, _once_moved(graph, known, facts, first, catalog)


MOVES = 8
"""How many steps zero-initialised factors are given to revive each other (a zero head in front of zero branches takes two)."""
STEP = 1e-2
"""The size a scale has after ten steps of an adaptive optimiser at its usual rate of 1e-3."""


def _once_moved(graph: Graph, known: Leaves, facts: Facts, first: Flow, catalog: Catalog) -> Flow | None:
    """The flow after parameters that start at zero, and scales that start near it, have moved; None when there are none.

    What moves is what receives a gradient. A zero weight gets random entries of its fan-in scale: what matters is only whether
    the gradient behind it revives. A tiny gain (LayerScale) gets the size of ten optimiser steps.
    """
    asleep = {name for name, info in graph.params.items() if info.trainable and _is_asleep(facts.signals[info.node])}
    moved: dict[str, Signal] = {}
    current, later = first, None
    for _ in range(MOVES):
        awake = {name for name in asleep if (current.params[name].forecast or NEVER) > NEVER}
        if not awake:
            break
        for name in awake:
            info = graph.params[name]
            scale = 1.0 / sqrt(fan_in(info.shape)) if facts.signals[info.node].range.magnitude == 0.0 else STEP
            moved[info.node] = Signal(info.shape, moments=of(independent(info.shape, scale * scale)))
        asleep -= awake
        held = known.without(graph, moved)
        later = current = flow(derive(graph, replace(held, signals={**held.signals, **moved}), catalog))
    return later


def _is_asleep(signal: Signal) -> bool:
    """Exactly zero, or a vector of scales far below what the first optimiser steps make of it."""
    size = signal.range.magnitude
    return size == 0.0 or (sum(n > 1 for n in signal.shape) <= 1 and size < STEP)


# judging ----------------------------------------------------------------------------------------------------------------


def audit_subject(subject: Subject, catalog: Catalog, settings: Settings) -> TargetReport:
    """Audit one subject. A model that cannot be traced, and a check that crashes, become problems of the report."""
    base = TargetReport(subject.id, mode=settings.mode, inputs_from=subject.inputs_from, guess=subject.guess, file=subject.file or "")
    try:
        analysis = analyse(subject, catalog, settings)
    except TraceError as error:
        return replace(base, problems=(error.message,), findings=(_not_traced(subject.id, error),))
    except NetauditError:
        raise
    except Exception as error:
        if settings.raise_internal:
            raise
        return replace(base, problems=(f"internal error, please report it: {type(error).__name__}: {error}",))
    training = training_of(subject, analysis.graph, settings.said)
    settings.tell("checks and remedies", 0, 0)
    judged = _judge(analysis, training, catalog, settings)
    report = replace(
        base,
        tracer=analysis.graph.tracer,
        inputs=input_rows(analysis.graph),
        cotangent=analysis.cotangent,
        training=training,
        notes=(*analysis.graph.notes, *subject.absent.notes),
        coverage=coverage(analysis.facts, analysis.flow, analysis.later),
        findings=judged.findings,
        suppressed=judged.suppressed,
        spent=judged.spent,
        problems=(*_unjudged(analysis), *judged.problems),
        nodes=node_rows(analysis.facts, analysis.flow),
        params=param_rows(analysis.facts, analysis.flow),
        heads=analysis.graph.heads,
        seconds=analysis.seconds,
    )
    if settings.probe is None:
        return report
    known = Known(analysis.subject, analysis.lowered, analysis.facts, analysis.flow, training, settings.mode)
    return probed(report, known, settings.probe)


def _unjudged(analysis: Analysis) -> tuple[str, ...]:
    """That a loss was given and not traced: the gradients start elsewhere then, and no rule has seen it."""
    lost = analysis.subject.loss is not None and analysis.graph.loss is None
    return ("the loss did not trace: gradients start at the outputs, and no rule has judged the loss",) if lost else ()


def _not_traced(target: str, error: NetauditError) -> Finding:
    name = fingerprint("NA001", target, "", "")
    message = f"the model was not traced: {error.message}"
    return Finding("NA001", "not-traced", "error", message, target, reason=error.hint, fingerprint=name)


@dataclass(frozen=True, slots=True)
class Judged:
    """Findings that count, those that do not, the comments that made the difference by file and key, and checks that crashed."""

    findings: tuple[Finding, ...]
    suppressed: tuple[Suppressed, ...]
    spent: frozenset[tuple[str, str]]
    problems: tuple[str, ...]


def _judge(analysis: Analysis, training: Training, catalog: Catalog, settings: Settings) -> Judged:
    """What the selected checks say. Those that need the training set-up are not asked where none is given."""
    subject = analysis.subject
    guessed = bool(subject.guess)
    drops = partial(drops_in_evaluation, subject)
    known = (analysis.facts, analysis.flow, analysis.later, training, settings.mode)
    audit = Audit(subject.id, *known, guessed=guessed, drops_in_evaluation=drops)
    chosen = [c for c in selected(catalog, settings) if training.is_given or "training" not in c.needs]
    asked = [c for c in chosen if "ignores" not in c.needs]
    everything, problems = _said(asked, audit)
    found = one_per_cause(everything, {c.code: c.yields_to for c in chosen})
    names, ignores = naming(catalog), ignores_of(subject, analysis.graph)
    kept, gone = suppressed(found, ignores, settings.overrides, names)
    ran = frozenset(c.code for c in chosen) if not problems else frozenset[str]()
    ends = outcomes(ignores, found, ran, names)
    meant, broken = _said([c for c in chosen if "ignores" in c.needs], replace(audit, ignores=ends))
    if not problems:
        bench = Bench(audit, analysis.leaves, lambda graph, known: _swept(graph, known, catalog), lambda changed: _said(asked, changed))
        kept, problems = _remedied(kept, everything, bench)
    spent = frozenset((end.ignore.site.file, end.key(s)) for end in ends for s in (*end.ignore.selectors, "") if s not in end.idle)
    return Judged((*kept, *meant), gone, spent, (*problems, *broken))


def _remedied(kept: tuple[Finding, ...], found: tuple[Finding, ...], bench: Bench) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    try:
        return remedied(kept, found, bench), ()
    except Exception as error:  # a finding is worth more than what to do about it; it is reported all the same
        return kept, (f"remedies were not re-analysed: {type(error).__name__}: {error}",)


def _said(checks: Iterable[Check], audit: Audit) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    found: list[Finding] = []
    problems: list[str] = []
    for one in checks:
        try:
            found.extend(_finding(one, remark, audit.target) for remark in one(audit))
        except Exception as error:  # one broken check must not hide the others; it is reported
            problems.append(f"check {one.code} crashed: {type(error).__name__}: {error}")
    return tuple(found), tuple(problems)


def _finding(check: Check, remark: Remark, target: str) -> Finding:
    return Finding(
        code=check.code,
        name=check.name,
        severity=remark.severity or check.severity,
        message=remark.message,
        target=target,
        module=remark.module,
        where=remark.where,
        reason=remark.reason,
        evidence=remark.evidence,
        path=remark.path,
        help=remark.help,
        siblings=remark.siblings,
        fingerprint=fingerprint(check.code, target, remark.module, remark.key),
        key=remark.key,
        claim=remark.claim,
    )
