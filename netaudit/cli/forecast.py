"""`netaudit forecast`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from netaudit.errors import ConfigError

from .app import CLEAN, INCOMPLETE, app
from .arguments import HEADS, Args, Cotangent, Data, InputRange, Inputs, Meta, Mode, Seed, ShowFull, Targets, Timeout, Verbose, Weights
from .common import configuration, input_ranges, load_options, one_of, packs, subjects, targets_of
from .sweeps import parsed


@app.command()
def forecast(
    targets: Targets = None,
    arg: Args = None,
    input: Inputs = None,
    data: Data = None,
    input_range: InputRange = None,
    input_stats: Annotated[
        str | None,
        typer.Option("--input-stats", help="Statistics of float inputs, instead of the example's own.", metavar="mean=M,std=S"),
    ] = None,
    weights: Weights = None,
    meta: Meta = False,
    seed: Seed = 0,
    mode: Mode = None,
    cotangent: Cotangent = "loss",
    measure: Annotated[bool, typer.Option("--measure", help="Run one real forward and backward pass and print it beside.")] = False,
    sweep: Annotated[
        str | None, typer.Option("--sweep", help="Forecast for several values of a factory's argument.", metavar="NAME=V1,V2,...")
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", help="full or json.", metavar="FORMAT")] = "full",
    timeout: Timeout = 600,
    full: ShowFull = False,
    verbose: Verbose = False,
) -> int:
    """Forecast the size of every activation and gradient without running the model."""
    from netaudit.audit import Settings
    from netaudit.report import forecast as report

    one_of("--output", output, ("full", "json"))
    if measure and meta:
        raise ConfigError("--measure runs the model, which has no weights under --meta", "leave out one of the two")
    swept = None if sweep is None else parsed(sweep)
    config = configuration()
    settings = Settings(
        mode=one_of("--mode", mode or config.mode, ("train", "eval")),
        ranges=input_ranges(input_range),
        head=one_of("--cotangent", cotangent, HEADS),  # type: ignore[arg-type]  # one of three words
        stats=_stats(input_stats),
    )
    found = []
    for target in targets_of(targets, config):
        for value, given in [("", arg)] if swept is None else swept.arguments(arg):
            options = load_options(config, given, input, weights, seed, meta=meta, data=data)
            found += [replace(one, variant=value) for one in _forecast(target, options, settings, measure, timeout)]
    if output == "json":
        sys.stdout.write(report.document(found, timings=verbose))
    elif swept is not None:
        sys.stdout.write(report.comparison(found, swept.name))
    else:
        sys.stdout.write("\n\n".join(report.text(one, full=full) for one in found))
    return INCOMPLETE if any(p.forecast is None for one in found for p in one.flow.params.values()) else CLEAN


def _stats(given: str | None) -> tuple[float, float] | None:
    if given is None:
        return None
    parts = dict(part.partition("=")[::2] for part in given.split(","))
    try:
        mean, std = float(parts.pop("mean", 0.0)), float(parts.pop("std", 1.0))
    except ValueError as error:
        raise ConfigError(f"--input-stats {given!r} holds no numbers", "write it as mean=0,std=1") from error
    if parts or std < 0.0:
        raise ConfigError(f"--input-stats {given!r} is not understood", "write it as mean=0,std=1")
    return mean, std


def _forecast(target: str, options: Any, settings: Any, measure: bool, timeout: int) -> list[Any]:
    from netaudit.audit import analyse
    from netaudit.report.forecast import Forecast

    found = []
    with subjects(target, options, timeout) as loaded:
        for subject in loaded:
            analysis = analyse(subject, packs(), settings)
            real = _measured(subject, settings, options.seed) if measure else None
            known = (analysis.facts, analysis.flow, analysis.later, analysis.cotangent, analysis.seconds)
            found.append(Forecast(subject.id, *known, real, options.seed, notes=subject.absent.notes))
    return found


def _measured(subject: Any, settings: Any, seed: int) -> Any:
    from netaudit.intake.heads import with_head
    from netaudit.intake.usercode import user_code
    from netaudit.probe import measured_gradients

    with user_code(f"running {subject.id}"):
        return measured_gradients(with_head(subject, settings.head), mode=settings.mode, seed=seed)
