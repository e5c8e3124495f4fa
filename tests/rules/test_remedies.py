"""What a remedy is said to give is what the repaired model does: built in torch, audited, and its gradients measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import log10, sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netaudit.audit import Settings, audit_subject
from netaudit.claims import FORECAST_ERROR
from netaudit.finding import Finding, Remedy
from netaudit.intake.subject import Subject
from netaudit.pack import installed

ROWS, WIDTH, DEPTH = 64, 128, 10


def cross_entropy(model: nn.Module, inputs: object) -> Tensor:
    output: Tensor = model(inputs)
    return F.cross_entropy(output, torch.arange(len(output)) % output.shape[1])


def inputs() -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))


def audited(model: nn.Module) -> Sequence[Finding]:
    report = audit_subject(Subject("test", model, (inputs(),), {}, inputs(), "test", loss=cross_entropy), installed(), Settings())
    assert not report.problems
    return report.findings


def measured(model: nn.Module, names: Sequence[str]) -> Mapping[str, float]:
    """log10 of S by autograd."""
    params = dict(model.named_parameters())
    found = torch.autograd.grad(cross_entropy(model, inputs()), [params[name] for name in names])
    return {name: log10(float(params[name].detach().norm() * g.norm())) for name, g in zip(names, found, strict=True)}


class Stack(nn.Module):
    """Layers in series with a head; ``residual``, ``norms`` and ``activation`` are what remedies change."""

    def __init__(
        self,
        activation: Callable[[Tensor], Tensor],
        std: float | None = None,
        *,
        residual: bool = False,
        normed: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.activation, self.residual, self.normed, self.scale = activation, residual, normed, scale
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])
        self.head = nn.Linear(WIDTH, 10)
        for layer in self.layers:
            if std is not None:
                nn.init.normal_(layer.weight, std=std)  # type: ignore[arg-type]  # a Linear's weight

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            y = F.layer_norm(layer(x), (WIDTH,)) if self.normed else layer(x)
            x = x + self.scale * self.activation(y) if self.residual else self.activation(y)
        result: Tensor = self.head(x)
        return result


class Doubling(nn.Module):
    """Pre-norm residual blocks, which may double their stream, in front of a head."""

    def __init__(self, std: float | None = None, *, doubled: bool = False, in_front: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.doubled, self.in_front = doubled, in_front
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH * 2)])
        self.head = nn.Linear(WIDTH, 10)
        for layer in self.layers:
            if std is not None:
                nn.init.normal_(layer.weight, std=std)  # type: ignore[arg-type]  # a Linear's weight

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = (x + x if self.doubled else x) + torch.relu(layer(F.layer_norm(x, (WIDTH,))))
        result: Tensor = self.head(F.layer_norm(x, (WIDTH,)) if self.in_front else x)
        return result


KAIMING, TANH = sqrt(2 / WIDTH), 5 / 3 / sqrt(WIDTH)
CASES: dict[str, tuple[str, nn.Module, str, nn.Module]] = {
    "relu for sigmoid": ("NA201", Stack(torch.sigmoid), "relu in place of sigmoid", Stack(torch.relu, KAIMING)),
    "residual around sigmoid": ("NA201", Stack(torch.sigmoid), "a residual", Stack(torch.sigmoid, residual=True)),
    "norm before sigmoid": ("NA201", Stack(torch.sigmoid), "a LayerNorm after", Stack(torch.sigmoid, normed=True)),
    "init of tanh": ("NA201", Stack(torch.tanh, 0.01), "kaiming_normal_(w, nonlinearity='tanh')", Stack(torch.tanh, TANH)),
    "init of large relu": ("NA301", Stack(torch.relu, 0.5), "kaiming_normal_(w, nonlinearity='relu')", Stack(torch.relu, KAIMING)),
    "no doubling": ("NA301", Doubling(doubled=True), "leave out the 20 calls of add", Doubling()),
    "scaled branches": (
        "NA301",
        Stack(torch.relu, KAIMING, residual=True),
        "scale the 10 residual branches by 0.32",
        Stack(torch.relu, KAIMING, residual=True, scale=1 / sqrt(DEPTH)),
    ),
    "norm in front of the head": ("NA301", Doubling(20), "in front of `head`", Doubling(20, in_front=True)),
    "init that is not enough": ("NA301", Doubling(20), "kaiming_normal_(w, nonlinearity='relu')", Doubling(KAIMING)),
}


def remedies(model: nn.Module, code: str) -> Sequence[Remedy]:
    (finding,) = (f for f in audited(model) if f.code == code)
    return finding.help


@pytest.mark.parametrize("name", CASES)
def test_the_outcome_of_a_remedy_is_that_of_the_repaired_model(name: str) -> None:
    code, faulty, words, repaired = CASES[name]
    (remedy,) = (r for r in remedies(faulty, code) if words in r.text)
    said = re.search(r"(least|largest) S of .* becomes (\S+) \(forecast\); (.*)", remedy.outcome)
    assert said is not None
    flagged = code in {f.code for f in audited(repaired)}
    assert flagged is said[3].startswith("still NA")
    assert remedy.resolves is (said[3] == "the finding disappears")
    real = measured(repaired, remedy.about).values()
    assert log10(float(said[2])) == pytest.approx(min(real) if said[1] == "least" else max(real), abs=FORECAST_ERROR)


# the other checks -------------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """A head, with probabilities or logits."""

    def __init__(self, last: Callable[[Tensor], Tensor] = torch.clone) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.last = nn.Linear(WIDTH, 10), last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.head(x))


def test_without_the_softmax_the_finding_disappears() -> None:
    (remedy,) = remedies(Head(lambda y: torch.softmax(y, 1)), "NA204")
    assert remedy.text == "leave out the softmax: cross-entropy takes logits"
    assert (remedy.outcome, remedy.resolves) == ("the finding disappears", True)
    assert "NA204" not in {f.code for f in audited(Head())}


def test_two_softmaxes_in_series_are_both_left_out() -> None:
    (remedy,) = remedies(Head(lambda y: torch.softmax(torch.softmax(y, 1), 1)), "NA204")
    assert (remedy.outcome, remedy.resolves) == ("the finding disappears", True)


@pytest.mark.parametrize("eps", [1e-12, 1e-9])
def test_with_a_usual_eps_the_finding_disappears(eps: float) -> None:
    def normed(eps: float) -> nn.Module:
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH, eps=eps), nn.Linear(WIDTH, 10))

    (remedy,) = remedies(normed(eps), "NA105")
    assert (remedy.text, remedy.outcome, remedy.resolves) == ("set eps to 1e-05", "the finding disappears", True)
    assert "NA105" not in {f.code for f in audited(normed(1e-5))}


def test_targets_of_a_loss_are_advice_that_was_not_tested() -> None:
    def loss(model: nn.Module, inputs: object) -> Tensor:
        output: Tensor = model(inputs)
        return F.mse_loss(output, torch.full((ROWS, 10), 1e5))

    report = audit_subject(Subject("test", Head(), (inputs(),), {}, inputs(), "test", loss=loss), installed(), Settings())
    (remedy,) = next(f.help for f in report.findings if f.code == "NA301")
    assert "targets" in remedy.text
    assert (remedy.outcome, remedy.resolves) == ("", None)
