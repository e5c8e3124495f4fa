"""`netaudit check --diff-base`: the same targets are audited as they were at a commit, and what was there already does not count."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from netaudit.cache import default_folder
from netaudit.config import Config, dumped
from netaudit.diff import states
from netaudit.finding import Report, Since
from netaudit.git import Commit, checked_out, commit, is_tracked

from .then import Answer, Job, answers

DiffBase = Annotated[
    str | None,
    typer.Option("--diff-base", help="Only what is new since this commit counts: a branch, a tag or a hash of git.", metavar="REF"),
]
LIBRARIES = ("torchvision:", "timm:")
_KEPT_HERE = """
targets output fail_level exit_zero full quiet verbose baseline diff_base add_ignore reason cache_dir no_cache weights data
"""
"""Options of `check` that are not passed on, or not as they are typed."""


@dataclass(frozen=True, slots=True)
class Base:
    """A commit that findings are compared with, what `check` was asked, and whether results are kept."""

    of: Commit
    ctx: typer.Context
    config: Config
    cached: bool

    def compared(self, whole: Report, groups: Sequence[tuple[str, int]]) -> Report:
        """The report with every finding marked that was there. ``groups``: the targets as asked, with how many reports each has."""
        targets = [target for target, _ in groups]
        found = self._answers(targets)
        of_report = [answer for answer, (_, count) in zip(found, groups, strict=True) for _ in range(count)]
        marked, gone = _marked(whole, of_report, [answer.report for answer in found if answer.report is not None])
        notes = [f"{target}: {note}" for target, answer in zip(targets, found, strict=True) for note in _notes(answer)]
        return replace(marked, since=Since(str(self.of), gone, tuple(dict.fromkeys(notes))))

    def _answers(self, targets: Sequence[str]) -> list[Answer]:
        """What each target was at the commit."""
        mine = [target for target in targets if not self._is_elsewhere(target)]
        there: Iterator[Answer] = iter(())
        if mine:
            with checked_out(self.of) as tree:
                there = iter(self._audited(mine, tree))
        return [next(there) if not self._is_elsewhere(target) else Answer(same=True) for target in targets]

    def _audited(self, targets: Sequence[str], tree: Path) -> list[Answer]:
        moved = [self._moved(target, tree) for target in targets]
        asked = [target for target in moved if target is not None]
        found = iter(answers(self._job(asked, tree)) if asked else ())
        return [Answer(why="not there then, so that all of it is new") if target is None else next(found) for target in moved]

    def _is_elsewhere(self, target: str) -> bool:
        """Whether a target is no part of the repository, and nor are the weights and data that it is given."""
        entry = self.config.targets.get(target)
        files = [self.ctx.params.get("weights"), self.ctx.params.get("data"), None if entry is None else entry.weights]
        if any(files):
            return False
        named = target if entry is None else entry.target
        place = _place(named)
        return named.startswith(LIBRARIES) or (place is not None and not self._is_inside(place))

    def _moved(self, target: str, tree: Path) -> str | None:
        """A target as it is typed in the tree of the commit; None when its file is not there."""
        entry = self.config.targets.get(target)
        named = target if entry is None else entry.target
        place = _place(named)
        if place is None or not self._is_inside(place):
            return target
        if not (tree / self.of.below / self._inside(place)).exists():
            return None
        return target if entry is not None else named.replace(str(place), self._inside(place), 1)

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.of.top.resolve())

    def _inside(self, path: Path) -> str:
        """A path of the repository as seen from where we are: the same in every tree of it."""
        return os.path.relpath(path.resolve(), self.of.top.resolve() / self.of.below)

    def _file(self, path: str, tree: Path) -> str:
        """A checkpoint or a file of data: that of the commit, or as it is now where git does not track it."""
        now = Path(path)
        if now.exists() and self._is_inside(now):
            inside = self._inside(now)
            if (tree / self.of.below / inside).exists() or is_tracked(now):
                return inside
        return os.path.abspath(path)

    def _job(self, targets: Sequence[str], tree: Path) -> Job:
        given = [f"--{name}={self._file(path, tree)}" for name in ("weights", "data") if (path := self.ctx.params.get(name))]
        entries = {
            name: entry if entry.weights is None else entry.model_copy(update={"weights": self._file(entry.weights, tree)})
            for name, entry in self.config.targets.items()
        }
        folder = (self.ctx.params.get("cache_dir") or default_folder()).absolute()
        return Job(
            (*_retyped(self.ctx), *given, *([f"--cache-dir={folder}"] if self.cached else ["--no-cache"])),
            tuple(targets),
            dumped(self.config.model_copy(update={"targets": entries})),
            tuple(_in_tree(place, self.of.top, tree) for place in sys.path),
            str(self.of.top),
            str(tree),
            str(tree / self.of.below),
            _in_tree(str(folder.parent), self.of.top, tree) if folder.is_relative_to(self.of.top) else str(tree),
        )


def base_of(named: str | None, ctx: typer.Context, config: Config, *, cached: bool) -> Base | None:
    """The commit to compare with, if any.

    Raises:
        ConfigError: there is no such commit, or no git.
    """
    return None if named is None else Base(commit(named), ctx, config, cached)


def _place(target: str) -> Path | None:
    """The file or the folder that a target names; None for modules and libraries."""
    whole = target.removeprefix("hf:")
    return next((Path(text) for text in (whole, whole.rpartition(":")[0]) if text and Path(text).exists()), None)


def _in_tree(path: str, top: Path, tree: Path) -> str:
    """A folder of the work tree in the tree of the commit; another one, and what is installed inside the first, as it is."""
    whole = Path(path or os.getcwd()).absolute()
    if not whole.is_relative_to(top) or {"site-packages", "dist-packages"} & set(whole.parts):
        return str(whole)
    return str(tree / whole.relative_to(top))


def _retyped(ctx: typer.Context) -> Iterator[str]:
    """The options that were given, as they are typed, but for those that have nothing to do with what is found."""
    for param in ctx.command.params:
        name = param.name or ""
        value, source = ctx.params.get(name), ctx.get_parameter_source(name)
        if name in _KEPT_HERE.split() or source is None or source.name.startswith("DEFAULT"):
            continue
        if isinstance(value, bool):
            yield (param.opts if value else param.secondary_opts)[0]
        else:
            yield from (f"{param.opts[0]}={one}" for one in (value if isinstance(value, (list, tuple)) else [value]))


# what came of it --------------------------------------------------------------------------------------------------------


def _marked(whole: Report, then: Sequence[Answer], before: Sequence[Mapping[str, Any]]) -> tuple[Report, int]:
    """Every finding as new, worse or unchanged, and how many are gone. What a baseline accepts stays accepted.

    ``then``: what each target was; ``before``: the reports among that, each once.
    """
    from netaudit.report.json import model

    pairs = list(zip(whole.targets, then, strict=True))
    chosen = replace(whole, targets=tuple(target for target, answer in pairs if answer.report is not None))
    found, gone = states(_joined(before), model(chosen).model_dump(mode="json"))
    state = {id(finding): said for finding, said in zip(chosen.findings, found, strict=True)}
    targets = []
    for target, answer in pairs:
        said = [f.baseline if not f.counts else "unchanged" if answer.same else state.get(id(f), "new") for f in target.findings]
        marked = tuple(replace(f, baseline=one) for f, one in zip(target.findings, said, strict=True))
        targets.append(replace(target, findings=marked))
    return replace(whole, targets=tuple(targets)), gone


def _joined(reports: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Reports as one, as far as their findings are compared."""
    parts = {key: [one for report in reports for one in report[key]] for key in ("findings", "targets")}
    return {"schema_version": "", **parts}


def _notes(answer: Answer) -> Iterator[str]:
    """What kept a target from being compared as a whole."""
    if answer.same:
        yield "the same then and now, so that its findings do not count"
    elif answer.report is None:
        yield answer.why
    elif answer.report["run"]["status"] == "incomplete":
        problems = [problem for target in answer.report["targets"] for problem in target["problems"]]
        yield f"not wholly checked then ({'; '.join(problems) or 'calls without a transfer'}): what is called new may be older"
