"""Readings that only claims ask for, against what they are by definition, and the verdicts that follow from them."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan, log10

import pytest
import torch
from torch import Tensor, nn

from netaudit.finding import Evidence, Finding
from netaudit.graph import Node
from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.measured import Claim, NodeMeasured, ParamMeasured, Spread
from netaudit.probe.asked import Ask, Asked, asks, deviation, difference, keeping, off, outside, span
from netaudit.probe.heads import cotangents
from netaudit.probe.machine import machine_of, sweep
from netaudit.probe.verdicts import Readings, downgraded, judged, studies_for

X = torch.tensor([[-3.0, 0.0, 1.0], [-2.0, 0.0, 5.0]])


def read(
    model: nn.Module, inputs: tuple[Tensor, ...], pick: str, quantity: str, operand: int | None = None, axis: int | None = None
) -> float:
    """log10 of what is read of the first call of an op."""
    subject = Subject("m", model, inputs, {}, inputs, "test", loss=None)
    machine = machine_of(lower(trace(subject), subject), torch.device("cpu"))
    node = next(node for node in machine.calls if node.op == pick)
    name = node.name if operand is None else f"{node.inputs[operand]} > {node.name}"
    ask = Ask(quantity, name, axis)  # type: ignore[arg-type]  # a quantity
    watch = Asked(frozenset({ask}), machine.nodes)
    sweep(machine, cotangents(machine, 0), watch, points=keeping(watch.asks))
    return watch.answers[ask]


def test_readings_of_a_value() -> None:
    ask = Ask("outside", "x", between=(-1.0, 1.0))
    assert outside(X, ask) == 4 / 6  # an end is not between
    assert off(X, replace(ask, axis=-1)) == 2 / 3
    assert off(X, replace(ask, axis=0)) == 0.0
    assert span(X, Ask("span", "x", -1)) == 7.0
    assert deviation(X, Ask("deviation", "x", 0)) == pytest.approx(float((X - X.mean(0)).square().mean().sqrt()))
    assert difference(torch.ones(4, 3), Ask("difference", "x", 0)) == 0.0
    assert isnan(difference(torch.zeros(4, 3), Ask("difference", "x", 0)))


class Attention(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.q, self.fused = nn.Linear(8, 8), fused

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.q(x), x.roll(1, -1)
        if self.fused:
            fused: Tensor = nn.functional.scaled_dot_product_attention(q, k, x, is_causal=True)
            return fused
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        written: Tensor = (q @ k.transpose(1, 2) / 8**0.5).masked_fill(hidden, -inf).softmax(-1) @ x
        return written


@pytest.mark.parametrize("fused", [True, False])
def test_the_largest_weight_of_an_attention(fused: bool) -> None:
    torch.manual_seed(0)
    model, x = Attention(fused), torch.randn(2, 5, 8)
    with torch.no_grad():
        scores = model.q(x) @ x.roll(1, -1).transpose(1, 2) / 8**0.5
        weights = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -inf).softmax(-1)
    op = "aten.scaled_dot_product_attention" if fused else "aten.softmax"
    subject = Subject("m", model, (x,), {}, (x,), "test")
    machine = machine_of(lower(trace(subject), subject), torch.device("cpu"))
    op = next(node.op for node in machine.calls if node.op in (op, "netaudit.attention"))
    assert read(model, (x,), op, "peak") == pytest.approx(log10(float(weights.amax(-1).mean())), abs=1e-5)


@pytest.mark.parametrize(("kind", "state"), [(nn.RNN, "one"), (nn.GRU, "one"), (nn.LSTM, "cell")])
def test_what_a_recurrence_passes_from_its_first_state_to_its_last(kind: type[nn.RNN], state: str) -> None:
    """Against the Frobenius norm of the Jacobian written out: the root mean square over random rows."""
    torch.manual_seed(0)
    model, x = kind(3, 6, batch_first=True), torch.randn(1, 4, 3)

    def last(first: Tensor) -> Tensor:
        given = (torch.zeros(1, 1, 6), first) if state == "cell" else first
        end = model(x, given)[1]
        chosen: Tensor = end[1] if state == "cell" else end
        return chosen.flatten()

    jacobian = torch.func.jacrev(last)(torch.zeros(1, 1, 6)).reshape(6, 6)
    op = {"RNN": "aten.rnn_tanh", "GRU": "aten.gru", "LSTM": "aten.lstm"}[kind.__name__]
    found = read(Only(model), (x,), op, "memory", axis=0)
    assert found == pytest.approx(log10(float(jacobian.detach().norm()) / 6**0.5), abs=3 / (2 * 8 * 6) ** 0.5)


class Only(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)[0]
        return y


@pytest.mark.parametrize(("dim", "mixes"), [(0, True), (1, False)])
def test_what_one_sample_takes_from_others(dim: int, mixes: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Softmax(dim))
    found = read(model, (torch.randn(5, 4),), "aten.softmax", "mixed", operand=0, axis=0)
    assert (found > -4.0) is mixes


@pytest.mark.parametrize(("width", "blocks"), [(2, True), (32, False)])
def test_what_a_normalisation_passes_of_a_gradient(width: int, blocks: bool) -> None:
    model = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width))
    assert (read(model, (torch.randn(64, 4),), "aten.layer_norm", "passed", operand=0) < -2.0) is blocks


# verdicts ---------------------------------------------------------------------------------------------------------------


def node(rms: float, gradient: float | None = None, *, largest: float = 0.0) -> NodeMeasured:
    return NodeMeasured(Spread(rms, rms, rms), largest, 0.0, None if gradient is None else Spread(gradient, gradient, gradient))


def param(size: float) -> ParamMeasured:
    return ParamMeasured(Spread(size, size, size), Spread(size, size, size))


def verdict(claim: Claim, readings: Readings) -> str | None:
    return judged(Finding("NA000", "n", "warning", "m", "t", claim=claim), readings).verdict


def test_growth_is_one_size_over_another() -> None:
    readings = Readings({"a": node(1.0, -3.0), "b": node(4.0, -5.0)}, {})
    growing = Claim("value", ("b",), 2.5, "above", over=("a",))
    assert verdict(growing, readings) == "confirmed"
    assert verdict(replace(growing, limit=3.5), readings) == "not reproduced"
    assert verdict(replace(growing, limit=3.5, shift=0.5), readings) == "confirmed"
    assert verdict(replace(growing, over=("c",)), readings) == "not probed"
    assert verdict(Claim("gradient", ("a",), 2.0, "above", over=("b",)), readings) == "confirmed"


@pytest.mark.parametrize(
    ("of", "broken", "expected"),
    [
        (node(0.0, 0.0), {"x"}, "confirmed"),
        (node(0.0, 0.0), set(), "not reproduced"),
        (node(float("nan"), 0.0), set(), "not probed"),
        (node(0.0, float("nan")), set(), "not probed"),
    ],
)
def test_a_call_breaks_or_does_not_where_it_was_given_what_is_finite(of: NodeMeasured, broken: set[str], expected: str) -> None:
    readings = Readings({"x": of}, {}, broken=frozenset(broken))
    assert verdict(Claim("non-finite", ("x",), 0.0, "above", certain=True), readings) == expected


def test_an_extreme_that_was_not_found_refutes_nothing() -> None:
    claim = Claim("extreme", ("x",), 0.0, "above", certain=True)
    assert verdict(claim, Readings({"x": node(0.0)}, {})) == "not probed"
    assert verdict(claim, Readings({"x": node(0.0)}, {}, extremes=frozenset({"x"}))) == "confirmed"
    assert studies_for([claim]) == ("extremes",)


def test_what_is_certain_holds_of_every_subject_and_is_never_downgraded() -> None:
    readings = Readings({}, {"a": param(-inf), "b": param(-inf), "c": param(-4.0)})
    zero = Claim("gradient", ("a", "b", "c"), -inf, "below", certain=True)
    found = judged(Finding("NA000", "n", "error", "m", "t", claim=zero), readings)
    assert found.verdict == "not reproduced"
    assert downgraded(found).severity == "error"
    assert verdict(replace(zero, subjects=("a", "b")), readings) == "confirmed"
    guess = judged(Finding("NA000", "n", "error", "m", "t", claim=replace(zero, subjects=("c",), certain=False)), readings)
    assert downgraded(guess).severity == "info"


def test_the_norm_of_the_whole_gradient() -> None:
    readings = Readings({}, {"a": param(0.0), "b": param(200.0)}, counts={"a": 4, "b": 100})
    claim = Claim("whole gradient", ("loss",), 200.9, "above", slack=0.0)
    assert verdict(claim, readings) == "confirmed"
    assert verdict(replace(claim, limit=201.1), readings) == "not reproduced"
    assert verdict(claim, Readings({}, {"a": param(float("nan"))}, counts={"a": 4})) == "not probed"


def test_what_is_read_aside_does_not_stand_beside_the_evidence() -> None:
    found = Finding("NA000", "n", "warning", "m", "t", claim=Claim("value", ("x",), 0.0, "above"), evidence=Evidence("v", 0.0, None, 1.0))
    readings = Readings({"x": node(0.5)}, {})
    assert judged(found, readings).evidence.measured == 0.5
    aside = judged(replace(found, claim=Claim("value", ("x",), 0.0, "above", aside=True)), readings)
    assert (aside.evidence.measured, aside.seen) == (None, 0.5)


def test_only_what_is_claimed_is_asked_for() -> None:
    claims = [Claim("value", ("x",), 0.0, "above"), Claim("peak", ("a", "b"), 0.0, "above", over=("c",))]
    assert {ask.subject for ask in asks(claims)} == {"a", "b", "c"}


def test_what_torch_refuses_stays_without_an_answer() -> None:
    ask = Ask("span", "x", axis=7)
    watch = Asked(frozenset({ask}), {})
    watch.value(Node("x", "aten.relu", shape=(2, 3)), X)
    assert watch.answers == {}
