"""`netaudit check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netaudit.baseline import compared, read

from . import completion, probing, training
from .app import CLEAN, FINDINGS, INCOMPLETE, INTERRUPTED, Elsewhere, app
from .arguments import Args, Data, InputRange, Inputs, Meta, Mode, Quiet, Seed, ShowFull, Targets, Timeout, Verbose, Weights
from .baseline import BaselineFile, baseline_of
from .common import configuration, emit, input_ranges, load_options, one_of, packs, parsed_output, share, subjects, targets_of, words
from .ignoring import AddIgnore, Ignoring, Reason, ignored_with
from .kept import CacheDir, Kept, NoCache, kept
from .lock import Wanted, write_lock
from .progress import progress
from .since import Base, DiffBase, base_of

if TYPE_CHECKING:
    from netaudit.choose import Selection
    from netaudit.finding import Report, TargetReport
    from netaudit.pack import Catalog


@app.command()
def check(
    ctx: typer.Context,
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
        typer.Option("--select", help="Rules to run: codes, prefixes (NA2) or names; comma-separated.", autocompletion=completion.rules),
    ] = None,
    extend_select: Annotated[
        list[str] | None,
        typer.Option("--extend-select", help="Rules to run beside those; a preview by its code.", autocompletion=completion.rules),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Rules not to run.", autocompletion=completion.rules)] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            help="FORMAT or FORMAT=FILE: full, concise, json, jsonl, sarif, github, gitlab, junit, markdown, html. May be repeated.",
            autocompletion=completion.formats,
        ),
    ] = None,
    fail_level: Annotated[
        str | None,
        typer.Option(
            "--fail-level",
            help="Least severity that makes the exit code 1: error, warning or info.",
            autocompletion=completion.levels,
        ),
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
    baseline: BaselineFile = None,
    diff_base: DiffBase = None,
    add_ignore: AddIgnore = False,
    reason: Reason = "",
    no_cache: NoCache = False,
    cache_dir: CacheDir = None,
    timeout: Timeout = 600,
    full: ShowFull = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Audit models: trace, forecast gradients, prove bounds, report what stands in the way of training."""
    from netaudit.choose import Chosen, selected
    from netaudit.suppress import Override

    config = ctx.obj.config if isinstance(ctx.obj, Elsewhere) else configuration()
    outputs = [parsed_output(o) for o in (output or config.output or ("full",))]
    least = share("--min-coverage", config.min_coverage if min_coverage is None else min_coverage)
    level = one_of("--fail-level", fail_level or config.fail_level, ("error", "warning", "info"))
    lock = ctx.obj if isinstance(ctx.obj, Wanted) else None
    cache = kept(ctx, config, cache_dir, off=no_cache or verbose or probe, watched=lock is not None)
    after = After(
        outputs,
        least,
        level,
        exit_zero or config.exit_zero,
        full,
        quiet,
        verbose,
        seed,
        baseline_of(baseline, config),
        base_of(diff_base, ctx, config, cached=cache.store is not None),
        ignored_with(config, output, reason, cache.started, asked=add_ignore),
        lock,
    )
    asked = Chosen(
        words(select) or config.select,
        (*words(extend_select), *config.extend_select),
        (*words(ignore), *config.ignore),
        tuple(Override(o.module, o.ignore) for o in config.overrides),
        preview or config.preview,
    )
    wanted_targets = targets_of(targets, config)
    known = [(target, cache.reports([target])) for target in wanted_targets]
    if all(found is not None for _, found in known):
        return _told([(target, found or []) for target, found in known], packs(checks_only=True), asked, cache, after)
    from netaudit.audit import Settings  # torch is imported below this line only

    catalog = packs()
    settings = Settings(
        mode=one_of("--mode", mode or config.mode, ("train", "eval")),
        select=asked.select,
        extend_select=asked.extend_select,
        ignore=asked.ignore,
        overrides=asked.overrides,
        preview=asked.preview,
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
    groups: list[tuple[str, list[TargetReport]]] = []
    with progress() as tell:
        if probe:
            wanted = probing.probing(tell, seed, device=device, dtype=dtype, memory=probe_memory, downgrade=downgrade)
            settings = replace(settings, probe=wanted)
        for target in wanted_targets:
            if any(interrupted(found) for _, found in groups):
                break
            if settings.probe is not None:
                again = probing.command(
                    target, arg=arg, input=input, data=data, input_range=input_range, weights=weights, seed=seed, mode=mode
                )
                settings = replace(settings, probe=replace(settings.probe, command=again))
            audit = partial(audited, target, options, catalog, settings, timeout)
            groups.append((target, cache.audited(target, audit, catalog.packs)))
    return _told(groups, catalog, settings, cache, after)


@dataclass(frozen=True, slots=True)
class After:
    """What is done with reports: where they go, and what the exit code is made of."""

    outputs: Sequence[tuple[str, Path | None]]
    min_coverage: float
    level: str
    exit_zero: bool
    full: bool
    quiet: bool
    timings: bool
    seed: int
    baseline: Path | None = None
    base: Base | None = None
    ignoring: Ignoring | None = None
    lock: Wanted | None = None


def _told(groups: Sequence[tuple[str, list[TargetReport]]], catalog: Catalog, asked: Selection, cache: Kept, after: After) -> int:
    """Write the report of a run, and keep it for the next one. ``groups``: the reports of each target as it was named."""
    from netaudit.choose import agreed, unused_overrides

    found = [report for _, reports in groups for report in reports]
    whole = reported(agreed(found), catalog, after.seed, after.min_coverage, unused_overrides(found, catalog, asked), cache.torch)
    if after.baseline is not None:
        whole = compared(whole, read(after.baseline))
    if after.base is not None and not interrupted(found):
        whole = after.base.compared(whole, [(target, len(reports)) for target, reports in groups])
    if after.ignoring is not None and not interrupted(found):
        return exit_code(after.ignoring.written(whole, quiet=after.quiet), after.level, exit_zero=after.exit_zero)
    texts = emit(whole, after.outputs, full=after.full, timings=after.timings, quiet=after.quiet)
    code = exit_code(whole, after.level, exit_zero=after.exit_zero)
    beside = () if after.baseline is None else (str(after.baseline),)
    cache.keep(whole, texts, code, beside)
    if after.lock is not None and code != INTERRUPTED:
        write_lock(after.lock, cache, whole, partial(exit_code, level=after.level, exit_zero=after.exit_zero), beside)
    return code


def audited(target: str, options: Any, catalog: Catalog, settings: Any, timeout: int) -> list[TargetReport]:
    """The reports of everything that a target names, within a time; what comes after an interrupted probe is left out."""
    from netaudit.audit import audit_subject

    reports: list[TargetReport] = []
    with subjects(target, options, timeout) as found:
        for subject in found:
            try:
                reports.append(audit_subject(subject, catalog, settings))
            except KeyboardInterrupt:
                if settings.probe is None:
                    raise
                reports.append(cut_short(subject.id))
            if interrupted(reports):
                break
    return reports


def cut_short(target: str) -> TargetReport:
    """The report of a target whose audit was interrupted before anything was measured."""
    from netaudit.finding import TargetReport
    from netaudit.measured import Measured

    return TargetReport(target, measured=Measured("", "", (), "", notes=("it was interrupted before anything was measured",), partial=True))


def interrupted(reports: Sequence[TargetReport]) -> bool:
    """Whether a probe among them was."""
    return any(one.measured is not None and one.measured.partial for one in reports)


def reported(
    audited: Sequence[TargetReport], catalog: Catalog, seed: int, min_coverage: float, idle: tuple[str, ...], version: str = ""
) -> Report:
    """The report of a run; ``version`` of torch: that of the cache, when every target comes from there; empty when torch is loaded."""
    from netaudit import __version__
    from netaudit.finding import Report

    if not version:
        import torch

        version = torch.__version__
    return Report(tuple(audited), __version__, version, catalog.packs, seed, min_coverage, idle)


def exit_code(report: Report, level: str, *, exit_zero: bool) -> int:
    """What a run exits with: interrupted, not wholly checked, findings at a level or above, or clean."""
    if interrupted(report.targets):
        return INTERRUPTED
    if report.incomplete:
        return INCOMPLETE
    levels = ("info", "warning", "error")
    counted = levels[levels.index(level) :]
    return FINDINGS if not exit_zero and any(f.severity in counted for f in report.counted) else CLEAN
