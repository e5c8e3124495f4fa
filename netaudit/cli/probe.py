"""`netaudit probe`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from . import probing
from .app import CLEAN, INCOMPLETE, INTERRUPTED, app
from .arguments import Args, Data, InputRange, Inputs, Mode, Seed, ShowFull, Targets, Timeout, Verbose, Weights
from .check import audited, reported
from .common import configuration, emit, input_ranges, load_options, one_of, packs, targets_of, words


@app.command()
def probe(
    targets: Targets = None,
    arg: Args = None,
    input: Inputs = None,
    data: Data = None,
    input_range: InputRange = None,
    weights: Weights = None,
    seed: Seed = 0,
    mode: Mode = None,
    device: probing.Device = "auto",
    dtype: probing.Dtype = None,
    samples: probing.Samples = 3,
    gains: probing.Gains = "findings",
    pairs: probing.Pairs = 20,
    draws: probing.Draws = 1,
    probe_memory: probing.Memory = None,
    study: probing.Studies = None,
    output: Annotated[str, typer.Option("--output", "-o", help="full or json.", metavar="FORMAT")] = "full",
    timeout: Timeout = 0,
    full: ShowFull = False,
    verbose: Verbose = False,
) -> int:
    """Measure on the real model what the analysis claims: sizes, gains, bounds, findings."""
    from netaudit.audit import Settings
    from netaudit.report import probe as report

    one_of("--output", output, ("full", "json"))
    config, catalog = configuration(), packs()
    settings = Settings(
        mode=one_of("--mode", mode or config.mode, ("train", "eval")), ranges=input_ranges(input_range), raise_internal=verbose
    )
    options = load_options(config, arg, input, weights, seed, data=data)
    with probing.progress() as tell:
        wanted = probing.probing(
            tell,
            seed,
            device=device,
            dtype=dtype,
            memory=probe_memory,
            downgrade=False,
            samples=samples,
            gains=gains,
            pairs=pairs,
            draws=draws,
            studies=words(study),
        )
        settings = replace(settings, probe=wanted)
        found = [one for target in targets_of(targets, config) for one in audited(target, options, catalog, settings, timeout)]
    if output == "json":
        emit(reported(found, catalog, seed, 0.0, ()), [("json", None)], full=full, timings=verbose, quiet=False)
    else:
        sys.stdout.write("\n".join(report.text(one, full=full) for one in found))
    return _exit_code(found)


def _exit_code(found: list[Any]) -> int:
    """What was measured decides nothing but whether it is whole: findings are the business of `netaudit check`."""
    if any(one.measured is not None and one.measured.partial for one in found):
        return INTERRUPTED
    return INCOMPLETE if any(one.problems or one.measured is None or not one.measured.nodes for one in found) else CLEAN
