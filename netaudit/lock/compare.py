"""A lock compared with what is there now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from netaudit.cache.state import python_files

from .document import Entry, Lock
from .sources import digest, settings

Kind: TypeAlias = Literal["changed", "gone", "new", "edited"]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is not as it was when the lock was made, and the targets that rest on it.

    ``is_target``: what is gone is what a target names, so that no audit can be repeated.
    """

    kind: Kind
    what: str
    targets: tuple[str, ...]
    is_target: bool = False


def changes(lock: Lock, folder: Path, own_version: str) -> tuple[Change, ...]:
    """Everything that differs, versions first, then settings, files and folders by name.

    Raises:
        ConfigError: the settings cannot be read.
    """
    everyone = tuple(entry.target for entry in lock.entries)
    found: list[Change] = []
    if lock.netaudit != own_version:
        found.append(Change("changed", f"netaudit: {lock.netaudit} made the lock, this is {own_version}", everyone))
    for pack, locked in lock.packs.items():
        here = installed_version(pack)
        if here not in (None, locked):
            found.append(Change("changed", f"{pack}: {locked} when the lock was made, {here} is installed", everyone))
    if settings(folder) != lock.settings:
        found.append(Change("changed", "the settings of netaudit", everyone))
    return (*found, *_files(lock, folder), *_folders(lock.entries, folder), *_edited(lock))


def installed_version(distribution: str) -> str | None:
    """The version of a distribution that is installed here; None when it is not."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _files(lock: Lock, folder: Path) -> Iterator[Change]:
    users = _users(lock.entries)
    for file, locked in lock.files.items():
        if file not in users:
            continue
        now = digest(folder / file)
        if not now:
            yield Change("gone", file, users[file], any(target.partition(":")[0] == file for target in users[file]))
        elif now != locked:
            yield Change("changed", file, users[file])


def _users(entries: Iterable[Entry]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        for file in entry.files:
            found[file] = (*found.get(file, ()), entry.target)
    return found


def _folders(entries: Iterable[Entry], folder: Path) -> Iterator[Change]:
    """Files that came to a folder which is searched for models, or left it without a target's having rested on them."""
    for entry in entries:
        for place, names in entry.folders.items():
            if not (folder / place).is_dir():
                yield Change("gone", place, (entry.target,), place == entry.target.rstrip("/"))
                continue
            now = set(python_files(folder / place))
            yield from (Change("new", _in(place, name), (entry.target,)) for name in sorted(now - set(names)))
            told = set(entry.files)
            left = (path for name in names if name not in now and (path := _in(place, name)) not in told)
            yield from (Change("gone", path, (entry.target,)) for path in left)


def _in(place: str, name: str) -> str:
    return PurePosixPath(place, name).as_posix()


def _edited(lock: Lock) -> Iterator[Change]:
    for entry in lock.entries:
        if lock.seal(entry) != entry.seal:
            yield Change("edited", "the lock, by hand or by a merge", (entry.target,))
