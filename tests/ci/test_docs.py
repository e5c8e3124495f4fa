"""docs/ci.md: its commands are run in this order, its files are what their readers take, its tables name what there is."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from packaging.requirements import Requirement

from netaudit.cli import _run

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
BLOCKS = [(token.info, token.content) for token in MarkdownIt().parse(TEXT) if token.type == "fence"]
MODEL = "import torch\nfrom blocks import body\ndef build(): return body()\ndef example_inputs(): return torch.randn(8, 4)\n"
FAULTY = "from torch import nn\ndef body(): return nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(4, 4), nn.Sigmoid())])\n"
SOUND = "from torch import nn\ndef body(): return nn.Sequential(nn.Linear(4, 4), nn.Tanh())\n"
VALUE = re.compile(r'": "([0-9a-f]{32}|\d+\.\d+\.\d+)"')
"""A hash, or a version."""


def commands(block: str) -> Iterator[list[str]]:
    """The lines of a block as words, without comments."""
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def blocks(language: str) -> list[str]:
    return [content for info, content in BLOCKS if info == language]


def documents() -> list[dict[str, Any]]:
    """The YAML blocks; `on` is a word to GitHub, and a truth value to YAML 1.1."""
    return [{"on" if key is True else key: value for key, value in yaml.safe_load(block).items()} for block in blocks("yaml")]


def of_kind(key: str) -> list[dict[str, Any]]:
    return [document for document in documents() if key in document]


def settle() -> None:
    sys.modules.pop("blocks", None)
    time.sleep(0.01)  # the clock of a file system is coarse, and what is as new as the audit is not locked


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NETAUDIT_NO_CACHE")
    subprocess.run(["git", "init", "--quiet"], check=True)
    Path("model.py").write_text(MODEL)
    Path("blocks.py").write_text(FAULTY)
    settle()
    yield tmp_path
    sys.modules.pop("blocks", None)


def run(words: list[str]) -> int:
    """A command of the page; what it would install is looked at, not installed."""
    if words[0] == "pip":
        named = [word for word in words[2:] if not word.startswith(("-", "https://", "."))]
        assert words[1] == "install"
        assert {Requirement(word).name for word in named} <= {"torch", "netaudit-torch"}
        return 0
    if words[0] == "git":
        return subprocess.run(words, check=False).returncode
    assert words[0] == "netaudit"
    return _run(words[1:])


def test_the_commands_work_in_their_order(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopting, pruning, locking, without_torch = blocks("sh")
    for words in (*commands(adopting), *commands(pruning)):
        assert run(words) == 0, words
    assert json.loads(Path("netaudit-baseline.json").read_text())["findings"], "a project that has findings"
    Path("netaudit-baseline.json").unlink()
    Path("blocks.py").write_text(SOUND)
    settle()
    for words in (*commands(locking), *commands(without_torch)):
        assert run(words) == 0, words
    (shown,) = blocks("json")
    assert VALUE.sub('": ""', shown) == VALUE.sub('": ""', Path("netaudit.lock").read_text())

    Path("blocks.py").write_text(SOUND + "# later\n")
    (session,) = blocks("text")
    command, *printed = session.splitlines()
    capsys.readouterr()
    assert run(command.split()[1:]) == 3
    assert capsys.readouterr().out.splitlines() == printed


def test_the_job_of_gitlab_writes_what_it_hands_in(project: Path, validated: Callable[[str, object], None]) -> None:
    (job,) = of_kind("netaudit")
    validated("gitlab-ci", job)
    codes = [run(words) for line in job["netaudit"]["script"] for words in commands(line)]
    assert codes == [0, 0, 1], "a finding fails the job"
    reports = job["netaudit"]["artifacts"]["reports"]
    assert json.loads(Path(reports["codequality"]).read_text())[0]["check_name"].startswith("NA")
    assert Path(reports["junit"]).read_text().startswith("<?xml")
    assert Path(job["netaudit"]["cache"]["paths"][0]).is_dir()


def test_the_workflows_are_valid_and_use_the_action_as_it_is(validated: Callable[[str, object], None]) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    workflows = of_kind("jobs")
    assert len(workflows) == 2
    for workflow in workflows:
        validated("github-workflows", workflow)
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        (ours,) = (step for step in steps if step.get("uses", "").startswith("netaudit/"))
        assert ours["with"].keys() <= action["inputs"].keys()
        assert [run(words) for step in steps if "run" in step for words in commands(step["run"])] in ([], [0, 0])


def test_the_configurations_of_pre_commit_are_valid(tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    hooks = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
    configurations = of_kind("repos")
    assert len(configurations) == 2
    for configuration in configurations:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration))
        subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", str(tmp_path / "config.yaml")], check=True)
        for repository in configuration["repos"]:
            assert {hook["id"] for hook in repository["hooks"]} <= hooks


def test_the_tables_name_what_there_is() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    table = TEXT.partition("| input |")[2].partition("\n\n")[0]
    rows = {cells[0].strip("` "): cells[1].strip() for line in table.splitlines()[2:] if (cells := line.strip("|").split("|"))}
    assert list(rows) == list(action["inputs"])
    for name, default in rows.items():
        if default.startswith("`"):
            assert action["inputs"][name]["default"] == default.strip("`")
    said = re.findall(r"^\| (\d+) \| ", TEXT, re.MULTILINE)
    readme = re.findall(r"^\| (\d+) \| ", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert said == readme
