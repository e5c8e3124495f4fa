"""The lock as a value and as a file: JSON with one fact a line, in a stable order, so that people can read what a commit changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from netaudit.cache.state import key_of
from netaudit.errors import ConfigError

from .sources import DIGITS

FILE = "netaudit.lock"
VERSION = 1
COUNTS = ("error", "warning", "info", "suppressed", "baselined")
AGAIN = "netaudit lock TARGET... makes it anew"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``netaudit check`` said of a target: its exit code, how many findings of a kind, and those that count, a line each."""

    exit_code: int
    counts: Mapping[str, int]
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A target: the files that it rests on, the python files of folders that were searched for models, what was said."""

    target: str
    files: tuple[str, ...]
    folders: Mapping[str, tuple[str, ...]]
    verdict: Verdict
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """What was audited. ``packs``: versions of other distributions that have rules; ``files``: hashes by path, relative to the lock."""

    netaudit: str
    torch: str
    packs: Mapping[str, str]
    arguments: tuple[str, ...]
    settings: str
    files: Mapping[str, str]
    entries: tuple[Entry, ...] = field(default=())

    def seal(self, entry: Entry) -> str:
        """The hash of everything that an entry rests on and says.

        Two branches that both made the lock anew conflict in this line, and a lock that was put together by hand shows: what stands
        in it was then audited by nobody.
        """
        files = [(file, self.files[file]) for file in entry.files]
        verdict = [entry.verdict.exit_code, dict(entry.verdict.counts), list(entry.verdict.findings)]
        folders = {folder: list(names) for folder, names in entry.folders.items()}
        targets = sorted(other.target for other in self.entries)
        made_by = [self.netaudit, dict(self.packs), list(self.arguments), self.settings, targets]
        return key_of("lock", VERSION, made_by, entry.target, files, folders, verdict)[:DIGITS]


# as a file --------------------------------------------------------------------------------------------------------------


def text_of(lock: Lock) -> str:
    """A lock as it is stored."""
    rows = {
        "netaudit-lock": VERSION,
        "netaudit": lock.netaudit,
        "torch": lock.torch,
        "packs": dict(sorted(lock.packs.items())),
        "arguments": list(lock.arguments),
        "settings": lock.settings,
        "files": dict(sorted(lock.files.items())),
        "targets": {entry.target: _row(entry, lock) for entry in sorted(lock.entries, key=lambda entry: entry.target)},
    }
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def _row(entry: Entry, lock: Lock) -> Mapping[str, object]:
    verdict = entry.verdict
    return {
        "seal": lock.seal(entry),
        "exit-code": verdict.exit_code,
        **{kind: verdict.counts[kind] for kind in COUNTS},
        "findings": sorted(verdict.findings),
        "files": sorted(entry.files),
        "folders": {folder: list(names) for folder, names in sorted(entry.folders.items())},
    }


def read(path: Path) -> Lock:
    """The lock in a file.

    Raises:
        ConfigError: it is not there, is no lock, or one of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no lock {path}", "netaudit lock TARGET... makes one; commit it") from error
    except OSError as error:
        raise ConfigError(f"the lock {path} cannot be read: {error.strerror}", AGAIN) from error
    except ValueError as error:
        hint = f"a merge may have left its marks in it; {AGAIN}"
        raise ConfigError(f"the lock {path} is not JSON: {error}", hint) from error
    version = data.get("netaudit-lock") if isinstance(data, dict) else None
    if version is None:
        raise ConfigError(f"{path} is not a lock of netaudit", AGAIN)
    if version != VERSION:
        raise ConfigError(f"{path} is a lock of version {version}, and this netaudit reads {VERSION}", f"{AGAIN}, or update netaudit")
    try:
        return _lock(data)
    except (KeyError, TypeError, ValueError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"the lock {path} cannot be read: {said}", AGAIN) from error


def _lock(data: Mapping[str, Any]) -> Lock:
    files = _texts_by_name(data["files"], "files")
    if not data["targets"]:
        raise ValueError("it holds no target")
    return Lock(
        _text(data["netaudit"], "netaudit"),
        _text(data["torch"], "torch"),
        _texts_by_name(data["packs"], "packs"),
        _texts(data["arguments"], "arguments"),
        _text(data["settings"], "settings"),
        {_path(file): found for file, found in files.items()},
        tuple(_entry(name, row, files) for name, row in _table(data["targets"], "targets").items()),
    )


def _entry(name: str, row: object, known: Mapping[str, str]) -> Entry:
    found = _table(row, name)
    files = _texts(found["files"], f"files of {name}")
    for file in files:
        if file not in known:
            raise ValueError(f"{file}, which {name} rests on, has no hash")
    folders = _table(found["folders"], f"folders of {name}")
    verdict = Verdict(
        _number(found["exit-code"], f"exit-code of {name}"),
        {kind: _number(found[kind], f"{kind} of {name}") for kind in COUNTS},
        _texts(found["findings"], f"findings of {name}"),
    )
    listed = {_path(folder): _texts(names, folder) for folder, names in folders.items()}
    return Entry(name, files, listed, verdict, _text(found["seal"], f"seal of {name}"))


def _path(text: str) -> str:
    """A path of the lock: never one that means something else on another machine."""
    if PurePosixPath(text).is_absolute():
        raise ValueError(f"{text} is an absolute path")
    return text


def _table(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{what}: expected a table")
    return value


def _texts_by_name(value: object, what: str) -> Mapping[str, str]:
    return {name: _text(text, f"{what}: {name}") for name, text in _table(value, what).items()}


def _texts(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{what}: expected a list")
    return tuple(_text(text, what) for text in value)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what}: expected text")
    return value


def _number(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what}: expected a whole number")
    return value
