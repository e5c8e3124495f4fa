"""Dropout that stays on, that shifts a batch normalisation, that drowns the signal; rows that are hidden wholly."""

from __future__ import annotations

import textwrap
from importlib import import_module
from math import isnan
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F
"""
BATCH = """
def example_inputs():
    return torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
"""


def severity(source: str, code: str) -> str | None:
    """The gravest severity of a code, None when it is not found."""
    rank = ("info", "warning", "error")
    return max((f.severity for f in findings(source) if f.code == code), key=rank.index, default=None)


def built(source: str) -> tuple[nn.Module, Any]:
    """The model of a file and its example input."""
    made: dict[str, Any] = {}
    exec(compile(source, "example", "exec"), made)
    torch.manual_seed(0)
    return made["build"](), made["example_inputs"]()


# dropout that stays on ----------------------------------------------------------------------------------------------------

ALWAYS = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.d = nn.Linear(16, 16), nn.Dropout(0.3)

    def forward(self, x):
        y = torch.relu(self.f(x))
{body}

def build():
    return Model()
"""
DROPS: dict[str, str] = {
    "by default": "return F.dropout(y, 0.3)",
    "said so": "return F.dropout(y, 0.3, training=True)",
    "whole channels": "return F.dropout1d(y[:, None], 0.5)",
    "torch's own": "return torch.dropout(y, 0.3, True)",
    "inside attention": "z = y[:, None]; return F.scaled_dot_product_attention(z, z, z, dropout_p=0.2)",
    "as the model says": "return F.dropout(y, 0.3, training=self.training)",
    "the module": "return self.d(y)",
    "alpha dropout by default": "return F.alpha_dropout(y, 0.3)",
    "with p = 0": "return F.dropout(y, 0.0)",
    "attention as the model says": "z = y[:, None]; return F.scaled_dot_product_attention(z, z, z, dropout_p=0.2 * self.training)",
}  # fmt: skip


@pytest.mark.parametrize("name", DROPS)
def test_dropout_stays_on_where_two_passes_in_evaluation_differ(name: str) -> None:
    source = HEADER + BATCH + ALWAYS.format(body=textwrap.indent(DROPS[name], " " * 8))
    model, x = built(source)
    model.eval()
    with torch.no_grad():
        differs = any(not torch.equal(model(x), model(x)) for _ in range(5))
    assert (severity(source, "NA410") is not None) == differs


def test_nothing_is_run_where_no_function_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("the model was run again")

    monkeypatch.setattr(import_module("netaudit.audit"), "drops_in_evaluation", refused)
    assert severity(HEADER + BATCH + ALWAYS.format(body="        return self.d(y)"), "NA410") is None


def test_python_that_depends_on_values_is_no_finding() -> None:
    body = "        if float(y.sum()) > 0:\n            y = y + 1\n        return F.dropout(y, 0.3, training=self.training)"
    assert severity(HEADER + BATCH + ALWAYS.format(body=body), "NA410") is None


def test_the_model_is_left_as_it_was() -> None:
    source = HEADER + BATCH + ALWAYS.format(body="        return F.dropout(y, 0.3)")
    from netaudit.intake.evaluation import drops_in_evaluation
    from netaudit.intake.subject import Subject

    model, x = built(source)
    model.train()
    before = torch.random.get_rng_state()
    found = drops_in_evaluation(Subject("test", model, (x,), {}, x, "test"))
    assert [(drop.module, drop.function, drop.p) for drop in found] == [("", "dropout", 0.3)]
    assert model.training
    assert torch.equal(before, torch.random.get_rng_state())


# dropout and batch normalisation --------------------------------------------------------------------------------------------

CHAINS: dict[str, tuple[str | None, str]] = {
    "in front": ("info", "nn.Dropout(0.5), nn.Linear(16, 16), nn.ReLU(), nn.BatchNorm1d(16)"),
    "nearly everything": ("warning", "nn.Dropout(0.8), nn.Linear(16, 16), nn.BatchNorm1d(16)"),
    "behind": (None, "nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 16)"),
    "another norm between": (None, "nn.Dropout(0.5), nn.LayerNorm(16), nn.Linear(16, 16), nn.BatchNorm1d(16)"),
    "p = 0": (None, "nn.Dropout(0.0), nn.Linear(16, 16), nn.BatchNorm1d(16)"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_dropout_shifts_the_variance_of_a_batch_normalisation(name: str) -> None:
    expected, layers = CHAINS[name]
    source = f"{HEADER}{BATCH}\ndef build():\n    return nn.Sequential(nn.Linear(16, 16), {layers}, nn.Linear(16, 4))\n"
    assert severity(source, "NA409") == expected


def test_a_sum_with_another_path_dilutes_the_shift() -> None:
    source = f"""{HEADER}{BATCH}
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.n, self.d = nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Dropout(0.5)

    def forward(self, x):
        return self.n(x + self.d(self.f(x)))

def build():
    return Block()
"""
    assert severity(source, "NA409") is None


def test_the_shift_is_what_is_measured() -> None:
    """Variance in training over that in evaluation, for a linear layer on inputs of mean 0."""
    torch.manual_seed(0)
    x, layer, dropout = torch.randn(4000, 256), nn.Linear(256, 16, bias=False), nn.Dropout(0.75)
    with torch.no_grad():
        ratio = layer(dropout(x)).var() / layer(x).var()
    assert ratio.item() == pytest.approx(4.0, rel=0.1)  # 64000 entries, a relative error of about 1 %


KEEPS: dict[str, tuple[str | None, str]] = {
    "a mild one": (None, "nn.Dropout(0.5)"),
    "p = 0.7": (None, "nn.Dropout(0.7)"),
    "p = 0.8": ("info", "nn.Dropout(0.8)"),
    "p = 0.8, twice": ("warning", "nn.Dropout(0.8), nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.8)"),
    "p = 0.9": ("warning", "nn.Dropout(0.9)"),
    "p = 0.9 of channels": ("warning", "nn.Unflatten(1, (4, 4)), nn.Dropout1d(0.9), nn.Flatten()"),
}


@pytest.mark.parametrize("name", KEEPS)
def test_a_probability_of_dropping_that_is_one_of_keeping(name: str) -> None:
    expected, layers = KEEPS[name]
    source = f"{HEADER}{BATCH}\ndef build():\n    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), {layers}, nn.Linear(16, 4))\n"
    assert severity(source, "NA418") == expected


# hidden rows ----------------------------------------------------------------------------------------------------------------

ATTENTION = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.heads = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x, pad):
        s = self.q(x) @ self.k(x).transpose(1, 2) / 4
        causal = torch.tril(torch.ones(5, 5, dtype=torch.bool))
{body}

def build():
    return Model()

def example_inputs():
    return torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0)), {pad}
"""
NONE, SOME, ALL, LEFT = (
    "torch.zeros(3, 5, dtype=torch.bool)", "torch.arange(5)[None] >= torch.tensor([5, 3, 1])[:, None]",
    "torch.arange(5)[None] >= torch.tensor([5, 3, 0])[:, None]", "torch.arange(5)[None] < torch.tensor([0, 1, 2])[:, None]",
)  # fmt: skip
FUSED = "return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), attn_mask=~pad[:, None].expand(3, 5, 5))"
BOTH = "s = s.masked_fill(pad[:, None], -torch.inf).masked_fill(~causal, -torch.inf); return torch.softmax(s, -1) @ self.v(x)"
AGAIN = "w = torch.softmax(s.masked_fill(pad[:, None], -torch.inf), -1); w = w.masked_fill(pad[:, None], 0.0); return w @ self.v(x)"
FILLED = "w = torch.softmax(s.masked_fill(pad[:, None], -torch.inf), -1); return w @ self.v(x)"
ROWS: dict[str, tuple[str | None, str, str]] = {
    "a sample of padding": ("error", FILLED, ALL),
    "padding on the right": ("info", FILLED, SOME),
    "no padding": ("info", FILLED, NONE),
    "a mask that is added": (
        "error", "m = torch.zeros(3, 1, 5).masked_fill(pad[:, None], -torch.inf); return torch.softmax(s + m, -1) @ self.v(x)", ALL,
    ),
    "a mask that is chosen": ("error", "return torch.softmax(torch.where(pad[:, None], -torch.inf, s), -1) @ self.v(x)", ALL),
    "padding on the left, causal": ("error", BOTH, LEFT),
    "padding on the right, causal": ("info", BOTH, SOME),
    "several heads": (
        "error",
        "s = s[:, None].expand(-1, 2, -1, -1).masked_fill(pad[:, None, None], -torch.inf); return torch.softmax(s, -1).mean(1) @ self.v(x)",
        ALL,
    ),
    "torch's module": ("error", "return self.heads(x, x, x, key_padding_mask=pad)[0]", ALL),
    "torch's module on the right": ("info", "return self.heads(x, x, x, key_padding_mask=pad)[0]", SOME),
    "the fused call": ("info", FUSED, ALL),
    "the fused call on the right": (None, FUSED, SOME),
    "a finite number": (None, FILLED.replace("-torch.inf", "-1e9"), ALL),
    "a causal mask alone": (None, "return torch.softmax(s.masked_fill(~causal, -torch.inf), -1) @ self.v(x)", NONE),
    "rows that are filled again": (None, AGAIN, ALL),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_that_is_hidden_wholly(name: str) -> None:
    expected, body, pad = ROWS[name]
    source = HEADER + ATTENTION.format(body=textwrap.indent(textwrap.dedent(body), " " * 8), pad=pad)
    assert severity(source, "NA413") == expected
    model, inputs = built(source)
    model(*inputs)[:, -1].nan_to_num(0.0).sum().backward()  # the rows that are dropped later
    broken = any(bool(p.grad.isnan().any()) for p in model.parameters() if p.grad is not None)
    assert broken == (expected == "error")


def test_the_fused_call_gives_zero_where_the_written_one_gives_nan() -> None:
    q, hidden = torch.randn(1, 2, 4), torch.tensor([[[False, False], [True, True]]])
    fused = F.scaled_dot_product_attention(q, q, q, attn_mask=hidden)
    written = torch.softmax((q @ q.transpose(1, 2)).masked_fill(~hidden, -torch.inf), -1) @ q
    assert fused[0, 0].tolist() == [0.0] * 4
    assert isnan(written[0, 0, 0].item())
