"""What findings claim of a measurement, tried on a check's own models: it is measured where they are found, and not where they are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from netaudit.audit import Settings
from netaudit.check import Audit, Check, Remark
from netaudit.finding import Finding
from netaudit.measured import Claim
from netaudit.pack import Catalog, installed
from netaudit.probe import Plan, Probing
from netaudit.testing.examples import examples, findings

PROBE = Settings(preview=True, probe=Probing("cpu", climb="none", plan=Plan(samples=1)))


def untrue(check: Check, catalog: Catalog | None = None) -> Iterator[str]:
    """The claims of a check's findings that its Flagged models do not confirm.

    A claim about extreme inputs need not be confirmed: not every model lets them through.
    """
    for source in examples(check).get("Flagged", ()):
        for finding in _claiming(source, check, catalog or installed()):
            if finding.verdict != "confirmed" and not _may_wait(finding):
                yield f"{check.code} claims {finding.claim}, {_read(finding)}:\n{source}"


def indifferent(check: Check, catalog: Catalog | None = None) -> Iterator[str]:
    """The claims of a check's findings on its Flagged models that its Clean ones confirm as well."""
    known, models = catalog or installed(), examples(check)
    found = (f.claim for source in models.get("Flagged", ()) for f in _claiming(source, check, known))
    claims = [claim for claim in found if claim is not None]
    for source in models.get("Clean", ()) if claims else ():
        for finding in _held_against(source, check, claims, known):
            yield f"{check.code} claims {finding.claim}, which holds of a model under Clean, too, {_read(finding)}:\n{source}"


def _claiming(source: str, check: Check, catalog: Catalog) -> Sequence[Finding]:
    found = findings(source, catalog=_only(catalog, check), settings=PROBE)
    return [finding for finding in found if finding.code == check.code and finding.claim is not None]


def _only(catalog: Catalog, check: Check) -> Catalog:
    return replace(catalog, checks={check.code: check})


def _may_wait(finding: Finding) -> bool:
    return finding.claim is not None and finding.claim.quantity == "extreme" and finding.verdict == "not probed"


def _read(finding: Finding) -> str:
    return f"and {finding.seen} is read ({finding.verdict})"


def _held_against(source: str, check: Check, claims: Sequence[Claim], catalog: Catalog) -> Iterator[Finding]:
    """The findings, made up of these claims, that a model confirms."""

    def body(_audit: Audit) -> Iterator[Remark]:
        yield from (Remark("a claim", key=str(index), claim=claim) for index, claim in enumerate(claims))

    told = replace(check, body=body)
    yield from (f for f in findings(source, catalog=_only(catalog, told), settings=PROBE) if f.verdict == "confirmed")
