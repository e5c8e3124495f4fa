"""Whatever is asked of a model in hand, the model is bit for bit what it was, and so is all that it shares with the program."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, weight_norm

import netaudit


class Counting(nn.Module):
    """Changes itself whenever it runs: a buffer, an attribute, a list, and random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.calls, self.sizes = 0, [0]
        self.last: Tensor | None = None
        self.register_buffer("total", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.sizes.append(len(x))
        self.total += x.detach().mean(0)  # type: ignore[operator]  # a buffer
        y: Tensor = F.dropout(self.linear(x), 0.5, self.training)
        self.last = y
        return y


class Renormalising(nn.Module):
    """Writes into its own weight in every forward pass, as the magnitude-preserving layers of EDM2 do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight, dim=1))
        return x @ self.weight.T


class InPlace(nn.Module):
    """Writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x.mul_(2.0))
        return y


class Tied(nn.Module):
    """One weight under two names, a frozen layer, and modules in a list that is no ModuleList."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(8, 8), nn.Linear(8, 8)
        self.out.weight = self.into.weight
        self.frozen = nn.Linear(8, 8).requires_grad_(requires_grad=False)
        self.order = [self.into, self.frozen, self.out]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.order:
            x = torch.tanh(layer(x))
        return x


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x[:, None])[0][:, 0]
        return y


MODELS: dict[str, Callable[[], nn.Module]] = {
    "batch norm and dropout": lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 8)),
    "counts": Counting,
    "renormalises": Renormalising,
    "writes its input": InPlace,
    "tied, frozen, in a list": Tied,
    "lstm": Recurrent,
    "spectral norm": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 8)),
    "weight norm": lambda: nn.Sequential(weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8)),
    "half": lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)).to(torch.bfloat16),
}
ASKED: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "audit": lambda model, x: netaudit.audit(model, x, loss=lambda m, b: m(b).square().mean(), name="net"),
    "forecast": lambda model, x: netaudit.forecast(model, x, measure=True),
    "certify": lambda model, x: netaudit.certify(model, x, budget=0.0),
}


def state_of(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """Everything that must not change, tensors as their bytes."""
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    parts = dict(model.named_modules(remove_duplicate=False))
    return {
        "values": {
            name: (id(t), t.detach().reshape(-1).view(torch.uint8).tolist(), t.requires_grad, t._version) for name, t in tensors.items()
        },
        "gradients": {name: None if t.grad is None else (id(t.grad), t.grad.float().tolist()) for name, t in tensors.items()},
        "modes": {name: part.training for name, part in parts.items()},
        "attributes": {name: {k: repr(v) for k, v in vars(part).items()} for name, part in parts.items()},
        "input": (x.float().tolist(), x._version, x.requires_grad),
        "random": (torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())),
        "modes of torch": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()),
    }


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", MODELS)
def test_the_model_is_what_it_was(kind: str, asked: str) -> None:
    torch.manual_seed(1)
    model = MODELS[kind]()
    x = torch.randn(4, 8).to(next(model.parameters()).dtype)
    model(x.clone()).float().square().mean().backward()  # gradients are there, and attributes that are not leaves
    model.train()
    next(model.modules(), model).training = False  # the modes of the parts need not agree
    before = state_of(model, x)
    with torch.no_grad():
        ASKED[asked](model, x)
    assert state_of(model, x) == before


def test_training_goes_on_as_if_nothing_had_been_asked() -> None:
    def trained(*, audited: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = MODELS["batch norm and dropout"]()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 3))
        for step in range(4):
            if audited:
                given = {"scheduler": scheduler} if step == 0 else {}
                netaudit.audit(model, "f32[4,8]", optimizer=optimizer, training={"steps": 4}, **given)  # type: ignore[arg-type]
            optimizer.zero_grad()
            model(torch.randn(4, 8)).square().mean().backward()
            optimizer.step()
            scheduler.step()
        return list(model.parameters())

    for plain, watched in zip(trained(audited=False), trained(audited=True), strict=True):
        assert torch.equal(plain, watched)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_a_gpu_stays_there_and_is_analysed_on_the_cpu() -> None:
    model = MODELS["batch norm and dropout"]()
    expected = netaudit.audit(model, torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), name="net")
    model.cuda()
    before = torch.cuda.get_rng_state().tolist()
    found = netaudit.audit(model, torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).cuda(), name="net")
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    assert torch.cuda.get_rng_state().tolist() == before
    assert found.targets[0].params == expected.targets[0].params
