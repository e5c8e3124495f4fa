"""The command line as a user meets it: output, exit codes, and one clear line for every kind of bad input."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from netaudit.cli import app
from netaudit.errors import ConfigError

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netaudit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, timeout=120, check=False)


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


GOOD = """
import torch
from torch import nn
def build(): return nn.Linear(4, 4)
def example_inputs(): return torch.randn(2, 4)
"""

RAISES_IN_INIT = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        raise ValueError("no width")
    def forward(self, x): ...
"""
RAISES_IN_FORWARD = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
    def forward(self, x):
        raise RuntimeError("boom")
def example_inputs(): return torch.ones(1)
"""
DATA_DEPENDENT = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
    def forward(self, x):
        return self.a(x) if x.sum() > 0 else x
def example_inputs(): return torch.ones(2, 4)
"""
NOT_FINITE = """
import torch
from torch import nn
def build():
    model = nn.Linear(4, 4)
    model.weight.data[0, 0] = float("nan")
    return model
def example_inputs(): return torch.ones(2, 4)
"""
UNKNOWN_OP = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
    def forward(self, x):
        return torch.linalg.matrix_exp(self.a(x))
def example_inputs(): return torch.ones(4, 4)
"""

# name -> (file text, arguments, exit code, what the message must contain)
BAD = {
    "missing file": ("", ("nowhere.py",), 2, ("nowhere.py", "no file")),
    "syntax error": ("x = = 1", ("model.py",), 2, ("model.py:1", "SyntaxError")),
    "raises in __init__": (RAISES_IN_INIT, ("model.py",), 2, ("model.py:5", "no width")),
    "forward raises": (RAISES_IN_FORWARD, ("model.py",), 3, ("model.py:9", "boom", "incomplete")),
    "wrong input shape": (GOOD, ("model.py", "--input", "f32[2,5]"), 3, ("2x5 and 4x4", "incomplete")),
    "no model in the file": ("x = 1", ("model.py",), 2, ("no model", "model.py", "build()")),
    "unknown rule": (GOOD, ("model.py", "--select", "NA2O1"), 2, ("NA2O1", "did you mean")),
    "unknown format": (GOOD, ("model.py", "-o", "jsno"), 2, ("jsno", "json")),
    "unknown fail level": (GOOD, ("model.py", "--fail-level", "warn"), 2, ("warn", "warning")),
    "unknown name": (GOOD, ("model.py:Nett",), 2, ("Nett",)),
    "unknown argument": (GOOD, ("model.py", "--arg", "depth=3"), 2, ("depth",)),
    "bad input spec": (GOOD, ("model.py", "--input", "x=f33[2,4]"), 2, ("f33", "f32")),
    "unknown option": (GOOD, ("model.py", "--inptu", "x"), 2, ("--inptu", "--input")),
    "unknown optimiser": (GOOD, ("model.py", "--optimizer", "adamx"), 2, ("adamx", "did you mean 'adamax'")),
    "optimiser without the setting": (GOOD, ("model.py", "--optimizer", "adam", "--momentum", ".9"), 2, ("Adam has no momentum", "betas")),
    "a setting of no optimiser": (GOOD, ("model.py", "--lr", "1e-3"), 2, ("lr", "no optimiser", "--optimizer")),
    "impossible learning rate": (GOOD, ("model.py", "--lr", "-1"), 2, ("--lr", "greater than 0")),
    "one beta": (GOOD, ("model.py", "--betas", ".9"), 2, ("--betas '.9'", "two numbers")),
    "unknown precision": (GOOD, ("model.py", "--precision", "fp61"), 2, ("fp61", "did you mean 'fp16'")),
    "a schedule without an end": (
        GOOD,
        ("model.py", "--optimizer", "adamw", "--lr", "1e-3", "--schedule", "cosine"),
        2,
        ("cosine", "--steps"),
    ),
    "nesterov without momentum": (GOOD, ("model.py", "--optimizer", "nesterov", "--lr", ".1"), 2, ("--momentum",)),
    "output folder missing": (GOOD, ("model.py", "-o", "json=no/where.json"), 2, ("no/where.json",)),
    "hangs": ("while True: pass", ("model.py", "--timeout", "2"), 2, ("2 seconds",)),
    "data-dependent": (DATA_DEPENDENT, ("model.py",), 0, ("one path only", "model.py:9", "depends on the data")),
    "not finite": (NOT_FINITE, ("model.py",), 1, ("NA003", "weight", "NaN")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_message(tmp_path: Path, case: str) -> None:
    text, arguments, code, words = BAD[case]
    if text:
        write(tmp_path, "model.py", text)
    done = run("check", *arguments, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    for word in words:
        assert word in said, said
    assert "Traceback" not in said


OVERRIDES = """
[[tool.netaudit.overrides]]
module = "0"
ignore = ["NA201"]

[[tool.netaudit.overrides]]
module = "nowhere.*"
ignore = ["NA201"]
"""


def test_what_is_suppressed_is_counted_and_listed(tmp_path: Path) -> None:
    layers = "[m for _ in range(12) for m in (nn.Linear(32, 32), nn.Sigmoid())]  # netaudit: ignore[NA201] on purpose"
    text = GOOD.replace("return nn.Linear(4, 4)", f"\n    return nn.Sequential(*{layers}\n    )").replace("(2, 4)", "(2, 32)")
    write(tmp_path, "model.py", text)
    write(tmp_path, "pyproject.toml", OVERRIDES)
    done = run("check", "model.py", "-o", "full", "-o", "json=r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 suppressed (NA201)" in done.stdout
    assert "unused override nowhere.*: ignore NA201: no module has this path" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    (gone,) = report["targets"][0]["suppressed"]
    assert (gone["code"], gone["by"], gone["reason"], report["summary"]["suppressed"]) == ("NA201", "comment", "on purpose", 1)
    assert len(report["run"]["unused_overrides"]) == 2


def test_corrupt_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, "model.py", GOOD)
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 64)
    done = run("check", "model.py", "--weights", "w.safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert "w.safetensors" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_configuration_key(tmp_path: Path) -> None:
    write(tmp_path, "model.py", GOOD)
    write(tmp_path, "pyproject.toml", "[tool.netaudit]\nselct = ['NA2']\n")
    done = run("check", "model.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'select'" in done.stderr


def test_nothing_to_check(tmp_path: Path) -> None:
    done = run("check", cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing to check" in done.stderr


def test_verbose_shows_where_it_failed(tmp_path: Path) -> None:
    write(tmp_path, "model.py", "raise ValueError('on import')")
    assert "Traceback" in run("check", "model.py", "--verbose", cwd=tmp_path).stderr


# results ----------------------------------------------------------------------------------------------------------------


def test_exit_codes_follow_the_findings() -> None:
    sick, well = str(EXAMPLES / "deep_sigmoid.py"), str(EXAMPLES / "resnet.py")
    assert run("check", well, "-o", "concise").returncode == 0
    assert run("check", sick, "-o", "concise").returncode == 1
    assert run("check", sick, "-o", "concise", "--exit-zero").returncode == 0
    assert run("check", sick, "-o", "concise", "--ignore", "NA201").returncode == 0
    assert run("check", sick, "-o", "concise", "--select", "NA3").returncode == 0
    assert run("check", sick, "-o", "concise", "--select", "vanishing-gradient").returncode == 1


def test_an_op_without_a_transfer_is_never_called_clean(tmp_path: Path) -> None:
    write(tmp_path, "model.py", UNKNOWN_OP)
    done = run("check", "model.py", cwd=tmp_path)
    assert done.returncode == 3
    assert "no transfer for aten.linalg_matrix_exp" in done.stdout
    assert "no forecast for" in done.stdout  # what lies behind it
    assert run("check", "model.py", "--min-coverage", "0", cwd=tmp_path).returncode == 0


def test_json_is_valid_by_its_own_schema_and_the_same_twice(tmp_path: Path) -> None:
    schema = json.loads(run("schema").stdout)
    target = str(EXAMPLES / "deep_sigmoid.py")
    first, second = (run("check", target, "-o", "json").stdout for _ in range(2))
    assert first == second
    report = json.loads(first, parse_constant=lambda word: pytest.fail(f"bare {word} in JSON"))
    jsonschema.validate(report, schema)
    assert report["findings"][0]["code"] == "NA201"
    assert report["targets"][0]["coverage"]["unknown"] == {}
    lines = run("check", target, "-o", "concise", "-o", f"json={tmp_path / 'out.json'}").stdout.count("\n")
    assert lines == len(report["findings"])
    assert (tmp_path / "out.json").read_text(encoding="utf-8") == first


def test_several_targets_in_one_run() -> None:
    done = run("check", str(EXAMPLES / "resnet.py"), str(EXAMPLES / "detached_encoder.py"), "-o", "json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["targets"]) == 2


def test_the_node_table_lists_calls_and_parameters() -> None:
    done = run("nodes", str(EXAMPLES / "deep_sigmoid.py"))
    assert done.returncode == 0
    assert "sigmoid" in done.stdout
    assert "body.0.weight" in done.stdout
    assert "0.25" in done.stdout


def test_a_closed_pipe_is_silent() -> None:
    command = f"{sys.executable} -m netaudit rule --all | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_no_colour_when_piped() -> None:
    target = str(EXAMPLES / "detached_encoder.py")
    assert "\x1b" not in run("check", target).stdout
    assert "\x1b" in run("check", target, FORCE_COLOR="1").stdout
    assert "\x1b" not in run("check", target, FORCE_COLOR="1", NO_COLOR="1").stdout


# start-up ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--help",), ("rule", "NA201"), ("rule", "--all"), ("version",), ("check", "--help")])
def test_light_commands_do_not_import_torch(arguments: tuple[str, ...]) -> None:
    code = "import sys; sys.argv = ['netaudit', *sys.argv[1:]]\nfrom netaudit.cli import _run\ncode = _run(sys.argv[1:])\n"
    code += "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'torch or numpy was imported'\nsys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_rule_is_explained_within_its_budget() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run("rule", "NA201")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.7  # 0.35 s, twice that on a loaded machine


def test_did_you_mean_for_rules() -> None:
    done = run("rule", "vanishing-gradent")
    assert done.returncode == 2
    assert "vanishing-gradient" in done.stderr


# certify, forecast, explain ---------------------------------------------------------------------------------------------


def test_certify_prints_a_bound_and_what_is_attained() -> None:
    target = str(EXAMPLES / "deep_sigmoid.py")
    done = run("certify", target, "--budget", "0.5", "--ball", "0.1", "-o", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"bare {word} in JSON"))
    for part in (report["global"], report["local"]):
        assert part["bound"]["status"] == "proved"
        assert part["lower"]["status"] == "measured"
        assert part["lower"]["log10"] <= part["bound"]["log10"] <= part["composition"]["log10"]
    assert report["local"]["bound"]["log10"] < report["global"]["bound"]["log10"]
    assert {"id", "op", "lipschitz"} <= set(report["nodes"][0])
    told = run("certify", target, "--budget", "0.5").stdout
    assert "proved <=" in told
    assert "certificate matrix" in told


def test_a_certificate_past_an_unknown_op_is_incomplete(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.a = nn.Linear(4, 4)\n"
        "    def forward(self, x):\n        return torch.linalg.matrix_exp(self.a(x)[..., None].expand(-1, 4, 4))\n"
        "def build():\n    return Net()\n"
        "def example_inputs():\n    return torch.randn(2, 4)\n"
    )
    done = run("certify", "model.py", "--budget", "0", cwd=tmp_path)
    assert done.returncode == 3
    assert "incomplete: nothing is known of aten.linalg_matrix_exp" in done.stdout
    found = json.loads(run("certify", "model.py", "--budget", "0", "-o", "json", cwd=tmp_path).stdout)
    assert found["global"]["bound"] == {"log10": None, "status": "unknown", "error": None}
    own = {node["op"]: node["lipschitz"]["status"] for node in found["nodes"]}
    assert own["aten.linear"] == "proved"
    assert own["aten.linalg_matrix_exp"] == "unknown"


def test_a_sweep_over_words_has_no_plot(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build(act='ReLU'):\n    return nn.Sequential(nn.Linear(4, 4), getattr(nn, act)(), nn.Linear(4, 2))\n"
        "def example_inputs():\n    return torch.randn(2, 4)\n"
    )
    done = run("forecast", "model.py", "--sweep", "act=ReLU,Tanh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("ReLU", "Tanh"))] == ["ReLU", "Tanh"]
    assert "●" not in done.stdout


def test_forecast_is_close_to_one_real_pass() -> None:
    done = run("forecast", str(EXAMPLES / "gpt.py"), "--measure", "-o", "json")
    assert done.returncode == 0, done.stderr
    params = json.loads(done.stdout)["params"]
    errors = [abs(p["grad_rms"]["log10"] - p["measured"]["log10"]) for p in params.values() if p["measured"]["log10"] is not None]
    assert len(errors) >= 70
    assert sorted(errors)[int(0.95 * len(errors))] <= 0.30


def test_a_sweep_is_one_table() -> None:
    done = run("forecast", str(EXAMPLES / "deep_sigmoid.py"), "--sweep", "depth=2,12")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.split() and line.split()[0] in ("2", "12") and "e-" in line]
    assert ["vanishing" in row for row in rows] == [False, True]
    assert "● least S" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_explain_says_why_a_bound_holds() -> None:
    done = run("explain", str(EXAMPLES / "gpt.py"), "blocks.0.norm1")
    assert done.returncode == 0, done.stderr
    assert "||J||_2 <=" in done.stdout
    assert "null space  span{1}" in done.stdout
    wrong = run("explain", str(EXAMPLES / "gpt.py"), "blocks.0.nrm1")
    assert wrong.returncode == 2
    assert "did you mean 'blocks.0.norm1'" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("certify", "--ball", "-1"), "--ball -1 is not a radius"),
        (("certify", "--norm", "l3"), "--norm 'l3' is not one of l2, linf"),
        (("check", "--input-range", "x=2:1"), "--input-range 'x=2:1' is not a range"),
        (("check", "--input-range", "y=0:1"), "there is no float input 'y'"),
        (("forecast", "--sweep", "depth"), "--sweep 'depth' names no values"),
        (("forecast", "--input-stats", "mean=a"), "holds no numbers"),
        (("forecast", "--cotangent", "mse"), "--cotangent 'mse' is not one of loss, unit, ce"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    done = run(arguments[0], str(EXAMPLES / "deep_sigmoid.py"), *arguments[1:])
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


WIDE = """
import torch
from torch import nn
def build(): return nn.Sequential(nn.Linear(32, 1 << 30), nn.Tanh(), nn.Linear(1 << 30, 4))
def example_inputs(): return torch.randn(2, 32)
"""


def test_a_model_larger_than_memory_is_forecast_without_weights(tmp_path: Path) -> None:
    write(tmp_path, "model.py", WIDE)
    found = run("forecast", "model.py", "--meta", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "1073741824x32" in found.stdout
    assert "no weights, so no certified norms; forecasts use the init distribution" in found.stdout
    found = run("check", "model.py", "--meta", "-o", "json", cwd=tmp_path)
    report = json.loads(found.stdout)
    assert report["targets"][0]["coverage"]["forecast"] == 4
    assert "built on meta" in report["targets"][0]["notes"][0]


EYE = """
import torch
from torch import nn
def build():
    layer = nn.Linear(256, 256)
    nn.init.eye_(layer.weight)
    return layer
def example_inputs(): return torch.randn(2, 256)
"""


def test_an_initialisation_that_is_not_followed_is_counted(tmp_path: Path) -> None:
    write(tmp_path, "model.py", EYE)
    found = run("forecast", "model.py", "--meta", cwd=tmp_path)
    assert found.returncode == 3
    assert "the initial values of weight are unknown" in found.stdout
    assert "aten.eye.m_out is not followed: weight is unknown" in found.stdout
    assert run("forecast", "model.py", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("forecast", "--measure"), "--measure runs the model, which has no weights under --meta"),
        (("certify",), "certify proves what holds for these weights, and --meta builds without them"),
        (("check", "--weights", "nowhere"), "there is no file nowhere"),
    ],
)
def test_what_needs_weights_says_so(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    write(tmp_path, "model.py", GOOD)
    found = run(arguments[0], "model.py", "--meta", *arguments[1:], cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith(f"netaudit: {message}\n")


def test_a_page_is_written(tmp_path: Path) -> None:
    done = run("check", str(EXAMPLES / "detached_encoder.py"), "-o", f"html={tmp_path / 'report.html'}", "-o", "concise")
    assert done.returncode == 1
    assert "NA206" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "flow.png"), "is not an SVG file"),
        (("--out", "nowhere/flow.svg"), "there is no folder nowhere"),
    ],
)
def test_a_plot_that_cannot_be_written_is_said_before_the_model_is_built(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        app(["plot", "no_such_model.py", *arguments], standalone_mode=False)


def test_a_plot_is_one_svg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "good.py", GOOD)
    assert app(["plot", str(tmp_path / "good.py")], standalone_mode=False) == 0
    printed = capsys.readouterr().out
    assert app(["plot", str(tmp_path / "good.py"), "--out", str(tmp_path / "flow.svg")], standalone_mode=False) == 0
    assert (tmp_path / "flow.svg").read_text(encoding="utf-8") == printed
    assert ET.fromstring(printed).tag.endswith("svg")
    write(
        tmp_path,
        "two.py",
        GOOD.replace(
            "def build(): return nn.Linear(4, 4)", "class A(nn.Linear):\n  def __init__(self): super().__init__(4, 4)\nclass B(A): pass"
        ),
    )
    with pytest.raises(ConfigError, match="holds 2 models"):
        app(["plot", str(tmp_path / "two.py")], standalone_mode=False)
