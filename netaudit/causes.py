"""One finding for each root cause: what a check says of a symptom yields to the finding that explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .finding import SEVERITIES, Finding

Yields = Mapping[str, tuple[str, ...]]
"""By code, the codes that say the same of the same place from nearer to its cause or its harm."""


def one_per_cause(found: Sequence[Finding], yields: Yields) -> tuple[Finding, ...]:
    """Findings without those that yield to another of the same place that is at least as severe; their messages go into its reason."""
    stronger = {id(f): next((g for g in found if _explains(g, f, yields)), None) for f in found}
    kept = [f for f in found if stronger[id(f)] is None]
    return tuple(_with_notes(g, [f for f in found if _root(f, stronger) is g and f is not g]) for g in kept)


def _explains(g: Finding, f: Finding, yields: Yields) -> bool:
    as_severe = SEVERITIES.index(g.severity) <= SEVERITIES.index(f.severity)
    return g.code in yields.get(f.code, ()) and as_severe and _related(f.module, g.module)


def _related(one: str, other: str) -> bool:
    """Whether one module holds the other; the whole model holds all."""
    return not one or not other or f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _root(f: Finding, stronger: Mapping[int, Finding | None]) -> Finding:
    """The finding at the end of a chain of yielding."""
    while (above := stronger[id(f)]) is not None:
        f = above
    return f


def _with_notes(finding: Finding, folded: Sequence[Finding]) -> Finding:
    notes = "\n".join(f"see also {f.code} {f.name}: {f.message}" for f in folded)
    return replace(finding, reason=f"{finding.reason}\n{notes}".strip()) if folded else finding
