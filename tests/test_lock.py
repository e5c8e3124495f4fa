"""`netaudit lock`: what an audit rested on and found is written, the same everywhere, and compared without torch."""

from __future__ import annotations

import json
import linecache
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from netaudit.cli import _run

ROOT = Path(__file__).parent.parent
MODEL = """
import torch
from torch import nn
from width_of_locked_run import WIDTH
def build(): return nn.Sequential(*[m for _ in range(WIDTH) for m in (nn.Linear(4, 4), nn.Sigmoid())])
def example_inputs(): return torch.randn(2, 4)
"""
SMALL = "import torch\nfrom torch import nn\ndef build(): return nn.Sequential(nn.Linear(4, 4), nn.Tanh())\n"
SMALL += "def example_inputs(): return torch.randn(8, 4)\n"
UNKNOWN = "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
UNKNOWN += "        self.a = nn.Linear(4, 4)\n    def forward(self, x): return torch.linalg.matrix_exp(self.a(x))\n"
UNKNOWN += "def example_inputs(): return torch.ones(4, 4)\n"
SETTINGS = '[tool.netaudit.targets.small]\ntarget = "small.py"\nweights = "small.safetensors"\n'


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with a model that fails, one that does not, and its weights."""
    monkeypatch.chdir(tmp_path)
    Path(".git").mkdir()
    Path("pyproject.toml").write_text(SETTINGS)
    Path("model.py").write_text(MODEL)
    Path("small.py").write_text(SMALL)
    Path("width_of_locked_run.py").write_text("WIDTH = 12")
    torch.manual_seed(0)
    save_file({"0.weight": torch.randn(4, 4) / 2, "0.bias": torch.zeros(4)}, "small.safetensors")
    linecache.getlines(__file__)  # else the audit reads it, as part of the stack that calls a model, and takes it for the model's
    _settle()
    yield tmp_path
    sys.modules.pop("width_of_locked_run", None)


def _settle() -> None:
    sys.modules.pop("width_of_locked_run", None)
    time.sleep(0.01)  # the clock of a file system is coarse, and what is as new as the audit is not locked


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("netaudit.lock").read_text())
    return found


def compared(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    return _run(["lock", "--check"]), capsys.readouterr().out


def test_a_lock_holds_what_check_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = _run(["check", "model.py", "-o", "json", "--no-cache"])
    report = json.loads(capsys.readouterr().out)
    _settle()
    assert _run(["lock", "model.py", "-o", "concise"]) == code == 1
    said = capsys.readouterr()
    assert "NA201" in said.out
    assert said.err == "netaudit.lock: 1 target, 3 files\n"
    entry = document()["targets"]["model.py"]
    assert {kind: entry[kind] for kind in report["summary"]} == report["summary"]
    fingerprints = [line.rpartition("(")[2].removesuffix(")") for line in entry["findings"]]
    assert sorted(fingerprints) == sorted(finding["fingerprint"] for finding in report["findings"])
    assert entry["files"] == ["model.py", "small.safetensors", "width_of_locked_run.py"], "a checkpoint beside the code counts as read"
    code, text = compared(capsys)
    assert code == 1
    assert "error    NA201 vanishing-gradient model.py" in text
    assert text.splitlines()[-1].startswith("netaudit.lock: 1 target, 3 files as audited; 1 error")


def test_configured_targets_rest_on_settings_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["lock"]) == 0
    assert document()["targets"]["small"]["files"] == ["small.py", "small.safetensors"]
    assert compared(capsys) == (0, "netaudit.lock: 1 target, 2 files as audited; no findings\n")
    for file, change, told in (
        ("pyproject.toml", SETTINGS + "args = {}\n", "changed  the settings of netaudit (small)"),
        ("small.safetensors", "", "changed  small.safetensors (small)"),
        ("small.py", SMALL + "\n", "changed  small.py (small)"),
    ):
        before = Path(file).read_bytes()
        Path(file).write_text(change)
        code, text = compared(capsys)
        assert code == 3
        assert told in text.splitlines()
        assert "hint: netaudit lock; commit netaudit.lock" in text
        Path(file).write_bytes(before)
    Path("pyproject.toml").write_text(SETTINGS + "[tool.ruff]\nline-length = 100\n")
    assert compared(capsys)[0] == 0


def test_a_lock_is_the_same_wherever_and_however_often_it_is_made(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert _run(["lock", f"{project}/model.py:build", "small", f"--cache-dir={project}/.cache"]) == 1
    first = Path("netaudit.lock").read_bytes()
    assert document()["arguments"] == ["model.py:build", "small", "--cache-dir=.cache"]
    assert str(project).encode() not in first
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "repository"
    shutil.copytree(project, elsewhere)
    os.chdir(elsewhere)
    _settle()
    assert _run(["lock"]) == 1, "with the arguments of the lock that is there"
    assert Path("netaudit.lock").read_bytes() == first


def test_a_folder_is_compared_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nets").mkdir()
    shutil.copy("small.py", "nets/first_locked.py")
    _settle()
    assert _run(["lock", "nets"]) == 0
    assert document()["targets"]["nets"]["folders"] == {"nets": ["first_locked.py"]}
    shutil.copy("small.py", "nets/second_locked.py")
    assert compared(capsys) == (
        3,
        "new      nets/second_locked.py (nets)\nnetaudit.lock is stale: 1 of 1 target changed since the audit\n"
        "  hint: netaudit lock; commit netaudit.lock\n",
    )
    _settle()
    assert _run(["lock"]) == 0
    assert compared(capsys)[0] == 0


def test_an_accepted_finding_stays_accepted_with_its_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["baseline", "create", "model.py"]) == 0
    _settle()
    assert _run(["lock", "model.py", "--baseline", "netaudit-baseline.json"]) == 0
    entry = document()["targets"]["model.py"]
    assert entry["baselined"] > 0
    assert entry["findings"] == []
    assert "netaudit-baseline.json" in entry["files"]
    assert compared(capsys)[0] == 0
    Path("netaudit-baseline.json").write_text('{"netaudit-baseline": 1, "findings": []}')
    assert compared(capsys)[0] == 3


def test_what_was_not_wholly_checked_is_locked_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(UNKNOWN)
    _settle()
    assert _run(["lock", "model.py", "small"]) == 3
    assert {name: entry["exit-code"] for name, entry in document()["targets"].items()} == {"model.py": 3, "small": 0}
    code, text = compared(capsys)
    assert code == 3
    assert "model.py was not wholly checked when the lock was made" in text


# what is not locked -----------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert _run(["lock", *arguments]) == 2
    assert not Path("netaudit.lock").exists()
    return capsys.readouterr().err


def test_a_target_that_fails_is_not_locked(capsys: pytest.CaptureFixture[str]) -> None:
    assert "modle.py" in refused(capsys, "modle.py")


def test_code_outside_of_the_repository_is_not_locked(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    shutil.move("width_of_locked_run.py", outside)
    monkeypatch.syspath_prepend(str(outside))
    _settle()
    assert f"model.py rests on {outside}/width_of_locked_run.py, which is outside of" in refused(capsys, "model.py")
    shutil.move("small.safetensors", outside)
    assert "small.safetensors, which is outside of" in refused(capsys, "small.py", "--weights", str(outside / "small.safetensors"))


def test_weights_that_are_read_unseen_are_not_locked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.safetensors").unlink()
    Path("other.py").write_text("import safetensors\n" + SMALL)
    _settle()
    assert "other.py uses safetensors, which reads files unseen" in refused(capsys, "other.py")


def test_what_is_written_during_the_audit_is_not_locked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(MODEL + "open('width_of_locked_run.py', 'a').write('  # later')\n")
    _settle()
    assert "was written while it was audited" in refused(capsys, "model.py")


def test_a_cached_audit_is_locked_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    _run(["lock", "model.py", "small"])
    monkeypatch.delenv("NETAUDIT_NO_CACHE")
    first = Path("netaudit.lock").read_bytes()
    _run(["check", "model.py", "small"])
    Path("netaudit.lock").unlink()
    monkeypatch.setattr(import_module("netaudit.audit"), "audit_subject", lambda *_: pytest.fail("audited again"))
    assert _run(["lock", "model.py", "small"]) == 1
    assert Path("netaudit.lock").read_bytes() == first


# how a lock is compared ------------------------------------------------------------------------------------------------

COMPARE = (
    "import sys\nsys.argv = ['netaudit', 'lock', '--check']\nfrom netaudit.__main__ import main\n"
    "try: main()\nfinally: print([m for m in ('torch', 'numpy', 'typer', 'pydantic', 'rich') if m in sys.modules], file=sys.stderr)"
)


def test_a_comparison_imports_nothing_that_is_not_of_python_and_is_quick() -> None:
    _run(["lock", "small"])
    took = []
    for _ in range(10):
        before = os.times()
        done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, check=False)
        after = os.times()
        took.append(after.children_user - before.children_user + after.children_system - before.children_system)
        assert (done.returncode, done.stderr) == (0, "[]\n")
    assert statistics.median(took) < 0.5  # seconds of the processor: of the wall's, others on the machine take their part


def test_the_hook_runs_from_its_checkout_with_nothing_installed(tmp_path: Path) -> None:
    _run(["lock", "small"])
    bare = [sys.executable, "-I", "-S", str(ROOT / "hooks" / "netaudit_lock.py")]  # -S: nothing from site-packages
    done = subprocess.run(bare, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "netaudit.lock: 1 target, 2 files as audited; no findings\n")
    done = subprocess.run([*bare, "--file", "other.lock"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("netaudit: there is no lock other.lock\n")


def test_every_way_to_ask_answers_alike(capsys: pytest.CaptureFixture[str]) -> None:
    _run(["lock", "small"])
    Path("sub").mkdir()
    os.chdir("sub")
    capsys.readouterr()
    for arguments in (["lock", "--check", "--file", "../netaudit.lock"], ["lock", "--file=../netaudit.lock", "--check"]):
        program = [sys.executable, "-m", "netaudit", *arguments]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert _run(arguments) == done.returncode == 0
        assert capsys.readouterr().out == done.stdout
    assert _run(["lock", "--check", "small"]) == 2
    assert "--check takes no target: small" in capsys.readouterr().err
    assert _run(["lock", "small", "--file", "../netaudit.lock"]) == 2
    assert "cd .., then netaudit lock" in capsys.readouterr().err
