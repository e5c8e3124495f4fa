"""`netaudit probe`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from netaudit.errors import ConfigError, TargetError, did_you_mean

from . import coordinates as check
from . import probing, training
from .app import CLEAN, INCOMPLETE, INTERRUPTED, app
from .arguments import HEADS, Args, Cotangent, Data, InputRange, Inputs, Mode, Seed, ShowFull, Targets, Timeout, Verbose, Weights
from .check import audited, cut_short, interrupted, reported
from .common import configuration, emit, input_ranges, load_options, one_of, packs, targets_of, words
from .progress import progress
from .sweeps import Sweep, parsed

if TYPE_CHECKING:
    from netaudit.audit import Settings
    from netaudit.finding import TargetReport
    from netaudit.intake.subject import Options
    from netaudit.measured import Coordinates
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
    cotangent: Cotangent = "loss",
    device: probing.Device = "auto",
    dtype: probing.Dtype = None,
    samples: probing.Samples = 3,
    gains: probing.Gains = "findings",
    pairs: probing.Pairs = 20,
    node: probing.Node = "",
    draws: probing.Draws = 1,
    seeds: probing.Seeds = 1,
    probe_memory: probing.Memory = None,
    study: probing.Studies = None,
    sweep: check.SweepOption = None,
    sweep_steps: check.SweepSteps = 3,
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

    one_of("--output", output, ("full", "json"))
    swept = None if sweep is None else parsed(sweep)
    if swept is not None and (study or node):
        raise ConfigError(f"--sweep measures no {'study' if study else 'node'} of its own", "leave out one of the two")
    here = world()
    if here.rank:
        probing.silenced()
    config, catalog = configuration(), packs()
    settings = Settings(
        mode=one_of("--mode", mode or config.mode, ("train", "eval")),
        ranges=input_ranges(input_range),
        head=one_of("--cotangent", cotangent, HEADS),  # type: ignore[arg-type]  # one of three words
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
            node=node,
        )
        run = Run(catalog, replace(settings, probe=wanted), seeds, here, timeout)
        names = targets_of(targets, config)

        def load(given: list[str] | None) -> Options:
            return load_options(config, given, input, weights, seed, data=data)

        if swept is not None:
            built = {number: load(given) for number, (_, given) in zip(swept.numbers, swept.arguments(arg), strict=True)}
            grown = _swept(names, swept, built, run, sweep_steps)
        else:
            typed = partial(
                probing.command, arg=arg, input=input, data=data, input_range=input_range, weights=weights, seed=seed, mode=mode
            )
            again = partial(typed, cotangent=cotangent, samples=samples, pairs=pairs, draws=draws, probe_memory=probe_memory)
            found = _probed(names, load(arg), run, again)
    if here.rank:
        return CLEAN
    if swept is not None:
        return check.told(grown, catalog, output, full=full)
    return _told(_only(found, node), catalog, seed, output, full=full, timings=verbose)


@dataclass(frozen=True, slots=True)
class Run:
    """What is the same for all targets of a run."""

    catalog: Catalog
    settings: Settings
    seeds: int
    here: World
    timeout: int


def _probed(targets: Sequence[str], options: Options, run: Run, again: Callable[[str], tuple[str, ...]]) -> list[TargetReport]:
    """The reports of the targets, until one is interrupted: those before it are kept."""
    found: list[TargetReport] = []
    for target in targets:
        try:
            found += _of_target(target, options, run, again(target))
        except KeyboardInterrupt:
            if not found:
                raise
            found.append(cut_short(target))
        if interrupted(found):
            break
    return found


def _of_target(target: str, options: Options, run: Run, again: tuple[str, ...]) -> list[TargetReport]:
    """The reports of a target; none but in the first process, the others only measure their seeds."""
    others = probing.others(target, options, run.settings, run.seeds, run.here)
    if run.here.rank:
        others()
        return []
    assert run.settings.probe is not None, "nothing is measured"
    wanted = replace(run.settings.probe, others=others if run.seeds > 1 else None, command=again)
    found = audited(target, options, run.catalog, replace(run.settings, probe=wanted), run.timeout)
    if run.here.size > 1 and not interrupted(found):
        others()  # they send what they have even where the model was not traced, and nobody asked
    return found


def _swept(targets: Sequence[str], sweep: Sweep, built: Mapping[float, Options], run: Run, steps: int) -> list[Coordinates]:
    """The coordinate checks of the targets, until one is interrupted."""
    from netaudit.probe.coordinates import Asked
    from netaudit.probe.devices import device_of
    from netaudit.probe.fitted import Manner

    settings, wanted = run.settings, run.settings.probe
    assert wanted is not None, "nothing is measured"
    asked = Asked(Manner(device_of(wanted.device), wanted.dtype, settings.mode, wanted.plan), settings.head, settings.said, steps)
    found: list[Coordinates] = []
    for target in targets:
        found += check.coordinates(target, sweep, built, asked, run.seeds, run.here, run.timeout)
        if any(one.partial for one in found):
            break
    return found


def _only(found: Sequence[TargetReport], node: str) -> Sequence[TargetReport]:
    """The reports with the row of one call alone, if one was asked for.

    Raises:
        TargetError: no target has this call.
    """
    known = [row.id for one in found for row in one.nodes]
    if node and known and node not in known:
        raise TargetError(f"there is no call {node!r}", did_you_mean(node, known) or "`netaudit nodes TARGET` lists them")
    return [replace(one, nodes=tuple(row for row in one.nodes if row.id == node), params=()) if node else one for one in found]


def _told(found: Sequence[TargetReport], catalog: Catalog, seed: int, output: str, *, full: bool, timings: bool) -> int:
    from netaudit.report import probe as report

    if output == "json":
        emit(reported(found, catalog, seed, 0.0, ()), [("json", None)], full=full, timings=timings, quiet=False)
    else:
        sys.stdout.write("\n".join(report.text(one, full=full) for one in found))
    return _exit_code(found)


def _exit_code(found: Sequence[TargetReport]) -> int:
    """What was measured decides nothing but whether it is whole: findings are the business of `netaudit check`."""
    if interrupted(found):
        return INTERRUPTED
    return INCOMPLETE if any(one.problems or one.measured is None or not one.measured.nodes for one in found) else CLEAN
