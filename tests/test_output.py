"""Manners of the command line: what is asked for is written, shells are helped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netaudit.cli.common import emit, parsed_output
from netaudit.finding import Coverage, Finding, Report, TargetReport
from netaudit.graph import Site, Where
from netaudit.report import FORMATS, Style

ROOT = Path(__file__).parent.parent


def shell(command: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    words = {**os.environ, "N": f"{sys.executable} -m netaudit", **env}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=cwd, env=words, timeout=120, check=False)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("netaudit check -o s", {"sarif"}),
        ("netaudit check --fail-level w", {"warning"}),
        ("netaudit check --select NA1,vanishing-g", {"NA1,vanishing-gradient"}),
        ("netaudit rule NA206", {"NA206"}),
    ],
)
def test_a_shell_completes_values(words: str, offered: set[str]) -> None:
    done = shell("$N", _NETAUDIT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert set(done.stdout.split()) == offered


def test_completion_can_be_installed() -> None:
    done = shell("$N --show-completion bash")
    assert "complete -o default -F _netaudit_completion netaudit" in done.stdout


# in this process --------------------------------------------------------------------------------------------------------


def report(count: int = 1) -> Report:
    where = Where("body", "Linear", None, Site("m.py", 3))
    found = tuple(Finding("NA201", "vanishing-gradient", "warning", f"number {i}", "m.py", "body", where) for i in range(count))
    part = TargetReport("n.py", coverage=Coverage(4, 3, {"aten.mystery": 1}, 1, 1))
    return Report((TargetReport("m.py", findings=found, coverage=Coverage(4, 4, {}, 1, 1)), part), "0", "0", ())


def test_several_formats_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    outputs = [parsed_output(text) for text in ("concise", *(f"{name}={tmp_path / name}" for name in FORMATS), "gitlab")]
    emit(report(), outputs, full=False, timings=False, quiet=False)
    printed = capsys.readouterr().out
    assert printed == FORMATS["concise"](report(), Style()) + FORMATS["gitlab"](report(), Style())
    for name in FORMATS:
        assert (tmp_path / name).read_text(encoding="utf-8") == FORMATS[name](report(), Style())


def test_the_summary_of_a_job_holds_what_is_not_annotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("said before\n")
    emit(report(30), [parsed_output("github")], full=False, timings=False, quiet=True)
    text = (tmp_path / "summary.md").read_text()
    assert "| m.py | " in text, "what was checked is said, however quiet the log is to be"
    assert text.startswith("said before\n### netaudit: 30 warnings")
    assert all(f"number {i} |" in text for i in range(30))


def test_quiet_shows_findings_and_what_was_not_checked() -> None:
    loud, quiet = (FORMATS["full"](report(), Style(quiet=quiet)) for quiet in (False, True))
    assert "m.py: 1 warning · 4 calls" in loud
    assert quiet == loud[: loud.index("m.py: 1 warning")] + (
        "n.py: no findings\n  incomplete: no transfer for aten.mystery (--min-coverage 1)\n"
    )


def test_every_format_is_documented() -> None:
    help_ = shell("$N check --help", COLUMNS="200").stdout
    told = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for name in FORMATS:
        assert name in help_
        assert f"| `{name}` |" in told
