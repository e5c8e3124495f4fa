"""`netaudit check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import probing, training
from .app import CLEAN, FINDINGS, INCOMPLETE, INTERRUPTED, app
from .arguments import Args, Data, InputRange, Inputs, Meta, Mode, Seed, ShowFull, Targets, Timeout, Verbose, Weights
from .common import configuration, emit, input_ranges, load_options, one_of, packs, parsed_output, share, subjects, targets_of, words

if TYPE_CHECKING:
    from netaudit.finding import Report, TargetReport
    from netaudit.pack import Catalog


@app.command()
def check(
    targets: Targets = None,
    arg: Args = None,
    input: Inputs = None,
    data: Data = None,
    input_range: InputRange = None,
    weights: Weights = None,
    meta: Meta = False,
    seed: Seed = 0,
    mode: Mode = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", help="Rules to run: codes, prefixes (NA2) or names; comma-separated."),
    ] = None,
    extend_select: Annotated[
        list[str] | None,
        typer.Option("--extend-select", help="Rules to run beside those; a preview by its code."),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Rules not to run.")] = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help="FORMAT or FORMAT=FILE: full, concise, json. May be repeated."),
    ] = None,
    fail_level: Annotated[
        str | None,
        typer.Option("--fail-level", help="Least severity that makes the exit code 1: error, warning or info."),
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 in spite of findings.")] = False,
    min_coverage: Annotated[
        float | None,
        typer.Option(
            "--min-coverage", help="Least share of calls with a transfer, and of parameters with a forecast; below it the exit code is 3."
        ),
    ] = None,
    optimizer: training.OptimizerName = None,
    lr: training.Lr = None,
    momentum: training.Momentum = None,
    weight_decay: training.WeightDecay = None,
    betas: training.Betas = None,
    eps: training.Eps = None,
    schedule: training.ScheduleShape = None,
    warmup: training.Warmup = None,
    steps: training.Steps = None,
    schedule_steps: training.ScheduleSteps = None,
    clip: training.Clip = None,
    clip_value: training.ClipValue = None,
    accumulation: training.Accumulation = None,
    precision: training.PrecisionName = None,
    scaler: training.Scaler = None,
    ema: training.Ema = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure what the analysis says on the real model; `netaudit probe` has more.")
    ] = False,
    device: probing.Device = "auto",
    dtype: probing.Dtype = None,
    probe_memory: probing.Memory = None,
    downgrade: probing.Downgrade = True,
    preview: Annotated[bool, typer.Option("--preview", help="Run rules that are not settled yet.")] = False,
    timeout: Timeout = 600,
    full: ShowFull = False,
    verbose: Verbose = False,
) -> int:
    """Audit models: trace, forecast gradients, prove bounds, report what stands in the way of training."""
    from netaudit.audit import Settings  # torch is imported below this line only
    from netaudit.choose import agreed, selected, unused_overrides
    from netaudit.suppress import Override

    config = configuration()
    catalog = packs()
    outputs = [parsed_output(o) for o in (output or config.output or ("full",))]
    least = share("--min-coverage", config.min_coverage if min_coverage is None else min_coverage)
    level = one_of("--fail-level", fail_level or config.fail_level, ("error", "warning", "info"))
    settings = Settings(
        mode=one_of("--mode", mode or config.mode, ("train", "eval")),
        select=words(select) or config.select,
        extend_select=(*words(extend_select), *config.extend_select),
        ignore=(*words(ignore), *config.ignore),
        overrides=tuple(Override(o.module, o.ignore) for o in config.overrides),
        preview=preview or config.preview,
        ranges=input_ranges(input_range),
        said=training.said(
            config,
            betas,
            optimizer=optimizer,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            eps=eps,
            schedule=schedule,
            warmup=warmup,
            steps=steps,
            schedule_steps=schedule_steps,
            clip=clip,
            clip_value=clip_value,
            accumulation=accumulation,
            precision=precision,
            scaler=scaler,
            ema=ema,
        ),
        raise_internal=verbose,
    )
    selected(catalog, settings)  # an unknown rule is said before anything is built
    options = load_options(config, arg, input, weights, seed, meta=meta, data=data)
    with probing.progress() as tell:
        if probe:
            wanted = probing.probing(tell, seed, device=device, dtype=dtype, memory=probe_memory, downgrade=downgrade)
            settings = replace(settings, probe=wanted)
        found: list[TargetReport] = []
        for target in targets_of(targets, config):
            if not interrupted(found):
                found += audited(target, options, catalog, settings, timeout)
    whole = reported(agreed(found), catalog, seed, least, unused_overrides(found, catalog, settings))
    emit(whole, outputs, full=full, timings=verbose)
    return _exit_code(whole, level, exit_zero=exit_zero or config.exit_zero)


def audited(target: str, options: Any, catalog: Catalog, settings: Any, timeout: int) -> list[TargetReport]:
    """The reports of everything that a target names, within a time; what comes after an interrupted probe is left out."""
    from netaudit.audit import audit_subject

    reports: list[TargetReport] = []
    with subjects(target, options, timeout) as found:
        for subject in found:
            reports.append(audit_subject(subject, catalog, settings))
            if interrupted(reports):
                break
    return reports


def interrupted(reports: Sequence[TargetReport]) -> bool:
    """Whether a probe among them was."""
    return any(one.measured is not None and one.measured.partial for one in reports)


def reported(audited: Sequence[TargetReport], catalog: Catalog, seed: int, min_coverage: float, idle: tuple[str, ...]) -> Report:
    """The report of a run."""
    import torch

    from netaudit import __version__
    from netaudit.finding import Report

    return Report(tuple(audited), __version__, torch.__version__, catalog.packs, seed, min_coverage, idle)


def _exit_code(report: Report, level: str, *, exit_zero: bool) -> int:
    if interrupted(report.targets):
        return INTERRUPTED
    if report.incomplete:
        return INCOMPLETE
    levels = ("info", "warning", "error")
    counted = levels[levels.index(level) :]
    return FINDINGS if not exit_zero and any(f.severity in counted for f in report.findings) else CLEAN
