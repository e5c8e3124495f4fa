"""The command line: arguments, exit codes, printing. The only room that does any of the three."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .arguments import Args, Inputs, Mode, Seed, ShowFull, Target, Targets, Timeout, Verbose, Weights
from .errors import ConfigError, NetauditError, TargetError, did_you_mean

if TYPE_CHECKING:
    from .check import Check
    from .config import Config
    from .finding import Report, TargetReport
    from .pack import Catalog
    from .report import Style

CLEAN, FINDINGS, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
EPILOG = (
    "exit codes: 0 clean · 1 findings at or above the fail level · 2 usage, configuration or target · "
    "3 not wholly checked · 130 interrupted"
)

app = typer.Typer(
    name="netaudit",
    help="A linter for the trainability of PyTorch models.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> NoReturn:
    """Run the command line and exit."""
    gc.set_threshold(200_000, 30, 30)  # a short-lived process that imports and traces a lot: half a second less (as mypy does)
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: Sequence[str]) -> int:
    """Run with errors turned into one line and an exit code; tracebacks only with --verbose."""
    verbose = "--verbose" in arguments or "-v" in arguments
    try:
        code = app(args=list(arguments), standalone_mode=False, prog_name="netaudit")
        return code if isinstance(code, int) else CLEAN
    except typer.Exit as error:
        return int(error.exit_code)
    except KeyboardInterrupt:
        _complain("interrupted", "")
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLEAN
    except NetauditError as error:
        if verbose and error.__cause__ is not None:
            raise
        _complain(error.message, error.hint)
        return error.exit_code
    except Exception as error:
        if verbose:
            raise
        return _usage(error)


def _usage(error: Exception) -> int:
    """Typer's own errors (unknown option, missing argument) are usage; anything else is ours and is shown whole."""
    show = getattr(error, "show", None)
    if show is None:
        raise error
    message = getattr(error, "format_message", lambda: str(error))()
    _complain(message, "netaudit --help")
    return USAGE


def _complain(message: str, hint: str) -> None:
    sys.stderr.write(f"netaudit: {message}\n" + (f"  hint: {hint}\n" if hint else ""))


# check ------------------------------------------------------------------------------------------------------------------


@app.command()
def check(
    targets: Targets = None,
    arg: Args = None,
    input: Inputs = None,
    weights: Weights = None,
    seed: Seed = 0,
    mode: Mode = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", help="Rules to run: codes, prefixes (NA2) or names; comma-separated."),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Rules not to run.")] = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help="FORMAT or FORMAT=FILE: full, concise, json. May be repeated."),
    ] = None,
    fail_level: Annotated[
        str | None,
        typer.Option("--fail-level", help="Least severity that makes the exit code 1: error, warning or info."),
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 in spite of findings.")] = False,
    min_coverage: Annotated[
        float | None,
        typer.Option("--min-coverage", help="Least share of calls with a transfer; below it the exit code is 3."),
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Run rules that are not settled yet.")] = False,
    timeout: Timeout = 600,
    full: ShowFull = False,
    verbose: Verbose = False,
) -> int:
    """Audit models: trace, forecast gradients, prove bounds, report what stands in the way of training."""
    from .audit import Settings, selected  # torch is imported below this line only

    config = _config()
    catalog = _catalog()
    outputs = [_output(o) for o in (output or config.output or ("full",))]
    level = _one_of("--fail-level", fail_level or config.fail_level, ("error", "warning", "info"))
    settings = Settings(
        mode=_one_of("--mode", mode or config.mode, ("train", "eval")),
        select=_words(select) or (*config.select, *config.extend_select) if config.select or select else (),
        ignore=(*_words(ignore), *config.ignore),
        preview=preview or config.preview,
        raise_internal=verbose,
    )
    selected(catalog, settings)  # an unknown rule is said before anything is built
    wanted = targets or list(config.targets)
    if not wanted:
        raise TargetError("there is nothing to check", "name a target: netaudit check model.py")
    options = _options(config, arg, input, weights, seed)
    audited = [report for target in wanted for report in _audited(target, options, catalog, settings, timeout)]
    report = _report(audited, catalog, seed, config.min_coverage if min_coverage is None else min_coverage)
    _emit(report, outputs, full=full, timings=verbose)
    return _exit_code(report, level, exit_zero=exit_zero or config.exit_zero)


def _audited(target: str, options: Any, catalog: Catalog, settings: Any, timeout: int) -> list[TargetReport]:
    from .audit import audit_subject
    from .intake.target import load

    with _alarm(timeout, target):
        return [audit_subject(subject, catalog, settings) for subject in load(target, options)]


@contextmanager
def _alarm(seconds: int, target: str) -> Iterator[None]:
    """A model that hangs is an error, not a wait."""
    if seconds <= 0 or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(_signal: int, _frame: object) -> None:
        raise TargetError(f"{target}: not done after {seconds} seconds", "raise --timeout, or look for an endless loop in the model")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _report(audited: Sequence[TargetReport], catalog: Catalog, seed: int, min_coverage: float) -> Report:
    import torch

    from . import __version__
    from .finding import Report

    return Report(tuple(audited), __version__, torch.__version__, catalog.packs, seed, min_coverage)


def _exit_code(report: Report, level: str, *, exit_zero: bool) -> int:
    if report.incomplete:
        return INCOMPLETE
    levels = ("info", "warning", "error")
    counted = levels[levels.index(level) :]
    return FINDINGS if not exit_zero and any(f.severity in counted for f in report.findings) else CLEAN


# output -----------------------------------------------------------------------------------------------------------------


def _output(text: str) -> tuple[str, Path | None]:
    from .report import FORMATS

    name, _, file = text.partition("=")
    if name not in FORMATS:
        raise ConfigError(f"there is no output format {name!r}", did_you_mean(name, FORMATS) or f"formats: {', '.join(FORMATS)}")
    path = Path(file) if file else None
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}", "make the folder, or write elsewhere")
    return name, path


def _emit(report: Report, outputs: Sequence[tuple[str, Path | None]], *, full: bool, timings: bool) -> None:
    from .report import FORMATS

    for name, path in outputs:
        text = FORMATS[name](report, _style(path, full=full, timings=timings))
        if path is None:
            sys.stdout.write(text)
        else:
            temporary = path.with_name(path.name + ".tmp")  # never a half-written report
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
    sys.stdout.flush()


def _style(path: Path | None, *, full: bool, timings: bool) -> Style:
    from .report import Style

    terminal = path is None and sys.stdout.isatty()
    color = path is None and (bool(os.environ.get("FORCE_COLOR")) or terminal) and not os.environ.get("NO_COLOR")
    width = min(os.get_terminal_size().columns, 140) if terminal else 80
    return Style(color, width, full, timings)


# shared -----------------------------------------------------------------------------------------------------------------


def _config() -> Config:
    from .config import load_config

    return load_config()


def _catalog(*, checks_only: bool = False) -> Catalog:
    from .pack import installed

    return installed(checks_only=checks_only)


def _options(config: Config, arg: Sequence[str] | None, inputs: Sequence[str] | None, weights: str | None, seed: int) -> Any:
    from .intake.build import parse_args
    from .intake.subject import Options

    name = config.path.name if config.path is not None else "pyproject.toml"
    return Options(
        args=parse_args(arg or []),
        inputs=tuple(inputs or ()),
        weights=weights,
        seed=seed,
        config=config.targets,
        config_name=name,
    )


def _words(given: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(word.strip() for text in given or () for word in text.split(",") if word.strip())


def _one_of(flag: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ConfigError(f"{flag} {value!r} is not one of {', '.join(allowed)}", did_you_mean(value, allowed))
    return value


# other commands ---------------------------------------------------------------------------------------------------------


@app.command()
def rule(
    code: Annotated[str | None, typer.Argument(help="A code (NA201) or a name (vanishing-gradient).")] = None,
    all: Annotated[bool, typer.Option("--all", help="List every rule.")] = False,
) -> int:
    """Explain a rule, or list them all."""
    from .manual import page, table

    catalog = _catalog(checks_only=True)
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
    weights: Weights = None,
    seed: Seed = 0,
    mode: Mode = None,
    timeout: Timeout = 600,
    verbose: Verbose = False,
) -> int:
    """Show the table of nodes: op, shape, Lipschitz bound, Jacobian, size, gradient."""
    from .audit import Settings
    from .report.nodes import render

    del verbose
    config = _config()
    settings = Settings(mode=_one_of("--mode", mode or config.mode, ("train", "eval")))
    audited = _audited(target, _options(config, arg, input, weights, seed), _catalog(), settings, timeout)
    for one in audited:
        sys.stdout.write(render(one))
    return INCOMPLETE if any(t.problems for t in audited) else CLEAN


@app.command()
def schema() -> int:
    """Print the JSON Schema of the JSON report."""
    from .report.json import json_schema

    sys.stdout.write(json_schema())
    return CLEAN


@app.command()
def version() -> int:
    """Print the version."""
    from . import __version__

    sys.stdout.write(f"netaudit {__version__}\n")
    return CLEAN
