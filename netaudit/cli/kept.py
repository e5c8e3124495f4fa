"""The cache, as `netaudit check` uses it: the reports of every target, and a whole run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated

import typer

from netaudit.cache import Plan, Store, default_folder, store_at, watching
from netaudit.cache.codec import NotKeptError, decode, encode
from netaudit.cache.replay import Run, configuration_plan, is_off, keep, keep_run, looked_up, root_of
from netaudit.cache.state import key_of, portable
from netaudit.config import Config
from netaudit.errors import ConfigError
from netaudit.finding import Report, TargetReport

from .app import Elsewhere

NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the cache.")]
CacheDir = Annotated[
    Path | None, typer.Option("--cache-dir", help="Where results are kept; .netaudit_cache of the project if not said.", metavar="FOLDER")
]
_AFTERWARDS = """
targets output fail_level exit_zero min_coverage full quiet verbose timeout no_cache cache_dir baseline diff_base add_ignore reason
"""
"""Options that matter only once the targets are audited; every other one, known here or not, tells results apart."""
_WHOLE_SECOND = 10**9


@dataclass(slots=True)
class Kept:
    """What is known from earlier runs, and what is to be kept of this one. ``store`` is None when nothing is.

    ``plans`` and ``ids``: what each target rests on, and the models that it named; with ``watched`` they are wanted without a store.
    """

    store: Store | None
    key: str
    root: Path
    weights: tuple[str, ...]
    config: Config
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    started: int = field(default_factory=time.time_ns)
    torch: str = ""
    fresh: dict[str, tuple[Plan, list[TargetReport]]] = field(default_factory=dict)
    plans: dict[str, Plan | None] = field(default_factory=dict)
    ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    watched: bool = False

    def reports(self, targets: Sequence[str]) -> list[TargetReport] | None:
        """The reports of all targets, if all are kept and nothing has changed since; torch is not needed then."""
        found = [self._found(target) for target in targets]
        return None if any(one is None for one in found) else [report for one in found for report in one or ()]

    def audited(self, target: str, audit: Callable[[], list[TargetReport]], packs: Sequence[str]) -> list[TargetReport]:
        """The reports of a target: kept ones, or those that ``audit`` makes."""
        if self.store is None and not self.watched:
            return audit()
        known = self._found(target)
        if known is not None:
            return known
        with watching() as seen:
            found = audit()
        plan = seen.plan(tuple(packs), self.root)
        if plan is not None:
            plan |= self.named(target)
            self.fresh[target] = plan, found
        self._note(target, plan, found)
        return found

    def _note(self, target: str, plan: Plan | None, found: Iterable[TargetReport]) -> None:
        self.plans[target] = plan
        self.ids[target] = tuple(one.id for one in found)

    def keep(self, report: Report, texts: Sequence[tuple[str | None, str]], exit_code: int, beside: Sequence[str] = ()) -> None:
        """Keep what is new, but for targets that were not wholly checked, and those whose files were edited meanwhile."""
        if self.store is None:
            return
        incomplete = {target.id for target in report.incomplete}
        for target, (plan, found) in self.fresh.items():
            if incomplete.isdisjoint(one.id for one in found) and self.is_settled(plan):
                _try_keep(self.store, self._key(target), plan, report.torch, found, self.environment)
        if not incomplete and None not in self.plans.values() and self.arguments and not is_off(self.arguments):
            files = Plan(files=tuple(portable(file, self.root) for file in beside))
            whole = reduce(or_, (*filter(None, self.plans.values()), configuration_plan(self.root), files))
            if self.is_settled(whole):
                keep_run(self.store, self.arguments, whole, Run(tuple(texts), exit_code), self.environment)

    def _found(self, target: str) -> list[TargetReport] | None:
        if self.store is None:
            return None
        value = looked_up(self.store, "target", self._key(target), self.environment)
        match value:
            case [str() as torch, [*reports], plan]:
                try:
                    found = [decode(one) for one in reports]
                except NotKeptError:
                    return None
                self.torch = torch
                self._note(target, Plan.decoded(plan) or Plan(), found)
                return found
        return None

    def _key(self, target: str) -> str:
        return key_of(self.key, target)

    def named(self, target: str) -> Plan:
        """What a target rests on that python does not see being read: programs, checkpoints, what a folder holds."""
        place = target if Path(target).exists() else target.rpartition(":")[0]
        entries = [e for name, e in self.config.targets.items() if name == target or (place and _is_within(e.target, place))]
        weights = [*self.weights, *(entry.weights for entry in entries if entry.weights is not None)]
        places = [place, *(entry.target.partition(":")[0] for entry in entries)]
        files = [*(p for p in places if Path(p).is_file()), *(file for weight in weights for file in _checkpoint(Path(weight)))]
        folders = [p for p in places if p and Path(p).is_dir()]
        return Plan(files=tuple(portable(f, self.root) for f in files), folders=tuple(portable(f, self.root) for f in folders))

    def is_settled(self, plan: Plan) -> bool:
        """Whether no file was written since the run began: what was read may be what stood there before, or half of it."""
        return all(_written(Path(file)) < self.started for file in plan.files)


def kept(ctx: typer.Context, config: Config, cache_dir: Path | None, *, off: bool, watched: bool = False) -> Kept:
    """The cache of a run; off where an option or the environment says so. ``watched``: what targets rest on is wanted all the same."""
    outside = ctx.params.get("diff_base") or ctx.params.get("add_ignore")  # a run that rests on a commit, or that writes sources
    arguments = tuple(ctx.obj) if isinstance(ctx.obj, tuple) and not outside else ()
    root = ctx.obj.root if isinstance(ctx.obj, Elsewhere) else root_of(cache_dir)
    asked = {name: value for name, value in ctx.params.items() if name not in _AFTERWARDS.split()}
    said = config.model_dump(mode="json", exclude={"fail_level", "exit_zero", "output", "min_coverage", "baseline"})
    key = key_of("target", portable(os.getcwd(), root), asked, said)
    read = tuple(str(ctx.params[name]) for name in ("weights", "data") if ctx.params.get(name))
    store = None if off or os.environ.get("NETAUDIT_NO_CACHE") else store_at(_checked(cache_dir))
    return Kept(store, key, root, read, config, arguments, watched=watched)


def _checked(folder: Path | None) -> Path | None:
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ConfigError(f"--cache-dir {folder} is not a folder", f"the default is {default_folder()}")
    return folder


def _try_keep(store: Store, key: str, plan: Plan, torch: str, found: Iterable[TargetReport], environment: Mapping[str, str]) -> None:
    try:
        value = [torch, [encode(one) for one in found], plan.encoded()]
    except NotKeptError:
        return
    keep(store, "target", key, plan, value, environment)


def _is_within(target: str, place: str) -> bool:
    file = target if Path(target).exists() else target.partition(":")[0]
    return bool(file) and Path(file).absolute().is_relative_to(Path(place).absolute())


def _checkpoint(path: Path) -> Iterator[str]:
    """The files of a checkpoint: itself, and the shards that an index or a folder stands for."""
    if path.is_file():
        yield str(path)
    folder = path if path.is_dir() else path.parent if path.suffix == ".json" else None
    if folder is not None and folder.is_dir():
        yield from (str(file) for file in sorted(folder.iterdir()) if file.suffix in (".safetensors", ".json"))


def _written(path: Path) -> int:
    try:
        when = path.stat().st_mtime_ns
    except OSError:
        return 0
    return when if when % _WHOLE_SECOND else when + _WHOLE_SECOND  # a file system that counts seconds
