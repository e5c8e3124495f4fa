"""How an analysis compares with its probe, in lines that every format for people shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from netaudit.finding import TargetReport
from netaudit.measured import Calibration, Measured, Verdict

VERDICTS: tuple[Verdict, ...] = ("confirmed", "not reproduced", "not probed")


def agreement(target: TargetReport, found: Measured) -> Iterator[str]:
    """Where it was measured, what became of the findings, of the bounds and of the forecast, and what was not measured."""
    counts = Counter(f.verdict for f in target.findings)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    where = (
        f"probe ({found.device}, {found.dtype}, seed {', '.join(map(str, found.seeds))}, inputs from {found.inputs})"
        if found.dtype
        else f"probe ({found.device})"
    )
    bounds = f"{found.bounds} proved bounds held" if found.bounds and not found.violations else ""
    parts = [f"findings: {said}" if said else "", bounds, _forecast("activations", found.values), _forecast("gradients", found.gradients)]
    shown = " · ".join(part for part in parts if part)
    yield f"{where}: {shown}" if shown else f"{where}:"
    if found.partial:
        yield "the probe was interrupted: what is measured is a part"
    yield from found.notes
    yield from (f"{study.title}: {study.says}" for study in found.studies if study.says)


def _forecast(what: str, good: Calibration | None) -> str:
    if good is None:
        return ""
    share = f"{good.within:.0%} of {good.count} forecast within 2x"
    return f"{what}: {share}, median error {10**good.error:.2g}x, rank correlation {good.correlation:.2f}"
