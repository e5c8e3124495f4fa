"""A folder of JSON files that any number of processes may read and write, and that may be cut off, damaged or deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from netaudit.errors import ConfigError

FOLDER = ".netaudit_cache"
LAYOUT = "1"
"""Changes when an older netaudit must not read what a newer one wrote. What is in an entry is guarded by the hash of the code."""
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of netaudit, see https://bford.info/cachedir/\n"
MOST = 512
"""Entries of a kind, if not said; when there are more, the oldest quarter goes."""
STALE = 3600.0
"""Seconds after which an unfinished file belongs to a process that was killed."""
_MARKS = ("pyproject.toml", "netaudit.toml", ".git")


@dataclass(frozen=True, slots=True)
class Store:
    """Values by kind and key, in a ``folder`` which need not exist, nor be writable."""

    folder: Path

    def read(self, kind: str, key: str) -> object:
        """The value; None when there is none, or what is there is not whole: the first line is the hash of the second."""
        try:
            head, _, body = self._path(kind, key).read_bytes().partition(b"\n")
        except OSError:
            return None
        if json.dumps(hashlib.sha256(body).hexdigest()).encode() != head:
            return None
        value: object = json.loads(body)
        return value

    def write(self, kind: str, key: str, value: object) -> None:
        """Keep a value, and drop the oldest of its kind when there are too many."""
        self.put(kind, key, value)
        self.prune(kind)

    def put(self, kind: str, key: str, value: object) -> None:
        """Keep a value. It is there wholly or not at all; where nothing can be written, nothing is, and nothing is said."""
        body = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
        head = json.dumps(hashlib.sha256(body).hexdigest()).encode()
        with contextlib.suppress(OSError):
            _prepared(self.folder.parent)
            path = self._path(kind, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            replaced(path, head + b"\n" + body)

    def prune(self, kind: str, most: int = MOST) -> None:
        """Drop the oldest quarter of a kind when there are more than so many entries, and what killed processes left."""
        with contextlib.suppress(OSError):
            _pruned(self.folder / kind, most)

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / kind / f"{key}.json"


def default_folder(start: Path | None = None) -> Path:
    """The cache of the project around a folder: beside the nearest ``pyproject.toml``, ``netaudit.toml`` or ``.git``."""
    here = (start or Path.cwd()).absolute()
    root = next((place for place in (here, *here.parents) if any((place / mark).exists() for mark in _MARKS)), here)
    return root / FOLDER


def store_at(folder: Path | None = None) -> Store:
    """The store in a cache folder, the project's own if None."""
    return Store((folder or default_folder()).absolute() / LAYOUT)


def cleaned(folder: Path) -> tuple[int, int]:
    """Delete a cache folder; how many files it held, and how many bytes.

    Raises:
        ConfigError: the folder is not a cache of netaudit's.
    """
    if not folder.exists():
        return 0, 0
    if not _is_ours(folder):
        raise ConfigError(f"{folder} is not a cache of netaudit, and was left alone", "it has no CACHEDIR.TAG that says so")
    files = size = 0
    for place, folders, names in os.walk(folder, topdown=False):
        for name in names:
            with contextlib.suppress(OSError):
                path = Path(place, name)
                size += path.lstat().st_size
                path.unlink()
                files += 1
        for name in folders:
            with contextlib.suppress(OSError):
                Path(place, name).rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()
    return files, size


def _is_ours(folder: Path) -> bool:
    tag = folder / "CACHEDIR.TAG"
    return tag.is_file() and "netaudit" in tag.read_text(encoding="utf-8", errors="replace")


def _prepared(folder: Path) -> None:
    """A cache folder that version control and backups leave out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((".gitignore", "*\n"), ("CACHEDIR.TAG", TAG)):
        if not (folder / name).exists():
            replaced(folder / name, text.encode())


def replaced(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file that is never seen half-written, whoever else writes it: under a name of its own first.

    ``mode``: who may read, write and run it; what is usual for a new file if None.
    """
    name = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with name.open("xb") as stream:
            stream.write(data)
        if mode is not None:
            name.chmod(stat.S_IMODE(mode))
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


def _pruned(folder: Path, most: int) -> None:
    names = os.listdir(folder)
    old = time.time() - STALE
    stale = [name for when, name in _dated(folder, names, ".tmp") if when < old]
    whole = sum(name.endswith(".json") for name in names)
    oldest = sorted(_dated(folder, names, ".json"))[: whole - most * 3 // 4] if whole > most else []
    for name in (*stale, *(name for _, name in oldest)):
        (folder / name).unlink(missing_ok=True)


def _dated(folder: Path, names: Iterable[str], suffix: str) -> Iterator[tuple[float, str]]:
    for name in names:
        if name.endswith(suffix):
            with contextlib.suppress(OSError):  # another process may have deleted it
                yield (folder / name).stat().st_mtime, name
