"""`netaudit baseline`: create, prune and check the file of accepted findings."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from netaudit.baseline import FILE, Entries, Known, gone, is_worse, read, text_of
from netaudit.cache import replaced
from netaudit.config import Config
from netaudit.diff import entries_of
from netaudit.errors import ConfigError

from .app import CLEAN, FINDINGS, INCOMPLETE, app
from .common import configuration

BaselineFile = Annotated[
    str | None,
    typer.Option("--baseline", help="Findings in this file do not count until they are ten times worse; '' for none.", metavar="FILE"),
]
File = Annotated[Path | None, typer.Option("--file", help=f"The baseline; that of the configuration, else {FILE}.")]
_PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

baseline_app = typer.Typer(help="Accept what is found now, and hear of what is new or ten times worse.", no_args_is_help=True)
app.add_typer(baseline_app, name="baseline")


def baseline_of(given: str | None, config: Config) -> Path | None:
    """The baseline that a check is compared with, if any."""
    said = config.baseline if given is None else given
    return Path(said) if said else None


@baseline_app.command(context_settings=_PASSES_ON)
def create(ctx: typer.Context, file: File = None) -> int:
    """Accept everything that `netaudit check ARGUMENTS` finds now."""
    path = _file(file)
    found = audited_entries(ctx.args)
    _write(path, found)
    sys.stdout.write(f"{path}: {len(found)} finding{'s' * (len(found) != 1)} accepted\n")
    return CLEAN


@baseline_app.command(context_settings=_PASSES_ON)
def prune(ctx: typer.Context, file: File = None) -> int:
    """Drop the entries that `netaudit check ARGUMENTS` finds nothing for; accept nothing new."""
    path = _file(file)
    accepted = read(path)
    fixed = gone(audited_entries(ctx.args), accepted)
    _write(path, [entry for entry in accepted if entry not in fixed])
    sys.stdout.write(f"{path}: {len(fixed)} fixed, {len(accepted) - len(fixed)} left\n")
    return CLEAN


@baseline_app.command(context_settings=_PASSES_ON)
def check(ctx: typer.Context, file: File = None) -> int:
    """Say how `netaudit check ARGUMENTS` differs from the baseline; exit with 1 when it does, be it for the better."""
    path = _file(file)
    accepted = read(path)
    found = audited_entries(ctx.args)
    lines = [f"fixed    {_told(entry)}" for entry in gone(found, accepted)]
    lines += [f"new      {_told(entry)}" for entry in gone(accepted, found)]
    lines += [
        f"worse    {_told(entry)}" for entry in found if any(e.fingerprint == entry.fingerprint and is_worse(entry, e) for e in accepted)
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines) or f"{path}: {len(accepted)} in the baseline, all as accepted\n")
    return FINDINGS if lines else CLEAN


def audited_entries(arguments: list[str]) -> Entries:
    """The findings of `netaudit check ARGUMENTS`.

    Raises:
        ConfigError: not everything was checked.
    """
    return entries_of(audited_report(arguments), "report")


def audited_report(arguments: list[str]) -> object:
    """The JSON report of `netaudit check ARGUMENTS`, all findings in it.

    Raises:
        ConfigError: not everything was checked, or the arguments name an output.
    """
    with tempfile.TemporaryDirectory(prefix="netaudit-") as folder:
        file = Path(folder) / "report.json"
        given = ["check", *arguments, "--output", f"json={file}", "--output", f"concise={file}.txt", "--exit-zero", "--baseline", ""]
        code = app(args=given, standalone_mode=False, prog_name="netaudit", obj=())
        if code == INCOMPLETE:
            said = Path(f"{file}.txt").read_text(encoding="utf-8").splitlines()
            missing = [line for line in said if ": incomplete: " in line]
            raise ConfigError(
                "\n".join(["not everything was checked, so nothing was compared or accepted", *missing]), "see netaudit check"
            )
        report: object = json.loads(file.read_text(encoding="utf-8"))
        return report


def _file(given: Path | None) -> Path:
    return given or Path(configuration().baseline or FILE)


def _write(path: Path, entries: Entries | list[Known]) -> None:
    try:
        replaced(path, text_of(entries).encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", "write elsewhere with --file") from error


def _told(entry: Known) -> str:
    return f"{entry.code} {entry.name} {entry.target}" + (f" {entry.module}" if entry.module else "")
