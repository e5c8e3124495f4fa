"""NA209 and NA307: attention that picks one key, and attention that makes all tokens alike. The oracle is a forward pass."""

from __future__ import annotations

import textwrap

import pytest
import torch
from netaudit_rules.checks.exploding.saturated_softmax import mean_largest_weight

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

WEIGHTS = []

class Attention(nn.Module):
    def __init__(self, d=64):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.norm = nn.LayerNorm(d)
        self.temperature = nn.Parameter(torch.tensor(10.0))
        [nn.init.{init} for m in (self.q, self.k)]

    def forward(self, x):
        h = self.norm(x)
        q, k, v = self.q(h), self.k(h), self.v(h)
{logits}
        p = s.softmax(-1)
        WEIGHTS.append(p.detach())
        return {x}self.o(p @ v)

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), *[Attention() for _ in range({depth})], nn.Linear(64, 4))

def example_inputs():
    torch.manual_seed(1)
    return torch.randn(4, 24, 16)

def loss(model, x):
    return F.cross_entropy(model(x).mean(1), torch.arange(4))
"""
XAVIER, UNIT = "xavier_uniform_(m.weight)", "normal_(m.weight)"
SCALED = "s = q @ k.transpose(1, 2) / 8"


def source(logits: str = SCALED, init: str = XAVIER, skip: bool = True, depth: int = 1) -> str:
    return HEADER.format(init=init, logits=textwrap.indent(logits, " " * 8), x="x + " if skip else "", depth=depth)


def measured(text: str) -> float:
    """The mean largest weight of the first attention."""
    space: dict[str, object] = {}
    exec(text, space)
    with torch.no_grad():
        space["build"]()(space["example_inputs"]())  # type: ignore[operator]  # functions
    return float(space["WEIGHTS"][0].amax(-1).mean())  # type: ignore[index]  # a list


def severities(code: str, text: str) -> list[str]:
    return [f.severity for f in findings(text) if f.code == code]


@pytest.mark.parametrize(
    ("logits", "init"),
    [
        ("s = q @ k.transpose(1, 2)", UNIT),
        ("s = q @ k.transpose(1, 2) / 8", "normal_(m.weight, std=0.9)"),
        ("s = q @ k.transpose(1, 2) / 8 / 0.01", XAVIER),
    ],
    ids=["unit weights without a scale", "large weights", "a low temperature"],
)
def test_a_saturated_attention_is_found_and_is_saturated(logits: str, init: str) -> None:
    text = source(logits, init)
    assert measured(text) > 0.95
    assert severities("NA307", text) == ["warning"]


@pytest.mark.parametrize(
    ("logits", "init"),
    [
        (SCALED, XAVIER),
        ("s = q @ k.transpose(1, 2)", "normal_(m.weight, std=0.02)"),
        ("s = self.temperature * F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(1, 2)", UNIT),
        ("s = F.layer_norm(q, (64,)) @ F.layer_norm(k, (64,)).transpose(1, 2) / 8", UNIT),
        ("s = -torch.cdist(q, k) ** 2 / 64", XAVIER),
        (SCALED + "\ns = s + torch.full((24, 24), -100.0).triu(1)", XAVIER),
    ],
    ids=["scaled", "scale folded into the weights", "cosine", "normalised queries and keys", "L2", "masked by -100"],
)
def test_a_soft_attention_is_not(logits: str, init: str) -> None:
    text = source(logits, init)
    assert measured(text) < 0.95
    assert severities("NA307", text) == []


@pytest.mark.parametrize(("std", "count"), [(1.0, 16), (4.0, 64), (12.0, 16)])
def test_the_mean_largest_weight_is_that_of_a_large_sample(std: float, count: int) -> None:
    draws = 20_000
    p = torch.softmax(std * torch.randn(draws, count, generator=torch.Generator().manual_seed(3), dtype=torch.float64), 1).amax(1)
    spread = float(p.std()) * (1 / 128 + 1 / draws) ** 0.5
    assert mean_largest_weight(std, count) == pytest.approx(float(p.mean()), abs=4 * spread)


def test_a_softmax_that_ends_the_model_is_not_meant() -> None:
    text = """
import torch
from torch import nn

def build():
    model = nn.Sequential(nn.Linear(16, 8), nn.Softmax(-1))
    nn.init.normal_(model[0].weight, std=20.0)
    return model

def example_inputs():
    return torch.randn(4, 16)
"""
    assert severities("NA307", text) == []


def test_bare_attention_layers_collapse() -> None:
    assert severities("NA209", source(skip=False, depth=1)) == []
    assert severities("NA209", source(skip=False, depth=2)) == ["info"]
    assert severities("NA209", source(skip=False, depth=8)) == ["warning"]
    assert severities("NA209", source(skip=True, depth=4)) == []
