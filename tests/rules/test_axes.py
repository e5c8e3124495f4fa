"""NA432 and NA435: over which axis a softmax, an attention or a recurrence runs."""

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
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.score, self.head = nn.Linear(8, 1), nn.Linear(8, 4)
        self.rnn, self.rnn_first = nn.GRU(8, 8), nn.GRU(8, 8, batch_first=True)
        self.mha, self.mha_first = nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
{body}

def build():
    return Model()

def example_inputs():
    return torch.randn({shape})

def loss(model, x):
    p = model(x)
    return F.cross_entropy(p, torch.arange(p.shape[0]) % 4)
"""


def severities(code: str, body: str, shape: str = "16, 5, 8") -> list[str]:
    source = HEADER.format(body=textwrap.indent(textwrap.dedent(body), " " * 8), shape=shape)
    return [f.severity for f in findings(source) if f.code == code]


WEIGHTS = "w = self.q(x) @ self.k(x).transpose(1, 2) / 8**0.5\n"
WRONG = {
    "scores over their last axis": ("w = self.score(x).softmax(-1)\nreturn self.head((w * x).sum(1))", "error"),
    "one output": ("return self.head(x.mean(1)) * torch.softmax(self.score(x.mean(1)), 1)", "error"),
    "a sequence of one": ("x = x[:, :1]\n" + WEIGHTS + "return self.head((w.softmax(-1) + w)[:, 0] * self.v(x)[:, 0])", "warning"),
    "attention over one token": (
        "x = x[:, :1]\nreturn self.head(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))[:, 0])",
        "warning",
    ),
    "weights over queries": (WEIGHTS + "return self.head((w.softmax(-2) @ self.v(x)).mean(1))", "warning"),
    "weights over queries, dropped": (
        WEIGHTS + "w = F.dropout(w.softmax(1), 0.1)\nreturn self.head((w @ self.v(x)).mean(1))",
        "warning",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_softmax_over_the_wrong_axis_is_found(name: str) -> None:
    body, severity = WRONG[name]
    assert severities("NA432", body) == [severity]


RIGHT = {
    "scores over time": "w = self.score(x).softmax(1)\nreturn self.head((w * x).sum(1))",
    "weights over keys": "w = self.q(x) @ self.k(x).transpose(1, 2)\nreturn self.head((w.softmax(-1) @ self.v(x)).mean(1))",
    "turned weights over keys": (
        "w = self.k(x) @ self.q(x).transpose(1, 2)\nreturn self.head((w.softmax(1).transpose(1, 2) @ self.v(x)).mean(1))"
    ),
    "slot attention": (
        "w = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(1)\nw = w / w.sum(-1, keepdim=True)\nreturn self.head((w @ self.v(x)).mean(1))"
    ),
    "slot attention, divided later": (
        "w = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(1)\nreturn self.head((w @ self.v(x) / w.sum(-1, keepdim=True)).mean(1))"
    ),
    "efficient attention": (
        "q, k = self.q(x).softmax(-1), self.k(x).softmax(1)\nreturn self.head((q @ (k.transpose(1, 2) @ self.v(x))).mean(1))"
    ),
    "attention over tokens": "return self.head(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)).mean(1))",
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_softmax_over_what_is_summed_is_not(name: str) -> None:
    assert severities("NA432", RIGHT[name]) == []


def test_one_key_of_another_sequence_is_a_note() -> None:
    body = "c = x.mean(1, keepdim=True)\nh = F.scaled_dot_product_attention(self.q(x), self.k(c), self.v(c))\nreturn self.head(h.mean(1))"
    assert severities("NA432", body) == ["info"]


MIXED = {
    "multi-head attention": "return self.head(self.mha(x, x, x)[0].mean(1))",
    "a recurrence": "return self.head(self.rnn(x)[0][:, -1])",
    "attention by hand": "x = x.transpose(0, 1)\n" + WEIGHTS + "return self.head((w.softmax(-1) @ self.v(x)).mean(0))",
    "softmax of the scores": "return self.head(x.mean(1)).softmax(0)",
    "weights of time": "w = self.score(x).squeeze(2).softmax(0)\nreturn self.head((w[..., None] * x).sum(1))",
}


@pytest.mark.parametrize("name", MIXED)
def test_what_mixes_samples_is_found(name: str) -> None:
    assert severities("NA435", MIXED[name]) == ["warning"]


APART = {
    "batch first": "return self.head(self.mha_first(x, x, x)[0].mean(1))",
    "a recurrence, batch first": "return self.head(self.rnn_first(x)[0][:, -1])",
    "time first": "return self.head(self.mha(x, x, x)[0].mean(0))",
    "time first, recurrent": "return self.head(self.rnn(x)[0][-1])",
    "time first, pooled by scores": "w = self.score(x).softmax(0)\nreturn self.head((w * x).sum(0))",
    "time first, each step labelled": "return self.head(self.rnn(x)[0]).flatten(0, 1)",
    "turned for the recurrence": "return self.head(self.rnn(x.transpose(0, 1))[0][-1])",
    "weights of time": "w = self.score(x).softmax(1)\nreturn self.head((w * x).sum(1))",
}


@pytest.mark.parametrize("name", APART)
def test_what_keeps_samples_apart_is_not(name: str) -> None:
    assert severities("NA435", APART[name]) == []


def test_similarities_of_samples_and_nodes_of_a_graph_are_left_alone() -> None:
    contrast = "z = F.normalize(self.q(x.mean(1)), dim=-1)\ns = z @ z.T\nreturn self.head(s.softmax(0) @ z)"
    assert severities("NA435", contrast) == []
    nodes = "h = F.scaled_dot_product_attention(self.q(x)[None], self.k(x)[None], self.v(x)[None])[0]\nreturn self.head(h)"
    assert severities("NA435", nodes, shape="16, 8") == []
