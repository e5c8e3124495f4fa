"""What a page shows, as plain values: a report turned into words and drawings, before any markup. Pure functions of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal, TypeAlias

from netaudit.finding import SEVERITIES, Evidence, Finding, Magnitude, NodeRow, ParamRow, Report, Status, Step, TargetReport
from netaudit.graph import Site
from netaudit.report.claimed import verdict as probed
from netaudit.report.common import accepted, compared
from netaudit.report.numbers import at_most, dimensions, magnitude, short
from netaudit.report.svg import bar

from .figure import figure
from .tree import Module, open_levels, route, tree

Tone: TypeAlias = Literal["error", "warning", "info", "good", "open"]
SHOWN_STEPS = 9
"""Blocks of a path that are shown at once; a longer one shows its ends and folds the rest."""
MOST_STEPS = 60
"""Blocks of a path that a page holds at all; the JSON has every one."""
ORDER = {severity: place for place, severity in enumerate(SEVERITIES)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of an audit in a few words, and the tone to say it in."""

    words: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Known:
    """One kind of knowledge about a quantity: how it is known, and the number or that there is none."""

    status: Status
    words: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a path: three numbers and their drawing."""

    label: str
    proved: str
    forecast: str
    measured: str
    bar: str


@dataclass(frozen=True, slots=True)
class Fix:
    """Something to change, and what came of it when it was tried."""

    text: str
    outcome: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Said:
    """A finding as a page shows it. ``head`` and ``tail`` are the ends of its path, ``folded`` the blocks between."""

    finding: Finding
    place: str
    code: str
    evidence: tuple[Known, ...]
    about: tuple[str, ...]
    reasons: tuple[str, ...]
    head: tuple[Block, ...]
    folded: tuple[Block, ...]
    tail: tuple[Block, ...]
    left_out: int
    measured: bool
    scale: tuple[str, str]
    fixes: tuple[Fix, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, how its status is known, and how it sorts (text, number, shape)."""

    title: str
    status: str
    kind: Literal["text", "number", "shape"]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and rows of cells as they are printed."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One target."""

    report: TargetReport
    verdict: Verdict
    facts: tuple[str, ...]
    gaps: tuple[str, ...]
    findings: tuple[Said, ...]
    figure: str
    tree: Module | None
    route: str
    levels: int
    calls: Table
    params: Table
    environment: tuple[tuple[str, str], ...]


Lines: TypeAlias = Callable[[Site], str]
"""The text of a line of a file, empty when it cannot be read."""


def view(report: Report, lines: Lines, *, timings: bool = False) -> tuple[Target, ...]:
    """The targets of a report, in its order."""
    return tuple(_target(target, report, lines, timings=timings) for target in report.targets)


def _target(target: TargetReport, report: Report, lines: Lines, *, timings: bool) -> Target:
    root = tree(target)
    findings = sorted(target.findings, key=lambda f: (not f.counts, ORDER[f.severity], f.code, f.module))
    return Target(
        target,
        verdict(target, incomplete=target in report.incomplete),
        tuple(_facts(target)),
        tuple(_gaps(target, report)),
        tuple(_said(finding, lines) for finding in findings),
        figure(target),
        root,
        _route(root),
        open_levels(root) if root is not None else 0,
        _calls(target),
        _params(target),
        tuple(_environment(target, report, timings=timings)),
    )


def _route(root: Module | None) -> str:
    """The dominating path in words; a long one shows its ends."""
    names = () if root is None else route(root)
    cut = len(names) > SHOWN_STEPS
    shown = (*names[: SHOWN_STEPS // 2], "…", *names[-(SHOWN_STEPS // 2) :]) if cut else names
    return " → ".join(shown)


# verdict ----------------------------------------------------------------------------------------------------------------


def verdict(target: TargetReport, *, incomplete: bool) -> Verdict:
    """How an audit ended. What was not wholly checked is never called clean."""
    counts = [(severity, sum(f.severity == severity for f in target.findings if f.counts)) for severity in SEVERITIES]
    said = ", ".join(f"{n} {_plural(severity, n)}" for severity, n in counts if n)
    tone: Tone = next((severity for severity, n in counts if n), "good")
    if not incomplete:
        return Verdict(said or ("Nothing new" if target.findings else "Clean"), tone)
    if not target.coverage.nodes:
        return Verdict(f"Not checked{': ' + said if said else ''}", tone if said else "open")
    return Verdict(f"{said or 'No findings'}, not wholly checked", tone if tone in ("error", "warning") else "open")


def _plural(severity: str, n: int) -> str:
    return severity if n == 1 or severity == "info" else severity + "s"


def _facts(target: TargetReport) -> Iterator[str]:
    covered = target.coverage
    if not covered.nodes:
        return
    yield f"{covered.nodes} calls, {covered.ruled} with a transfer"
    yield f"{covered.forecast} of {covered.params} parameters forecast"
    yield f"{target.mode} mode"
    yield f"gradient from {target.cotangent}"
    yield target.training.title or ("no optimiser given" if target.training.is_given else "training not given")


def _gaps(target: TargetReport, report: Report) -> Iterator[str]:
    """What was not checked, what does not count, and what the numbers stand on."""
    yield from target.problems
    if known := accepted(target, report):
        yield f"Findings that do not count: {known}."
    yield from compared(report)
    yield from _uncovered(target)
    if target.guess:
        yield target.guess
    for note in (*target.notes, *target.training.notes):
        if not any(note in finding.message for finding in target.findings):
            yield note
    if not target.coverage.nodes:
        return
    if not target.training.is_given:
        yield "How the model is trained was not said: no rule about optimiser, learning rate, schedule or precision was asked."
    if not _is_measured(target):
        yield "Nothing was measured: every number is proved from the weights or forecast, none comes from running the model."
    other = "eval" if target.mode == "train" else "train"
    yield f"The model was looked at in {target.mode} mode; {other} mode was not."
    for override in report.idle_overrides:
        yield f"unused override {override}"


def _uncovered(target: TargetReport) -> Iterator[str]:
    covered = target.coverage
    if covered.unknown:
        ops = ", ".join(f"`{op}`" + (f" ({n})" if n > 1 else "") for op, n in covered.unknown.items())
        yield f"Nothing is known of {ops}: no pack has a transfer."
    missing = covered.params - covered.forecast
    if missing and not covered.broken:
        yield f"{missing} of {covered.params} parameters have no forecast; no rule has judged their gradients."
    loose = sum(row.gradient_bound.status == "unbounded" for row in target.nodes)
    if loose:
        yield f"The gradient has no proved bound at {loose} of {len(target.nodes)} calls."


def _is_measured(target: TargetReport) -> bool:
    sizes = [size for row in target.nodes for size in (row.rms_measured, row.gradient_measured)]
    sizes += [param.gradient_measured for param in target.params]
    return any(s.status == "measured" for s in sizes) or any(f.evidence.measured is not None for f in target.findings)


# findings ---------------------------------------------------------------------------------------------------------------


def _said(finding: Finding, lines: Lines) -> Said:
    steps = finding.path[: MOST_STEPS // 2] + finding.path[-MOST_STEPS // 2 :] if len(finding.path) > MOST_STEPS else finding.path
    span = _span(steps)
    blocks = tuple(_block(step, span) for step in steps)
    half = SHOWN_STEPS // 2
    cut = len(blocks) > SHOWN_STEPS
    site = finding.where.created or finding.where.called
    return Said(
        finding,
        _place(finding),
        lines(site).strip() if site is not None else "",
        _evidence(finding.evidence),
        tuple(_about(finding.evidence)),
        (*(line for line in finding.reason.splitlines() if line.strip()), *_probed(finding)),
        blocks[:half] if cut else blocks,
        blocks[half:-half] if cut else (),
        blocks[-half:] if cut else (),
        len(finding.path) - len(steps),
        any(step.measured is not None for step in finding.path),
        (short(span[0]), short(span[1])),
        tuple(_fix(remedy.text, remedy.outcome, resolves=remedy.resolves) for remedy in finding.help),
    )


def _probed(finding: Finding) -> tuple[str, ...]:
    return () if finding.verdict is None else (f"probe: {probed(finding)}",)


def _place(finding: Finding) -> str:
    site, called = finding.where.created or finding.where.called, finding.where.called
    if site is None:
        return ""
    again = "" if called is None or called == site else f", called at {'' if called.file == site.file else called.file}:{called.line}"
    return f"{site.file}:{site.line}{again}"


def _evidence(known: Evidence) -> tuple[Known, ...]:
    """The three kinds apart, none of them where nothing is a number: a finding about the structure alone."""
    if known.proved is None and known.forecast is None and known.measured is None:
        return ()
    return (
        Known("proved", "nothing proved" if known.proved is None else f"≤ {at_most(known.proved)}", known.proved is not None),
        Known("forecast", "no forecast" if known.forecast is None else short(known.forecast), known.forecast is not None),
        Known("measured", "not measured" if known.measured is None else short(known.measured), known.measured is not None),
    )


def _about(known: Evidence) -> Iterator[str]:
    """What the numbers are of, the limit, and what the forecast assumes."""
    if known.quantity:
        yield known.quantity
    if known.threshold is not None:
        yield f"limit {short(known.threshold)}"
    if known.assumptions and known.forecast is not None:
        yield f"forecast: {known.assumptions}"


def _span(steps: Sequence[Step]) -> tuple[float, float]:
    """The log10 ends of the axis of a path: all that is on it, and one."""
    sizes = [size for step in steps for size in (step.proved, step.forecast, step.measured) if size is not None and isfinite(size)]
    return min([*sizes, -1.0]), max([*(s for s in sizes if s < 6.0), 0.0])


def _block(step: Step, span: tuple[float, float]) -> Block:
    proved, forecast, measured = (_size(step.proved, "proved"), _size(step.forecast, "forecast"), _size(step.measured, "measured"))
    return Block(
        step.label,
        "∞" if step.proved is None else at_most(step.proved),
        "?" if step.forecast is None else short(step.forecast),
        "" if step.measured is None else short(step.measured),
        bar(forecast, proved, measured, span),
    )


def _size(log10: float | None, status: Status) -> Magnitude:
    if log10 is None or log10 == inf:
        return Magnitude(None, "unknown")
    return Magnitude(log10 if isfinite(log10) else None, status)


def _fix(text: str, outcome: str, *, resolves: bool | None) -> Fix:
    tone: Tone = "good" if resolves else "open" if resolves is None else "warning"
    return Fix(text, outcome or "untested advice", tone)


# tables -----------------------------------------------------------------------------------------------------------------


def _calls(target: TargetReport) -> Table:
    measured = any(r.rms_measured.status == "measured" or r.gradient_measured.status == "measured" for r in target.nodes)
    columns = (
        Column("#", "", "number"),
        Column("module", "", "text"),
        Column("op", "", "text"),
        Column("shape", "", "shape"),
        Column("‖J‖₂ ≤", "proved", "number"),
        Column("RMS", "forecast", "number"),
        *((Column("RMS", "measured", "number"),) if measured else ()),
        Column("‖∇‖₂ ≤", "proved", "number"),
        Column("∇ RMS", "forecast", "number"),
        *((Column("∇ RMS", "measured", "number"),) if measured else ()),
        Column("Jacobian", "proved", "text"),
    )
    return Table(columns, tuple(_call(place, row, measured=measured) for place, row in enumerate(target.nodes, 1)))


def _call(place: int, row: NodeRow, *, measured: bool) -> tuple[str, ...]:
    return (
        str(place),
        row.module,
        row.op.removeprefix("aten."),
        dimensions(row.shape),
        magnitude(row.lipschitz),
        magnitude(row.rms),
        *((_measured(row.rms_measured),) if measured else ()),
        magnitude(row.gradient_bound),
        magnitude(row.gradient),
        *((_measured(row.gradient_measured),) if measured else ()),
        ", ".join(row.tags),
    )


def _measured(size: Magnitude) -> str:
    return "" if size.status == "unknown" else magnitude(size)


def _params(target: TargetReport) -> Table:
    measured = any(param.gradient_measured.status == "measured" for param in target.params)
    columns = (
        Column("parameter", "", "text"),
        Column("shape", "", "shape"),
        Column("‖∇‖₂ ≤", "proved", "number"),
        Column("∇ RMS", "forecast", "number"),
        *((Column("∇ RMS", "measured", "number"),) if measured else ()),
        Column("S", "forecast", "number"),
    )
    return Table(columns, tuple(_param(param, measured=measured) for param in target.params))


def _param(param: ParamRow, *, measured: bool) -> tuple[str, ...]:
    return (
        param.name + ("" if param.trainable else " (frozen)"),
        dimensions(param.shape),
        magnitude(param.gradient_bound),
        magnitude(param.gradient),
        *((_measured(param.gradient_measured),) if measured else ()),
        magnitude(param.sensitivity),
    )


# environment ------------------------------------------------------------------------------------------------------------


def _environment(target: TargetReport, report: Report, *, timings: bool) -> Iterator[tuple[str, str]]:
    yield "netaudit", report.version
    yield "torch", report.torch
    yield "packs", ", ".join(report.packs)
    yield "seed", str(report.seed)
    yield "least coverage", f"{report.min_coverage:g}"
    yield "tracer", target.tracer or "none"
    yield "mode", target.mode
    yield "inputs", "; ".join(f"{name} {dtype} {dimensions(shape)}" for name, dtype, shape in target.inputs) or "none"
    yield "inputs from", target.inputs_from or "nowhere"
    yield "gradient from", target.cotangent or "nowhere"
    yield "training", target.training.title or "not given"
    if timings:
        yield "seconds", ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in target.seconds.items())
