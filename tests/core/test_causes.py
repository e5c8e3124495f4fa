"""A symptom yields to its cause: what is kept, what is folded, and that nothing is lost without a trace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netaudit.causes import one_per_cause
from netaudit.finding import Finding, Severity

YIELDS = {"B": ("A",), "C": ("B",), "D": ("A", "E")}


def finding(code: str, severity: Severity = "warning", module: str = "body") -> Finding:
    return Finding(code, code.lower(), severity, f"message of {code} at '{module}'", "model", module)


def codes(*found: Finding) -> list[str]:
    return [f.code for f in one_per_cause(found, YIELDS)]


def test_a_symptom_of_the_same_place_is_folded_into_its_cause() -> None:
    (kept,) = one_per_cause([finding("B"), finding("A")], YIELDS)
    assert kept.code == "A"
    assert "see also B b: message of B" in kept.reason


def test_a_chain_ends_at_its_root() -> None:
    (kept,) = one_per_cause([finding("C"), finding("B"), finding("A")], YIELDS)
    assert all(f"see also {code}" in kept.reason for code in "BC")


def test_another_place_and_a_milder_cause_keep_both() -> None:
    assert codes(finding("B", module="head"), finding("A", module="body")) == ["B", "A"]
    assert codes(finding("B", "error"), finding("A", "warning")) == ["B", "A"]
    assert codes(finding("B", module="bod"), finding("A", module="body.0")) == ["B", "A"]


def test_a_finding_about_the_whole_model_is_about_every_part() -> None:
    assert codes(finding("B", module=""), finding("A", module="body.0")) == ["A"]
    assert codes(finding("B", module="body.0.fc"), finding("A", module="body")) == ["A"]


DRAWN = st.builds(finding, st.sampled_from("ABCDE"), st.sampled_from(["error", "warning", "info"]), st.sampled_from(["", "a", "a.b", "c"]))


@given(st.lists(DRAWN, max_size=6))
def test_nothing_is_lost_and_the_worst_severity_stays(found: list[Finding]) -> None:
    kept = one_per_cause(found, YIELDS)
    text = "\n".join(f.message + f.reason for f in kept)
    assert all(f.message in text for f in found)
    assert {f.severity for f in kept} >= ({"error"} if any(f.severity == "error" for f in found) else set())
