"""Findings held against what was measured: confirmed, not reproduced, or not probed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isnan, log10
from statistics import median

from netaudit.claims import FORECAST_ERROR
from netaudit.finding import Finding
from netaudit.measured import Claim, NodeMeasured, ParamMeasured, Quantity, Verdict
from netaudit.probe.asked import READ, Ask

STUDIES_FOR: Mapping[Quantity, str] = {"update": "update", "edge": "curvature", "extreme": "extremes", "noise": "modes"}
"""The study that measures a quantity: one that is claimed is made whether it was asked for or not."""


def studies_for(claims: Iterable[Claim]) -> tuple[str, ...]:
    """The names of the studies that some claims need, sorted."""
    return tuple(sorted({STUDIES_FOR[claim.quantity] for claim in claims if claim.quantity in STUDIES_FOR}))


@dataclass(frozen=True, slots=True)
class Readings:
    """What can be read off a probe: log10 sizes of parameters and nodes, and the calls seen to break.

    ``broken``: calls whose value or gradient was not finite though they were given finite ones; ``extremes``: the same at an
    extreme input. ``asked``: what was read for claims alone. ``updates``: log10 of ``RMS(dW) / RMS(W)`` of a first optimiser step;
    ``edge``: log10 of the learning rate over the largest stable one; ``noise``: how far two passes in evaluation mode are apart.
    ``counts``: how many entries parameters have.
    """

    nodes: Mapping[str, NodeMeasured]
    params: Mapping[str, ParamMeasured]
    updates: Mapping[str, float] = field(default_factory=dict)
    edge: float | None = None
    broken: frozenset[str] = frozenset()
    extremes: frozenset[str] = frozenset()
    asked: Mapping[Ask, float] = field(default_factory=dict)
    noise: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def read(self, claim: Claim, subject: str) -> float | None:
        """What is claimed of one subject, as log10; None where it was not measured, NaN where it was not finite."""
        own = self._one(claim, subject)
        if own is None:
            return None
        for name in claim.over:
            other = self._one(claim, name)
            if other is None or other == -inf:
                return None
            own -= other
        return own + claim.shift

    def _one(self, claim: Claim, subject: str) -> float | None:
        match claim.quantity:
            case "edge":
                return self.edge
            case "noise":
                return self.noise
            case "update":
                return self.updates.get(subject)
            case "extreme":
                return inf if subject in self.extremes | self.broken else None
            case "whole gradient":
                return self._whole()
        if claim.quantity in READ:
            return self.asked.get(Ask(claim.quantity, subject, claim.axis, claim.between))
        return self._swept(claim.quantity, subject)

    def _swept(self, quantity: Quantity, subject: str) -> float | None:
        """What every run reads."""
        param, node = self.params.get(subject), self.nodes.get(subject)
        match quantity:
            case "sensitivity":
                return None if param is None else param.sensitivity.middle
            case "gradient":
                return self._gradient(subject)
            case "gain":
                return self._gain(subject)
            case "non-finite":
                return self._broken(subject)
        return None if node is None else _of_value(quantity, node)

    def _gradient(self, subject: str) -> float | None:
        if subject in self.params:
            return self.params[subject].gradient.middle
        node = self.nodes.get(subject)
        return None if node is None or node.gradient is None else node.gradient.middle

    def _gain(self, subject: str) -> float | None:
        operand, _, call = subject.rpartition(" > ")
        gain = self.nodes[call].gains.get(operand) if call in self.nodes else None
        return None if gain is None else gain.typical

    def _whole(self) -> float | None:
        """The norm of the whole gradient, from the RMS of that of each parameter; NaN where one is not finite."""
        sizes = [one.gradient.middle + 0.5 * _log(self.counts.get(name, 0)) for name, one in self.params.items()]
        top = max(sizes, default=-inf)
        if any(map(isnan, sizes)) or top == -inf:
            return float("nan") if any(map(isnan, sizes)) else top
        return top + 0.5 * log10(sum(10.0 ** (2.0 * (size - top)) for size in sizes))

    def _broken(self, subject: str) -> float | None:
        """Whether a call breaks; unknown where it was given what was broken already."""
        if subject in self.broken:
            return inf
        node = self.nodes.get(subject)
        if node is None or isnan(node.rms.middle) or (node.gradient is not None and isnan(node.gradient.middle)):
            return None
        return -inf


def _of_value(quantity: Quantity, node: NodeMeasured) -> float:
    """What is read of a value alone; a size that is not finite is beyond every limit."""
    match quantity:
        case "largest":
            return inf if isnan(node.largest) else node.largest
        case "zeros":
            return _log(node.zeros)
    return node.rms.middle


def _log(share: float) -> float:
    return log10(share) if share > 0.0 else -inf


def judged(finding: Finding, readings: Readings) -> Finding:
    """A finding with its verdict, and what was measured beside what was claimed.

    The middle of all subjects decides; of what is certain, every one. A limit is met within its slack: the error of a forecast, a
    factor of two, unless the claim says otherwise.
    """
    claim = finding.claim
    found = [] if claim is None else [value for subject in claim.subjects if (value := readings.read(claim, subject)) is not None]
    if claim is None or not found or isnan(found[0]):
        return replace(finding, verdict="not probed")
    value, slack = _deciding(claim, found), claim.slack if claim.slack is not None else 0.0 if claim.certain else FORECAST_ERROR
    beyond = value >= claim.limit - slack if claim.side == "above" else value <= claim.limit + slack
    verdict: Verdict = "confirmed" if beyond else "not reproduced"
    beside = finding.evidence.measured if claim.aside or found[0] == inf else found[0]
    return replace(finding, verdict=verdict, seen=found[0], evidence=replace(finding.evidence, measured=beside))


def _deciding(claim: Claim, found: Sequence[float]) -> float:
    if not claim.certain or any(map(isnan, found)):
        return median(found)
    return min(found) if claim.side == "above" else max(found)


def downgraded(finding: Finding) -> Finding:
    """A forecast that was refuted is no more than a remark; what is proved stays what it is."""
    is_forecast = finding.evidence.proved is None and (finding.claim is None or not finding.claim.certain)
    if finding.verdict != "not reproduced" or not is_forecast or finding.severity == "info":
        return finding
    return replace(
        finding,
        severity="info",
        reason="\n".join(filter(None, (finding.reason, f"was {finding.severity}: the probe did not reproduce it"))),
    )
