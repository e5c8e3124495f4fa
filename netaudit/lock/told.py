"""What a comparison says, and what it exits with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .compare import Change, changes, installed_version
from .document import FILE, Lock, read

CLEAN, FINDINGS, TARGET, UNCHECKED = 0, 1, 2, 3
"""As `netaudit check` exits: what is there now was not checked when the lock is stale."""
SHOWN = 3
"""Targets named beside a change."""


def asked(arguments: Sequence[str]) -> Path | None:
    """The lock that ``netaudit lock --check`` is asked to compare; None when something else is asked."""
    match list(arguments):
        case ["lock", "--check"]:
            return Path(FILE)
        case ["lock", "--check", "--file", file] | ["lock", "--file", file, "--check"]:
            return Path(file)
        case ["lock", "--check", word] | ["lock", word, "--check"] if word.startswith("--file="):
            return Path(word.partition("=")[2])
    return None


def answered(path: Path, own_version: str) -> tuple[str, int]:
    """What is said of a lock, and the exit code.

    Raises:
        ConfigError: it is not there, or no lock that can be read; the settings cannot be read.
    """
    lock = read(path)
    found = changes(lock, path.absolute().parent, own_version)
    return told(lock, found, path), exit_code(lock, found)


def exit_code(lock: Lock, found: Sequence[Change]) -> int:
    """That of ``netaudit check``: a target that is gone is 2, a stale lock 3 (not checked), else the worst of the verdicts."""
    if any(change.is_target for change in found):
        return TARGET
    said = {entry.verdict.exit_code for entry in lock.entries}
    if found or UNCHECKED in said:
        return UNCHECKED
    return max(said, default=CLEAN)


def told(lock: Lock, found: Sequence[Change], path: Path) -> str:
    """Each change on a line, with the targets that rest on it; without a change the findings that count, and the verdict."""
    total = len(lock.entries)
    lines = [f"{change.kind:<8} {change.what} ({_named(change.targets, total)})" for change in found]
    lines += [f"unknown  version of {pack}, {made}: not installed here" for pack, made in lock.packs.items() if not installed_version(pack)]
    if found:
        stale = {target for change in found for target in change.targets}
        lines.append(f"{path} is stale: {len(stale)} of {_counted(total, 'target')} changed since the audit")
        lines.append(f"  hint: {_hint(found)}; commit {path.name}")
        return "".join(f"{line}\n" for line in lines)
    for entry in lock.entries:
        lines += entry.verdict.findings
        if entry.verdict.exit_code == UNCHECKED:
            lines.append(f"{entry.target} was not wholly checked when the lock was made")
    lines.append(f"{path}: {_counted(total, 'target')}, {_counted(len(lock.files), 'file')} as audited; {_verdict(lock)}")
    return "".join(f"{line}\n" for line in lines)


def _verdict(lock: Lock) -> str:
    totals = {kind: sum(entry.verdict.counts[kind] for entry in lock.entries) for kind in ("error", "warning", "info")}
    return ", ".join(f"{count} {kind}{'s' * (count != 1 and kind != 'info')}" for kind, count in totals.items() if count) or "no findings"


def _named(targets: Sequence[str], total: int) -> str:
    if len(targets) == total > 1:
        return "every target"
    rest = len(targets) - SHOWN
    return ", ".join(targets[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _hint(found: Sequence[Change]) -> str:
    if any(change.is_target for change in found):
        return "netaudit lock TARGET... without what is gone"
    return "netaudit lock"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
