"""Comments and overrides at work: on real targets, over a whole run, on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netaudit.audit import Settings, audit_subject
from netaudit.check import Check
from netaudit.choose import agreed, selected, unused_overrides
from netaudit.errors import ConfigError
from netaudit.finding import TargetReport
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import Catalog, installed
from netaudit.suppress import Override

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(32, 32), nn.Sigmoid())]){created}
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.body(x)){called}

def build():
    return Net(){built}

def example_inputs():
    return torch.randn(8, 32)
"""

Check_ = Callable[..., TargetReport]


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check_:
    monkeypatch.chdir(tmp_path)

    def run(settings: Settings | None = None, **comments: str) -> TargetReport:
        texts = {key: f"  # netaudit: {comments[key]}" if key in comments else "" for key in ("created", "called", "built")}
        Path("model.py").write_text(MODEL.format(**texts), encoding="utf-8")
        (subject,) = load("model.py", Options())
        return audit_subject(subject, installed(), settings or Settings())

    return run


def codes(report: TargetReport) -> list[str]:
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize("place", ["created", "called"])
def test_a_comment_on_the_construction_or_the_call_line_suppresses(audited: Check_, place: str) -> None:
    assert codes(audited()) == ["NA201"]
    report = audited(**{place: "ignore[NA201] a study of vanishing"})
    assert codes(report) == []
    (gone,) = report.suppressed
    assert (gone.finding.code, gone.by, gone.reason) == ("NA201", "comment", "a study of vanishing")


def test_names_and_prefixes_suppress_too(audited: Check_) -> None:
    assert codes(audited(created="ignore[vanishing-gradient]")) == []
    assert codes(audited(created="ignore[NA2]")) == []


def test_a_comment_without_codes_suppresses_and_is_told(audited: Check_) -> None:
    report = audited(created="ignore")
    assert codes(report) == ["NA902"]
    assert "NA201" in report.findings[0].help[0].text


@pytest.mark.parametrize(
    ("comment", "words"),
    [("ignore[NA301]", "`ignore[NA301]` suppresses nothing"), ("ignore[NA2O1]", "`ignore[NA2O1]` names no rule")],
)
def test_a_comment_of_no_use_is_told(audited: Check_, comment: str, words: str) -> None:
    report = audited(built=comment)
    assert codes(report) == ["NA201", "NA901"]
    assert words in report.findings[1].message
    assert report.findings[1].where.called is not None


def test_rules_that_did_not_run_are_not_judged(audited: Check_) -> None:
    assert codes(audited(Settings(select=("NA2", "NA9")), built="ignore[NA301]")) == ["NA201"]
    assert codes(audited(Settings(ignore=("NA901",)), built="ignore[NA301]")) == ["NA201"]


def test_an_override_suppresses_what_is_inside_its_modules(audited: Check_) -> None:
    inside, outside = Override("body.*", ("NA201",)), Override("head.*", ("NA201",))
    report = audited(Settings(overrides=(outside, inside)))
    assert codes(report) == []
    assert report.suppressed[0].by == "override body.*"
    said = unused_overrides([report], installed(), Settings(overrides=(outside, inside)))
    assert said == ("head.*: ignore NA201: nothing to suppress",)


def test_an_override_of_no_module_is_told_with_what_was_meant(audited: Check_) -> None:
    settings = Settings(overrides=(Override("bodi.*", ("NA201",)),))
    assert unused_overrides([audited(settings)], installed(), settings) == (
        "bodi.*: ignore NA201: no module has this path: did you mean 'body'?",
    )


def test_an_unknown_rule_in_an_override_is_refused() -> None:
    with pytest.raises(ConfigError, match="NA2O1") as caught:
        selected(installed(), Settings(overrides=(Override("a", ("NA2O1",)),)))
    assert "did you mean" in caught.value.hint


TWO = """
import torch
from torch import nn

def stack(depth):
    return nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(32, 32), nn.Sigmoid())])  # netaudit: ignore[NA201] deep ones only

shallow = stack(1)
deep = stack(12)

def example_inputs():
    return torch.randn(8, 32)
"""


def test_a_comment_that_is_of_use_in_another_model_is_not_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(text: str) -> list[str]:
        Path("two.py").write_text(text, encoding="utf-8")
        asked = Settings(select=("NA201", "NA301", "NA901"))
        reports = [audit_subject(subject, installed(), asked) for subject in load("two.py", Options())]
        assert len(reports) == 2
        return [code for report in agreed(reports) for code in codes(report)]

    assert run(TWO) == []
    assert run(TWO.replace("ignore[NA201]", "ignore[NA301]")) == ["NA901", "NA201"]


def test_a_preview_runs_when_it_is_asked_for_or_named() -> None:
    def rule(code: str, *, preview: bool = False) -> Check:
        return Check(code, f"rule-{code.lower()}", "info", frozenset(), lambda audit: iter(()), "text", preview)

    catalog = Catalog({}, {c.code: c for c in (rule("NA201"), rule("NA202", preview=True), rule("NA301"))})

    def run(**settings: object) -> list[str]:
        return [c.code for c in selected(catalog, Settings(**settings))]  # type: ignore[arg-type]  # a subset of its fields

    assert run() == ["NA201", "NA301"]
    assert run(preview=True) == ["NA201", "NA202", "NA301"]
    assert run(select=("NA2",)) == ["NA201"]
    assert run(select=("NA202",)) == run(select=("rule-na202",)) == ["NA202"]
    assert run(extend_select=("NA202",)) == ["NA201", "NA202", "NA301"]
    assert run(extend_select=("NA202",), ignore=("NA20",)) == ["NA301"]
