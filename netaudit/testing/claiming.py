"""What findings claim of a measurement, tried on a check's own models: it is measured where they are found, and not where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

from netaudit.audit import Settings
from netaudit.check import Audit, Check, Remark
from netaudit.finding import Finding
from netaudit.measured import Claim
from netaudit.pack import Catalog, installed
from netaudit.probe import Plan, Probing
from netaudit.testing.examples import examples, findings

PROBE = Settings(preview=True, probe=Probing("cpu", climb="none", plan=Plan(samples=1)))


def probed(source: str, catalog: Catalog | None = None) -> tuple[Finding, ...]:
    """All findings on the models of a python file with this text, with the verdict of a probe.

    Raises:
        TargetError: the text holds no model, or its code fails.
    """
    return _probed(source) if catalog is None else findings(source, catalog=catalog, settings=PROBE)


@cache  # a model under Flagged is asked for by its own trial, and by that of the models under Clean
def _probed(source: str) -> tuple[Finding, ...]:
    return findings(source, settings=PROBE)


def untrue(found: Iterable[Finding]) -> Iterator[str]:
    """The claims that a probe did not confirm; one about extreme inputs need not be: not every model lets them through."""
    for finding in found:
        waits = finding.verdict == "not probed" and finding.claim is not None and finding.claim.quantity == "extreme"
        if finding.claim is not None and finding.verdict != "confirmed" and not waits:
            yield f"{finding.code} claims {_read(finding)}"


def indifferent(check: Check) -> Iterator[str]:
    """What a check claims of its models under Flagged, and a model under Clean confirms as well."""
    models = examples(check)
    found = [f for source in models.get("Flagged", ()) for f in probed(source) if f.code == check.code]
    claims = [f.claim for f in found if f.claim is not None]
    for source in models.get("Clean", ()) if claims else ():
        for finding in _held_against(source, check, claims):
            yield f"{check.code} claims {_read(finding)}:\n{source}"


def _read(finding: Finding) -> str:
    return f"{finding.claim}; {finding.seen} is read ({finding.verdict})"


def _held_against(source: str, check: Check, claims: Iterable[Claim]) -> Iterator[Finding]:
    """The findings, made up of these claims, that a model confirms."""

    def body(_audit: Audit) -> Iterator[Remark]:
        yield from (Remark("a claim", key=str(index), claim=claim) for index, claim in enumerate(claims))

    told = replace(installed(), checks={check.code: replace(check, body=body)})
    yield from (f for f in findings(source, catalog=told, settings=PROBE) if f.verdict == "confirmed")
