"""What commands share: configuration, packs, options, a limit on time, output."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from netaudit.cache.store import replaced
from netaudit.errors import ConfigError, DeadlineError, TargetError, did_you_mean

if TYPE_CHECKING:
    from netaudit.config import Config
    from netaudit.finding import Report
    from netaudit.intake.subject import Options, Subject
    from netaudit.pack import Catalog
    from netaudit.report import Style
    from netaudit.signal import Interval


def configuration() -> Config:
    """The nearest configuration."""
    from netaudit.config import load_config

    return load_config()


def packs(*, checks_only: bool = False) -> Catalog:
    """What the installed packs declare."""
    from netaudit.pack import installed

    return installed(checks_only=checks_only)


def load_options(
    config: Config,
    arg: Sequence[str] | None,
    inputs: Sequence[str] | None,
    weights: str | None,
    seed: int,
    *,
    meta: bool = False,
    data: str | None = None,
) -> Options:
    """How targets are to be loaded.

    Raises:
        ConfigError: the seed is too large, or inputs are given twice.
    """
    from netaudit.intake.build import parse_args
    from netaudit.intake.subject import Options

    if not -(2**63) <= seed < 2**63:
        raise ConfigError(f"--seed {seed} is too large", "torch takes 64 bits")
    if data is not None and inputs:
        raise ConfigError("--data and --input both say what goes in", "leave out one of the two")
    name = config.path.name if config.path is not None else "pyproject.toml"
    return Options(
        args=parse_args(arg or []),
        inputs=tuple(inputs or ()),
        data=data,
        weights=weights,
        seed=seed,
        config=config.targets,
        config_name=name,
        meta=meta,
    )


def input_ranges(given: Sequence[str] | None) -> dict[str, Interval]:
    """Ranges of inputs by name; the empty name means every float input.

    Raises:
        ConfigError: not of the form ``[NAME=]LO:HI``.
    """
    from netaudit.signal import Interval

    found = {}
    for text in given or ():
        name, _, bounds = text.rpartition("=")
        low, colon, high = bounds.partition(":")
        try:
            interval = Interval(float(low), float(high))
        except ValueError:
            colon = ""
        if not colon or not interval.lo <= interval.hi:
            raise ConfigError(f"--input-range {text!r} is not a range", "write it as x=-1:1, or -1:1 for every float input")
        found[name] = interval
    return found


def targets_of(given: Sequence[str] | None, config: Config) -> Sequence[str]:
    """The targets named, else every configured one.

    Raises:
        TargetError: there are none.
    """
    wanted = given or list(config.targets)
    if not wanted:
        raise TargetError("there is nothing to check", "name a target: netaudit check model.py")
    return wanted


def words(given: Sequence[str] | None) -> tuple[str, ...]:
    """Comma-separated words of an option that may be repeated."""
    return tuple(word.strip() for text in given or () for word in text.split(",") if word.strip())


def one_of(flag: str, value: str, allowed: Sequence[str]) -> str:
    """A word of a closed set.

    Raises:
        ConfigError: it is another word.
    """
    if value not in allowed:
        raise ConfigError(f"{flag} {value!r} is not one of {', '.join(allowed)}", did_you_mean(value, allowed))
    return value


def share(flag: str, value: float) -> float:
    """A number from 0 to 1.

    Raises:
        ConfigError: it is another one, or none.
    """
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{flag} {value:g} is not a share", "give a number from 0 to 1")
    return value


AGAIN = 1.0
"""Seconds after which an alarm that was swallowed, by a bare ``except`` of the user's, rings again."""


@contextmanager
def alarm(seconds: int, target: str) -> Iterator[None]:
    """A model that hangs is an error, not a wait."""
    if seconds <= 0 or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(_signal: int, _frame: object) -> None:
        raise DeadlineError

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    except DeadlineError as error:
        hint = "raise --timeout, or look for an endless loop in the model"
        raise TargetError(f"{target}: not done after {seconds} seconds", hint) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def subjects(target: str, options: Options, timeout: int) -> Iterator[Iterable[Subject]]:
    """Everything that a target names; loading and what is done with it have a limit on time together."""
    from netaudit.intake.target import load

    with alarm(timeout, target):
        yield load(target, options)


def parsed_output(text: str) -> tuple[str, Path | None]:
    """FORMAT or FORMAT=FILE.

    Raises:
        ConfigError: there is no such format, or the file has no folder.
    """
    from netaudit.report import FORMATS

    name, _, file = text.partition("=")
    if name not in FORMATS:
        raise ConfigError(f"there is no output format {name!r}", did_you_mean(name, FORMATS) or f"formats: {', '.join(FORMATS)}")
    path = Path(file) if file else None
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}", "make the folder, or write elsewhere")
    if path is not None and path.is_dir():
        raise ConfigError(f"{path} cannot be written: it is a folder", f"name a file in it: {name}={path / name}")
    return name, path


def emit(
    report: Report, outputs: Sequence[tuple[str, Path | None]], *, full: bool, timings: bool, quiet: bool
) -> list[tuple[str | None, str]]:
    """Write a report in every format asked for; what was written, to which file or to standard output (None)."""
    from netaudit.report import FORMATS

    texts = []
    for name, path in outputs:
        wanted = style(path, full=full, timings=timings, quiet=quiet)
        text = FORMATS[name](report, wanted)
        if path is None:
            sys.stdout.write(text)
        else:
            write(path, text)
        texts.append((None if path is None else str(path), text))
        if name == "github":
            _add_to_job_summary(report, wanted)
    sys.stdout.flush()
    return texts


def _add_to_job_summary(report: Report, wanted: Style) -> None:
    """GitHub shows a few annotations; everything stands in the summary of the job, where there is one."""
    from netaudit.report import FORMATS

    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if not file:
        return
    try:
        with Path(file).open("a", encoding="utf-8", errors="backslashreplace") as summary:
            summary.write(FORMATS["markdown"](report, replace(wanted, full=False, quiet=False)))  # it alone says what was checked
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}", "see GITHUB_STEP_SUMMARY") from error


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        replaced(path, text.encode(errors="backslashreplace"))  # never a half-written report
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", "write elsewhere") from error


def style(path: Path | None, *, full: bool, timings: bool, quiet: bool) -> Style:
    """How the reader of an output wants it: a terminal is wide and coloured, a file or a pipe is neither."""
    from netaudit.report import Style

    terminal = path is None and sys.stdout.isatty()
    color = path is None and (bool(os.environ.get("FORCE_COLOR")) or terminal) and not os.environ.get("NO_COLOR")
    width = min(os.get_terminal_size(sys.stdout.fileno()).columns, 140) if terminal else 80
    return Style(color, width, full, timings, quiet)
