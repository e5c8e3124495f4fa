"""What a result depends on, as one hash: the code of netaudit and of the packs, what is installed, the project's files, variables."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "tests", "test"}
_OWN = Path(__file__).absolute().parents[1]
_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_VARIABLES = ("PYTHONPATH", "CUDA_VISIBLE_DEVICES", "PYTHONHASHSEED")
"""Read by the interpreter and by C code, so that nobody sees them being read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was read when a result was made. ``files`` as ``portable`` writes them; one that was not there counts as well.

    ``folders`` are those of which the list of python files matters; ``variables`` are names of the environment.
    """

    packs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    def __or__(self, other: Plan) -> Plan:
        return Plan(
            _union(self.packs, other.packs),
            _union(self.files, other.files),
            _union(self.folders, other.folders),
            _union(self.variables, other.variables),
        )

    def encoded(self) -> object:
        """As JSON."""
        return [list(self.packs), list(self.files), list(self.folders), list(self.variables)]

    @staticmethod
    def decoded(value: object) -> Plan | None:
        """From JSON; None when it is something else."""
        if not isinstance(value, list) or len(value) != 4 or not all(_is_words(part) for part in value):
            return None
        packs, files, folders, variables = (tuple(part) for part in value)
        return Plan(packs, files, folders, variables)


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _union(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*a, *b}))


def key_of(*parts: object) -> str:
    """A name for what was asked."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()[:40]


def portable(path: str, root: Path) -> str:
    """A path that means the same where the project lies elsewhere: relative to the working directory, if it is the project's."""
    whole = os.path.abspath(path)
    return Path(os.path.relpath(whole)).as_posix() if Path(whole).is_relative_to(root) else whole


def state_of(plan: Plan, environment: Mapping[str, str]) -> str:
    """The hash of everything that a plan names, as it is now, and of what every result depends on."""
    return key_of(
        sys.version,
        sys.platform,
        os.uname().machine if hasattr(os, "uname") else "",
        [device for device in _DEVICES if os.path.exists(device)],
        _distributions(),
        own_code(),
        [(pack, _pack(pack)) for pack in plan.packs],
        [(file, content(file)) for file in plan.files],
        [(folder, list(python_files(Path(folder)))) for folder in plan.folders],
        [(name, environment.get(name)) for name in (*_VARIABLES, *plan.variables)],
    )


def content(path: str) -> str:
    """The hash of a file's bytes; empty when it is not there."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def tree(root: Path) -> str:
    """The hash of all python files below a folder."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(name for name in names if name.endswith(".py")):
            path = os.path.join(folder, name)
            digest.update(f"{os.path.relpath(path, root)}\0{content(path)}\0".encode())
    return digest.hexdigest()


def own_code() -> str:
    """The hash of netaudit's own python files."""
    return tree(_OWN)


def pack_folder(name: str) -> Path | None:
    """The folder or the file of a pack, found without importing it."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    return path.parent if path.name == "__init__.py" else path


def _pack(name: str) -> str:
    place = pack_folder(name.partition(".")[0])
    return "" if place is None else tree(place) if place.is_dir() else content(str(place))


def _distributions() -> list[str]:
    """What is installed, with versions: the names of the folders that say so."""
    found: set[str] = set()
    for place in dict.fromkeys(sys.path):
        try:
            found.update(name for name in os.listdir(place or ".") if name.endswith((".dist-info", ".egg-info", ".pth")))
        except OSError:
            continue
    return sorted(found)


def python_files(folder: Path) -> Iterator[str]:
    """The python files below a folder which are not tests, hidden, or of a virtual environment; relative, in order."""
    return iter(sorted(_walked(folder), key=Path))


def _walked(folder: Path) -> Iterable[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_skipped(Path(place), name)]
        yield from (
            Path(os.path.relpath(os.path.join(place, n), folder)).as_posix() for n in files if n.endswith(".py") and not _is_test(n)
        )


def _is_skipped(place: Path, name: str) -> bool:
    return name in _SKIPPED or name.startswith(".") or (place / name / "pyvenv.cfg").exists()


def _is_test(name: str) -> bool:
    return name.startswith((".", "test_")) or name.endswith("_test.py") or name == "conftest.py"
