"""`check --diff-base`: what was there at a commit does not count, and nothing of the user's repository is touched on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.cache.replay import OFF
from netaudit.cli import _run, app, since
from netaudit.cli.since import Base, _marked, _retyped
from netaudit.cli.then import Answer, Job, _is_of_now
from netaudit.config import Config, dumped, load_config, restored
from netaudit.errors import ConfigError
from netaudit.finding import Finding, Report, TargetReport, fingerprint
from netaudit.git import checked_out, commit, is_tracked
from netaudit.report.json import model

NET = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(16, 4)
        {idle}
    def forward(self, x): return self.used(x)
def {name}(): return Net()
def example_inputs(): return torch.randn(4, 16)
"""


def net(name: str = "build", idle: str = "self.idle = nn.Linear(16, 4)") -> str:
    """A model with a layer of no use, which is found at once (NA206)."""
    return NET.format(name=name, idle=idle)


def git(*arguments: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True).stdout


def write(files: Mapping[str, str | bytes]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())


def committed(files: Mapping[str, str | bytes]) -> None:
    write(files)
    git("add", "-A", "-f")
    git("commit", "-q", "-m", "then")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # the tests may run in a hook of git's
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [*sys.path])
    git("init", "-q", "-b", "main")
    return root


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders are made: nothing may be left there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.glob("netaudit-*"))


# the whole way ----------------------------------------------------------------------------------------------------------


def test_only_what_is_new_counts(
    repository: Path, places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Targets of every kind at once, since each process that imports torch takes its time."""
    monkeypatch.delenv(OFF)
    committed(
        {
            ".gitignore": ".netaudit_cache\n",
            "old.py": net(),
            "broken.py": "no python",
            "src/pkg_of_diff_base/__init__.py": "",
            "src/pkg_of_diff_base/mod.py": net("factory"),
            "pyproject.toml": "[tool.netaudit]\nignore = ['NA2']",
        }
    )
    write(
        {
            "old.py": "\n\n# moved down\n" + net(),
            "broken.py": net(),
            "added.py": net(),
            "src/pkg_of_diff_base/mod.py": net("factory", idle=""),
            "pyproject.toml": "[tool.netaudit]\nignore = []",
        }
    )
    monkeypatch.syspath_prepend(str(repository / "src"))
    git("add", "old.py")
    before = contents(repository)
    targets = ("old.py", "broken.py", "added.py", "pkg_of_diff_base.mod:factory")
    arguments = ("check", *targets, "--input", "f32[4,16]", "--fail-level", "info", "--diff-base", "main")
    assert _run((*arguments, "-o", "json")) == 1
    found = json.loads(capsys.readouterr().out)
    states = {(f["target"], f["module"]): f["baseline"] for f in found["findings"] if f["code"] == "NA206"}
    assert states == {
        ("old.py", "idle"): "unchanged",
        ("broken.py", "idle"): "new",
        ("added.py", "idle"): "new",
    }
    assert found["summary"]["info"] == 2
    assert found["run"]["since"]["what"].startswith("main (")
    assert found["run"]["since"]["gone"] == 1, "that of the module, which is imported from the commit"
    told = dict(note.split(": ", 1) for note in found["run"]["since"]["notes"])
    assert set(told) == {"broken.py", "added.py"}
    assert told["broken.py"].startswith("could not be audited then, so that everything counts: importing broken.py failed at broken.py:1")
    assert told["added.py"] == "not there then, so that all of it is new"
    assert {k: v for k, v in contents(repository).items() if ".netaudit_cache" not in k and "__pycache__" not in k} == before

    assert _run((*arguments, "-o", "concise", "-q")) == 1, "and again, from the cache"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["added.py", "broken.py", "broken.py", "added.py"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_when_it_is_cut_off(repository: Path, places: Path, monkeypatch: pytest.MonkeyPatch, error: type) -> None:
    committed({"old.py": "x = 1", "sub/deep.py": "y = 1"})
    before = contents(repository)

    def cut_off(job: Job) -> list[Answer]:
        assert Path(job.tree, "sub/deep.py").read_text() == "y = 1"
        raise error

    monkeypatch.setattr(since, "answers", cut_off)
    with pytest.raises(error):
        base()._answers(["old.py"])
    assert contents(repository) == before


@pytest.mark.parametrize(
    ("ref", "said", "hint"),
    [("mian", "git knows no commit 'mian'", "did you mean 'main'?"), ("", "git knows no commit ''", "a branch, a tag or a commit")],
)
def test_an_unknown_commit(repository: Path, capsys: pytest.CaptureFixture[str], ref: str, said: str, hint: str) -> None:
    committed({"old.py": net()})
    assert _run(("check", "old.py", "--diff-base", ref)) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert hint in complaint


def test_a_branch_of_the_remote_is_meant(repository: Path) -> None:
    committed({"a": ""})
    git("update-ref", "refs/remotes/origin/release", "HEAD")
    with pytest.raises(ConfigError) as caught:
        commit("release2")
    assert "release" not in caught.value.hint or "did you mean" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        commit("release")  # git itself looks below refs/remotes for whole names only
    assert caught.value.hint == "did you mean 'origin/release'?"


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ConfigError, match="not a git repository"):
        commit("main")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git is not installed"):
        commit("main")


# the files of a commit --------------------------------------------------------------------------------------------------


def test_the_files_are_those_of_the_commit(repository: Path, places: Path) -> None:
    files: dict[str, str | bytes] = {
        ".gitattributes": "*.txt eol=crlf\nhidden.py export-ignore\n",
        "a.py": "x = 1\n",
        "hidden.py": "x = 2\n",
        "lines.txt": "one\ntwo\n",
        "sub/größe.bin": bytes(range(256)),
        ".git/hooks/post-checkout": "#!/bin/sh\ntouch ran\n",
        ".git/hooks/post-index-change": "#!/bin/sh\ntouch ran\n",
    }
    committed(files)
    git("config", "core.splitIndex", "true")
    for hook in Path(".git/hooks").iterdir():
        hook.chmod(0o755)
    Path("a.py").unlink()
    Path("a.py").symlink_to("hidden.py")
    Path("sub/new").mkdir()
    os.chdir("sub/new")
    write({"unstaged.py": "x = 3"})
    before = contents(repository)
    with checked_out(commit("HEAD")) as tree:
        found = {path.removeprefix(f"{tree}/"): data for path, data in contents(tree).items()}
        assert (tree / "sub/new").is_dir(), "where we are need not be there at the commit"
    assert found == {
        name: b"one\r\ntwo\r\n" if name == "lines.txt" else text if isinstance(text, bytes) else text.encode()
        for name, text in files.items()
        if not name.startswith(".git/")
    }
    assert contents(repository) == before


# what is passed on ------------------------------------------------------------------------------------------------------


def base(*arguments: str, config: Config = Config()) -> Base:  # noqa: B008  # frozen
    command = typer.main.get_command(app).commands["check"]  # type: ignore[attr-defined]  # a group
    return Base(commit("HEAD"), command.make_context("check", list(arguments)), config, cached=False)


OPTIONS = st.lists(
    st.sampled_from(
        [
            ("--arg", "a=-1"), ("--arg", "b=x y"), ("--input", "x=f32[2]"), ("--seed", "-3"), ("--select", "NA2,NA3"), ("--no-scaler",),
            ("--scaler",), ("--preview",), ("--lr", "1e-3"), ("--meta",), ("-q",), ("--exit-zero",), ("--mode", "eval"),
        ]
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(OPTIONS)
def test_options_are_typed_again_as_they_were(options: list[tuple[str, ...]]) -> None:
    command = typer.main.get_command(app).commands["check"]  # type: ignore[attr-defined]  # a group
    first = command.make_context("check", [*(word for option in options for word in option), "model.py"])
    again = command.make_context("check", [*_retyped(first), "--", "model.py"])
    kept = {"quiet", "exit_zero"}  # of no concern for what is found
    assert {k: v for k, v in first.params.items() if k not in kept} == {k: v for k, v in again.params.items() if k not in kept}


def test_files_are_those_of_the_commit_unless_git_does_not_track_them(repository: Path, places: Path) -> None:
    committed({".gitignore": "*.pt", "tracked.pt": "then", "sub/model.py": ""})
    write({"tracked.pt": "now", "untracked.pt": "now", "added.pt": "now"})
    git("add", "-f", "added.pt")
    assert [is_tracked(Path(name)) for name in ("tracked.pt", "untracked.pt", "added.pt")] == [True, False, True]
    os.chdir("sub")
    entries = {"small": {"target": "model.py", "weights": "../untracked.pt"}}
    config = Config.model_validate({"targets": entries})
    told = base(f"--weights={repository / 'tracked.pt'}", "--data", "../added.pt", config=config)
    with checked_out(told.of) as tree:
        job = told._job(["small"], tree)
    assert {"--weights=../tracked.pt", "--data=../added.pt", "--no-cache"} <= set(job.arguments)
    assert job.config["settings"]["targets"]["small"]["weights"] == str(repository / "untracked.pt")
    assert job.here == str(tree / "sub")


def test_what_is_no_part_of_the_repository_is_the_same(repository: Path) -> None:
    committed({"model.py": "", "configs/config.json": ""})
    write({"../other.py": "", "w.pt": ""})
    told = base()
    assert [told._is_elsewhere(t) for t in ("torchvision:alexnet", "timm:x", "../other.py", "../other.py:Net")] == [True] * 4
    assert [told._is_elsewhere(t) for t in ("model.py", "model.py:Net", "pkg.mod:f", "hf:configs")] == [False] * 4
    assert not base("--weights", "w.pt")._is_elsewhere("torchvision:alexnet"), "weights may have changed"


def test_the_configuration_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = """
select = ["NA2"]
[targets.small]
target = "model.py"
inputs = ["x=f32[2]"]
args = { depth = 12, name = "x" }
[[overrides]]
module = "body.*"
ignore = ["NA201"]
[training]
lr = 1
betas = [0.9, 0.95]
"""
    Path("netaudit.toml").write_text(text)
    config = load_config()
    again = restored(json.loads(json.dumps(dumped(config))))
    assert again == config
    assert again.path == config.path
    assert restored(dumped(Config())) == Config()


def test_a_module_of_the_working_tree_is_noticed(repository: Path) -> None:
    job = Job((), (), {}, (), "/home/p", "/tmp/t/tree", "/tmp/t/tree", "/tmp/t/tree")  # names only: nothing is read

    class Module:
        def __init__(self, file: str | None) -> None:
            self.__file__ = file

    files = ["/home/p/pkg/a.py", "/tmp/t/tree/pkg/a.py", "/home/p/.venv/lib/site-packages/torch/x.py", "/usr/lib/x.py", None]
    assert [_is_of_now(Module(file), job) for file in files] == [True, False, False, False, False]


# what comes of it -------------------------------------------------------------------------------------------------------


def found(code: str, target: str, module: str = "") -> Finding:
    return Finding(code, "a-defect", "warning", "is so", target, module, fingerprint=fingerprint(code, target, module, ""))


def report(target: str, *codes: str) -> TargetReport:
    return TargetReport(target, findings=tuple(found(code, target) for code in codes))


def document(*targets: TargetReport) -> Mapping[str, Any]:
    return model(Report(targets, "0", "0", ())).model_dump(mode="json")


CODES = st.lists(st.sampled_from(["NA1", "NA2", "NA3", "NA4"]), max_size=4)


@settings(max_examples=60, deadline=None)
@given(CODES, CODES, CODES)
def test_findings_are_matched_one_by_one(before: list[str], after: list[str], accepted: list[str]) -> None:
    now = report("a.py", *after)
    now = replace(now, findings=tuple(replace(f, baseline="unchanged") if f.code in accepted else f for f in now.findings))
    then = document(report("a.py", *before))
    whole, gone = _marked(Report((now,), "0", "0", ()), [Answer(then)], [then])
    for code in {*before, *after}:
        states = [f.baseline for f in whole.targets[0].findings if f.code == code]
        assert states.count("new") == (0 if code in accepted else max(after.count(code) - before.count(code), 0))
    assert gone == sum(max(before.count(code) - after.count(code), 0) for code in set(before))


def test_what_was_not_audited_counts_and_what_is_elsewhere_does_not() -> None:
    then = document(report("c.py", "NA1"))
    targets = (report("a.py", "NA1"), report("b.py", "NA1"), report("c.py", "NA1"))
    whole, gone = _marked(Report(targets, "0", "0", ()), [Answer(why="lost"), Answer(same=True), Answer(then)], [then])
    assert [f.baseline for f in whole.findings] == ["new", "unchanged", "unchanged"]
    assert gone == 0
