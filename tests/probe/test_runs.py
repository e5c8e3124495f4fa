"""Several seeds, interrupts and memory: what is summed up, what is left when a run is cut short, what is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import log10
from pathlib import Path
from statistics import median

import pytest
import torch
from typer.testing import CliRunner

from netaudit.cli.app import app
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load

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
