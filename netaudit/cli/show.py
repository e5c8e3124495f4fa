"""Commands that show what is known: rules, nodes, the schema, the version."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from netaudit.errors import ConfigError, did_you_mean

from . import completion
from .app import CLEAN, INCOMPLETE, app
from .arguments import Args, InputRange, Inputs, Meta, Mode, Seed, Target, Timeout, Verbose, Weights
from .check import audited
from .common import configuration, input_ranges, load_options, one_of, packs, subjects

if TYPE_CHECKING:
    from netaudit.check import Check
    from netaudit.pack import Catalog


@app.command()
def rule(
    code: Annotated[
        str | None, typer.Argument(help="A code (NA201) or a name (vanishing-gradient).", autocompletion=completion.rules)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="List every rule.")] = False,
) -> int:
    """Explain a rule, or list them all."""
    from netaudit.manual import page, table

    catalog = packs(checks_only=True)
    if all or code is None:
        sys.stdout.write(table(catalog))
        return CLEAN
    found = _find_rule(catalog, code)
    sys.stdout.write(page(found))
    return CLEAN


def _find_rule(catalog: Catalog, word: str) -> Check:
    for found in catalog.checks.values():
        if word.upper() == found.code or word == found.name:
            return found
    known = [*catalog.checks, *(c.name for c in catalog.checks.values())]
    raise ConfigError(
        f"there is no rule {word!r}",
        did_you_mean(word.upper(), known) or did_you_mean(word, known) or "`netaudit rule --all` lists them",
    )


@app.command()
def nodes(
    target: Target,
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
    """Show the table of nodes: op, shape, Lipschitz bound, Jacobian, size, gradient."""
    from netaudit.audit import Settings
    from netaudit.report.nodes import render

    del verbose
    config = configuration()
    settings = Settings(mode=one_of("--mode", mode or config.mode, ("train", "eval")), ranges=input_ranges(input_range))
    found = audited(target, load_options(config, arg, input, weights, seed, meta=meta), packs(), settings, timeout)
    for one in found:
        sys.stdout.write(render(one))
    return INCOMPLETE if any(t.problems for t in found) else CLEAN


@app.command()
def explain(
    target: Target,
    node: Annotated[str, typer.Argument(help="A node (as `netaudit nodes` and the JSON name it), a module path, or an op.")],
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
    """Say everything known about a node: bound, Jacobian, range, kinks, source, size, gradient, with the numbers of this model."""
    from netaudit.audit import Settings, analyse
    from netaudit.report.explain import explain as explained

    del verbose
    config = configuration()
    settings = Settings(mode=one_of("--mode", mode or config.mode, ("train", "eval")), effort="tight", ranges=input_ranges(input_range))
    with subjects(target, load_options(config, arg, input, weights, seed, meta=meta), timeout) as found:
        for subject in found:
            analysis = analyse(subject, packs(), settings)
            sys.stdout.write(explained(subject.id, analysis.facts, analysis.flow, node))
    return CLEAN


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="report, jsonl, forecast, certificate, sweep or baseline: what it describes.")] = "report",
) -> int:
    """Print the JSON Schema of the JSON report, or of another kind of document."""
    from netaudit.report.documents import KINDS, json_schema

    sys.stdout.write(json_schema(one_of("KIND", kind, tuple(KINDS))))
    return CLEAN


@app.command()
def version() -> int:
    """Print the version."""
    from netaudit import __version__

    sys.stdout.write(f"netaudit {__version__}\n")
    return CLEAN
