"""How wide the error of a forecast is said to be: against the scatter of random networks, and what is named as the reason."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from netaudit import doubts_of, error_of
from netaudit.audit import Analysis, Settings, analyse
from netaudit.claims import FORECAST_ERROR
from netaudit.doubt import NARROW, SHARED, UNNORMALISED
from netaudit.intake.subject import Subject
from netaudit.pack import installed


def audited(model: nn.Module, *inputs: Tensor) -> Analysis:
    return analyse(Subject("model", model, inputs, {}, inputs, "test"), installed(), Settings())


def relu_net(width: int, depth: int) -> nn.Sequential:
    layers = [m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, width))
    for m in model:
        if isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            nn.init.zeros_(m.bias)
    return model


def gradient_rms(model: nn.Module, x: Tensor) -> float:
    y = model(x)
    y.backward(torch.randn_like(y))
    weight = next(iter(model.parameters()))
    assert weight.grad is not None
    return float(weight.grad.square().mean().sqrt())


@pytest.mark.parametrize(("width", "depth"), [(16, 10), (32, 30)])
def test_narrow_layers_scatter_as_much_as_is_stated(width: int, depth: int) -> None:
    """90 % of the random networks lie within the spread of their median, and by no means within half of it."""
    torch.manual_seed(0)
    logs = torch.tensor([math.log10(gradient_rms(relu_net(width, depth), torch.randn(1, width))) for _ in range(200)])
    spread = audited(relu_net(width, depth), torch.randn(1, width)).flow.params["0.weight"].doubt.spread
    off = (logs - logs.median()).abs()
    assert float((off <= 1.15 * spread).double().mean()) > 0.9
    assert float((off <= 0.5 * spread).double().mean()) < 0.8


def test_a_normalisation_ends_the_scatter() -> None:
    torch.manual_seed(0)
    plain = relu_net(8, 12)
    normed = nn.Sequential(*plain, nn.LayerNorm(8))
    assert NARROW in doubts_of(audited(plain, torch.randn(4, 8)).flow, "0.weight")
    deep = audited(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8)), torch.randn(4, 8)).flow
    assert doubts_of(deep, "0.weight") == ()
    assert error_of(deep, "0.weight") == FORECAST_ERROR
    assert error_of(audited(normed, torch.randn(4, 8)).flow, "0.weight") > FORECAST_ERROR


def test_depth_without_normalisation_is_named() -> None:
    flow = audited(relu_net(512, 24), torch.randn(2, 512)).flow
    assert UNNORMALISED in doubts_of(flow, "0.weight")
    assert UNNORMALISED not in doubts_of(flow, "40.weight")


class Repeated(nn.Module):
    def __init__(self, times: int) -> None:
        super().__init__()
        self.layer, self.times = nn.Linear(64, 64), times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = x + torch.tanh(self.layer(x))
        return x


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.layer(x)) + torch.tanh(self.layer(y))


def test_uses_of_one_weight_in_series_lie_between_independent_and_coherent() -> None:
    torch.manual_seed(0)
    model, x = Repeated(12), torch.randn(32, 64)
    found = audited(model, x).flow
    assert SHARED in doubts_of(found, "layer.weight")
    forecast = found.params["layer.weight"].forecast
    assert forecast is not None
    assert abs(math.log10(gradient_rms(model, x)) - forecast) <= error_of(found, "layer.weight")


def test_uses_of_one_weight_side_by_side_are_independent() -> None:
    torch.manual_seed(0)
    assert doubts_of(audited(Siamese(), torch.randn(8, 64), torch.randn(8, 64)).flow, "layer.weight") == ()
