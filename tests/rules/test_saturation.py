"""NA211 and NA215: activations that pass nothing, by the forecast of what they get. The oracle is a forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    model = {model}
    {init}
    return model

def example_inputs():
    torch.manual_seed(1)
    return {inputs}
"""


def severities(code: str, model: str, init: str = "pass", inputs: str = "torch.randn(64, 32)") -> list[str]:
    return [f.severity for f in findings(HEADER.format(model=model, init=init, inputs=inputs)) if f.code == code]


def dead_share(model: str, init: str, inputs: str, layer: int) -> float:
    """The share of a layer's units that are 0 on the batch, measured."""
    space: dict[str, object] = {}
    exec(HEADER.format(model=model, init=init, inputs=inputs), space)  # the same text
    net = space["build"]()  # type: ignore[operator]  # a function
    with torch.no_grad():
        out = net[: layer + 1](space["example_inputs"]())  # type: ignore[operator]  # a function
    return float((out.flatten(2) if out.ndim > 2 else out).transpose(0, 1).flatten(1).amax(1).eq(0).float().mean())


MLP = "nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))"
CONV = "nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 4))"
IMAGES = "torch.randn(8, 3, 8, 8)"

DEAD = {
    "a bias far below zero": (MLP, "nn.init.constant_(model[0].bias, -5.0)", "torch.randn(64, 32)", 1),
    "BatchNorm with beta far below zero": (CONV, "nn.init.constant_(model[1].bias, -5.0)", IMAGES, 2),
    "negative weights on positive inputs": (MLP, "model[0].weight.data.abs_().neg_()", "torch.rand(64, 32) + 1.0", 1),
}
ALIVE = {
    "default": (MLP, "pass", "torch.randn(64, 32)", 1),
    "small negative bias": (MLP, "nn.init.constant_(model[0].bias, -0.2)", "torch.randn(64, 32)", 1),
    "half of the units off": (MLP, "nn.init.constant_(model[0].bias[:28].data, -20.0)", "torch.randn(64, 32)", 1),
    "BatchNorm": (CONV, "pass", IMAGES, 2),
    "uniform positive inputs": (MLP, "pass", "torch.rand(64, 32)", 1),
}


@pytest.mark.parametrize("name", DEAD)
def test_a_dead_layer_is_found_and_is_dead(name: str) -> None:
    model, init, inputs, layer = DEAD[name]
    assert dead_share(model, init, inputs, layer) >= 0.9
    assert severities("NA211", model, init, inputs) == ["warning"]


@pytest.mark.parametrize("name", ALIVE)
def test_a_layer_that_is_alive_is_not(name: str) -> None:
    model, init, inputs, layer = ALIVE[name]
    assert dead_share(model, init, inputs, layer) < 0.5
    assert severities("NA211", model, init, inputs) == []


def test_many_dead_units_are_a_note() -> None:
    assert severities("NA211", MLP, "nn.init.constant_(model[0].bias[:48].data, -20.0)") == ["info"]


TANH, SIGMOID = (f"nn.Sequential(nn.Linear(32, 64), nn.{name}(), nn.Linear(64, 4))" for name in ("Tanh", "Sigmoid"))
NORMAL = "torch.randn(64, 32)"


@pytest.mark.parametrize(
    ("model", "init", "inputs", "expected"),
    [
        (TANH, "nn.init.normal_(model[0].weight)", NORMAL, 1),
        (TANH, "nn.init.normal_(model[0].weight, std=0.3)", NORMAL, 0),
        (SIGMOID, "pass", "255 * torch.rand(64, 32)", 1),
        (SIGMOID, "pass", "torch.rand(64, 32)", 0),
        ("nn.Sequential(nn.Linear(32, 1), nn.Sigmoid())", "nn.init.constant_(model[0].bias, -4.6)", NORMAL, 0),
        (TANH.replace("Tanh", "Hardtanh"), "nn.init.normal_(model[0].weight)", NORMAL, 1),
    ],
    ids=["unit weights", "moderate weights", "raw pixels", "scaled pixels", "a prior of 1 %", "clipped"],
)
def test_saturation_is_that_of_a_forward_pass(model: str, init: str, inputs: str, expected: int) -> None:
    """Measured: the share of entries whose slope is below 1 % of the largest."""
    space: dict[str, object] = {}
    exec(HEADER.format(model=model, init=init, inputs=inputs), space)
    net = space["build"]()  # type: ignore[operator]
    squash = next(i for i, layer in enumerate(net) if isinstance(layer, (nn.Tanh, nn.Sigmoid, nn.Hardtanh)))
    x = net[:squash](space["example_inputs"]()).detach().requires_grad_()  # type: ignore[operator]
    (slope,) = torch.autograd.grad(net[squash](x).sum(), x)
    largest = 0.25 if isinstance(net[squash], nn.Sigmoid) else 1.0
    assert (float((slope < 0.01 * largest).float().mean()) > 0.5) == bool(expected)
    assert severities("NA215", model, init, inputs) == ["warning"] * expected


def test_a_rectifier_that_is_capped_is_no_saturated_tanh() -> None:
    capped = "nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU6(), nn.Linear(64, 4))"
    assert severities("NA215", capped) == []
    assert severities("NA211", capped) == []
    assert severities("NA211", capped, "nn.init.constant_(model[1].bias, -5.0)") == ["warning"]


def test_a_trained_gate_without_input_is_left_alone() -> None:
    source = """
import torch
from torch import nn

class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.gate = nn.Linear(8, 8), nn.Parameter(torch.full((8,), -8.0))

    def forward(self, x):
        return x + torch.sigmoid(self.gate) * self.f(x)

def build():
    return Gated()

def example_inputs():
    return torch.randn(4, 8)
"""
    assert "NA215" not in {f.code for f in findings(source)}
