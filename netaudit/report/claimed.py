"""What a finding claims of a measurement, and what was measured, in one line that every format for people shares."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from netaudit.finding import Finding
from netaudit.measured import Claim, Quantity

from .numbers import short

WORDS: Mapping[Quantity, str] = {
    "sensitivity": "S of `{}`",
    "gradient": "the RMS gradient of `{}`",
    "value": "the RMS of `{}`",
    "largest": "the largest entry of `{}`",
    "zeros": "the share of zeros in `{}`",
    "gain": "the gain of `{}`",
    "outside": "the share of `{}` outside of {ends}",
    "off": "the share of units of `{}` that are off",
    "peak": "the mean of the largest weight of `{}`",
    "span": "the largest difference in a row of `{}`",
    "deviation": "the deviation of `{}`",
    "difference": "the share of `{}` that differs",
    "gradient difference": "the share of the gradient of `{}` that differs",
    "passed": "the middle of what `{}` passes of a gradient",
    "mixed": "the share of a gradient that `{}` takes from other samples",
    "memory": "what `{}` passes from its first state to its last",
    "whole gradient": "the norm of the whole gradient",
    "update": "the first step over the size of `{}`",
    "edge": "the learning rate over the largest stable one",
    "noise": "the difference of two passes in evaluation mode",
}


def verdict(finding: Finding) -> str:
    """``confirmed: S of `0.weight` is 1.2e-07 (claimed: at most 1.0e-05)``; empty when nothing was probed."""
    if finding.verdict is None:
        return ""
    read = _read(finding.claim, finding.seen) if finding.claim is not None else ""
    return finding.verdict + (f": {read}" if read else "")


def _read(claim: Claim, seen: float | None) -> str:
    subject = claim.subjects[0] if claim.subjects else ""
    if seen is None:
        return f"{_what(claim, subject)} was not measured" if claim.quantity in WORDS else ""
    if claim.quantity in ("non-finite", "extreme"):
        at = " at an extreme input" if claim.quantity == "extreme" else ""
        return f"`{subject}` is {'not ' if seen > 0.0 else ''}finite{at}" + ("" if seen > 0.0 else ", forward and backward")
    size = "not finite" if seen == inf else short(seen)
    words = "exactly 0" if claim.limit == -inf else f"at {'least' if claim.side == 'above' else 'most'} {short(claim.limit)}"
    others = f", the first of {len(claim.subjects)}" if len(claim.subjects) > 1 else ""
    told = "" if claim.limit < -100.0 and claim.side == "above" else f" (claimed: {words})"
    return f"{_what(claim, subject)} is {size}{others}{told}"


def _what(claim: Claim, subject: str) -> str:
    low, high = claim.between or (-inf, inf)
    words = WORDS[claim.quantity].format(subject, ends=f"[{low:.3g}, {high:.3g}]")
    over = " over that of " + " and ".join(f"`{name}`" for name in claim.over) if claim.over else ""
    return words + over
