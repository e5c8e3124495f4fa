"""`netaudit plot`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netaudit.errors import ConfigError

from .app import CLEAN, INCOMPLETE, app
from .arguments import Args, InputRange, Inputs, Meta, Mode, Seed, Target, Timeout, Verbose, Weights
from .common import configuration, input_ranges, load_options, one_of, packs, subjects, write

if TYPE_CHECKING:
    from netaudit.finding import TargetReport


@app.command()
def plot(
    target: Target,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write, an SVG; standard output without it.")] = None,
    arg: Args = None,
    input: Inputs = None,
    input_range: InputRange = None,
    weights: Weights = None,
    meta: Meta = False,
    seed: Seed = 0,
    mode: Mode = None,
    timeout: Timeout = 600,
    verbose: Verbose = False,
) -> int:
    """Draw the size of activations and gradients along the depth of a model, and the share of the gradient that reaches each call."""
    from netaudit.audit import Settings
    from netaudit.report.html import figure

    del verbose
    _writable(out)
    config = configuration()
    settings = Settings(mode=one_of("--mode", mode or config.mode, ("train", "eval")), ranges=input_ranges(input_range))
    found = _swept(target, load_options(config, arg, input, weights, seed, meta=meta), settings, timeout)
    if len(found) > 1:
        names = ", ".join(one.id for one in found)
        raise ConfigError(f"{target} holds {len(found)} models, and a plot shows one: {names}", f"name one: {found[0].id}")
    drawn = figure(found[0], alone=True)
    if not drawn:
        raise ConfigError(f"{found[0].id}: there is nothing to draw", "no call of the model carries a gradient")
    if out is None:
        sys.stdout.write(drawn)
    else:
        write(out, drawn)
    return INCOMPLETE if found[0].coverage.share < config.min_coverage else CLEAN


def _writable(out: Path | None) -> None:
    """Said before the model is built."""
    if out is None:
        return
    if out.suffix != ".svg":
        raise ConfigError(f"--out {out} is not an SVG file", f"write {out.with_suffix('.svg')}")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{out} cannot be written: there is no folder {out.parent}", "make the folder, or write elsewhere")


def _swept(target: str, options: Any, settings: Any, timeout: int) -> list[TargetReport]:
    """The targets with their facts and flow, not judged by any rule."""
    from netaudit.audit import analyse
    from netaudit.finding import TargetReport
    from netaudit.tables import coverage, node_rows

    found = []
    with subjects(target, options, timeout) as loaded:
        for subject in loaded:
            analysis = analyse(subject, packs(), settings)
            facts, flow = analysis.facts, analysis.flow
            found.append(
                TargetReport(
                    subject.id,
                    coverage=coverage(facts, flow, analysis.later),
                    nodes=node_rows(facts, flow),
                    heads=analysis.graph.heads,
                )
            )
    return found
