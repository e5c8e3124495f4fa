"""A lock made from what was audited and from what that rested on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

from netaudit.cache.state import Plan, pack_folder, python_files
from netaudit.cache.store import default_folder
from netaudit.errors import ConfigError
from netaudit.finding import Finding, Report
from netaudit.pack import ENTRY_POINTS

from .document import COUNTS, Entry, Lock, Verdict
from .sources import digest, relative, settings

_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Audited:
    """A target that was audited: the models that it named, what they rest on, and which of that the user named."""

    target: str
    ids: tuple[str, ...]
    plan: Plan
    named: Plan


@dataclass(frozen=True, slots=True)
class Made:
    """A lock, and what was read outside of the repository, which it says nothing of."""

    lock: Lock
    outside: tuple[str, ...]


def made(
    audited: Sequence[Audited],
    report: Report,
    exit_of: Callable[[Report], int],
    arguments: Sequence[str],
    beside: Sequence[str] = (),
) -> Made:
    """The lock of a run in the working directory; ``beside`` are files that every target rests on.

    Raises:
        ConfigError: code or a file that was named lies outside of the repository.
    """
    folder = Path.cwd()
    top = repository(folder)
    versions, code = _packs(report.packs, top)
    entries, outside = [], set[str]()
    for one in audited:
        inside = {file for file in (*one.plan.files, *code, *beside) if Path(os.path.abspath(file)).is_relative_to(top)}
        left = {*one.plan.files, *beside} - inside
        _refuse(one, left & {*one.named.files, *beside}, top)
        outside |= left
        mine = replace(report, targets=tuple(target for target in report.targets if target.id in one.ids))
        folders = {relative(place, folder): tuple(python_files(Path(place))) for place in one.plan.folders}
        files = tuple(sorted(relative(file, folder) for file in inside))
        entries.append(Entry(one.target, files, folders, _verdict(mine, exit_of(mine))))
    hashes = {file: digest(folder / file) for entry in entries for file in entry.files}
    public = report.torch.partition("+")[0]  # "+cpu" is of the machine
    lock = Lock(report.version, public, versions, tuple(arguments), settings(folder), hashes, tuple(entries))
    return Made(lock, tuple(sorted(outside)))


def repository(folder: Path) -> Path:
    """The folder whose files are committed together: that of git, else that of the project."""
    around = (place for place in (folder, *folder.parents) if (place / ".git").exists())
    return next(around, default_folder(folder).parent)


def _refuse(one: Audited, named: Iterable[str], top: Path) -> None:
    """Fail over what decides the verdict and cannot be compared elsewhere: a cache that a library reads is no such thing."""
    code = (file for file in one.plan.files if file.endswith(".py") and not Path(os.path.abspath(file)).is_relative_to(top))
    for file in sorted({*named, *code}):
        raise ConfigError(
            f"{one.target} rests on {file}, which is outside of {top}", "a lock speaks for what is committed with it: move the file there"
        )


def _verdict(report: Report, code: int) -> Verdict:
    counts = (
        *(report.count(severity) for severity in ("error", "warning", "info")),
        sum(len(target.suppressed) for target in report.targets),
        len(report.findings) - len(report.counted),
    )
    return Verdict(code, dict(zip(COUNTS, counts, strict=True)), tuple(sorted(map(_line, report.counted))))


def _line(finding: Finding) -> str:
    return " ".join(
        (f"{finding.severity:<8}", finding.code, finding.name, finding.target, *filter(None, (finding.module,)), f"({finding.fingerprint})")
    )


def _packs(names: Sequence[str], top: Path) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The versions of installed packs by distribution, and the files of those in the repository; the built-in one is netaudit's own."""
    versions: dict[str, str] = {}
    files: list[str] = []
    for point in entry_points(group=ENTRY_POINTS):
        name = point.value.partition(":")[0]
        if point.name == "builtin" or name not in names:
            continue
        place = pack_folder(name.partition(".")[0])
        if place is not None and place.is_relative_to(top) and not set(_INSTALLED) & set(place.parts):
            files += [str(place / file) for file in python_files(place)] if place.is_dir() else [str(place)]
        elif point.dist is not None:
            versions[point.dist.name] = point.dist.version
    return versions, tuple(files)
