"""`netaudit certify`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from netaudit.errors import ConfigError

from .app import CLEAN, INCOMPLETE, app
from .arguments import Args, InputRange, Inputs, Seed, ShowFull, Targets, Timeout, Verbose, Weights
from .common import configuration, input_ranges, load_options, one_of, packs, subjects, targets_of
from .kept import CacheDir, NoCache, norms_in


@app.command()
def certify(
    targets: Targets = None,
    arg: Args = None,
    input: Inputs = None,
    input_range: InputRange = None,
    weights: Weights = None,
    meta: Annotated[bool, typer.Option("--meta", hidden=True)] = False,
    seed: Seed = 0,
    mode: Annotated[str, typer.Option("--mode", help="train or eval; dropout and batch statistics differ.", metavar="MODE")] = "eval",
    ball: Annotated[
        float | None, typer.Option("--ball", help="Also bound the map in a ball of this radius around the example input.", metavar="EPS")
    ] = None,
    norm: Annotated[str, typer.Option("--norm", help="The norm of the ball: l2 or linf.")] = "l2",
    budget: Annotated[float, typer.Option("--budget", help="Time to search for each bound.", metavar="SECONDS")] = 10.0,
    output: Annotated[str, typer.Option("--output", "-o", help="full or json.", metavar="FORMAT")] = "full",
    no_cache: NoCache = False,
    cache_dir: CacheDir = None,
    timeout: Timeout = 600,
    full: ShowFull = False,
    verbose: Verbose = False,
) -> int:
    """Prove a Lipschitz constant of a whole network (l2), and say how much of it is attained."""
    from netaudit.cache.proofs import proofs_in
    from netaudit.report import certificate

    del verbose
    if meta:
        raise ConfigError("certify proves what holds for these weights, and --meta builds without them", "leave out --meta")
    one_of("--output", output, ("full", "json"))
    request = _request(one_of("--mode", mode, ("train", "eval")), ball, one_of("--norm", norm, ("l2", "linf")), budget, seed, input_range)
    request = replace(request, proofs=proofs_in(norms_in(cache_dir, off=no_cache)))
    config = configuration()
    options = load_options(config, arg, input, weights, seed)
    found = [one for target in targets_of(targets, config) for one in _certified(target, options, request, timeout)]
    if output == "json":
        sys.stdout.write(certificate.document(found))
    else:
        sys.stdout.write("\n\n".join(certificate.text(target, one, request.ball, full=full) for target, one in found))
    return INCOMPLETE if any(one.bound.unknown for _, one in found) else CLEAN


def _request(mode: str, ball: float | None, norm: str, budget: float, seed: int, ranges: list[str] | None) -> Any:
    from netaudit.certify import Ball, Request

    if ball is not None and not 0.0 < ball < float("inf"):
        raise ConfigError(f"--ball {ball:g} is not a radius", "give a positive number")
    if budget < 0.0:
        raise ConfigError(f"--budget {budget:g} is not a time", "give seconds, 0 for no search")
    return Request(mode, input_ranges(ranges), None if ball is None else Ball(ball, norm), budget, seed)  # type: ignore[arg-type]  # words of closed sets


def _certified(target: str, options: Any, request: Any, timeout: int) -> list[tuple[str, Any]]:
    from netaudit.certify import certify_subject

    with subjects(target, options, timeout) as found:
        return [(subject.id, certify_subject(subject, packs(), request)) for subject in found]
