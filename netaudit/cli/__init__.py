"""The command line: arguments, exit codes, printing. The only room that does any of the three."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import typer

from netaudit.errors import NetauditError, complaint

from . import baseline, certify, check, clean, diff, forecast, lock, plot, probe, report, show
from .app import CLEAN, INTERRUPTED, USAGE, app
from .streams import keep_stdout_for_results

__all__ = ["app", "baseline", "certify", "check", "clean", "diff", "forecast", "lock", "main", "plot", "probe", "report", "show"]


def main() -> NoReturn:
    """Run the command line and exit."""
    gc.set_threshold(200_000, 30, 30)  # a short-lived process that imports and traces a lot: half a second less (as mypy does)
    keep_stdout_for_results()
    code = _run(sys.argv[1:])
    sys.stdout = sys.stderr  # what exit handlers print is no result
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    """Run with errors turned into one line and an exit code; tracebacks only with --verbose."""
    verbose = "--verbose" in arguments or "-v" in arguments
    try:
        _refuse_a_mixture()
        return _called(arguments)
    except BrokenPipeError:  # the reader has seen enough: `| head`
        _discard_results()
        return CLEAN
    except OSError as error:
        if verbose or error.errno != errno.ENOSPC:
            raise
        _discard_results()
        _complain(f"the output cannot be written: {error.strerror}", "make room, or write elsewhere")
        return USAGE
    except NetauditError as error:
        if verbose and error.__cause__ is not None:
            raise
        _complain(error.message, error.hint)
        return error.exit_code
    except Exception as error:
        if verbose:
            raise
        return _usage(error)


def _called(arguments: Sequence[str]) -> int:
    """The exit code of a command; that of an interrupt is told, whether it left a part of a report or nothing caught it."""
    try:
        code = app(args=list(arguments), standalone_mode=False, prog_name="netaudit", obj=tuple(arguments))
        sys.stdout.flush()
    except typer.Exit as error:
        return int(error.exit_code)
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        _complain("interrupted", "")
    return code if isinstance(code, int) else CLEAN


def _refuse_a_mixture() -> None:
    """An unrelated project installs a package of the same name: with both, files of one stand among those of the other.

    Raises:
        NetauditError: it is installed.
    """
    try:
        other = version("netaudit")  # this one is distributed as netaudit-torch
    except PackageNotFoundError:
        return
    raise NetauditError(
        f"another project, `netaudit` {other}, is installed in this environment: its files and those of netaudit-torch are mixed",
        "pip uninstall netaudit netaudit-torch, then install netaudit-torch alone, or use an environment of its own",
    )


def _discard_results() -> None:
    """What is still in the buffer goes nowhere, without a complaint at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: Exception) -> int:
    """Typer's own errors (unknown option, missing argument) are usage; anything else is ours and is shown whole."""
    show = getattr(error, "show", None)
    if show is None:
        raise error
    message = getattr(error, "format_message", lambda: str(error))()
    _complain(message, "netaudit --help")
    return USAGE


def _complain(message: str, hint: str) -> None:
    sys.stderr.write(complaint(message, hint))
