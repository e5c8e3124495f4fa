"""JSON reports read back say what they said, and several of them are what one run would have said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.choose import UNUSED, agreed
from netaudit.cli import _run
from netaudit.cli.check import exit_code
from netaudit.errors import ConfigError
from netaudit.finding import (
    SEVERITIES,
    Coverage,
    Evidence,
    Finding,
    Magnitude,
    NodeRow,
    ParamRow,
    Report,
    Since,
    Step,
    Suppressed,
    TargetReport,
    fingerprint,
)
from netaudit.graph import Site, Where
from netaudit.measured import Calibration, Gain, Measured, NodeMeasured, ParamMeasured, Spread, Study
from netaudit.report import FORMATS, Style
from netaudit.report.merging import merged
from netaudit.report.read import read
from netaudit.training import Group, Optimizer, Schedule, Training

WHOLE = ("json", "jsonl", "concise", "github", "gitlab", "markdown", "junit")
"""Formats in which nothing shows of what a JSON report does not hold."""


def written(report: Report, path: Path) -> Path:
    path.write_text(FORMATS["json"](report, Style()), encoding="utf-8")
    return path


def in_order(report: Report) -> Report:
    """As JSON has it: targets by name."""
    return replace(report, targets=tuple(sorted(report.targets, key=lambda t: t.id)))


def found(code: str = "NA201", target: str = "m.py", module: str = "a", **rest: Any) -> Finding:
    given = {"severity": "error", "message": "is so", **rest}
    return Finding(code, "a-defect", target=target, module=module, fingerprint=fingerprint(code, target, module, ""), **given)


def report(*targets: TargetReport, **rest: Any) -> Report:
    return Report(targets, **{"version": "0", "torch": "2", "packs": ("p",), **rest})


# what is read back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WHOLE)
def test_a_report_read_back_is_written_the_same(full_report: Report, tmp_path: Path, name: str) -> None:
    again = read(written(full_report, tmp_path / "r.json"))
    assert FORMATS[name](again, Style()) == FORMATS[name](in_order(full_report), Style())


def measured() -> Report:
    spread = Spread(-1.5, -2.0, -inf)
    unknown, size = Magnitude(None, "unknown"), Magnitude(-1.5, "measured")
    node = NodeRow("n", "aten.relu", "a", Where("a"), (2, 3), "float32", unknown, ("sign",), unknown, unknown, unknown, rms_measured=size)
    param = ParamRow("a.w", (3,), True, Magnitude(None, "unbounded"), Magnitude(-3.0, "forecast"), unknown, gradient_measured=size)
    seen = Measured(
        "cpu", "float32", (0, 1), "guess", {"n": NodeMeasured(spread, -inf, 0.25, None, {"x": Gain(-1.0, 0.1, None, 3, True)})},
        {"a.w": ParamMeasured(spread, spread)}, 7, ("b",), Calibration(3, 0.5, 0.1, 0.9), None,
        (Study("modes", "train and eval", ("a", "b"), (("x", 1.5), ("y", None)), "so"),), ("a note",), True,
    )  # fmt: skip
    path = (Step("a", "a", -inf, None, -3.0), Step("b", "b", None, -inf))
    finding = found(
        evidence=Evidence("S", -5.0, -inf, -7.25, None, "mean-field"), path=path, key="k", verdict="confirmed", baseline="worse"
    )
    training = Training(
        (Optimizer("AdamW", (Group(("a", "b"), {"lr": 1e-3, "eps": 1e-8}, Schedule(((0, 0.0), (9, 0.5)))), Group(("c",)))),),
        100, 1.0, 0.5, 2, 32, "mixed-bf16", False, 0.999, "optimizer()", ("a note",),
    )  # fmt: skip
    target = TargetReport(
        "m.py", findings=(finding,), nodes=(node,), params=(param,), measured=seen, training=training,
        coverage=Coverage(4, 4, {}, 2, 0, True), spent=frozenset({("m.py", "0:NA201")}), inputs=(("x", "float32", (2, 3)),), file="m.py",
    )  # fmt: skip
    return report(
        target, seed=3, min_coverage=0.5, since=Since("main (abc)", 2, ("n.py: not there",)), idle_overrides=("x: ignore NA1: no",)
    )


def test_what_was_measured_and_what_is_known_of_training_come_back(tmp_path: Path) -> None:
    before = measured()
    after = read(written(before, tmp_path / "r.json"))
    for name in WHOLE:
        assert FORMATS[name](after, Style()) == FORMATS[name](before, Style()), name
    (target,), (was,) = after.targets, before.targets
    assert target.measured == was.measured
    assert target.training.title == was.training.title
    assert target.findings[0].evidence == was.findings[0].evidence, "zero is no unknown"
    assert target.findings[0].path == was.findings[0].path
    assert (after.incomplete, after.since, after.idle_overrides) == ((), before.since, before.idle_overrides)


@pytest.mark.parametrize("name", ["full", "html", "sarif"])
def test_what_is_not_there_is_said(full_report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = written(full_report, tmp_path / "r.json")
    assert _run(("report", "merge", str(path), "-o", name)) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "no timings, no classes of modules" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: "", "is not JSON"),
        (lambda text: "[]", "is not a JSON report"),
        (lambda text: text.replace('"schema_version": "', '"schema_version": "0'), "schema 0"),
        (lambda text: text.replace('"severity": "error"', '"severity": "bad"'), "severity: Input should be"),
        (lambda text: text.replace('"tracer"', '"tracker"'), "tracer: Field required"),
        (lambda text: text.replace('"target": "m.py"', '"target": "n.py"'), "none of its targets"),
    ],
    ids=["cut off", "empty", "a list", "another version", "a word", "a key", "a stranger"],
)
def test_what_is_no_whole_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str) -> None:
    path = written(report(TargetReport("m.py", findings=(found(),))), tmp_path / "r.json")
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    out = tmp_path / "out.json"
    assert _run(("report", "merge", str(path), "-o", f"json={out}")) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert "r.json" in complaint
    assert not out.exists()
    assert _run(("report", "merge", str(tmp_path / "absent.json"))) == 2
    assert "cannot be read" in capsys.readouterr().err


# one of several ---------------------------------------------------------------------------------------------------------

TARGETS = st.builds(
    lambda name, codes, calls, problem: TargetReport(
        name,
        findings=tuple(found(code, name, severity=severity) for code, severity in codes),
        coverage=Coverage(4, calls),
        problems=("lost",) if problem else (),
    ),
    st.sampled_from(["a.py", "b.py", "c.py"]),
    st.lists(st.tuples(st.sampled_from(["NA1", "NA2"]), st.sampled_from(SEVERITIES)), max_size=3),
    st.sampled_from([3, 4]),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TARGETS, max_size=4, unique_by=lambda target: target.id), st.sampled_from(SEVERITIES), st.randoms())
def test_runs_of_parts_are_one_run(
    tmp_path_factory: pytest.TempPathFactory, targets: Sequence[TargetReport], level: str, random: Any
) -> None:
    whole = report(*targets)
    cut = random.randint(0, len(targets))
    split = [tuple(targets[:cut]), tuple(targets[cut:])]
    place = tmp_path_factory.mktemp("parts")
    parts = [(str(i), read(written(report(*part), place / f"{i}.json"))) for i, part in enumerate(split)]
    one = merged([*parts, *parts[:1]])
    assert sorted(t.id for t in one.targets) == sorted(t.id for t in targets), "what comes twice is there once"
    assert FORMATS["json"](one, Style()) == FORMATS["json"](whole, Style())
    assert exit_code(one, level, exit_zero=False) == exit_code(whole, level, exit_zero=False)
    assert FORMATS["json"](merged([("m", one)]), Style()) == FORMATS["json"](one, Style())


def test_a_conflict_is_shown_from_both_sides() -> None:
    a, b = TargetReport("m.py", findings=(found(),), suppressed=(Suppressed(found("NA2"), "comment"),)), TargetReport("m.py")
    other = TargetReport("n.py")
    one = merged([("a.json", report(a)), ("b.json", report(other, b)), ("c.json", report(a))])
    assert [t.id for t in one.targets] == ["m.py (a.json)", "m.py (b.json)", "n.py"]
    assert [f.target for f in one.findings] == ["m.py (a.json)"]
    assert one.targets[0].suppressed[0].finding.target == "m.py (a.json)"
    assert one.findings[0].fingerprint == a.findings[0].fingerprint, "it is the same finding as ever"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"version": "1"}, "netaudit 0, and b.json with netaudit 1|netaudit 0, and b.json with 1"),
        ({"packs": ("p", "q")}, "the packs"),
        ({"seed": 1}, "--seed 0"),
        ({"min_coverage": 0.5}, "--min-coverage 1"),
    ],
)
def test_what_no_one_run_is_made_of_is_refused(other: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        merged([("a.json", report()), ("b.json", report(**other))])
    assert merged([("a.json", report()), ("b.json", report(min_coverage=0.5))], 0.75).min_coverage == 0.75


def test_versions_of_torch_are_listed() -> None:
    assert merged([("a", report()), ("b", report(torch="3")), ("c", report())]).torch == "2, 3"


def test_a_comment_that_is_of_use_in_another_job_is_not_unused(tmp_path: Path) -> None:
    site = Site("m.py", 3)
    idle = found(UNUSED, "m.py:A", severity="info", where=Where(called=site), key="0:NA201")
    a = TargetReport("m.py:A", findings=(idle,))
    b = TargetReport("m.py:B", spent=frozenset({("m.py", "0:NA201")}))
    parts = [(name, read(written(report(target), tmp_path / name))) for name, target in (("a", a), ("b", b))]
    assert not merged(parts).findings
    assert merged(parts[:1]).findings
    assert agreed([a, b])[0].findings == ()


def test_overrides_that_some_job_uses_are_not_unused() -> None:
    head, tail = "head.*: ignore NA201: nothing to suppress", "tail.*: ignore NA1: no module has this path: did you mean 'tall'?"
    one = merged([("a", report(idle_overrides=(head, tail))), ("b", report(idle_overrides=("tail.*: ignore NA1: nothing to suppress",)))])
    assert one.idle_overrides == (tail,)
    lost = report(TargetReport("m.py", problems=("lost",)))
    assert merged([("a", report(idle_overrides=(head,))), ("b", lost)]).idle_overrides == (), "as in one run"


def test_what_was_compared_is_added_up() -> None:
    a = report(TargetReport("a"), since=Since("main (1)", 2, ("a: x",)))
    b = report(TargetReport("b"), since=Since("main (1)", 1, ("b: y",)))
    assert merged([("a", a), ("b", b), ("a again", a), ("c", report())]).since == Since("main (1)", 3, ("a: x", "b: y"))


def test_reports_are_merged_and_compared_without_torch(tmp_path: Path) -> None:
    path = written(measured(), tmp_path / "r.json")
    outputs = [word for name in FORMATS for word in ("-o", f"{name}={tmp_path / name}")]
    program = (
        "import sys\nfrom netaudit.cli import _run\n"
        f"codes = [_run(('report', 'merge', {str(path)!r}, *{outputs!r})), _run(('diff', {str(path)!r}, {str(path)!r}))]\n"
        "sys.stderr.write(repr((codes, 'torch' in sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("([130, 0], False)"), "an interrupted probe stays one"
    assert json.loads((tmp_path / "json").read_text())["targets"][0]["notes"] == []
    assert json.loads((tmp_path / "sarif").read_text())["version"] == "2.1.0"
