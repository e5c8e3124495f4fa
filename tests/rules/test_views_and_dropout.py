"""NA426, NA438, NA439: scrambled views, dropout that keeps too little, logits that start large."""

from __future__ import annotations

import textwrap

import pytest

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.head = nn.Linear(8, 24), nn.LazyLinear(4)
        self.conv, self.rnn = nn.Conv1d(8, 8, 3), nn.LSTM(8, 8, batch_first=True, bidirectional=True)

    def forward(self, x):
{body}

def build():
    model = Model()
    model(example_inputs())
    return model

def example_inputs():
    return torch.randn(4, 10, 8)
"""


def codes(body: str) -> set[str]:
    return {f.code for f in findings(HEADER.format(body=textwrap.indent(body, " " * 8)))}


SCRAMBLED = {
    "time and channels": "return self.head(self.conv(x.view(4, 8, 10)).mean(2))",
    "heads without a transposition": "q = self.f(x).view(4, 4, 10, 6)\nreturn self.head((q @ q.transpose(2, 3)).mean((1, 2)))",
    "batch and time": "return self.head(self.f(x).reshape(10, 4, 24).mean(0))",
    "last states by batch": "return self.head(self.rnn(x)[1][0].reshape(4, -1))",
}


@pytest.mark.parametrize("name", SCRAMBLED)
def test_a_view_that_mixes_axes_is_found(name: str) -> None:
    assert "NA439" in codes(SCRAMBLED[name])


def test_sizes_that_agree_by_chance_are_explained_by_factors() -> None:
    """nn.MultiheadAttention views (time, batch, heads x 16) as (time, batch x heads, 16); here the batch is 16 as well."""
    source = """
import torch
from torch import nn

def build():
    return nn.TransformerEncoderLayer(64, 4, 64, dropout=0.0)

def example_inputs():
    return torch.randn(32, 16, 64)
"""
    assert "NA439" not in {f.code for f in findings(source)}


def test_a_swap_that_factors_explain_is_found_where_a_layer_reads_it() -> None:
    source = """
import torch
from torch import nn

class Swap(nn.Module):
    def forward(self, x):
        return x.view(4, 64, 16)

def build():
    return nn.Sequential(Swap(), nn.Conv1d(64, 8, 3))

def example_inputs():
    return torch.randn(4, 16, 64)
"""
    assert "NA439" in {f.code for f in findings(source)}


SOUND = {
    "transposed": "return self.head(self.conv(x.transpose(1, 2)).mean(2))",
    "heads": "q = self.f(x).view(4, 10, 4, 6).transpose(1, 2)\nreturn self.head((q @ q.transpose(2, 3)).mean((1, 2)))",
    "flattened": "return self.head(x.flatten(1))",
    "rows": "return self.head(self.f(x.reshape(40, 8)).view(4, 10, 24).mean(1))",
    "frames stacked in pairs": "return self.head(x.reshape(4, 5, 16).mean(1))",
    "frames stacked, as rows": "return self.head(x.reshape(20, 16))",
    "features split": "return self.head(self.f(x).view(4, 10, 2, 12).amax(3).flatten(1))",
    "views of one batch": "a, b = x.view(2, 2, 10, 8)\nreturn self.head((a - b).flatten(1))",
    "last states, transposed": "return self.head(self.rnn(x)[1][0].transpose(0, 1).reshape(4, -1))",
    "last states, joined": "return self.head(torch.cat(tuple(self.rnn(x)[1][0]), 1))",
}


@pytest.mark.parametrize("name", SOUND)
def test_a_view_that_splits_or_merges_is_not(name: str) -> None:
    assert "NA439" not in codes(SOUND[name])


def severities(code: str, layers: str, loss: str = "F.cross_entropy(model(x), torch.arange(32) % 4)") -> list[str]:
    source = f"""
import torch
from torch import nn
from torch.nn import functional as F

def build():
    torch.manual_seed(0)
    return nn.Sequential({layers})

def example_inputs():
    return torch.randn(32, 16)

def loss(model, x):
    return {loss}
"""
    return [f.severity for f in findings(source) if f.code == code]


@pytest.mark.parametrize(
    ("ps", "expected"),
    [
        ((0.1,), []),
        ((0.5, 0.5), []),
        ((0.7,), ["info"]),
        ((0.8,), ["info"]),
        ((0.8, 0.8), ["warning"]),
        ((0.9,), ["warning"]),
        ((1.0,), ["error"]),
    ],
)
def test_dropout(ps: tuple[float, ...], expected: list[str]) -> None:
    blocks = ", ".join(f"nn.Linear(16, 16), nn.ReLU(), nn.Dropout({p})" for p in ps)
    assert severities("NA426", f"{blocks}, nn.Linear(16, 4)") == expected


@pytest.mark.parametrize(("std", "expected"), [(0.02, []), (0.5, []), (1.5, ["info"]), (4.0, ["warning"])])
def test_logits(std: float, expected: list[str]) -> None:
    head = f"(lambda m: nn.init.normal_(m.weight, std={std}) is None or m)(nn.Linear(16, 4))"
    assert severities("NA438", f"nn.LayerNorm(16), {head}") == expected
