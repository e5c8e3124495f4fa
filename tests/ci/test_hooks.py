"""The hooks, by the real pre-commit, in a repository of its own: what is clean passes, what is not says why."""

from __future__ import annotations

import linecache
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from netaudit.cli import _run

pytest.importorskip("pre_commit")

ROOT = Path(__file__).parents[2]
IDENTITY = ("-c", "user.name=netaudit", "-c", "user.email=netaudit@localhost", "-c", "commit.gpgsign=false")
MODEL = """
import torch
from blocks_of_hooked_run import body
def build(): return body()
def example_inputs(): return torch.randn(8, 4)
"""
CLEAN = "from torch import nn\ndef body(): return nn.Sequential(nn.Linear(4, 4), nn.Tanh())\n"
BROKEN = "from torch import nn\ndef body(): return nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(4, 4), nn.Sigmoid())])\n"
CONFIG = """
repos:
  - repo: {repository}
    rev: {revision}
    hooks:
      - id: netaudit
        args: [model.py]
      - id: netaudit-lock
"""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    beside = str(Path(sys.executable).parent)  # where the command netaudit is installed
    env = {**os.environ, "PATH": beside + os.pathsep + os.environ["PATH"], "PRE_COMMIT_HOME": str(cwd.parent / "pre-commit")}
    for name in [name for name in env if name.startswith("GIT_")]:  # set where these tests are themselves run by a hook
        del env[name]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def git(*arguments: str, cwd: Path) -> str:
    done = run("git", *IDENTITY, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def committed(folder: Path) -> str:
    """Everything in a folder as a commit; its name."""
    git("init", "--quiet", cwd=folder)
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "--message", "as it is", "--no-verify", cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder)


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """This repository as pre-commit clones it, with what is not committed yet."""
    folder = tmp_path_factory.mktemp("hooks") / "netaudit"
    leave_out = shutil.ignore_patterns("__pycache__")
    for name in ("netaudit", "hooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", folder)
    return folder, committed(folder)


@pytest.fixture
def project(tmp_path: Path, hooks: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with both hooks, a clean model, and its lock. There is a cache, as where people work: what is clean is audited once."""
    monkeypatch.delenv("NETAUDIT_NO_CACHE")
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    sys.modules.pop("blocks_of_hooked_run", None)
    linecache.getlines(__file__)  # else the audit reads it, as part of the stack that calls a model, and takes it for the model's
    repository, revision = hooks
    (folder / ".pre-commit-config.yaml").write_text(CONFIG.format(repository=repository.as_posix(), revision=revision))
    (folder / "model.py").write_text(MODEL)
    (folder / "blocks_of_hooked_run.py").write_text(CLEAN)
    committed(folder)
    assert _run(["lock", "model.py"]) == 0
    git("add", "netaudit.lock", cwd=folder)
    return folder


def test_the_hooks_let_pass_what_is_clean_and_stop_what_is_not(project: Path) -> None:
    clean = run("pre-commit", "run", "--all-files", cwd=project)
    assert clean.returncode == 0, clean.stdout
    assert clean.stdout.count("Passed") == 2

    (project / "blocks_of_hooked_run.py").write_text(BROKEN)
    git("add", "--all", cwd=project)
    broken = run("pre-commit", "run", cwd=project)
    assert broken.returncode == 1
    assert "blocks_of_hooked_run.py:2: NA201 error" in broken.stdout
    assert "changed  blocks_of_hooked_run.py (model.py)" in broken.stdout, "nor was it locked"
    assert broken.stdout.count("Failed") == 2

    sys.modules.pop("blocks_of_hooked_run")
    assert _run(["lock"]) == 1
    git("add", "netaudit.lock", cwd=project)
    locked = run("pre-commit", "run", "netaudit-lock", cwd=project)
    assert locked.returncode == 1, "a lock does not make it any better"
    assert "error    NA201 vanishing-gradient model.py" in locked.stdout


def test_the_lock_stops_a_commit_that_nobody_audited(project: Path) -> None:
    only = ("pre-commit", "run", "netaudit-lock")
    (project / "model.py").write_text(MODEL + "# later\n")
    git("add", "--all", cwd=project)
    edited = run(*only, cwd=project)
    assert edited.returncode == 1
    assert "changed  model.py (model.py)" in edited.stdout
    assert "hint: netaudit lock; commit netaudit.lock" in edited.stdout

    git("reset", "--quiet", "--hard", cwd=project)
    unstaged = run(*only, cwd=project)
    assert unstaged.returncode == 1, "the lock was never committed"
    assert "there is no lock netaudit.lock" in unstaged.stdout
