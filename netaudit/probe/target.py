"""The probe of an audited target: measure, hold proofs and findings against it, say how good the forecast was."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, isnan, prod

import torch

from netaudit.errors import ProbeError, TraceError
from netaudit.facts import Facts
from netaudit.finding import Magnitude, NodeRow, ParamRow, TargetReport
from netaudit.flow import Flow
from netaudit.intake.lower import Lowered
from netaudit.intake.subject import Subject
from netaudit.measured import Measured, NodeMeasured, ParamMeasured, Spread
from netaudit.probe.agreement import calibration
from netaudit.probe.asked import Ask, Asked, asks, keeping
from netaudit.probe.batch import word_of
from netaudit.probe.devices import device_of, title
from netaudit.probe.faults import Faults, faults
from netaudit.probe.fitted import Fitted, Manner, fitted
from netaudit.probe.heads import cotangents
from netaudit.probe.held import Held, held
from netaudit.probe.machine import sweep
from netaudit.probe.run import Plan, cut_for, node_measured, param_measured
from netaudit.probe.several import Seeded, alike
from netaudit.probe.studies import STUDIES, Bench, Studied, studied
from netaudit.probe.verdicts import Readings, downgraded, judged, studies_for
from netaudit.training import Training


@dataclass(frozen=True, slots=True)
class Probing:
    """What is asked of a probe.

    ``device`` and ``dtype`` as words, the model's own precision without one. ``climb``: of which calls the largest gain is sought:
    those on the paths of findings, all, or none. ``studies``: what is measured of the model as a whole, beside what claims need.
    ``downgrade``: a forecast finding that is not reproduced becomes an info. ``others``: what was measured with other seeds, asked
    for once the first one is measured. ``node``: the one call that is asked for, empty for all. ``command``: the words that ask for
    this probe again, but for the device, the precision and the node.
    """

    device: str = "auto"
    dtype: str | None = None
    climb: str = "findings"
    studies: tuple[str, ...] = ()
    plan: Plan = field(default_factory=Plan)
    downgrade: bool = True
    others: Callable[[], Sequence[Seeded]] | None = None
    node: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the analysis knows of the target."""

    subject: Subject
    lowered: Lowered
    facts: Facts
    flow: Flow
    training: Training = Training()
    mode: str = "train"


def probed(report: TargetReport, known: Known, settings: Probing) -> TargetReport:
    """The report with what was measured. What cannot be measured is a note; a bound that does not hold is a problem.

    Raises:
        ProbeError: there is no such device.
    """
    device = device_of(settings.device)
    base = Measured(title(device), "", (settings.plan.seed,), report.inputs_from)
    if known.subject.absent.notes:
        return _unprobed(report, base, "the model has no weights (--meta)")
    try:
        run = _run(known, settings, device, climbed(report, known, settings))
    except KeyboardInterrupt:
        return _unprobed(report, replace(base, partial=True), "it was interrupted before")
    except (ProbeError, TraceError) as error:
        return _unprobed(report, base, error.message)
    except RuntimeError as error:  # torch's word for what a device or a format cannot do
        return _unprobed(report, base, f"the graph failed on {title(device)}: {str(error).splitlines()[0][:160]}")
    return _reported(report, known, settings, run, base)


def _run(known: Known, settings: Probing, device: torch.device, climbed: frozenset[str]) -> Fitted:
    return fitted(known.subject, known.lowered, Manner(device, settings.dtype, known.mode, replace(settings.plan, climbed=climbed)))


def _unprobed(report: TargetReport, base: Measured, why: str) -> TargetReport:
    findings = tuple(replace(f, verdict="not probed") for f in report.findings)
    return replace(report, findings=findings, measured=replace(base, notes=(f"nothing was measured: {why}",)))


def climbed(report: TargetReport, known: Known, settings: Probing) -> frozenset[str]:
    """The calls whose largest gain is sought: the one that is asked for, or all, none, or those of the modules that findings speak of."""
    word = settings.climb
    if settings.node:
        return frozenset({settings.node}) & frozenset(known.facts.effects)
    if word == "all":
        return frozenset(known.facts.effects)
    modules = {step.module for f in report.findings for step in f.path} | {f.module for f in report.findings if f.module}
    return frozenset(n for n in known.facts.effects if word == "findings" and known.facts.nodes[n].where.module in modules)


def _reported(report: TargetReport, known: Known, settings: Probing, run: Fitted, base: Measured) -> TargetReport:
    others = [one for one in _others(settings, run) if one.subject in ("", known.subject.id)]
    kept, unlike = alike(run.machine.graph, others)
    partial = run.partial or any(one.partial for one in others)
    found = (*run.found, *(sizes for one in kept for sizes in one.found))
    nodes, params = node_measured(found), param_measured(run.machine, found, partial=run.partial)
    claims = tuple(f.claim for f in report.findings if f.claim is not None)
    answers, short = ({}, False) if partial else _answered(asks(claims), settings, run)
    studies, cut = ((), False) if partial or short else _studied(known, settings, run, studies_for(claims))
    checked = _checked(known, settings, run)
    partial = partial or short or cut or checked.cut
    wrong = [faults(run.machine, one) for one in found]
    notes = (*run.notes, *unlike, *_notes(known, run, wrong))
    measured = replace(
        base,
        dtype=str(run.dtype).removeprefix("torch."),
        seeds=(*base.seeds, *(one.seed for one in kept)),
        nodes=nodes,
        params=params,
        bounds=checked.held.count,
        violations=tuple(one.text for one in checked.held.violations),
        values=calibration([(f, nodes[row.id].rms.middle) for row in report.nodes if (f := row.rms.log10) is not None and row.id in nodes]),
        gradients=calibration(
            [(f, params[row.name].gradient.middle) for row in report.params if (f := row.gradient.log10) is not None and row.name in params]
        ),
        studies=tuple(one.study for one in studies),
        notes=notes,
        partial=partial,
    )
    readings = Readings(
        nodes,
        params,
        updates={name: size for one in studies for name, size in one.updates.items()},
        edge=next((one.edge for one in studies if one.edge is not None), None),
        broken=frozenset().union(*(one.first for one in wrong)),
        extremes=frozenset().union(*(one.broken for one in studies)),
        asked=answers,
        noise=next((one.noise for one in studies if one.noise is not None), None),
        counts={row.name: prod(row.shape) for row in report.params},
    )
    findings = tuple(judged(f, readings) for f in report.findings)
    return replace(
        report,
        findings=tuple(downgraded(f) for f in findings) if settings.downgrade else findings,
        measured=measured,
        nodes=tuple(_with_node(row, nodes.get(row.id)) for row in report.nodes),
        params=tuple(_with_param(row, params.get(row.name)) for row in report.params),
        problems=(*report.problems, *_to_report(checked, settings)),
    )


def _to_report(checked: Checked, settings: Probing) -> Iterator[str]:
    """Every call whose bounds do not hold, with the command that shows it again: what a report of the mistake needs."""
    for node in dict.fromkeys(one.node for one in checked.held.violations):
        texts = "; ".join(one.text for one in checked.held.violations if one.node == node)
        where = ("--device", checked.device, "--dtype", checked.dtype, "--node", node)
        shown = f", with the output of: {shlex.join((*settings.command, *where))}" if settings.command else ""
        yield f"a proved bound does not hold ({texts}): a mistake of netaudit's, please report it{shown}"


def _with_node(row: NodeRow, found: NodeMeasured | None) -> NodeRow:
    if found is None:
        return row
    gradient = row.gradient_measured if found.gradient is None else _magnitude(found.gradient)
    return replace(row, rms_measured=_magnitude(found.rms), gradient_measured=gradient)


def _with_param(row: ParamRow, found: ParamMeasured | None) -> ParamRow:
    return row if found is None else replace(row, gradient_measured=_magnitude(found.gradient))


def _magnitude(found: Spread) -> Magnitude:
    return Magnitude(found.middle if isfinite(found.middle) else None, "unknown" if isnan(found.middle) else "measured")


def _others(settings: Probing, run: Fitted) -> Sequence[Seeded]:
    """What was measured with other seeds, unless the first one was interrupted already."""
    return () if settings.others is None or run.partial else settings.others()


def _answered(wanted: frozenset[Ask], settings: Probing, run: Fitted) -> tuple[Mapping[Ask, float], bool]:
    """What only claims ask for, in one more run where there is any, and whether that was interrupted."""
    if not wanted:
        return {}, False
    seed, machine = settings.plan.seed, run.machine
    watch = Asked(wanted, machine.nodes, seed)
    try:
        sweep(machine, cotangents(machine, seed), watch, cuts=cut_for(machine, settings.plan)[0], seed=seed, points=keeping(wanted))
    except KeyboardInterrupt:
        return watch.answers, True
    except (RuntimeError, MemoryError):  # the same run went through before: what did not fit any more is memory
        return watch.answers, False
    return watch.answers, False


def _studied(known: Known, settings: Probing, run: Fitted, needed: Sequence[str]) -> tuple[Sequence[Studied], bool]:
    """The studies asked for, in order, then those that claims need, and whether one was interrupted: those before it are kept."""
    found: list[Studied] = []
    wanted = tuple(dict.fromkeys((*settings.studies, *(name for name in needed if name in STUDIES))))
    bench = Bench(known.subject, run.machine, known.training, settings.plan, known.facts if run.same else None)
    try:
        for index, name in enumerate(wanted):
            settings.plan.progress("studies", index, len(wanted))
            found.append(studied(name, bench))
    except KeyboardInterrupt:
        return found, True
    settings.plan.progress("studies", len(wanted), len(wanted))
    return found, False


@dataclass(frozen=True, slots=True)
class Checked:
    """The bounds held against a measurement, where and in which precision; whether that was interrupted."""

    held: Held
    device: str
    dtype: str
    cut: bool = False


def _checked(known: Known, settings: Probing, run: Fitted) -> Checked:
    """The bounds held against the first seed, which is the one they are proved for."""
    base = Checked(Held(0, ()), str(run.machine.device), word_of(run.dtype))
    if not run.same:
        return base
    first = replace(base, held=held(known.facts, known.flow, run.found, run.machine.graph))
    try:
        return _again(known, settings, run, first) if first.held.violations and run.dtype != torch.float64 else first
    except KeyboardInterrupt:
        return replace(first, cut=True)


def _again(known: Known, settings: Probing, run: Fitted, first: Checked) -> Checked:
    """Bounds that did not hold, held against float64: what was rounding does not come back. Their largest gains are sought again."""
    again = frozenset(one.node for one in first.held.violations)
    try:
        second = _run(known, replace(settings, dtype="float64"), run.machine.device, again)
    except (ProbeError, TraceError, RuntimeError):
        return first
    if second.partial:
        raise KeyboardInterrupt  # a part of the second run says nothing of what the first one found
    if not second.same:
        return first
    found = held(known.facts, known.flow, second.found, second.machine.graph).violations
    return replace(first, held=Held(first.held.count, found), dtype="float64")


def _notes(known: Known, run: Fitted, wrong: Sequence[Faults]) -> tuple[str, ...]:
    """What the numbers do not tell."""
    custom = sorted({node.custom_function for node in known.facts.graph.nodes if node.custom_function})
    notes = [f"the backward of autograd.Function {name} was not run: gradients behind it are those of its forward" for name in custom]
    if not run.same:
        notes.append("no bound was checked: they are proved for the batch and the precision of the analysis")
    first = [(name, "value") for one in wrong for name in one.values] + [(name, "gradient") for one in wrong for name in one.gradients]
    notes += [f"the first {what} that is not finite is made by `{name}`" for name, what in first[:1]]
    return tuple(notes)
