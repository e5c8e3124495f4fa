"""NA207, NA208, NA305 against gradients through the steps, and NA306, NA311, NA401 by closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def build():
    torch.manual_seed(0)
    model = {model}
    {init}
    return model

def example_inputs():
    torch.manual_seed(1)
    return {inputs}
"""


def source(model: str, init: str = "pass", inputs: str = "0.1 * torch.randn(4, 40, 8)") -> str:
    return HEADER.format(model=model, init=init, inputs=inputs)


def found(code: str, text: str) -> list[tuple[str, float | None]]:
    return [(f.severity, f.evidence.forecast) for f in findings(text) if f.code == code]


def passed_on(text: str) -> float:
    """log10 of the norm of a random row of ``dh_T / dh_0`` over that of the row."""
    space: dict[str, object] = {}
    exec(text, space)
    model, x = space["build"](), space["example_inputs"]()  # type: ignore[operator]  # functions
    first = torch.zeros(1, len(x), model.hidden_size, requires_grad=True)
    state = first if not isinstance(model, nn.LSTM) else (torch.zeros_like(first), first)
    last = model(x, state)[1]
    last = last[1] if isinstance(last, tuple) else last
    row = torch.randn_like(last)
    (gradient,) = torch.autograd.grad((last * row).sum(), first)
    return math.log10(float(gradient.norm()) / float(row.norm()))


RNN = "nn.RNN(8, 64, batch_first=True)"
RELU = "nn.RNN(8, 64, nonlinearity='relu', batch_first=True)"


def test_the_default_forgets_at_least_as_fast_as_said() -> None:
    ((severity, forecast),) = found("NA207", source(RNN))
    assert severity == "info"
    assert passed_on(source(RNN)) <= forecast + 0.5  # type: ignore[operator]  # a number; powers approach the radius from above


@pytest.mark.parametrize("init", ["nn.init.orthogonal_(model.weight_hh_l0)", "nn.init.eye_(model.weight_hh_l0)"])
def test_orthogonal_weights_do_not_forget(init: str) -> None:
    assert found("NA207", source(RELU, init)) == []


def test_short_sequences_are_not_meant() -> None:
    assert found("NA207", source(RNN, inputs="torch.randn(4, 8, 8)")) == []


@pytest.mark.parametrize(("bias", "flagged"), [(0.0, True), (0.5, True), (1.5, False)])
def test_the_forget_gate(bias: float, flagged: bool) -> None:
    """Each of the two biases is set; through the gates alone passes their product, through the outputs some more."""
    init = f"[nn.init.constant_(b.data[64:128], {bias}) for b in (model.bias_ih_l0, model.bias_hh_l0)]"
    text = source("nn.LSTM(8, 64, batch_first=True)", init)
    one = found("NA208", text)
    assert bool(one) == flagged
    for severity, forecast in one:
        assert severity == "info"
        assert forecast == pytest.approx(40 * math.log10(1 / (1 + math.exp(-2 * bias))), rel=1e-6)
        assert forecast <= passed_on(text) + 0.5  # type: ignore[operator]  # a number


@pytest.mark.parametrize(
    ("model", "init", "severity"),
    [
        (RELU, "nn.init.orthogonal_(model.weight_hh_l0, 2.0)", "error"),
        (RELU, "nn.init.orthogonal_(model.weight_hh_l0, 1.6)", "warning"),
        (RELU, "nn.init.orthogonal_(model.weight_hh_l0, 1.2)", None),
        (RELU, "model.weight_hh_l0.data = 1.25 * torch.eye(64)", "warning"),
        (RNN, "nn.init.normal_(model.weight_hh_l0, std=2.5 / 8)", "warning"),
        (RNN, "nn.init.normal_(model.weight_hh_l0, std=4.0 / 8)", "error"),
        (RNN, "nn.init.orthogonal_(model.weight_hh_l0)", None),
        (RNN, "pass", None),
        (RELU, "nn.init.eye_(model.weight_hh_l0)", None),
        ("nn.LSTM(8, 64, batch_first=True)", "pass", None),
    ],
)
def test_growth_over_the_steps(model: str, init: str, severity: str | None) -> None:
    one = found("NA305", source(model, init))
    assert [s for s, _ in one] == ([] if severity is None else [severity])
    if severity is not None:
        assert one[0][1] == pytest.approx(passed_on(source(model, init)), abs=0.3 * abs(one[0][1] or 0.0))


def test_a_bilinear_layer() -> None:
    text = """
import torch
from torch import nn

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Bilinear(16, {}, 4)

    def forward(self, x, y):
        return self.f(x, y)

def build():
    return Pair()

def example_inputs():
    return torch.randn(8, 16), torch.randn(8, {})
"""
    assert [found("NA306", text.replace("{}", n)) for n in ("8", "64", "400")] == [[], [("info", None)], [("warning", None)]]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("F.cross_entropy(p, y, reduction='sum')", 1),
        ("F.cross_entropy(p, y, reduction='sum') / 8", 0),
        ("F.cross_entropy(p, y)", 0),
        ("F.cross_entropy(p, y, reduction='none').mean()", 0),
        ("F.kl_div(F.log_softmax(p, 1), F.softmax(x[:, :4], 1), reduction='mean')", 1),
        ("F.kl_div(F.log_softmax(p, 1), F.softmax(x[:, :4], 1), reduction='batchmean')", 0),
    ],
)
def test_sums_over_the_batch(loss: str, expected: int) -> None:
    text = source("nn.Linear(16, 4)", inputs="torch.randn(8, 16)")
    text += f"\ndef loss(model, x):\n    p, y = model(x), torch.arange(8) % 4\n    return {loss}\n"
    assert len(found("NA311", text)) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))", 1),
        ("nn.Sequential(nn.Linear(16, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 4))", 0),
        ("nn.Sequential(nn.Linear(16, 8), nn.LayerNorm(8), nn.Linear(8, 4))", 0),
        ("nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 4))", 0),
        ("nn.Sequential(nn.Unflatten(1, (1, 16)), nn.Conv1d(1, 8, 3), nn.InstanceNorm1d(8), nn.Conv1d(8, 4, 3))", 1),
        ("nn.Sequential(nn.Unflatten(1, (1, 16)), nn.Conv1d(1, 8, 3), nn.GroupNorm(8, 8), nn.Conv1d(8, 4, 3))", 1),
        ("nn.Sequential(nn.Unflatten(1, (1, 16)), nn.Conv1d(1, 8, 3), nn.GroupNorm(2, 8), nn.Conv1d(8, 4, 3))", 0),
    ],
)
def test_biases_without_effect_have_no_gradient(model: str, expected: int) -> None:
    text = source(model, inputs="torch.randn(8, 16)")
    assert len(found("NA401", text)) == expected
    space: dict[str, object] = {}
    exec(text, space)
    net = space["build"]()  # type: ignore[operator]  # a function
    layer = next(m for m in net if isinstance(m, (nn.Linear, nn.Conv1d)))
    if layer.bias is not None:
        net(space["example_inputs"]()).square().mean().backward()  # type: ignore[operator]
        assert (_largest(layer.bias) < 1e-5 * _largest(layer.weight)) == bool(expected)


def _largest(parameter: torch.Tensor) -> float:
    assert parameter.grad is not None
    return float(parameter.grad.abs().max())
