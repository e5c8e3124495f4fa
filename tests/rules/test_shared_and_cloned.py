"""NA407 and NA423: layers that are one module, and layers that start as copies."""

from __future__ import annotations

import textwrap

import pytest

from netaudit.testing import findings

HEADER = """
import copy
import torch
from torch import nn
from torch.nn import functional as F

def example_inputs():
    return torch.randn(8, 16)

"""


def severities(code: str, body: str) -> list[str]:
    return [f.severity for f in findings(HEADER + textwrap.dedent(body)) if f.code == code]


def sequential(layers: str) -> str:
    return f"def build():\n    return nn.Sequential({layers})\n"


def twice(layer: str) -> str:
    return f"def build():\n    a = {layer}\n    return nn.Sequential(nn.Linear(16, 16), a, nn.Linear(16, 16), a)\n"


HEADS = """
class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.heads = nn.ModuleList([nn.Linear(16, 4)] * 3)

    def forward(self, x):
        outs = []
        for layer, head in zip(self.layers, self.heads):
            x = torch.relu(layer(x))
            outs.append(head(x))
        return outs

def build():
    return Heads()
"""
TIED = """
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.dec = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.dec.weight = self.enc.weight

    def forward(self, x):
        return self.dec(torch.relu(self.enc(x)))

def build():
    return Tied()
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (sequential("*[nn.Linear(16, 16), nn.ReLU()] * 3"), ["warning"]),
        (sequential("*[nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16))] * 3"), ["warning"]),
        (twice("nn.BatchNorm1d(16)"), ["warning"]),
        (twice("nn.PReLU()"), ["info"]),
        (twice("nn.ReLU()"), []),
        (sequential("*[m for _ in range(3) for m in (nn.Linear(16, 16), nn.ReLU())]"), []),
        (HEADS, []),
        (TIED, []),
    ],
    ids=["list times n", "blocks times n", "one BatchNorm", "one PReLU", "one ReLU", "a layer each", "a shared head", "tied by name"],
)  # fmt: skip
def test_repeated_modules(body: str, expected: list[str]) -> None:
    assert severities("NA423", body) == expected


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("*(lambda a: [copy.deepcopy(a) for _ in range(3)])(nn.Linear(16, 16))", ["info"]),
        ("*[nn.Linear(16, 16) for _ in range(3)]", []),
        ("*[nn.LayerNorm(16) for _ in range(3)], nn.Linear(16, 4)", []),
    ],
    ids=["copies", "drawn anew", "gains of one"],
)
def test_cloned_layers(layers: str, expected: list[str]) -> None:
    assert severities("NA407", sequential(layers)) == expected


def test_a_copy_beside_its_original_is_no_stack() -> None:
    body = """
        class Momentum(nn.Module):
            def __init__(self):
                super().__init__()
                self.online = nn.Linear(16, 4)
                self.target = copy.deepcopy(self.online)

            def forward(self, x):
                return self.online(x), self.target(x)

        def build():
            return Momentum()
    """
    assert severities("NA407", body) == []
