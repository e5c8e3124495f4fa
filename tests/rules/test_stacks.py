"""NA202, NA203, NA304, NA406: plain stacks, their forecasts against one backward pass."""

from __future__ import annotations

import math

import pytest
import torch
from netaudit_rules.checks.structure.init_activation_mismatch import NEEDED
from torch import nn

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = [m for _ in range({depth}) for m in ({layers})]
    model = nn.Sequential(*layers, nn.Linear(64, 64))
    for m in model:
        if isinstance(m, nn.Linear):
            {init}
    return model

def example_inputs():
    torch.manual_seed(1)
    return torch.randn(64, 64)
"""


def source(layers: str, depth: int, init: str = "pass") -> str:
    return HEADER.format(layers=layers, depth=depth, init=init)


def found(code: str, text: str) -> list[tuple[str, float | None]]:
    return [(f.severity, f.evidence.forecast) for f in findings(text) if f.code == code]


def measured(text: str) -> tuple[float, float]:
    """log10 of the RMS of the last layer's output over the first's, and of the gradient's norm at the first over the last's."""
    space: dict[str, object] = {}
    exec(text, space)
    x, outs = space["example_inputs"](), []  # type: ignore[operator]  # a function
    for layer in space["build"]():  # type: ignore[operator]
        x = layer(x)
        if isinstance(layer, nn.Linear):
            x.retain_grad()
            outs.append(x)
    (x * torch.randn_like(x)).sum().backward()
    first, last = outs[0], outs[-1]
    signal = math.log10(float(last.detach().norm()) / float(first.detach().norm()))
    return signal, math.log10(float(first.grad.norm()) / float(last.grad.norm()))


RELU = "nn.Linear(64, 64), nn.ReLU()"
HE = "nn.init.kaiming_normal_(m.weight, nonlinearity='relu')"
SEED = 0.25
"""Decades by which one draw of 64 units in ten layers strays: 3.6x is the 90th percentile of small nets in a single seed."""


def test_the_default_of_torch_shrinks_a_plain_stack() -> None:
    text = source(RELU, 10)
    ((severity, forecast),) = found("NA202", text)
    assert severity == "info"
    assert forecast == pytest.approx(measured(text)[0], abs=SEED)


@pytest.mark.parametrize(
    "text",
    [source(RELU, 3), source(RELU, 10, HE), source("nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU()", 10)],
    ids=["shallow", "He", "normalised"],
)
def test_other_stacks_are_not_meant(text: str) -> None:
    assert found("NA202", text) == []


def test_sigmoids_in_series() -> None:
    text = source("nn.Linear(64, 64), nn.Sigmoid()", 5)
    ((severity, forecast),) = found("NA203", text)
    assert severity == "info"
    assert forecast == pytest.approx(measured(text)[1], abs=2 * SEED)
    assert found("NA203", source(RELU, 5, HE)) == []
    assert found("NA203", source("nn.Linear(64, 64), nn.Tanh()", 5, "nn.init.orthogonal_(m.weight, 1.1)")) == []


def test_gates_are_not_in_series() -> None:
    text = """
import torch
from torch import nn

class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(16, 16)

    def forward(self, x):
        return x * torch.sigmoid(self.f(x))

def build():
    return nn.Sequential(*[Gate() for _ in range(6)])

def example_inputs():
    return torch.randn(8, 16)
"""
    assert found("NA203", text) == []


@pytest.mark.parametrize(
    ("layers", "severity"),
    [
        ("nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()", "warning"),
        ("nn.Linear(64, 64), nn.ReLU(), nn.LayerNorm(64)", "warning"),
        ("nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU()", None),
        ("nn.Linear(64, 64), nn.ReLU(), nn.RMSNorm(64)", None),
    ],
)
def test_normalised_stacks_grow_backward_as_measured(layers: str, severity: str | None) -> None:
    text = source(layers, 45)
    one = found("NA304", text)
    assert [s for s, _ in one] == ([] if severity is None else [severity])
    for _, forecast in one:
        assert forecast == pytest.approx(measured(text)[1], abs=2 * SEED)


def test_short_normalised_stacks_are_not_meant() -> None:
    assert found("NA304", source("nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()", 12)) == []


@pytest.mark.parametrize(
    ("layers", "init", "expected"),
    [
        (RELU, "nn.init.xavier_normal_(m.weight)", 1),
        ("nn.Linear(64, 64), nn.SiLU()", HE, 0),
        ("nn.Linear(64, 64), nn.SiLU()", "nn.init.normal_(m.weight, std=0.5)", 1),
        (RELU, HE, 0),
        ("nn.Linear(64, 64), nn.SELU()", "nn.init.normal_(m.weight, std=1 / 8)", 0),
        ("nn.Linear(64, 64), nn.Tanh()", "nn.init.xavier_normal_(m.weight)", 0),
    ],
    ids=["Xavier behind ReLU", "He behind SiLU", "too large", "He", "SELU", "tanh"],
)
def test_scales_against_activations(layers: str, init: str, expected: int) -> None:
    assert len(found("NA406", source(layers, 12, init))) == expected


@pytest.mark.parametrize(
    ("op", "f"),
    [("aten.relu", torch.relu), ("aten.gelu", nn.functional.gelu), ("aten.silu", nn.functional.silu), ("aten.mish", nn.functional.mish),
     ("aten.elu", nn.functional.elu), ("aten.selu", nn.functional.selu), ("aten.hardswish", nn.functional.hardswish)],
)  # fmt: skip
def test_the_table_is_one_over_the_second_moment(op: str, f: object) -> None:
    z = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    square = float(torch.trapezoid(f(z) ** 2 * density, z))  # type: ignore[operator]  # a function
    assert NEEDED[op] == pytest.approx(1 / square, rel=1e-3)
