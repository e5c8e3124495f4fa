"""`netaudit probe`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from . import probing, training
from .app import CLEAN, INCOMPLETE, INTERRUPTED, app
from .arguments import Args, Data, InputRange, Inputs, Mode, Seed, ShowFull, Targets, Timeout, Verbose, Weights
from .check import audited, interrupted, reported
from .common import configuration, emit, input_ranges, load_options, one_of, packs, targets_of, words
from .progress import progress

if TYPE_CHECKING:
    from netaudit.audit import Settings
    from netaudit.finding import TargetReport
    from netaudit.intake.subject import Options
    from netaudit.pack import Catalog
    from netaudit.probe.processes import World


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
    seeds: probing.Seeds = 1,
    probe_memory: probing.Memory = None,
    study: probing.Studies = None,
    optimizer: training.OptimizerName = None,
    lr: training.Lr = None,
    momentum: training.Momentum = None,
    weight_decay: training.WeightDecay = None,
    betas: training.Betas = None,
    eps: training.Eps = None,
    output: Annotated[str, typer.Option("--output", "-o", help="full or json.", metavar="FORMAT")] = "full",
    timeout: Timeout = 0,
    full: ShowFull = False,
    verbose: Verbose = False,
) -> int:
    """Measure on the real model what the analysis claims: sizes, gains, bounds, findings."""
    from netaudit.audit import Settings
    from netaudit.probe.processes import connected, world
    from netaudit.report import probe as report

    one_of("--output", output, ("full", "json"))
    here = world()
    if here.rank:
        probing.silenced()
    config, catalog = configuration(), packs()
    options = load_options(config, arg, input, weights, seed, data=data)
    settings = Settings(
        mode=one_of("--mode", mode or config.mode, ("train", "eval")),
        ranges=input_ranges(input_range),
        said=training.said(config, betas, optimizer=optimizer, lr=lr, momentum=momentum, weight_decay=weight_decay, eps=eps),
        raise_internal=verbose,
    )
    with connected(here), progress() as tell:
        wanted = probing.probing(
            tell,
            seed,
            here,
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
        found: list[TargetReport] = []
        for target in targets_of(targets, config):
            if not interrupted(found):
                found += _probed(target, options, catalog, settings, seeds, here, timeout)
    if here.rank:
        return CLEAN
    if output == "json":
        emit(reported(found, catalog, seed, 0.0, ()), [("json", None)], full=full, timings=verbose, quiet=False)
    else:
        sys.stdout.write("\n".join(report.text(one, full=full) for one in found))
    return _exit_code(found)


def _probed(
    target: str, options: Options, catalog: Catalog, settings: Settings, seeds: int, here: World, timeout: int
) -> list[TargetReport]:
    """The reports of a target; none but in the first process, the others only measure their seeds."""
    others = probing.others(target, options, settings, seeds, here)
    if here.rank:
        others()
        return []
    assert settings.probe is not None, "nothing is measured"
    wanted = replace(settings.probe, others=others if seeds > 1 else None)
    found = audited(target, options, catalog, replace(settings, probe=wanted), timeout)
    if here.size > 1 and not interrupted(found):
        others()  # they send what they have even where the model was not traced, and nobody asked
    return found


def _exit_code(found: list[TargetReport]) -> int:
    """What was measured decides nothing but whether it is whole: findings are the business of `netaudit check`."""
    if interrupted(found):
        return INTERRUPTED
    return INCOMPLETE if any(one.problems or one.measured is None or not one.measured.nodes for one in found) else CLEAN
