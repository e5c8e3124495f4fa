"""`netaudit check --add-ignore`: findings are accepted by comments in the files that they are about."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from netaudit.cache import default_folder, replaced
from netaudit.check import Check
from netaudit.config import Config
from netaudit.errors import ConfigError
from netaudit.finding import Finding, Report
from netaudit.ignoring import NotPythonError, placed

AddIgnore = Annotated[
    bool,
    typer.Option("--add-ignore", help="Write `# netaudit: ignore[CODE]` beside every finding; code is never changed."),
]
Reason = Annotated[str, typer.Option("--reason", help="What the comments of --add-ignore say behind the codes.", metavar="TEXT")]
_NOBODYS = 0o222


@dataclass(frozen=True, slots=True)
class Refused:
    """A finding that no comment can be written for, and why; ``by_module``: whether the configuration can accept it."""

    finding: Finding
    why: str
    by_module: bool = True


@dataclass(slots=True)
class Wanted:
    """What a file is to be given: the findings of each of its lines."""

    lines: dict[int, list[Finding]] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [finding for line in sorted(self.lines) for finding in self.lines[line]]


@dataclass(frozen=True, slots=True)
class Ignoring:
    """How findings are ignored: what is said of them, when the run began (ns), and the file of the configuration."""

    reason: str
    started: int
    config: str

    def written(self, report: Report, *, quiet: bool) -> Report:
        """Write the comments, and say which, and what is left. The report without what is ignored now."""
        wanted, refused = self._sorted(report)
        done: list[Finding] = []
        said: list[str] = []
        for path in sorted(wanted):
            told, left = self._one(path, wanted[path])
            said += told
            refused += left
            done += [f for f in wanted[path].findings if not any(f is one.finding for one in left)]
        lines = [] if quiet else [*said, _counted(done, said, refused)]
        sys.stdout.write("".join(f"{line}\n" for line in (*lines, *_left(refused, self.config))))
        kept = {id(one.finding) for one in refused}
        targets = tuple(replace(t, findings=tuple(f for f in t.findings if not f.counts or id(f) in kept)) for t in report.targets)
        return replace(report, targets=targets)

    def _sorted(self, report: Report) -> tuple[dict[Path, Wanted], list[Refused]]:
        """The findings that count by the file that is to be written, and those that have none."""
        from netaudit.report.common import rules

        known, wanted, refused = rules(), dict[Path, Wanted](), list[Refused]()
        for finding in report.counted:
            why = _never(finding, known.get(finding.code), report)
            if why:
                refused.append(Refused(finding, why, by_module=False))
                continue
            place, why = self._place(finding)
            if place is None:
                refused.append(Refused(finding, why))
            else:
                path, line = place
                wanted.setdefault(path, Wanted()).lines.setdefault(line, []).append(finding)
        return wanted, refused

    def _place(self, finding: Finding) -> tuple[tuple[Path, int] | None, str]:
        """The line that builds the module, else the one that calls it, in a file that may be written; or why there is none."""
        first = "no line is known for it"
        for site in (finding.where.created, finding.where.called):
            if site is None:
                continue
            why = self._refusal(Path(site.file))
            if not why:
                return (Path(site.file).resolve(), site.line), ""
            first = why if first.startswith("no line") else first
        return None, first

    def _refusal(self, path: Path) -> str:
        """Why a file is not written; empty when it may be."""
        if path.suffix != ".py" or not path.is_file():
            return f"{path} is no python file of this project"
        real = path.resolve()
        if not real.is_relative_to(default_folder().parent.resolve()) or "site-packages" in real.parts:
            return f"{path} lies outside the project"
        state = real.stat()
        if not state.st_mode & _NOBODYS or not os.access(real, os.W_OK):
            return f"{path} is read-only"
        return f"{path} was changed while it was audited" if state.st_mtime_ns > self.started else ""

    def _one(self, path: Path, wanted: Wanted) -> tuple[list[str], list[Refused]]:
        """Write a file: the comments that it has now, and the findings that it has none for."""
        name = Path(os.path.relpath(path)).as_posix()
        codes = {line: {finding.code for finding in findings} for line, findings in wanted.lines.items()}
        try:
            before = path.read_bytes()
            found = placed(before, codes, self.reason)
            if found.data != before:
                replaced(path, found.data, mode=path.stat().st_mode)
        except (NotPythonError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return [], [Refused(finding, f"{name}: {why}") for finding in wanted.findings]
        left = [Refused(finding, f"{name}:{line}: {why}") for line, why in found.refused.items() for finding in wanted.lines[line]]
        return [f"{name}:{line}: ignore[{', '.join(codes)}]" for line, codes in found.comments.items()], left


def ignored_with(config: Config, output: Sequence[str] | None, reason: str, started: int, *, asked: bool) -> Ignoring | None:
    """What --add-ignore is to do; None where it is not ``asked`` for.

    Raises:
        ConfigError: there is a reason without it, a report is asked for as well, or the reason cannot stand in a comment.
    """
    if not asked:
        if reason:
            raise ConfigError("--reason is what --add-ignore writes", "give both, or neither")
        return None
    if output:
        raise ConfigError("--add-ignore writes comments and no report", "leave out --output, and check again afterwards")
    folded = " ".join(reason.split())
    if not folded.isprintable():
        raise ConfigError(f"--reason {reason!r} cannot stand in a comment", "leave out what cannot be printed")
    return Ignoring(folded, started, config.path.name if config.path is not None else "pyproject.toml")


def _never(finding: Finding, check: Check | None, report: Report) -> str:
    """Why no comment and no setting ignores a finding; empty when one may."""
    if check is not None and "ignores" in check.needs:
        return "it is about a comment: mend or delete that"
    lost = any(target.id == finding.target and not target.coverage.nodes for target in report.targets)
    return "nothing was checked, which cannot be ignored" if lost else ""


def _counted(done: Sequence[Finding], said: Sequence[str], refused: Sequence[Refused]) -> str:
    if not done:
        return "no comment was written" if refused else "there is nothing to ignore"
    return f"{len(done)} finding{'s' * (len(done) > 1)} ignored by {len(said)} comment{'s' * (len(said) > 1)}; the code is as it was"


def _left(refused: Sequence[Refused], config: str) -> Iterator[str]:
    """What is not ignored, why, and what to do."""
    from netaudit.report.common import fold

    if not refused:
        return
    yield f"{len(refused)} finding{'s are' if len(refused) > 1 else ' is'} not ignored:"
    for one in refused:
        finding = one.finding
        yield fold(f"{finding.code} {finding.name} {finding.target} {finding.module}").join(("  ", f": {one.why}"))
    modules: dict[str, set[str]] = {}
    for one in refused:
        if one.by_module:
            modules.setdefault(one.finding.module, set()).add(one.finding.code)
    if modules:
        yield f"{config} can ignore what has no line of yours:"
    table = "overrides" if config == "netaudit.toml" else "tool.netaudit.overrides"
    for module, codes in sorted(modules.items()):
        yield f"\n[[{table}]]\nmodule = {json.dumps(module, ensure_ascii=False)}\nignore = {json.dumps(sorted(codes))}"
