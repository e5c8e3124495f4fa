"""Several seeds, interrupts and memory: what is summed up, what is left when a run is cut short, what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from math import log10
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from netaudit.cli import _run
from netaudit.cli.app import app
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load
from netaudit.probe.run import runs
from netaudit.probe.sizes import Gauge

MODEL = """
import os
import signal
import torch
from torch import nn


def build():
    {before}
    depth = {depth}
    return nn.Sequential(*[nn.Linear(6, 6) for _ in range(depth)])


def example_inputs(seed):
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))


def loss(model, inputs):
    return model(inputs).square().mean()
"""
SEED = "torch.initial_seed()"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write model.py in a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def written(*, depth: str = "2", before: str = "pass") -> None:
        Path("model.py").write_text(MODEL.format(depth=depth, before=before))

    return written


def probe(*arguments: str) -> tuple[int, Mapping[str, object]]:
    """Exit code and JSON of a probe, in this process."""
    result = CliRunner().invoke(app, ["probe", "model.py", "--gains", "none", "-o", "json", *arguments], standalone_mode=False)
    assert result.exception is None, result.exception
    code = result.return_value
    assert isinstance(code, int)
    (target,) = json.loads(result.stdout)["targets"]
    return code, target


def reloaded(seed: int) -> Subject:
    (subject,) = load("model.py", Options(seed=seed))
    return subject


# seeds ------------------------------------------------------------------------------------------------------------------


def _by_hand(seed: int) -> tuple[float, float]:
    """log10 RMS of what the model returns, and of the gradient of its first weight, by torch alone."""
    subject = reloaded(seed)
    assert isinstance(subject.inputs, torch.Tensor)
    output = subject.model(subject.inputs)
    output.square().mean().backward()
    gradient = subject.model.get_parameter("0.weight").grad
    assert gradient is not None
    size, slope = (log10(float(one.double().square().mean().sqrt())) for one in (output.detach(), gradient))
    return size, slope


def test_several_seeds_are_summed_up_over_models_and_inputs_of_their_own(write: Callable[..., None]) -> None:
    write()
    code, target = probe("--seeds", "4", "--seed", "3")
    assert code == 0
    assert target["probe"]["seeds"] == [3, 4, 5, 6]  # type: ignore[index]
    outputs, gradients = zip(*(_by_hand(seed) for seed in (3, 4, 5, 6)), strict=True)
    nodes = {row["id"]: row["measured"] for row in target["nodes"]}  # type: ignore[attr-defined]
    params = {row["name"]: row["measured"] for row in target["parameters"]}  # type: ignore[attr-defined]
    for found, logs in ((nodes["linear_1"]["rms"], outputs), (params["0.weight"]["gradient_rms"], gradients)):
        assert list(found.values()) == pytest.approx([max(logs), min(logs), median(logs)], abs=1e-3)


def test_bounds_are_held_against_the_seed_that_they_are_proved_for(write: Callable[..., None]) -> None:
    """Weights of another seed are ten thousand times as large: its gains are far above the bounds of the first, and no bound is broken."""
    write(before=f"size = 1.0 if {SEED} == 0 else 1e4")
    Path("model.py").write_text(Path("model.py").read_text().replace("    return nn.Seq", "    return scaled(size, nn.Seq") + SCALED)
    Path("model.py").write_text(Path("model.py").read_text().replace("range(depth)])", "range(depth)]))"))
    (one, first), (many, both) = probe(), probe("--seeds", "2")
    assert one == many == 0
    assert first["probe"]["bounds"] == both["probe"]["bounds"] > 0  # type: ignore[index]
    assert both["probe"]["violations"] == [] == both["problems"]  # type: ignore[index]
    (row,) = (row for row in both["nodes"] if row["id"] == "linear_1")  # type: ignore[attr-defined]
    assert row["measured"]["rms"]["high"] - row["measured"]["rms"]["low"] > 7


SCALED = """

def scaled(size, model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(size)
    return model
"""


def test_a_seed_with_another_graph_is_left_out_and_said(write: Callable[..., None]) -> None:
    write(depth=f"3 if {SEED} == 1 else 2")
    code, target = probe("--seeds", "3")
    assert code == 0
    assert target["probe"]["seeds"] == [0, 2]  # type: ignore[index]
    (note,) = target["probe"]["notes"]  # type: ignore[index]
    assert note.startswith("seed 1 is left out, it makes another graph: ")
    assert "instead of" in note


def test_a_seed_that_cannot_be_built_is_left_out_and_said(write: Callable[..., None]) -> None:
    write(depth=f"1 // (1 - {SEED} % 2) + 1")
    code, target = probe("--seeds", "2")
    assert code == 0
    assert target["probe"]["seeds"] == [0]  # type: ignore[index]
    assert "seed 1 is left out: build() of model.py failed" in target["probe"]["notes"][0]  # type: ignore[index]
    assert "ZeroDivisionError" in target["probe"]["notes"][0]  # type: ignore[index]


# several processes ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_measure_what_one_does(write: Callable[..., None], tmp_path: Path) -> None:
    """Three seeds: the first process has two of them, the second one, over gloo."""
    write()
    words = ("--seeds", "3", "--seed", "1", "--device", "cpu")
    code, alone = probe(*words)
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "netaudit", "probe", "model.py")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, *launch, "--gains", "none", "-o", "json", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((root, str(Path(root) / "rules"), os.environ.get("PYTHONPATH", "")))},
    )
    assert (done.returncode, code) == (0, 0), done.stderr
    (together,) = json.loads(done.stdout)["targets"]
    assert together == alone


# memory -----------------------------------------------------------------------------------------------------------------


def test_a_report_says_that_the_batch_was_halved(write: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(machine: Any, plan: Any) -> Any:
        if machine.graph.by_name()[machine.graph.inputs[0]].shape[0] > 1:
            raise torch.OutOfMemoryError
        return runs(machine, plan)

    write()
    monkeypatch.setattr("netaudit.probe.fitted.runs", scarce)
    code, target = probe()
    assert code == 0
    halved = "out of memory: the batch was halved, inputs are now inputs 1x6"
    assert target["probe"]["notes"][0] == halved.replace("inputs 1", f"{target['inputs'][0]['name']} 1")  # type: ignore[index]
    assert target["probe"]["bounds"] == 0  # type: ignore[index]
    printed = CliRunner().invoke(app, ["probe", "model.py"], standalone_mode=False).stdout
    assert "out of memory: the batch was halved" in printed
    assert "no bound was checked" in printed


# interrupts -------------------------------------------------------------------------------------------------------------

CUT = f"if {SEED} == 1: os.kill(os.getpid(), signal.SIGINT)"


@pytest.fixture(autouse=True)
def interruptible() -> None:
    """SIGINT means what it means in a terminal, however the tests were started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_leaves_the_seeds_that_were_measured(write: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    write(before=CUT)
    code, target = probe("--seeds", "3")
    assert code == 130
    assert target["probe"]["partial"] is True  # type: ignore[index]
    assert target["probe"]["seeds"] == [0]  # type: ignore[index]
    assert all(row["measured"] is not None for row in target["nodes"])  # type: ignore[attr-defined]
    assert _run(["probe", "model.py", "--seeds", "3"]) == 130
    printed = capsys.readouterr().out
    assert "the probe was interrupted: what is measured is a part" in printed
    assert "0.weight" in printed


def test_ctrl_c_on_the_way_back_leaves_values_and_the_gradients_so_far(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was not reached has no number, which is not zero."""
    real = Gauge.cotangent

    def cut(self: Gauge, node: Any, cotangent: Any) -> None:
        real(self, node, cotangent)
        if node.name == "linear_1":
            os.kill(os.getpid(), signal.SIGINT)

    write()
    monkeypatch.setattr(Gauge, "cotangent", cut)
    code, target = probe()
    assert code == 130
    nodes = {row["id"]: row["measured"] for row in target["nodes"]}  # type: ignore[attr-defined]
    assert nodes["linear_1"]["gradient_rms"] is not None
    assert nodes["linear"]["rms"] is not None
    assert nodes["linear"]["gradient_rms"] is None
    assert all(row["measured"] is None for row in target["parameters"] if row["name"].startswith("0."))  # type: ignore[attr-defined]
    assert _run(["probe", "model.py"]) == 130
    assert "the probe was interrupted" in capsys.readouterr().out


def test_ctrl_c_keeps_the_targets_before(write: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """The second target is cut short while it is built, the third is not begun."""
    write(before="pass")
    Path("second.py").write_text(MODEL.format(depth="2", before=CUT.replace(f"{SEED} == 1", "True")))
    assert _run(["probe", "model.py", "second.py", "third.py", "-o", "json"]) == 130
    first, second = json.loads(capsys.readouterr().out)["targets"]
    assert [first["probe"]["partial"], second["probe"]["partial"]] == [False, True]
    assert first["nodes"]
    assert not second["nodes"]
    assert _run(["probe", "model.py", "second.py"]) == 130
    assert "it was interrupted before anything was measured" in capsys.readouterr().out


def test_ctrl_c_before_anything_is_measured_is_an_error(write: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    write(before=CUT)
    assert _run(["probe", "model.py", "--seed", "1"]) == 130
    assert capsys.readouterr() == ("", "netaudit: interrupted\n")
