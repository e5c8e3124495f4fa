"""`netaudit lock`: what was audited, and what was said of it, in a file that is committed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from netaudit import __version__
from netaudit.cache import Plan, replaced
from netaudit.errors import ConfigError, TargetError
from netaudit.finding import Report
from netaudit.lock import FILE, answered, read, text_of
from netaudit.lock.made import Audited, made, repository
from netaudit.lock.sources import relative

from .app import app
from .kept import Kept


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lock that a check is to write, and the arguments of the check."""

    path: Path
    arguments: tuple[str, ...]


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[TARGET... and options of check] [OPTIONS]",
)
def lock(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Compare the lock with what is there now, without torch; write nothing.")] = False,
    file: Annotated[Path, typer.Option("--file", help="The lock; paths in it are relative to its folder.")] = Path(FILE),
) -> int:
    """Lock what was found to the sources; --check compares them.

    Audits as `netaudit check` does with the same arguments, and writes a file to be committed. Without arguments those of the lock
    that is there are taken, else every configured target.
    """
    if check:
        if ctx.args:
            raise ConfigError(f"--check takes no target: {' '.join(ctx.args)}", "a lock is compared as a whole: netaudit lock --check")
        text, code = answered(file, __version__)
        sys.stdout.write(text)
        return code
    if file.absolute().parent != Path.cwd():
        raise ConfigError(f"{file} is in another folder", f"paths in a lock are relative to it: cd {file.parent}, then netaudit lock")
    given = ctx.args or (read(file).arguments if file.exists() else ())
    arguments = tuple(_portable(word) for word in given)
    code = app(args=["check", *arguments], standalone_mode=False, prog_name="netaudit", obj=Wanted(file, arguments))
    return int(code)


def write_lock(wanted: Wanted, cache: Kept, report: Report, exit_of: Callable[[Report], int], beside: Sequence[str]) -> None:
    """Write the lock of a run.

    Raises:
        TargetError: it is not known what a target rests on.
        ConfigError: a target rests on files outside of the repository, or the lock cannot be written.
    """
    audited = [Audited(target, cache.ids[target], _settled(target, cache), cache.named(target)) for target in cache.ids]
    found = made(audited, report, exit_of, wanted.arguments, beside)
    try:
        replaced(wanted.path, text_of(found.lock).encode())
    except OSError as error:
        raise ConfigError(f"{wanted.path} cannot be written: {error.strerror}", "write elsewhere with --file") from error
    for file in found.outside:
        sys.stderr.write(f"netaudit: {file} was read, and is no part of the lock: it is outside of the repository\n")
    targets, files = len(found.lock.entries), len(found.lock.files)
    sys.stderr.write(f"{wanted.path}: {targets} target{'s' * (targets != 1)}, {files} file{'s' * (files != 1)}\n")


def _settled(target: str, cache: Kept) -> Plan:
    plan = cache.plans[target]
    if plan is None:
        hint = "put the .safetensors file beside the code that reads it"
        raise TargetError(f"{target} uses safetensors, which reads files unseen, and none is beside it: nothing to lock", hint)
    if not cache.is_settled(plan):
        raise TargetError(f"a file of {target} was written while it was audited, so nothing was locked", "once more: netaudit lock")
    return plan


def _portable(word: str) -> str:
    """An argument without the place of the repository on this machine, whether the path is a word of its own or follows = or :."""
    top = re.escape(str(repository(Path.cwd())) + os.sep)
    return re.sub(rf"(^|[=:])({top}[^:]*)", lambda found: found[1] + relative(found[2], Path.cwd()), word)
