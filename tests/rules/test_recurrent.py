"""Recurrent layers of a usual width: the forecast of every gradient against a backward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netaudit.audit import Settings, analyse
from netaudit.intake.heads import with_head
from netaudit.intake.subject import Subject
from netaudit.pack import installed
from netaudit.probe import measured_gradients

BATCH, STEPS, WIDTH = 16, 12, 48


class Reader(nn.Module):
    """A recurrent layer, read at its last step or at all of them."""

    def __init__(self, layer: nn.Module, width: int, *, last: bool) -> None:
        super().__init__()
        self.layer, self.head, self.last = layer, nn.Linear(width, 10), last

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.layer(x)[0]
        y: Tensor = self.head(states[:, -1] if self.last else states)
        return y


def subject(model: nn.Module, steps: int = STEPS) -> Subject:
    x = torch.randn(BATCH, steps, WIDTH, generator=torch.Generator().manual_seed(1))
    return Subject("model", model, (x,), {}, (x,), "test", guess="N(0, 1)")


def forecast(of: Subject) -> Mapping[str, float | None]:
    found = analyse(of, installed(), Settings(head="ce"))
    return {name: found.flow.params[name].forecast for name in found.graph.params}


def measured(of: Subject) -> Mapping[str, float]:
    return measured_gradients(with_head(of, "ce"), draws=3)


SHAPES: dict[str, dict[str, Any]] = {
    "1": {},
    "2 layers, 2 directions": {"num_layers": 2, "bidirectional": True},
    "dropout": {"num_layers": 2, "dropout": 0.5},
}
GATED = (nn.GRU, nn.LSTM)


def claimed(kind: type[nn.Module], shape: str, name: str) -> bool:
    """Which gradients the model claims to know: what gates remember adds up over the steps, in biases and in stacks too much."""
    return kind not in GATED or name.startswith("head.") or (shape == "1" and "weight" in name)


@pytest.mark.parametrize("last", [True, False], ids=["last step", "every step"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [nn.RNN, *GATED])
def test_gradients_are_forecast_within_a_factor_of_two_or_not_at_all(kind: Any, shape: str, last: bool) -> None:
    torch.manual_seed(0)
    width = WIDTH * (2 if "directions" in shape else 1)
    model = Reader(kind(WIDTH, WIDTH, batch_first=True, **SHAPES[shape]), width, last=last)
    real, found = measured(subject(model)), forecast(subject(model))
    assert set(found) == set(real)
    assert {n for n, f in found.items() if f is None} == {n for n in real if not claimed(kind, shape, n)}
    assert not {n: (f, real[n]) for n, f in found.items() if f is not None and abs(f - real[n]) > math.log10(2.0)}


@pytest.mark.parametrize("steps", [40, 64])
@pytest.mark.parametrize("kind", [nn.RNN, *GATED])
def test_long_recurrences_are_forecast_within_a_factor_of_two(kind: Any, steps: int) -> None:
    torch.manual_seed(0)
    model = Reader(kind(WIDTH, WIDTH, batch_first=True), WIDTH, last=False)
    real, found = measured(subject(model, steps)), forecast(subject(model, steps))
    assert not {n: (f, real[n]) for n, f in found.items() if f is not None and abs(f - real[n]) > math.log10(2.0)}


def test_a_recurrence_too_long_to_write_out_has_no_forecast() -> None:
    model = Reader(nn.GRU(WIDTH, WIDTH, batch_first=True), WIDTH, last=True)
    found = forecast(subject(model, steps=65))
    assert all(found[name] is None for name in found if name.startswith("layer."))


@pytest.mark.parametrize("kind", GATED)
def test_a_state_without_a_bound_times_a_weight_of_zero_is_no_nan(kind: Any) -> None:
    layer = kind(WIDTH, WIDTH, batch_first=True)
    nn.init.zeros_(layer.weight_hh_l0)
    first = [torch.randn(1, BATCH, WIDTH) for _ in range(2 if kind is nn.LSTM else 1)]
    state = tuple(first) if kind is nn.LSTM else first[0]
    x = torch.randn(BATCH, STEPS, WIDTH)
    found = analyse(Subject("model", layer, (x, state), {}, (x, state), "test"), installed(), Settings())
    assert not any(math.isnan(j.lip) for effect in found.facts.effects.values() for j in effect.jac if j is not None)
