"""The probe of an audited target: measure, hold proofs and findings against it, say how good the forecast was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite, isnan, log10

import torch

from netaudit.errors import ProbeError, TraceError
from netaudit.facts import Facts
from netaudit.finding import Magnitude, NodeRow, ParamRow, TargetReport
from netaudit.flow import Flow
from netaudit.intake.lower import Lowered, lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.measured import Measured, NodeMeasured, ParamMeasured, Spread
from netaudit.probe.agreement import calibration
from netaudit.probe.batch import DTYPES, cast, dominant, halved
from netaudit.probe.devices import device_of, title
from netaudit.probe.held import Held, held
from netaudit.probe.machine import Machine, machine_of
from netaudit.probe.run import Plan, node_measured, param_measured, runs
from netaudit.probe.sizes import Sizes
from netaudit.probe.studies import STUDIES, Bench
from netaudit.probe.verdicts import Readings, downgraded, judged
from netaudit.training import Training


@dataclass(frozen=True, slots=True)
class Probing:
    """What is asked of a probe.

    ``device`` and ``dtype`` as words, the model's own precision without one. ``climb``: of which calls the largest gain is sought:
    those on the paths of findings, all, or none. ``studies``: what is measured of the model as a whole.
    ``downgrade``: a forecast finding that is not reproduced becomes an info.
    """

    device: str = "auto"
    dtype: str | None = None
    climb: str = "findings"
    studies: tuple[str, ...] = ()
    plan: Plan = field(default_factory=Plan)
    downgrade: bool = True


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
        run = _run(known, settings, device, climbed(report, known, settings.climb))
    except (ProbeError, TraceError) as error:
        return _unprobed(report, base, error.message)
    except RuntimeError as error:  # torch's word for what a device or a format cannot do
        return _unprobed(report, base, f"the graph failed on {title(device)}: {str(error).splitlines()[0][:160]}")
    return _reported(report, known, settings, run, base)


def _unprobed(report: TargetReport, base: Measured, why: str) -> TargetReport:
    findings = tuple(replace(f, verdict="not probed") for f in report.findings)
    return replace(report, findings=findings, measured=replace(base, notes=(f"nothing was measured: {why}",)))


@dataclass(frozen=True, slots=True)
class _Run:
    """A machine that ran, what was seen, and in which precision; notes say what had to be done for it to run."""

    machine: Machine
    found: Sequence[Sizes]
    dtype: torch.dtype
    notes: tuple[str, ...] = ()
    same: bool = True
    partial: bool = False


def _run(known: Known, settings: Probing, device: torch.device, climbed: frozenset[str]) -> _Run:
    """Run the graph, in another precision if one is asked for, and with smaller and smaller batches until it fits."""
    own = dominant(known.subject.model)
    dtype = own if settings.dtype is None else DTYPES[settings.dtype]
    subject, lowered = known.subject, known.lowered
    notes: tuple[str, ...] = ()
    if dtype != own:
        subject = cast(subject, dtype)
        lowered = _lowered(subject, known.mode)
    plan = replace(settings.plan, climbed=climbed)
    while True:
        try:
            machine = machine_of(lowered, device)
            found, partial = runs(machine, plan)
            return _Run(machine, found, dtype, notes, not notes and _at_least(dtype, own), partial)
        except (torch.OutOfMemoryError, MemoryError):
            subject = halved(subject)
            lowered = _lowered(subject, known.mode)
            notes = (f"out of memory: the batch was halved, inputs are now {_shapes(lowered)}",)


def _at_least(dtype: torch.dtype, own: torch.dtype) -> bool:
    return torch.finfo(dtype).eps <= torch.finfo(own).eps


def _lowered(subject: Subject, mode: str) -> Lowered:
    return lower(trace(subject, mode=mode), subject)


def _shapes(lowered: Lowered) -> str:
    nodes = lowered.graph.by_name()
    return ", ".join(f"{name} {'x'.join(map(str, nodes[name].shape))}" for name in lowered.graph.inputs)


def climbed(report: TargetReport, known: Known, word: str) -> frozenset[str]:
    """The calls whose largest gain is sought: all, none, or those of the modules that findings speak of."""
    if word == "all":
        return frozenset(known.facts.effects)
    modules = {step.module for f in report.findings for step in f.path} | {f.module for f in report.findings if f.module}
    return frozenset(n for n in known.facts.effects if word == "findings" and known.facts.nodes[n].where.module in modules)


def _reported(report: TargetReport, known: Known, settings: Probing, run: _Run, base: Measured) -> TargetReport:
    nodes, params = node_measured(run.found), param_measured(run.machine, run.found, partial=run.partial)
    checked = held(known.facts, known.flow, run.found, run.machine.graph) if run.same else Held(0, ())
    if checked.violations and run.dtype != torch.float64:
        checked = _again(known, settings, run, checked)
    studies = [STUDIES[name](Bench(known.subject, run.machine, known.training, settings.plan)) for name in settings.studies]
    notes = (*run.notes, *_notes(known, run))
    measured = replace(
        base,
        dtype=str(run.dtype).removeprefix("torch."),
        nodes=nodes,
        params=params,
        bounds=checked.count,
        violations=checked.violations,
        values=calibration([(log, nodes[name].rms.middle) for name, log in _forecast_values(known.facts).items() if name in nodes]),
        gradients=calibration(
            [(f, params[n].gradient.middle) for n, g in known.flow.params.items() if (f := g.forecast) is not None and n in params]
        ),
        studies=tuple(one.study for one in studies),
        notes=notes,
        partial=run.partial,
    )
    broken = {name for one in run.found for name in (*one.wrong, *one.wrong_gradient)}
    readings = Readings(
        nodes,
        params,
        {name: size for one in studies for name, size in one.updates.items()},
        next((one.edge for one in studies if one.edge is not None), None),
        frozenset(broken.union(*(one.broken for one in studies))),
    )
    findings = tuple(judged(f, readings) for f in report.findings)
    return replace(
        report,
        findings=tuple(downgraded(f) for f in findings) if settings.downgrade else findings,
        measured=measured,
        nodes=tuple(_with_node(row, nodes.get(row.id)) for row in report.nodes),
        params=tuple(_with_param(row, params.get(row.name)) for row in report.params),
        problems=(*report.problems, *(f"a proved bound does not hold, please report it: {text}" for text in checked.violations)),
    )


def _with_node(row: NodeRow, found: NodeMeasured | None) -> NodeRow:
    if found is None:
        return row
    gradient = row.gradient_measured if found.gradient is None else _magnitude(found.gradient)
    return replace(row, rms_measured=_magnitude(found.rms), gradient_measured=gradient)


def _with_param(row: ParamRow, found: ParamMeasured | None) -> ParamRow:
    return row if found is None else replace(row, gradient_measured=_magnitude(found.gradient))


def _magnitude(found: Spread) -> Magnitude:
    return Magnitude(found.middle if isfinite(found.middle) else None, "unknown" if isnan(found.middle) else "measured")


def _again(known: Known, settings: Probing, run: _Run, first: Held) -> Held:
    """Bounds that did not hold, held against float64: what was rounding does not come back."""
    try:
        second = _run(known, replace(settings, dtype="float64"), run.machine.device, frozenset())
    except (ProbeError, TraceError, RuntimeError):
        return first
    return Held(first.count, held(known.facts, known.flow, second.found, second.machine.graph).violations) if second.same else first


def _forecast_values(facts: Facts) -> Mapping[str, float]:
    return {
        name: 0.5 * log10(signal.moments.mean_square) if signal.moments.mean_square > 0.0 else -inf
        for name, signal in facts.signals.items()
        if name in facts.effects and signal.moments is not None
    }


def _notes(known: Known, run: _Run) -> tuple[str, ...]:
    """What the numbers do not tell."""
    custom = sorted({node.custom_function for node in known.facts.graph.nodes if node.custom_function})
    notes = [f"the backward of autograd.Function {name} was not run: gradients behind it are those of its forward" for name in custom]
    if not run.same:
        notes.append("no bound was checked: they are proved for the batch and the precision of the analysis")
    wrong = [(name, "value") for one in run.found for name in one.wrong] + [
        (n, "gradient") for one in run.found for n in one.wrong_gradient
    ]
    notes += [f"the first {what} that is not finite is made by `{name}`" for name, what in wrong[:1]]
    return tuple(notes)
