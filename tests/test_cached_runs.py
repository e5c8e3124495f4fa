"""A run that is answered from the cache: the same bytes and exit code, without torch, and only while nothing has changed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from netaudit.cache.replay import OFF, replayed
from netaudit.cli import _run

MODEL = """
import os
import torch
from torch import nn
from width_of_cached_run import WIDTH
def build(): return nn.Sequential(*[m for _ in range(WIDTH) for m in (nn.Linear(4, 4), nn.Sigmoid())])
def example_inputs(): return torch.randn(2, 4)
"""
UNKNOWN = "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
UNKNOWN += "        self.a = nn.Linear(4, 4)\n    def forward(self, x): return torch.linalg.matrix_exp(self.a(x))\n"
UNKNOWN += "def example_inputs(): return torch.ones(4, 4)\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OFF)
    Path("pyproject.toml").write_text("")
    Path("model.py").write_text(MODEL)
    Path("width_of_cached_run.py").write_text("WIDTH = 12")
    _forget()
    yield
    _forget()


def _forget() -> None:
    sys.modules.pop("width_of_cached_run", None)
    time.sleep(0.01)  # the clock of a file system is coarse, and what is as new as the run is not kept


def kept_norms() -> int:
    return len(list(Path(".netaudit_cache").rglob("norm/*.json")))


def test_norms_outlive_an_edit_and_a_replay_does_not_rest_on_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Every matrix of the model is drawn anew when the seed changes; what is in the cache is none of the project's files."""
    quiet = ("-o", "json=r.json")
    for arguments, count in ((("--no-cache",), 0), ((), 12), (("-v",), 12), (("--seed", "1"), 24)):
        _run(("check", "model.py", *quiet, *arguments))
        assert kept_norms() == count, arguments
    Path("width_of_cached_run.py").write_text("WIDTH = 11")
    _forget()
    _run(("check", "model.py", *quiet))
    assert kept_norms() == 24, "eleven of the twelve, from the same seed"
    first = Path("r.json").read_text()
    assert replayed(("check", "model.py", *quiet)) is not None
    for path in Path(".netaudit_cache").rglob("norm/*.json"):
        path.unlink()
    assert replayed(("check", "model.py", *quiet)) is not None
    _run(("check", "model.py", "--no-cache", *quiet))
    assert Path("r.json").read_text() == first
    assert "internal" not in capsys.readouterr().err
    assert _run(("clean",)) == 0
    assert not Path(".netaudit_cache").exists()


def test_only_an_unchanged_run_is_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("check", "model.py", "-o", "concise", "-o", "json=r.json")
    assert replayed(arguments) is None
    code = _run(arguments)
    first, document = capsys.readouterr().out, Path("r.json").read_text()
    assert code == 1
    assert "NA201" in first
    run = replayed(arguments)
    assert run is not None
    assert run.exit_code == 1
    assert run.texts == ((None, first), ("r.json", document))
    for other in (("check", "model.py"), (*arguments, "-v"), (*arguments, "--no-cache"), ("nodes", "model.py")):
        assert replayed(other) is None, other

    for file, text in (
        ("width_of_cached_run.py", "WIDTH = 11"),
        ("pyproject.toml", "[tool.netaudit]\nignore = ['NA201']"),
        ("model.py", ""),
    ):
        before = Path(file).read_text()
        Path(file).write_text(text)
        assert replayed(arguments) is None, file
        Path(file).write_text(before)
        assert replayed(arguments) == run, "as it was"
    Path("netaudit.toml").write_text("exit-zero = true")
    assert replayed(arguments) is None, "a file that was not there"


def test_another_format_needs_no_second_audit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(("check", "model.py")) == 1
    capsys.readouterr()
    monkeypatch.setattr(import_module("netaudit.audit"), "audit_subject", lambda *_: pytest.fail("audited again"))
    assert _run(("check", "model.py", "-o", "json", "--fail-level", "error")) == 1
    cached = capsys.readouterr().out
    assert json.loads(cached)["summary"]["error"] == 1
    assert json.loads(cached)["tool"]["torch"].startswith("2.")


def test_what_was_not_wholly_checked_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(UNKNOWN)
    time.sleep(0.01)
    assert _run(("check", "model.py")) == 3
    assert replayed(("check", "model.py")) is None
    assert not list(Path(".netaudit_cache").rglob("target/*.json"))
    assert "incomplete" in capsys.readouterr().out


def test_a_file_written_meanwhile_is_not_taken_for_what_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(MODEL + "open('width_of_cached_run.py', 'a').write('  # later')\n")
    time.sleep(0.01)
    assert _run(("check", "model.py")) == 1
    assert replayed(("check", "model.py")) is None
    assert not list(Path(".netaudit_cache").rglob("target/*.json"))
    capsys.readouterr()


def test_clean_deletes_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    _run(("check", "model.py", "--cache-dir", "elsewhere"))
    assert Path("elsewhere").exists()
    assert not Path(".netaudit_cache").exists()
    _run(("clean", "--cache-dir", "elsewhere"))
    assert not Path("elsewhere").exists()
    assert "deleted" in capsys.readouterr().out


def test_a_replay_imports_no_torch_and_none_of_what_reads_the_command_line() -> None:
    arguments = ("check", "model.py", "-o", "concise")
    assert _run(arguments) == 1
    program = (
        "import sys\nsys.argv = ['netaudit', 'check', 'model.py', '-o', 'concise']\nfrom netaudit.__main__ import main\n"
        "try: main()\nfinally: print([m for m in ('torch', 'numpy', 'typer', 'pydantic', 'rich') if m in sys.modules], file=sys.stderr)"
    )
    replays = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False) for _ in range(2)]
    assert {one.returncode for one in replays} == {1}
    assert all(one.stderr.strip() == "[]" for one in replays)
    assert all("NA201" in one.stdout for one in replays)
