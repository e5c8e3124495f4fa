"""Findings that a team has accepted for now, in a file: they do not count until they get ten times worse."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from .errors import ConfigError
from .finding import SEVERITIES, Baseline, Evidence, Finding, Report

FILE = "netaudit-baseline.json"
VERSION = 1
WORSE = 1.0
"""Decades beyond what was accepted at which a finding is reported again."""
SLACK = 2e-3
"""Decades that reports round away."""
KINDS = ("proved", "forecast", "measured")
WORDS = ("code", "name", "severity", "fingerprint", "target", "module")
"""What tells an entry from another, in a file and in a JSON report."""
Entries: TypeAlias = "tuple[Known, ...]"


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a finding: its name without lines and values, and how far it is beyond its limit.

    ``sizes``: log10 of the quantity by kind of evidence, where it is at hand. ``decades``: their distances from that of the
    threshold, from 1 where there is none.
    """

    code: str
    name: str
    severity: str
    fingerprint: str
    target: str
    module: str = ""
    decades: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict, compare=False)


def known(findings: Iterable[Finding]) -> Entries:
    """What is remembered of findings, in their order."""
    return tuple(Known(f.code, f.name, f.severity, f.fingerprint, f.target, f.module, _decades(f.evidence)) for f in findings)


def is_worse(now: Known, before: Known) -> bool:
    """Whether a finding is ten times farther beyond its limit by some kind of evidence that both have, or more severe."""
    if _rank(now.severity) < _rank(before.severity):
        return True
    both = [(now.decades[kind], before.decades[kind]) for kind in KINDS if kind in now.decades and kind in before.decades]
    return any(new > old and new >= old + WORSE - SLACK for new, old in both)  # the first: inf is not worse than inf


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _decades(evidence: Evidence) -> dict[str, float]:
    found = {kind: getattr(evidence, kind) for kind in KINDS}
    return beyond(evidence.threshold, found)


def beyond(threshold: float | None, sizes: Mapping[str, float | None]) -> dict[str, float]:
    """How far sizes (log10) are from a limit."""
    return {kind: abs(size - (threshold or 0.0)) for kind, size in sizes.items() if size is not None and not math.isnan(size)}


# against a baseline -----------------------------------------------------------------------------------------------------


def compared(report: Report, accepted: Entries) -> Report:
    """The report with every finding marked: new, unchanged or worse. Of several with one fingerprint each takes one entry."""
    left: dict[str, list[Known]] = {}
    for entry in accepted:
        left.setdefault(entry.fingerprint, []).append(entry)
    targets = []
    for target in report.targets:
        states = (_state(entry, left) for entry in known(target.findings))
        marked = (replace(finding, baseline=state) for finding, state in zip(target.findings, states, strict=True))
        targets.append(replace(target, findings=tuple(marked)))
    return replace(report, targets=tuple(targets))


def _state(entry: Known, left: Mapping[str, list[Known]]) -> Baseline:
    candidates = left.get(entry.fingerprint)
    if not candidates:
        return "new"
    return "worse" if is_worse(entry, candidates.pop(0)) else "unchanged"


def gone(now: Iterable[Known], accepted: Entries) -> Entries:
    """The entries that nothing is found for any more."""
    left = [entry.fingerprint for entry in now]
    result = []
    for entry in accepted:
        if entry.fingerprint in left:
            left.remove(entry.fingerprint)
        else:
            result.append(entry)
    return tuple(result)


# files ------------------------------------------------------------------------------------------------------------------


def text_of(entries: Iterable[Known]) -> str:
    """A baseline as it is stored: one line an entry, sorted, so that two branches merge and a person can read it."""
    rows = sorted((_row(entry) for entry in entries), key=lambda row: (row["target"], row["code"], row["module"], row["fingerprint"]))
    lines = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return f'{{\n  "netaudit-baseline": {VERSION},\n  "findings": [{f"{chr(10)}{lines}{chr(10)}  " if rows else ""}]\n}}\n'


def _row(entry: Known) -> dict[str, Any]:
    decades = {kind: None if math.isinf(size) else round(size, 3) for kind, size in entry.decades.items()}
    return {
        "target": entry.target,
        "code": entry.code,
        "name": entry.name,
        "module": entry.module,
        "severity": entry.severity,
        "decades": decades,
        "fingerprint": entry.fingerprint,
    }


def read(path: Path) -> Entries:
    """The entries of a file.

    Raises:
        ConfigError: it is not there, or is no baseline.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the baseline {path} cannot be read: {error.strerror}", "netaudit baseline create TARGET makes one") from error
    except ValueError as error:
        raise ConfigError(f"the baseline {path} is not JSON: {error}", "a merge may have left its marks in it") from error
    version = data.get("netaudit-baseline") if isinstance(data, dict) else None
    if version is None:
        raise ConfigError(f"{path} is not a baseline of netaudit", "netaudit baseline create TARGET makes one")
    if version != VERSION:
        raise ConfigError(
            f"{path} is a baseline of version {version}, and this netaudit reads {VERSION}", "make it anew, or update netaudit"
        )
    return _entries(data.get("findings"), path)


def _entries(rows: object, path: Path) -> Entries:
    if not isinstance(rows, Sequence):
        raise ConfigError(f"{path} holds no list of findings", "make it anew")
    return tuple(_entry(row, number, path) for number, row in enumerate(rows))


def _entry(row: object, number: int, path: Path) -> Known:
    try:
        assert isinstance(row, dict)
        code, name, severity, fingerprint, target, module = (str(row[key]) for key in WORDS)
        decades = {str(kind): math.inf if size is None else float(size) for kind, size in row["decades"].items()}
    except (AssertionError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: finding {number + 1} cannot be read: {error or 'no table'}", "make the baseline anew") from error
    return Known(code, name, severity, fingerprint, target, module, decades)
