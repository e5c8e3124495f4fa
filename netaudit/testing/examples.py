"""The models in a check's docstring: what is under Flagged must be found, what is under Clean must not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from netaudit.audit import Settings, audit_subject
from netaudit.check import Check, sections
from netaudit.finding import Finding
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import Catalog, installed

_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def examples(check: Check) -> Mapping[str, tuple[str, ...]]:
    """The code blocks of a check's docstring, by heading."""
    return {heading: tuple(_BLOCK.findall(text)) for heading, text in sections(check.doc).parts.items()}


def codes(source: str, *, catalog: Catalog | None = None, settings: Settings | None = None) -> frozenset[str]:
    """The codes of all findings on the models of a python file with this text.

    Raises:
        TargetError: the text holds no model, or its code fails.
    """
    return frozenset(finding.code for finding in findings(source, catalog=catalog, settings=settings))


def findings(source: str, *, catalog: Catalog | None = None, settings: Settings | None = None) -> tuple[Finding, ...]:
    """All findings on the models of a python file with this text; every check speaks for itself, and yields to no other.

    Raises:
        TargetError: the text holds no model, or its code fails.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "example.py"
        path.write_text(source)
        subjects = load(str(path), Options())
        known = catalog or installed()
        alone = replace(known, checks={code: replace(check, yields_to=()) for code, check in known.checks.items()})
        reports = [audit_subject(subject, alone, settings or Settings()) for subject in subjects]
    problems = [problem for report in reports for problem in report.problems]
    assert not [p for p in problems if "crashed" in p], problems
    return tuple(finding for report in reports for finding in report.findings)
