"""What was accepted does not count until it is ten times worse; two reports of one model differ by nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.baseline import compared, gone, is_worse, known, read, text_of
from netaudit.diff import difference, entries_of, load
from netaudit.errors import ConfigError
from netaudit.finding import SEVERITIES, Evidence, Finding, Magnitude, NodeRow, Report, Severity, Suppressed, TargetReport, fingerprint
from netaudit.graph import Where
from netaudit.report import FORMATS, Style
from netaudit.report.difference import DIFFERENCES

SIZES = st.none() | st.floats(-50, 50)
EVIDENCE = st.builds(Evidence, threshold=SIZES, proved=SIZES | st.just(float("-inf")), forecast=SIZES)
NAMES = st.sampled_from(["body", "body.0", "head", "", "encoder.layers.3.norm"])


def found(module: str = "body", evidence: Evidence = Evidence(), code: str = "NA201", severity: Severity = "error") -> Finding:
    where = Where(module)
    name = fingerprint(code, "model.py", module, "")
    return Finding(code, "a-defect", severity, "is so", "model.py", module, where, evidence=evidence, fingerprint=name)


FINDINGS = st.lists(st.builds(found, NAMES, EVIDENCE, st.sampled_from(["NA201", "NA202"]), st.sampled_from(SEVERITIES)), max_size=5)


def report(*findings: Finding, modules: tuple[str, ...] = ()) -> Report:
    none = Magnitude(None, "unknown")
    modules = modules or tuple({f.module for f in findings})
    rows = tuple(NodeRow(f"n{k}", "aten.relu", m, Where(m), (1,), "float32", none, (), none, none, none) for k, m in enumerate(modules))
    return Report((TargetReport("model.py", findings=tuple(findings), nodes=rows),), "0.1.0", "2.13.0", ())


def document(of: Report) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FORMATS["json"](of, Style()))
    return loaded


def states(of: Report) -> list[str]:
    return [finding.baseline for finding in of.targets[0].findings]


# baseline ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(findings=FINDINGS)
def test_what_is_accepted_is_unchanged(findings: list[Finding], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "baseline.json"
    path.write_text(text_of(known(findings)), encoding="utf-8")
    accepted = read(path)
    again = compared(report(*findings), accepted)
    several = {f.fingerprint for f in findings if [g.fingerprint for g in findings].count(f.fingerprint) > 1}  # sorted in the file
    assert all(f.baseline == "unchanged" for f in again.targets[0].findings if f.fingerprint not in several)
    assert "new" not in states(again)
    assert not gone(known(findings), accepted)
    assert text_of(accepted) == path.read_text(encoding="utf-8"), "writing what was read changes nothing"


@settings(max_examples=100, deadline=None)
@given(size=st.floats(-40, 40), threshold=st.none() | st.floats(-40, 40), decades=st.floats(0, 5))
def test_ten_times_worse_is_worse(size: float, threshold: float | None, decades: float) -> None:
    away = 1.0 if size >= (threshold or 0.0) else -1.0
    (before,) = known([found(evidence=Evidence("S", threshold, forecast=size))])
    (after,) = known([found(evidence=Evidence("S", threshold, forecast=size + away * decades))])
    if abs(decades - 1.0) > 0.01:
        assert is_worse(after, before) == (decades > 1.0)
    assert not is_worse(before, after)


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        (Evidence("S", -5.0, forecast=-7.0), Evidence("S", -5.0, proved=-20.0), False),  # no kind that both have
        (Evidence("S", -5.0, forecast=-7.0), Evidence("S", -5.0, forecast=float("-inf")), True),
        (Evidence("S", -5.0, forecast=float("-inf")), Evidence("S", -5.0, forecast=float("-inf")), False),
        (Evidence("S", -5.0, proved=-7.0, forecast=-9.0), Evidence("S", -5.0, proved=-8.5, forecast=-9.0), True),
        (Evidence(), Evidence(), False),
    ],
)
def test_only_what_is_comparable_is_compared(before: Evidence, after: Evidence, worse: bool) -> None:
    assert is_worse(*known([found(evidence=after)]), *known([found(evidence=before)])) == worse


def test_more_severe_is_worse() -> None:
    accepted = known([found(severity="info")])
    assert states(compared(report(found(severity="warning")), accepted)) == ["worse"]
    assert states(compared(report(found(severity="info")), known([found(severity="warning")]))) == ["unchanged"]


def test_each_entry_is_taken_once() -> None:
    assert states(compared(report(found(), found()), known([found()]))) == ["unchanged", "new"]


def test_what_is_accepted_is_counted_and_does_not_count() -> None:
    whole = compared(report(found("a"), found("b")), known([found("a")]))
    assert [f.module for f in whole.counted] == ["b"]
    assert whole.count("error") == 1
    summary = document(whole)["summary"]
    assert (summary["error"], summary["baselined"]) == (1, 1)
    for name in ("full", "concise", "github", "markdown"):
        text = FORMATS[name](whole, Style())
        assert "b: is so" in text.replace("`", "") or "b\n" in text, name
    assert "1 in the baseline" in FORMATS["full"](whole, Style())
    only = compared(report(found("a")), known([found("a")]))
    assert FORMATS["concise"](only, Style()) == ""
    assert "nothing new" in FORMATS["full"](only, Style())
    assert document(only)["run"]["status"] == "clean"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a baseline"),
        ('{"netaudit-baseline": 7}', "version 7"),
        ('{"netaudit-baseline": 1, "findings": 3}', "no list"),
        ('{"netaudit-baseline": 1, "findings": [{"code": "NA201"}]}', "finding 1"),
    ],
)
def test_a_file_that_is_no_baseline(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / "b.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "absent.json")


# difference -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(FINDINGS, FINDINGS)
def test_a_difference_turned_round(first: list[Finding], second: list[Finding]) -> None:
    a, b = document(report(*first)), document(report(*second))
    assert {pair.change for pair in difference(a, a).pairs} <= {"same"}
    there, back = difference(a, b), difference(b, a)
    turned = {"new": "fixed", "fixed": "new", "same": "same"}
    plain = [p.change for p in there.pairs if p.change in turned]
    assert sorted(turned[change] for change in plain if change != "same") == sorted(
        p.change for p in back.pairs if p.change in ("new", "fixed")
    )
    assert sum(p.after is not None for p in there.pairs) == len(second)
    assert sum(p.before is not None for p in there.pairs) == len(first)
    assert there.is_worse == any(p.change in ("new", "worse") for p in there.pairs)


def test_a_rename_is_no_news() -> None:
    before = report(found("body.2"), modules=("stem", "body.2"))
    after = report(found("trunk.2"), modules=("stem", "trunk.2"))
    (pair,) = difference(document(before), document(after)).pairs
    assert pair.change == "same"
    assert pair.before is not None
    assert pair.before.module == "body.2"


def test_a_finding_elsewhere_is_news() -> None:
    """The module that was named before is still there: one finding was fixed, and another one is new."""
    modules = ("body.2", "head.2")
    changes = difference(document(report(found("body.2"), modules=modules)), document(report(found("head.2"), modules=modules)))
    assert [pair.change for pair in changes.pairs] == ["new", "fixed"]


def test_how_a_difference_reads() -> None:
    small, smaller = (Evidence("S", -5.0, proved=size) for size in (-6.7, -8.39))
    before = report(found("body", small), found("gone"), modules=("body", "gone", "head"))
    after = report(found("body", smaller), found("head", code="NA202", severity="info"), modules=("body", "gone", "head", "tail"))
    told = difference(document(before), document(after))
    assert DIFFERENCES["text"](told).splitlines() == [
        "worse  NA201 a-defect  model.py body  <= 2.0e-07 -> <= 4.1e-09  proved",
        "new    NA202 a-defect  model.py head                            info",
        "fixed  NA201 a-defect  model.py gone                            error",
        "same     0 · calls +1",
    ]
    assert "| worse" in DIFFERENCES["markdown"](told)
    assert DIFFERENCES["markdown"](told).startswith("### netaudit: 1 worse, 1 new, 1 fixed\n")


def test_suppressed_findings_are_no_part_of_it() -> None:
    whole = report()
    whole = replace(whole, targets=(replace(whole.targets[0], suppressed=(Suppressed(found(), "comment"),)),))
    assert not difference(document(report()), document(whole)).pairs


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema_version": "1.0"}', '{"schema_version": "1.0", "findings": [{}]}', "nothing"])
def test_what_is_no_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigError, match=r"r\.json"):
        load(tmp_path / "r.json")


OLD = """{"schema_version": "1.0", "findings": [{"code": "NA201", "name": "vanishing-gradient", "severity": "error", "fingerprint": "na1:x",
"target": "m.py", "module": "body", "evidence": {"quantity": "S", "threshold": -5.0, "proved": null, "forecast": -7.5, "measured": null,
"assumptions": ""}}], "targets": [], "run": {"status": "findings"}}"""


def test_a_report_of_an_older_version_is_read() -> None:
    (entry,) = entries_of(json.loads(OLD), "old.json")
    assert entry.decades == {"forecast": 2.5}
    assert [p.change for p in difference(json.loads(OLD), json.loads(OLD)).pairs] == ["same"]
