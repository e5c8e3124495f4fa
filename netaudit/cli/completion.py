"""What a shell offers for the value of an option. Runs at every press of the tab key: nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

COMMANDS = ("netaudit", "netaudit-torch")
"""The names under which netaudit is installed. A shell completes for each apart."""


def command_name(program: str) -> str:
    """The name that a program was called by; the first one for ``python -m netaudit``."""
    stem = Path(program).stem
    return stem if stem in COMMANDS else COMMANDS[0]


def formats(incomplete: str) -> list[str]:
    """Output formats."""
    from netaudit.report import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


def rules(incomplete: str) -> list[tuple[str, str]]:
    """Codes and names of rules, with what they say; behind a comma the next one."""
    from netaudit.pack import installed

    first, comma, word = incomplete.rpartition(",")
    checks = installed(checks_only=True).checks.values()
    named = [(name, c.summary) for c in checks for name in (c.code, c.name)]
    return [(first + comma + name, summary) for name, summary in named if name.startswith(word)]


def levels(incomplete: str) -> Iterator[str]:
    """Severities."""
    return (level for level in ("error", "warning", "info") if level.startswith(incomplete))
