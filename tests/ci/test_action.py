"""The GitHub Action: its file is valid, what it is given never becomes code, and its steps do what they say."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}
SARIF = json.loads((ROOT / "tests" / "report" / "schemas" / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
EXPRESSION = re.compile(r"\$\{\{ (inputs|github)\.([\w-]+) \}\}")
MODEL = """
import torch
from torch import nn
def build(): return nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(4, 4), nn.Sigmoid())])
def example_inputs(): return torch.randn(8, 4)
"""


# the file ---------------------------------------------------------------------------------------------------------------


def test_the_file_is_an_action(validated: Callable[[str, object], None]) -> None:
    validated("github-actions", ACTION)


def test_no_input_becomes_text_of_a_script() -> None:
    for step in STEPS.values():
        assert "${{" not in step.get("run", "")
        assert all(EXPRESSION.fullmatch(value) for value in step.get("env", {}).values())


def test_every_input_that_is_used_exists_and_is_used() -> None:
    used = set(re.findall(r"inputs\.([\w-]+)", json.dumps(ACTION["runs"])))
    assert used == set(ACTION["inputs"])
    assert all(value["description"] for value in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))


def test_only_actions_of_github_are_used_in_a_named_version() -> None:
    used = [step["uses"] for step in STEPS.values() if "uses" in step]
    assert used
    assert all(re.fullmatch(r"(actions|github)/[\w/-]+@v\d+", name) for name in used)


def test_results_are_uploaded_also_when_the_check_fails() -> None:
    upload = STEPS["Upload to code scanning"]
    assert upload["if"].startswith("always() && inputs.sarif == 'true' && steps.check.outputs.sarif-file != ''")
    assert upload["with"]["sarif_file"] == "${{ steps.check.outputs.sarif-file }}"
    assert list(STEPS)[-1] == "Upload to code scanning"


# its steps --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """What a step left: its exit code, what it printed, its outputs and the summary of the job."""

    code: int
    printed: str
    outputs: Mapping[str, str]
    summary: str


def run(step: str, folder: Path, inputs: Mapping[str, str], python: Path = Path(sys.executable).parent) -> Done:
    """A step as GitHub's runner runs it: the script in a file, `bash -eo pipefail`, inputs in the environment."""
    values = {name: value.get("default", "") for name, value in ACTION["inputs"].items()} | dict(inputs)
    assert values.keys() == ACTION["inputs"].keys()
    places = {"inputs": values, "github": {"action_path": str(ROOT)}}
    given = {}
    for name, text in STEPS[step]["env"].items():
        found = EXPRESSION.fullmatch(text)
        assert found is not None
        given[name] = places[found[1]][found[2]]
    files = {"GITHUB_OUTPUT": folder.parent / "output", "GITHUB_STEP_SUMMARY": folder.parent / "summary"}
    for file in files.values():
        file.write_text("")
    script = folder.parent / "step.sh"
    script.write_text(STEPS[step]["run"], encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "NETAUDIT_NO_CACHE"}
    env |= given | {name: str(file) for name, file in files.items()}
    env["PATH"] = f"{python}{os.pathsep}{env['PATH']}"
    command = ("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script))
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    outputs = dict(line.partition("=")[::2] for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return Done(done.returncode, done.stdout + done.stderr, outputs, files["GITHUB_STEP_SUMMARY"].read_text())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a model that fails, and one finding of it suppressed."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    (folder / "netaudit.toml").write_text('[[overrides]]\nmodule = "*"\nignore = ["NA203"]\n')
    return folder


def test_a_check_annotates_sums_up_writes_sarif_and_fails(project: Path) -> None:
    done = run("netaudit check", project, {"targets": "model.py"})
    assert done.code == 1
    assert done.outputs == {"exit-code": "1", "sarif-file": "netaudit.sarif"}
    assert re.search(r"^::error file=model.py,line=4,title=NA201 vanishing-gradient::", done.printed, re.MULTILINE)
    assert done.summary.startswith("### netaudit: 1 error")
    log = json.loads((project / "netaudit.sarif").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(SARIF).validate(log)
    codes = [result["ruleId"] for result in log["runs"][0]["results"]]
    assert "NA201" in codes
    assert "NA203" not in codes, "GitHub shows what is suppressed as open"
    assert "1 suppressed" in done.summary
    assert (project / ".netaudit_cache" / "CACHEDIR.TAG").exists()

    never = run("netaudit check", project, {"targets": "model.py\n", "fail-on": "never", "args": "--select  NA201\n--full"})
    assert (never.code, never.outputs["exit-code"]) == (0, "0")
    assert "NA201" in never.printed, "the same is told"


def test_what_could_not_be_checked_fails_whatever_is_said_of_findings(project: Path) -> None:
    (project / "netaudit.sarif").write_text("of an earlier step")
    done = run("netaudit check", project, {"args": "--no-such-option", "fail-on": "never"})
    assert (done.code, done.outputs) == (2, {"exit-code": "2"}), "no file, so nothing is uploaded"
    assert not (project / "netaudit.sarif").exists()


def test_an_unknown_level_is_an_error_and_nothing_is_run(project: Path) -> None:
    done = run("netaudit check", project, {"targets": "model.py", "fail-on": "warnings"})
    assert done.code == 2
    assert "::error title=netaudit::fail-on is error, warning, info or never, not 'warnings'" in done.printed
    assert done.outputs == {}


NASTY = ("--x;touch pwned", "--x$(touch pwned)", "--x`touch pwned`", "--x && touch pwned", "--x'\"; touch pwned #", "--x\n touch pwned")


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A `python` that writes its arguments down, a JSON list a call: what would be installed is seen without a network."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "calls"
    program = f"#!{sys.executable}\nimport json, sys\nopen({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
    (folder / "python").write_text(program)
    (folder / "python").chmod(stat.S_IRWXU)
    return folder


def calls(recorder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (recorder.parent / "calls").read_text().splitlines()]


@pytest.mark.parametrize("text", NASTY)
def test_inputs_are_words_and_never_commands(project: Path, recorder: Path, text: str) -> None:
    names = ("targets", "args", "sarif-file", "cache-dir", "netaudit", "torch", "torch-index")
    assert run("netaudit check", project, dict.fromkeys(names, text), recorder).code == 0
    assert run("Install netaudit", project, dict.fromkeys(names, text), recorder).code == 0
    assert not (project / "pwned").exists()
    check, *_ = calls(recorder)
    assert check[:4] == ["-P", "-m", "netaudit", "check"]
    assert check[4 : 4 + 2 * len(text.split())] == text.split() * 2
    assert check[4 + 2 * len(text.split()) :] == ["--cache-dir", text, "--quiet", "-o", "github", "-o", f"sarif={text}"]


def test_globs_are_left_alone(project: Path, recorder: Path) -> None:
    run("netaudit check", project, {"args": "--input ids=i64[2,8]<50257> *.py", "cache-dir": ""}, recorder)
    assert calls(recorder)[0][4:] == [
        "--input",
        "ids=i64[2,8]<50257>",
        "*.py",
        "--no-cache",
        *["--quiet", "-o", "github", "-o", "sarif=netaudit.sarif"],
    ]


def test_torch_comes_from_the_index_of_cpu_builds_and_netaudit_from_the_action_itself(project: Path, recorder: Path) -> None:
    run("Install netaudit", project, {}, recorder)
    run("Install netaudit", project, {"torch": "torch==2.13.0 torchvision", "netaudit": "netaudit-torch==0.1.0"}, recorder)
    run("Install netaudit", project, {"torch": ""}, recorder)
    pip = ["-m", "pip", "install", "--quiet"]
    cpu = [*pip, "--index-url", "https://download.pytorch.org/whl/cpu"]
    assert calls(recorder) == [
        [*cpu, "torch"],
        [*pip, str(ROOT)],
        [*cpu, "torch==2.13.0", "torchvision"],
        [*pip, "netaudit-torch==0.1.0"],
        [*pip, str(ROOT)],
    ]
