"""A whole run again: the same command, in the same place, while nothing that it read has changed.

This runs before the command line is read, so that the answer does not wait for what reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from netaudit.settings import FILES

from .state import Plan, key_of, portable, state_of
from .store import Store, default_folder, store_at

OFF = "NETAUDIT_NO_CACHE"
"""The variable that turns the cache off."""
ADDS = "GITHUB_STEP_SUMMARY"
"""The variable with which a run adds to a file beside what it writes: such a run is not replayed as a whole."""
PLANS = 3
"""How many are kept for a key."""
_STYLE = ("FORCE_COLOR", "NO_COLOR")
_LIVE = {"--no-cache", "--verbose", "-v"}
"""Options with which a run is never taken from the cache: --verbose says how long things took."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run wrote, each text to a file or to standard output (None), and what it exited with."""

    texts: tuple[tuple[str | None, str], ...]
    exit_code: int


def replayed(arguments: Sequence[str]) -> Run | None:
    """The same run, if it is kept and nothing has changed since."""
    if is_off(arguments):
        return None
    folder = _folder(arguments)
    found = looked_up(store_at(folder), "run", run_key(arguments, root_of(folder)), os.environ)
    return _decoded(found)


def is_off(arguments: Sequence[str]) -> bool:
    """Whether a command is not answered from the cache."""
    said_off = not _LIVE.isdisjoint(arguments) or any(os.environ.get(name) for name in (OFF, ADDS))
    return said_off or not arguments or arguments[0] != "check"


def keep_run(store: Store, arguments: Sequence[str], plan: Plan, run: Run, environment: Mapping[str, str]) -> None:
    """Keep what a run wrote."""
    value = [[[file, text] for file, text in run.texts], run.exit_code]
    keep(store, "run", run_key(arguments, store.folder.parent.parent), plan, value, environment)


def looked_up(store: Store, kind: str, key: str, environment: Mapping[str, str]) -> object:
    """The value under a key for the state that the files of one of its plans are in; None when there is none."""
    for plan in _plans(store, kind, key):
        found = store.read(kind, key_of(key, state_of(plan, environment)))
        if found is not None:
            return found
    return None


def _plans(store: Store, kind: str, key: str) -> Sequence[Plan]:
    """What results under a key depended on, the latest first: branches of a project import different files, and take turns."""
    stored = store.read("plan", f"{kind}-{key}")
    return [plan for one in (stored if isinstance(stored, list) else ()) if (plan := Plan.decoded(one)) is not None]


def keep(store: Store, kind: str, key: str, plan: Plan, value: object, environment: Mapping[str, str]) -> None:
    """Keep a value: what it depends on by the key, itself by the key and the state of that."""
    store.write(kind, key_of(key, state_of(plan, environment)), value)
    others = [other for other in _plans(store, kind, key) if other != plan]
    store.write("plan", f"{kind}-{key}", [one.encoded() for one in (plan, *others)[:PLANS]])


def run_key(arguments: Sequence[str], root: Path) -> str:
    """A name for a command in a place, and for how its reader wants it."""
    wide = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout is not None and sys.stdout.isatty() else 0
    return key_of("run", list(arguments), portable(os.getcwd(), root), wide, [os.environ.get(name) for name in _STYLE])


def configuration_plan(root: Path) -> Plan:
    """The files that may hold the configuration: those that are not there count, too."""
    here = Path.cwd()
    return Plan(files=tuple(portable(str(place / name), root) for place in (here, *here.parents) for name in FILES))


def root_of(folder: Path | None) -> Path:
    """The project that a cache folder is of."""
    return (folder or default_folder()).absolute().parent


def _folder(arguments: Sequence[str]) -> Path | None:
    for position, word in enumerate(arguments):
        if word == "--cache-dir" and position + 1 < len(arguments):
            return Path(arguments[position + 1])
        if word.startswith("--cache-dir="):
            return Path(word.partition("=")[2])
    return None


def _decoded(value: object) -> Run | None:
    match value:
        case [[*texts], int() as code]:
            pairs = [pair for text in texts if (pair := _text(text)) is not None]
            return Run(tuple(pairs), code) if len(pairs) == len(texts) else None
    return None


def _text(value: object) -> tuple[str | None, str] | None:
    match value:
        case [None | str() as file, str() as text]:
            return file, text
    return None
