"""`netaudit report`: what becomes of JSON reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from . import completion
from .app import app
from .arguments import Quiet, ShowFull
from .check import exit_code
from .common import configuration, emit, one_of, parsed_output, share

report_app = typer.Typer(help="Turn JSON reports (check -o json=FILE) into others.", no_args_is_help=True)
app.add_typer(report_app, name="report")
WHOLE = ("json", "jsonl")
"""Formats that hold nothing which a JSON report does not."""


@report_app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="JSON reports of one version, such as those of the jobs of a CI matrix.")],
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help="FORMAT or FORMAT=FILE, as of `check`. May be repeated.", autocompletion=completion.formats),
    ] = None,
    fail_level: Annotated[
        str | None,
        typer.Option(
            "--fail-level", help="Least severity that makes the exit code 1: error, warning or info.", autocompletion=completion.levels
        ),
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 in spite of findings.")] = False,
    min_coverage: Annotated[float | None, typer.Option("--min-coverage", help="As of `check`; that of the reports if not said.")] = None,
    full: ShowFull = False,
    quiet: Quiet = False,
) -> int:
    """Make one report of several, in any format; exit as one run would have."""
    from netaudit.report.merging import merged
    from netaudit.report.read import LACKS, read

    config = configuration()
    outputs = [parsed_output(text) for text in (output or config.output or ("full",))]
    level = one_of("--fail-level", fail_level or config.fail_level, ("error", "warning", "info"))
    least = None if min_coverage is None else share("--min-coverage", min_coverage)
    whole = merged([(str(file), read(file)) for file in files], least)
    noted = replace(whole, targets=tuple(replace(target, notes=(*target.notes, LACKS)) for target in whole.targets))
    for name, path in outputs:
        emit(whole if name in WHOLE else noted, [(name, path)], full=full, timings=False, quiet=quiet)
    return exit_code(whole, level, exit_zero=exit_zero or config.exit_zero)
