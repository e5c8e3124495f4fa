"""NA436 and NA437: inputs and targets whose scale the model was not made for."""

from __future__ import annotations

import pytest

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def build():
    torch.manual_seed(0)
    return nn.Sequential({first}nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, {out}))

def example_inputs():
    torch.manual_seed(1)
    return {inputs}

def loss(model, x):
    p = model(x)
    return {loss}
"""
CLASSES = "F.cross_entropy(p, torch.arange(32) % 4)"


def severities(code: str, inputs: str = "torch.randn(32, 16)", loss: str = CLASSES, first: str = "", out: int = 4) -> list[str]:
    source = HEADER.format(first=first, out=out, inputs=inputs, loss=loss)
    return [f.severity for f in findings(source) if f.code == code]


@pytest.mark.parametrize(
    ("inputs", "first", "expected"),
    [
        ("torch.randn(32, 16)", "", []),
        ("30 * torch.rand(32, 16)", "", ["info"]),
        ("255 * torch.rand(32, 16)", "", ["info"]),
        ("1e5 * torch.rand(32, 16)", "", ["warning"]),
        ("1e5 * torch.rand(32, 16)", "nn.BatchNorm1d(16), ", []),
        ("1e5 * torch.rand(32, 16)", "nn.LayerNorm(16), ", []),
        ("1e-4 * torch.rand(32, 16)", "", ["info"]),
        ("torch.rand(32, 16) + 3", "", []),
    ],
    ids=["unit", "large", "raw pixels", "huge", "huge, BatchNorm", "huge, LayerNorm", "tiny", "shifted"],
)
def test_inputs(inputs: str, first: str, expected: list[str]) -> None:
    assert severities("NA436", inputs, first=first) == expected


def test_an_input_that_the_model_scales_itself_is_left_alone() -> None:
    scale = "type('Scale', (nn.Module,), dict(forward=lambda s, x: x / 255))(), "
    assert severities("NA436", inputs="255 * torch.rand(32, 16)", first=scale) == []


def test_guessed_inputs_say_nothing() -> None:
    source = "import torch\nfrom torch import nn\n\ndef build():\n    return nn.Linear(16, 4)\n"
    assert "NA436" not in {f.code for f in findings(source)}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("x[:, :1]", []),
        ("10 * x[:, :1]", []),
        ("100 * x[:, :1]", ["info"]),
        ("5e4 + 2e4 * x[:, :1]", ["warning"]),
        ("(p * 1e5).detach()", []),
    ],
    ids=["unit", "ten", "hundred", "prices", "of the model itself"],
)
def test_targets(target: str, expected: list[str]) -> None:
    assert severities("NA437", loss=f"F.mse_loss(p, {target})", out=1) == expected
    assert severities("NA437", loss=f"((p - ({target})) ** 2).mean()", out=1) == expected


def test_a_loss_of_bounded_slope_takes_larger_targets() -> None:
    assert severities("NA437", loss="F.l1_loss(p, 100 * x[:, :1])", out=1) == ["info"]
    assert severities("NA437", loss="F.l1_loss(p, 1e5 * x[:, :1])", out=1) == ["warning"]
