"""What reports look like: snapshots of printed output, and the rules for numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from netaudit.audit import Settings, audit_subject
from netaudit.finding import Coverage, Finding, Magnitude, Report, TargetReport, fingerprint
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import installed
from netaudit.report import FORMATS, Style
from netaudit.report.nodes import render as node_table
from netaudit.report.numbers import at_most, magnitude, outward, short

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def report() -> Report:
    catalog = installed()
    targets = []
    for name in ("detached_encoder", "deep_sigmoid"):
        (subject,) = load(str(EXAMPLES / f"{name}.py"), Options())
        targets.append(audit_subject(subject, catalog, Settings()))
    return Report(tuple(targets), "0.0.0", "0.0.0", ("netaudit_rules",))


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES.parent)


@pytest.mark.parametrize("name", ["full", "concise"])
def test_printed_formats(report: Report, name: str, snapshot: SnapshotAssertion) -> None:
    text = FORMATS[name](report, Style())
    assert text.replace(str(EXAMPLES.parent) + "/", "") == snapshot


def test_the_node_table(report: Report, snapshot: SnapshotAssertion) -> None:
    assert node_table(report.targets[0]).replace(str(EXAMPLES.parent) + "/", "") == snapshot


def test_full_shows_every_row(report: Report) -> None:
    assert "more (--full)" in FORMATS["full"](report, Style())
    assert "more (--full)" not in FORMATS["full"](report, Style(full=True))


def test_an_incomplete_target_is_never_called_clean() -> None:
    broken = TargetReport("m.py", problems=("check NA201 crashed: boom",), coverage=Coverage(3, 3, {}, 1, 1))
    partial = TargetReport("n.py", coverage=Coverage(4, 3, {"aten.mystery": 1}, 1, 0))
    text = FORMATS["full"](Report((broken, partial), "0", "0", ()), Style())
    assert "incomplete: check NA201 crashed: boom" in text
    assert "incomplete: no transfer for aten.mystery" in text


def test_nothing_traced_is_not_clean() -> None:
    text = FORMATS["full"](Report((TargetReport("m.py", problems=("no",)),), "0", "0", ()), Style())
    assert "not checked" in text
    assert "clean" not in text


def test_numbers() -> None:
    assert short(None) == short(float("-inf")) == "0"
    assert short(-1.0) == "0.1"
    assert short(-6.7) == "2.0e-07"
    assert short(400.0) == "10^400"
    assert magnitude(Magnitude(None, "unbounded")) == "inf"
    assert magnitude(Magnitude(None, "unknown")) == "?"
    assert outward(float("inf"), "forecast") is None
    assert outward(-0.00001, "forecast") == 0.0
    assert outward(-2.0000001, "proved") == -2.0
    assert at_most(-7.58) == "2.7e-08"


@given(st.floats(-200.0, 200.0))
def test_a_proved_size_is_never_printed_below_itself(log: float) -> None:
    assert float(at_most(log)) >= 10.0**log


def test_fingerprints_know_no_lines_and_no_values() -> None:
    one, other = (Finding("NA201", "n", "error", m, "t", "body", fingerprint=fingerprint("NA201", "t", "body", "")) for m in ("a", "b"))
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != fingerprint("NA201", "t", "head", "")
