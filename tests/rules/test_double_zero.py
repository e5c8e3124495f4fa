"""NA212: zeros that hold each other, against what five steps of training do."""

from __future__ import annotations

import textwrap

import pytest
import torch

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, scale=1.0, gamma=1.0, last=None):
        super().__init__()
        self.f, self.g, self.norm = nn.Linear(16, 16), nn.Linear(16, 16, bias=False), nn.LayerNorm(16)
        self.scale = nn.Parameter(torch.full((), scale))
        nn.init.constant_(self.norm.weight, gamma)
        if last is not None:
            nn.init.constant_(self.g.weight, last)

    def forward(self, x):
        return x + self.scale * self.norm(self.g(torch.relu(self.f(x))))

def example_inputs():
    torch.manual_seed(0)
    return torch.randn(8, 16)

def loss(model, inputs):
    return torch.nn.functional.cross_entropy(model(inputs), torch.arange(8) % 4)

def build():
    return nn.Sequential(Block({}), Block({}), nn.Linear(16, 4))
"""


def source(arguments: str) -> str:
    return HEADER.replace("{}", arguments)


def stuck(text: str) -> set[str]:
    """The parameters of the first block that five steps leave exactly as they were."""
    space: dict[str, object] = {}
    exec(textwrap.dedent(text), space)
    model = space["build"]()  # type: ignore[operator]  # a function
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        space["loss"](model, space["example_inputs"]()).backward()  # type: ignore[operator]
        optimizer.step()
    return {name for name, p in model.named_parameters() if torch.equal(p, before[name])}


@pytest.mark.parametrize("arguments", ["scale=0.0, gamma=0.0"])
def test_two_zeros_are_found_and_hold_each_other(arguments: str) -> None:
    text = source(arguments)
    (one,) = [f for f in findings(text) if f.code == "NA212"]
    assert one.severity == "error"
    assert {"0.scale", "0.norm.weight"} <= stuck(text)
    assert "NA206" not in {f.code for f in findings(text)}


@pytest.mark.parametrize("arguments", ["scale=0.0", "gamma=0.0", "last=0.0", "scale=1e-6"])
def test_one_zero_is_not(arguments: str) -> None:
    text = source(arguments)
    assert stuck(text) == set()
    assert "NA212" not in {f.code for f in findings(text)}


def test_a_relu_that_gets_zeros_cuts_by_itself() -> None:
    """relu' (0) = 0 whatever stands behind it: the cut is the activation's, not another factor's."""
    text = source("").replace("self.scale = ", "nn.init.zeros_(self.f.weight); nn.init.zeros_(self.f.bias)\n        self.scale = ")
    codes = {f.code for f in findings(text)}
    assert "NA206" in codes
    assert "0.f.weight" in stuck(text)
