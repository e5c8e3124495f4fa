"""Findings held against what was measured: confirmed, not reproduced, or not probed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf, isnan
from statistics import median

from netaudit.claims import FORECAST_ERROR
from netaudit.finding import Claim, Finding
from netaudit.measured import NodeMeasured, ParamMeasured, Verdict


@dataclass(frozen=True, slots=True)
class Readings:
    """What can be read off a probe: log10 sizes of parameters and nodes, and the calls seen to break.

    ``updates``: log10 of ``RMS(dW) / RMS(W)`` of a first optimiser step; ``edge``: log10 of the learning rate over the largest
    stable one; ``broken``: calls whose value or gradient was not finite, on the inputs or at an extreme.
    """

    nodes: Mapping[str, NodeMeasured]
    params: Mapping[str, ParamMeasured]
    updates: Mapping[str, float] = field(default_factory=dict)
    edge: float | None = None
    broken: frozenset[str] = frozenset()

    def read(self, claim: Claim, subject: str) -> float | None:
        """The claimed quantity of one subject, as log10; None where it was not measured."""
        param, node = self.params.get(subject), self.nodes.get(subject)
        match claim.quantity:
            case "sensitivity":
                return None if param is None else param.sensitivity.middle
            case "gradient":
                return (
                    param.gradient.middle if param is not None else None if node is None or node.gradient is None else node.gradient.middle
                )
            case "value":
                return None if node is None else node.rms.middle
            case "update":
                return self.updates.get(subject)
            case "edge":
                return self.edge
            case "growth":
                first, _, last = subject.partition(" > ")
                return self._growth(first, last)
            case "non-finite":
                return inf if subject in self.broken else None

    def _growth(self, first: str, last: str) -> float | None:
        if first not in self.nodes or last not in self.nodes:
            return None
        return self.nodes[last].rms.middle - self.nodes[first].rms.middle


def judged(finding: Finding, readings: Readings) -> Finding:
    """A finding with its verdict, and what was measured beside what was claimed.

    The middle of all subjects decides. A limit is met within the error of a forecast: a factor of two.
    """
    claim = finding.claim
    found = [] if claim is None else [value for subject in claim.subjects if (value := readings.read(claim, subject)) is not None]
    if claim is None or not found or isnan(found[0]):
        return replace(finding, verdict="not probed")
    value = median(found)
    beyond = value >= claim.limit - FORECAST_ERROR if claim.side == "above" else value <= claim.limit + FORECAST_ERROR
    verdict: Verdict = "confirmed" if beyond else "not reproduced"
    return replace(finding, verdict=verdict, evidence=replace(finding.evidence, measured=found[0]))


def downgraded(finding: Finding) -> Finding:
    """A forecast that was refuted is no more than a remark; what is proved stays what it is."""
    if finding.verdict != "not reproduced" or finding.evidence.proved is not None or finding.severity == "info":
        return finding
    return replace(
        finding,
        severity="info",
        reason="\n".join(filter(None, (finding.reason, f"was {finding.severity}: the probe did not reproduce it"))),
    )
