"""Which files and variables are read meanwhile: python says so itself (PEP 578), for imports as for what a model opens."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import source_from_cache
from pathlib import Path
from types import FrameType
from typing import Any

from .state import Plan, pack_folder, portable

_OWN = str(Path(__file__).absolute().parents[1]) + os.sep
_PATHS = sysconfig.get_paths()
_FOREIGN = (_OWN, "/proc/", "/sys/", "/dev/", *(_PATHS[key] + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib")))
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_SCRIPT = 1 << 20
"""Bytes up to which a file is searched for the names of modules."""


@dataclass(slots=True)
class Seen:
    """What was opened for reading or for writing, the variables looked up, and the modules that were there before."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    before: frozenset[str] = frozenset()

    def plan(self, packs: tuple[str, ...], root: Path, cache: Path | None = None) -> Plan | None:
        """What to compare the next time: the project's own files among those, those of its modules, and checkpoints beside them.

        What was read below ``cache`` itself is no matter of the project's.
        None when the project uses safetensors, which reads files behind python's back, and none is found.
        """
        own = _outside(packs, () if cache is None else (os.path.abspath(cache) + os.sep,))
        opened = {file for file in map(_source, self.read - self.written) if own(file)}
        imported = {name: file for name, file in _modules() if own(file)}
        fresh = {file for name, file in imported.items() if name not in self.before}
        files, words = _mentioned(opened | fresh, imported)
        unseen = {file for folder in {os.path.dirname(file) for file in files} for file in _checkpoints(folder)}
        if "safetensors" in words and not unseen:
            return None
        kept = sorted({portable(file, root) for file in files | unseen if os.path.isfile(file)})
        return Plan(packs, tuple(kept), (), tuple(sorted(self.variables)))


_watchers: list[Seen] = []
_hooked = False


@contextmanager
def watching() -> Iterator[Seen]:
    """Take down what is read meanwhile."""
    seen = Seen(before=frozenset(sys.modules))
    _hook()
    _watchers.append(seen)
    try:
        with _noting_variables(seen.variables):
            yield seen
    finally:
        _watchers.remove(seen)


@contextmanager
def _noting_variables(names: set[str]) -> Iterator[None]:
    """Take down the variables that the project looks up by name, itself or through a library that it calls or imports.

    A copy of the whole environment, made for a child, looks up none.
    """
    kind: Any = type(os.environ)
    get, iterate = kind.__getitem__, kind.__iter__
    copied: deque[object] = deque()  # what was iterated over, and will be looked up in this order by what makes a copy

    def noting_get(environ: object, name: str) -> object:
        if copied and copied[0] == name:
            copied.popleft()
        elif _is_for_project(sys._getframe(1)):
            names.add(name)
        return get(environ, name)

    def noting_iterate(environ: object) -> Iterator[object]:
        copied.clear()
        for name in iterate(environ):
            copied.append(name)
            yield name

    kind.__getitem__, kind.__iter__ = noting_get, noting_iterate
    try:
        yield
    finally:
        kind.__getitem__, kind.__iter__ = get, iterate


def _is_for_project(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith(_OWN):
        if not _is_foreign(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False


def _is_foreign(file: str) -> bool:
    return file.startswith(_FOREIGN) or "site-packages" in file or "dist-packages" in file or "<" in file


def _hook() -> None:
    """Listen to the interpreter; a hook cannot be taken off again, so there is one, which looks away when nobody watches."""
    global _hooked  # noqa: PLW0603  # as above
    if not _hooked:
        sys.addaudithook(_heard)
        _hooked = True


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _watchers:
        return
    path, mode, flags = arguments
    if not isinstance(path, (str, bytes)):
        return  # a descriptor was opened as a file before
    writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool((flags or 0) & _WRITING)
    name = os.path.abspath(os.fsdecode(path))
    for seen in _watchers:
        (seen.written if writes else seen.read).add(name)


def _outside(packs: tuple[str, ...], folders: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a file is of the project: not installed, of the system, below such folders, nor of a pack, which is hashed as a whole."""
    places = [place for place in (pack_folder(name.partition(".")[0]) for name in packs) if place is not None]
    foreign = (*folders, *(str(place) + os.sep if place.is_dir() else str(place) for place in places))
    return lambda file: not _is_foreign(file) and not file.startswith(foreign)


def _source(file: str) -> str:
    """The source of a compiled file."""
    if not file.endswith(".pyc"):
        return file
    try:
        return source_from_cache(file)
    except ValueError:
        return file


def _modules() -> Iterator[tuple[str, str]]:
    """Modules that were imported, and their files; what was started as a program is not one of them."""
    for name, module in list(sys.modules.items()):
        if name == "__main__":
            continue
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            yield name, os.path.abspath(file)


def _checkpoints(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.path for entry in entries if entry.name.endswith(".safetensors"))
    except OSError:
        return


def _mentioned(files: Iterable[str], imported: dict[str, str]) -> tuple[set[str], set[str]]:
    """The files, and those of modules that were imported for an earlier target and whose name stands in one of them; their words.

    Python does not import a module twice, and does not say that it is used again. A word in a file is the least that it takes.
    """
    known, waiting, said = set[str](), set(files), set[str]()
    while waiting:
        known |= waiting
        words = set[str]().union(*map(_words, waiting))
        said |= words
        waiting = {file for name, file in imported.items() if words & {name.rpartition(".")[2], name.partition(".")[0]}} - known
    return known, said


def _words(file: str) -> set[str]:
    try:
        if os.path.getsize(file) > _SCRIPT:
            return set()
        return set(re.findall(r"\w+", Path(file).read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return set()
