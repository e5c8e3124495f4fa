"""`check --add-ignore` writes comments where they are understood, and says what it cannot ignore, why, and what to do."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netaudit.cli import _run
from netaudit.cli.ignoring import Ignoring, ignored_with
from netaudit.config import Config, load_config
from netaudit.errors import ConfigError
from netaudit.finding import Coverage, Finding, Report, TargetReport
from netaudit.graph import Site, Where
from netaudit.suppress import Override, ignores_in

MODEL = """\ufeff# größe
import torch
from torch import nn

class Net(nn.Module):
\tdef __init__(self):
\t\tsuper().__init__()
\t\tself.body = nn.Sequential(
\t\t\t*[m for _ in range(12) for m in (nn.Linear(16, 16), nn.Sigmoid())]  # 'twelve'
\t\t)
\t\tself.idle = nn.Linear(4, \\
\t\t\t4); self.text = '''
\t'''  # netaudit: ignore[NA101] old

\tdef forward(self, x): return self.body(x)

def build(): return Net()\x20\x20
def example_inputs(): return torch.randn(8, 16)"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text("")
    return tmp_path


def test_findings_are_ignored_and_nothing_else_happens(capsys: pytest.CaptureFixture[str]) -> None:
    before = MODEL.replace("\n", "\r\n").encode()
    Path("model.py").write_bytes(before)
    Path("model.py").chmod(0o755)
    ignoring = ("check", "model.py", "--ignore", "NA901", "--add-ignore", "--reason", "a\nstudy")
    assert _run(ignoring) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["model.py:9: ignore[NA201]", "model.py:13: ignore[NA206]", "2 findings ignored by 2 comments; the code is as it was"]
    after = Path("model.py").read_bytes()
    assert ast.dump(ast.parse(after), include_attributes=True) == ast.dump(ast.parse(before), include_attributes=True)
    assert after == before.replace(b"'twelve'", b"'twelve'  # netaudit: ignore[NA201] a study").replace(b"[NA101]", b"[NA101, NA206]")
    assert Path("model.py").stat().st_mode & 0o777 == 0o755
    assert _run(ignoring) == 0
    assert capsys.readouterr().out == "there is nothing to ignore\n"
    assert Path("model.py").read_bytes() == after
    assert _run(("check", "model.py", "-o", "json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(f["code"], f["message"]) for f in report["findings"]] == [("NA901", "`ignore[NA101]` suppresses nothing")], "which was there"
    assert {(s["code"], s["reason"]) for s in report["targets"][0]["suppressed"]} == {("NA201", "a study"), ("NA206", "old")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--reason", "x"), "--add-ignore"),
        (("--add-ignore", "-o", "json"), "no report"),
        (("--add-ignore", "--reason", "bell \a"), "cannot stand in a comment"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    assert _run(("check", "absent.py", *arguments)) == 2
    assert said in capsys.readouterr().err


# in this process --------------------------------------------------------------------------------------------------------

Run = Callable[..., tuple[Report, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def ignored(*findings: Finding, started: int | None = None, reason: str = "", calls: int = 1) -> tuple[Report, str]:
        whole = Report((TargetReport("m.py", findings=findings, coverage=Coverage(calls, calls)),), "0", "0", ())
        left = Ignoring(reason, time.time_ns() if started is None else started, "pyproject.toml").written(whole, quiet=False)
        return left, capsys.readouterr().out

    return ignored


def found(
    created: tuple[str, int] | None = None, called: tuple[str, int] | None = None, code: str = "NA201", module: str = "a.b"
) -> Finding:
    places = (None if place is None else Site(*place) for place in (called, created))
    return Finding(code, "a-defect", "error", "is so", "m.py", module, Where(module, "", *places))


def test_several_on_a_line_are_joined(run: Run) -> None:
    Path("m.py").write_text("x = 1\ny = 2")
    left, out = run(found(("m.py", 1)), found(("m.py", 1), code="NA301"), found(("m.py", 1)), found(None, ("m.py", 2)))
    assert Path("m.py").read_text() == "x = 1  # netaudit: ignore[NA201, NA301]\ny = 2  # netaudit: ignore[NA201]"
    assert not left.findings
    assert "4 findings ignored by 2 comments" in out


def test_a_line_of_the_caller_stands_in_for_one_that_is_installed(run: Run) -> None:
    Path("m.py").write_text("x = 1")
    run(found(("timm/layers/norm.py", 7), ("m.py", 1)))
    assert len(ignores_in("m.py", Path("m.py").read_text())) == 1


def test_what_cannot_be_written_is_told_and_counts(run: Run, project: Path) -> None:
    outside = project.parent / "outside_of_add_ignore.py"
    for path in ("closed.py", "lost.py", "later.py", "same.py", str(outside)):
        Path(path).write_text("x = 1\n\n" if path != "lost.py" else "x = (")
    Path("closed.py").chmod(0o444)
    Path("link.py").symlink_to(outside)
    places = [
        (str(path), line) for path, line in (("closed.py", 1), ("lost.py", 1), (outside, 1), ("link.py", 1), ("a.txt", 1), ("same.py", 2))
    ]
    before = {path: path.read_bytes() for path in project.glob("*.py")}
    left, out = run(*(found(place) for place in places), found(), found(code="NA901"))
    assert {path: path.read_bytes() for path in project.glob("*.py")} == before
    assert len(left.findings) == len(places) + 2
    told = "\n".join(out.splitlines())
    for words in ("closed.py is read-only", "lost.py: it cannot be read", "outside_of_add_ignore.py lies outside", "link.py lies outside",
                  "a.txt is no python file", "same.py:2: there is no code", "no line is known", "it is about a comment"):  # fmt: skip
        assert words in told
    assert out.startswith("no comment was written\n8 findings are not ignored:\n")
    outside.unlink()


def test_a_file_that_changed_meanwhile_is_left_alone(run: Run) -> None:
    Path("m.py").write_text("x = 1")
    _, out = run(found(("m.py", 1)), started=time.time_ns() - 10**10)
    assert Path("m.py").read_text() == "x = 1"
    assert "was changed while it was audited" in out


def test_what_was_not_traced_is_not_ignored(run: Run) -> None:
    _, out = run(found(code="NA001"), calls=0)
    assert "nothing was checked, which cannot be ignored" in out
    assert "overrides" not in out


def test_the_configuration_that_is_proposed_is_one(run: Run) -> None:
    odd = 'a."b'
    _, out = run(found(), found(code="NA301"), found(module=odd), found(module=""))
    block = out.partition("\n\n")[2]
    Path("pyproject.toml").write_text(block)
    config = load_config()
    overrides = [Override(o.module, o.ignore) for o in config.overrides]
    assert {(o.module, o.selectors) for o in overrides} == {("", ("NA201",)), ("a.b", ("NA201", "NA301")), (odd, ("NA201",))}
    assert all(any(o.covers(module) for o in overrides) for module in ("", "a.b", odd))


def test_accepted_findings_are_left_alone(run: Run) -> None:
    from dataclasses import replace

    Path("m.py").write_text("x = 1")
    left, out = run(replace(found(("m.py", 1)), baseline="unchanged"))
    assert out == "there is nothing to ignore\n"
    assert Path("m.py").read_text() == "x = 1"
    assert len(left.findings) == 1


def test_a_reason_is_folded() -> None:
    made = ignored_with(Config(), None, " a \n b ", 0, asked=True)
    assert made is not None
    assert made.reason == "a b"
    with pytest.raises(ConfigError, match="what --add-ignore writes"):
        ignored_with(Config(), None, "why", 0, asked=False)
