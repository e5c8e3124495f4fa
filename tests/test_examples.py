"""Every example runs, and the audit says of it what its text says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netaudit.audit import Settings, audit_subject
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import installed

EXAMPLES = Path(__file__).parent.parent / "examples"

# code and module of every finding that is a warning or worse
EXPECTED = {
    "deep_sigmoid": {("NA201", "body")},
    "high_gain_mlp": {("NA301", "")},
    "resnet": set(),
    "gpt": set(),
    "post_ln": set(),
    "detached_encoder": {("NA206", "encoder")},
}


def test_every_example_is_listed() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs_and_prints_its_point(name: str) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / f"{name}.py")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("name", EXPECTED)
def test_the_audit_says_what_the_example_shows(name: str) -> None:
    (subject,) = load(str(EXAMPLES / f"{name}.py"), Options())
    report = audit_subject(subject, installed(), Settings(raise_internal=True))
    assert not report.problems
    assert report.coverage.share == 1.0
    assert report.coverage.forecast == report.coverage.params
    found = {(f.code, f.module if name != "high_gain_mlp" else "") for f in report.findings if f.severity != "info"}
    assert found == EXPECTED[name]


def test_the_line_of_deep_sigmoid_is_the_one_that_builds_the_body() -> None:
    (subject,) = load(str(EXAMPLES / "deep_sigmoid.py"), Options())
    report = audit_subject(subject, installed(), Settings())
    (finding,) = (f for f in report.findings if f.code == "NA201")
    lines = (EXAMPLES / "deep_sigmoid.py").read_text(encoding="utf-8").splitlines()
    assert finding.where.created is not None
    assert finding.where.called is not None
    assert "self.body = " in lines[finding.where.created.line - 1]
    assert "self.body(" in lines[finding.where.called.line - 1]
