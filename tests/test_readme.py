"""The README tells the truth: what it shows is what is printed, what it names exists, what it says to type works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from netaudit.cli import _run
from netaudit.cli.app import EPILOG
from netaudit.config import load_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^\| `netaudit (\w+)", README, re.MULTILINE)


def printed(*arguments: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-m", "netaudit", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    return done.stdout


def block(language: str, start: str) -> str:
    return next(text for kind, text in BLOCKS if kind == language and text.startswith(start))


# what is shown ----------------------------------------------------------------------------------------------------------


def test_the_first_audit_is_printed_as_shown() -> None:
    lines = [line.rstrip() for line in printed("check", "examples/deep_sigmoid.py").splitlines()]
    assert lines == block("text", "error[NA201]").splitlines()


SESSIONS = [text for kind, text in BLOCKS if kind == "text" and text.startswith("$ ")]
SEARCHED = {"certify": ("--budget", "1")}
"""Where the numbers depend on the time that is given, little time will do."""


def shape_of(line: str) -> str:
    """A line without its numbers and its spacing: those depend on the machine and on what is elided."""
    return re.sub(r"\d[\d.]*(e[-+]\d+)?x?", "#", " ".join(re.sub(r"-{3,}", "---", line).split()))


@pytest.mark.parametrize("session", SESSIONS, ids=lambda text: text.split()[2])
def test_a_session_is_printed_as_shown(session: str) -> None:
    command, *shown = session.splitlines()
    _, _, name, *arguments = command.split()
    lines = iter([shape_of(line) for line in printed(name, *arguments, *SEARCHED.get(name, ())).splitlines()])
    for line in shown:
        if not line.startswith("..."):  # an iterator is used up as it is searched: the lines come in this order
            assert shape_of(line) in lines, line


# what is named ----------------------------------------------------------------------------------------------------------


def test_the_table_lists_every_command() -> None:
    listed = printed("--help").partition("Commands:")[2].partition("exit codes")[0]
    assert set(COMMANDS) == set(re.findall(r"^  (\w+) ", listed, re.MULTILINE))


def test_every_option_that_is_named_exists() -> None:
    exist = set(re.findall(r"--[a-z][a-z-]+", "".join(printed(*command, "--help") for command in ((), *((c,) for c in COMMANDS)))))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named - exist == set()


def test_the_exit_codes_are_those_of_the_help() -> None:
    codes = re.findall(r"^\| (\d+) \| ", README, re.MULTILINE)
    assert codes == re.findall(r"\b(\d+) ", EPILOG)


def test_the_configuration_shown_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(block("toml", "[tool.netaudit]"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = load_config()
    assert config.fail_level == "error"
    assert config.targets["small"].args == {"depth": 12}


def test_the_hook_shown_exists() -> None:
    hooks = re.findall(r"- id: ([\w-]+)", block("yaml", "repos:"))
    assert len(hooks) == 2
    for hook in hooks:
        assert f"- id: {hook}\n" in (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")


def test_the_lock_shown_can_be_made_and_compared(project: Path) -> None:
    Path(".git").mkdir()
    for line in block("sh", "netaudit lock").splitlines():
        assert _run(shlex.split(line, comments=True)[1:]) == 0
    assert (project / "netaudit.lock").is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.(?:md|py))`", README.partition("## More")[2]))))
def test_every_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).is_file()


# what is to be typed ----------------------------------------------------------------------------------------------------

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.body = nn.Sequential(*[nn.Linear(4, 4) for _ in range(depth)])
    def forward(self, x):
        return self.body(x)

def build(): return Net()
def factory(): return Net()
def example_inputs(): return torch.randn(2, 4)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the commands name."""
    for path in ("model.py", "models/small.py", "pkg/module.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    body = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    save_file({f"body.{name}": value.contiguous() for name, value in body.state_dict().items()}, tmp_path / "model.safetensors")
    torch.export.save(torch.export.export(body, (torch.randn(2, 4),)), tmp_path / "exported.pt2")
    return tmp_path


CHECKS = [line.partition("#")[0].strip() for line in block("sh", "netaudit check model.py").splitlines()]


@pytest.mark.parametrize("line", [line for line in CHECKS if "hf:" not in line])  # tests/intake/test_zoo.py has those
def test_every_way_to_name_a_target_works(project: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert project.is_dir()
    assert _run(shlex.split(line)[1:]) == 0
    assert "0 unknown" in capsys.readouterr().out
