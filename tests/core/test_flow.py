"""The two sweeps on small graphs built by hand and on small models: bounds hold, forecasts agree with closed forms."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log10, sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netaudit.audit import Analysis, Settings, analyse
from netaudit.effect import ZERO, Effect, Jacobian, Transfer
from netaudit.facts import Leaves, derive
from netaudit.flow import NEVER, flow
from netaudit.graph import Graph, Node
from netaudit.intake.subject import Subject
from netaudit.moments import independent, of
from netaudit.pack import Catalog, installed
from netaudit.signal import Signal

SHAPE = (4,)


def times(factor: float) -> Transfer:
    def body(node: Node, *operands: Signal) -> Effect:
        return Effect(
            Signal(node.shape, moments=operands[0].moments),
            (Jacobian(abs(factor)),) * len(operands),
            lambda g: (g.scaled(factor),) * len(operands),
        )

    return Transfer((f"t.times{factor:g}",), body)


def graph(*calls: tuple[str, str, tuple[str, ...]], output: str) -> Graph:
    nodes = [Node("x", "input", shape=SHAPE)]
    nodes += [Node(name, op, operands, shape=SHAPE) for name, op, operands in calls]
    return Graph(tuple(nodes), {}, ("x",), (output,))


def catalog(*transfers: Transfer) -> Catalog:
    return Catalog({op: t for t in transfers for op in t.ops})


LEAVES = Leaves({"x": Signal(SHAPE, moments=of(independent(SHAPE)))})


def test_gains_multiply_along_a_chain() -> None:
    chain = graph(("a", "t.times3", ("x",)), ("b", "t.times0.5", ("a",)), output="b")
    found = flow(derive(chain, LEAVES, catalog(times(3), times(0.5))))
    assert found.nodes["x"].forecast == pytest.approx(log10(1.5))
    assert found.nodes["x"].bound == pytest.approx(log10(1.5 * sqrt(4)))
    assert found.path("x") == ("x", "a", "b")


def test_behind_a_custom_function_the_gradient_is_unknown_never_cut() -> None:
    x = Node("x", "input", shape=SHAPE)
    a = Node("a", "t.times3", ("x",), shape=SHAPE)
    b = Node("b", "t.flat", ("a",), shape=SHAPE, regions=frozenset({"custom_backward:Round"}))
    flat = Transfer(("t.flat",), lambda node, x: Effect(Signal(node.shape, moments=x.moments), (ZERO,), lambda _g: (None,)))
    facts = derive(Graph((x, a, b), {}, ("x",), ("b",)), LEAVES, catalog(times(3), flat))
    found = flow(facts)
    assert facts.unmodelled == ("b",)
    assert found.nodes["a"].forecast is None
    assert found.nodes["a"].bound == inf
    assert facts.signals["b"].moments is not None


def test_parallel_paths_add() -> None:
    def add(node: Node, x: Signal, y: Signal) -> Effect:
        return Effect(Signal(node.shape, moments=x.moments), (Jacobian(1.0), Jacobian(1.0)), lambda g: (g, g))

    both = graph(("a", "t.times2", ("x",)), ("b", "t.times0.1", ("x",)), ("c", "t.add", ("a", "b")), output="c")
    found = flow(derive(both, LEAVES, catalog(times(2), times(0.1), Transfer(("t.add",), add))))
    assert found.nodes["x"].bound == pytest.approx(log10(2.1 * 2))
    assert found.nodes["x"].forecast == pytest.approx(log10(2.1))  # one origin: the paths add in amplitude
    assert found.nodes["x"].via == "a"


def test_a_thousand_layers_stay_in_log_space() -> None:
    calls = [(f"n{i}", "t.times0.001", ("x" if i == 0 else f"n{i - 1}",)) for i in range(1000)]
    found = flow(derive(graph(*calls, output="n999"), LEAVES, catalog(times(0.001))))
    assert found.nodes["x"].forecast == pytest.approx(-3000)
    assert found.nodes["x"].bound == pytest.approx(-3000 + log10(2))


def test_an_unknown_op_spreads_and_is_counted() -> None:
    chain = graph(("a", "t.mystery", ("x",)), ("b", "t.times2", ("a",)), output="b")
    facts = derive(chain, LEAVES, catalog(times(2)))
    found = flow(facts)
    assert facts.unmodelled == ("a",)
    assert facts.coverage == 0.5
    assert facts.signals["b"].moments is None
    assert found.nodes["x"] == type(found.nodes["x"])(inf, None, "a")


def test_a_zero_jacobian_cuts_every_path() -> None:
    def step(node: Node, _x: Signal) -> Effect:
        return Effect(Signal(node.shape), (ZERO,), lambda _g: (None,))

    chain = graph(("a", "t.step", ("x",)), ("b", "t.times2", ("a",)), output="b")
    found = flow(derive(chain, LEAVES, catalog(times(2), Transfer(("t.step",), step))))
    assert "x" not in found.reached
    assert found.nodes["x"].bound == found.nodes["x"].forecast == NEVER


def test_integer_results_need_no_transfer() -> None:
    nodes = (Node("x", "input", shape=SHAPE), Node("i", "t.argsort", ("x",), shape=SHAPE, dtype="int64"))
    facts = derive(Graph(nodes, {}, ("x",), ("i",)), LEAVES, Catalog())
    assert not facts.unmodelled
    assert facts.effects["i"].jac == (ZERO,)


# models -----------------------------------------------------------------------------------------------------------------


def analysed(model: nn.Module, x: Tensor, **settings: object) -> Analysis:
    def loss(model: nn.Module, inputs: object) -> Tensor:
        output: Tensor = model(inputs)
        return F.cross_entropy(output, torch.arange(len(output)) % output.shape[1])

    subject = Subject("test", model, (x,), {}, x, "test", loss=loss)
    return analyse(subject, installed(), Settings(**settings))  # type: ignore[arg-type]  # names checked by Settings


def mlp(depth: int, activation: type[nn.Module], gain: float = 1.0, width: int = 64) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        nn.init.normal_(linear.weight, std=gain / sqrt(width))
        layers += [linear, activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: mlp(6, nn.ReLU, sqrt(2)),
    "sigmoid": lambda: mlp(6, nn.Sigmoid),
    "tanh": lambda: mlp(6, nn.Tanh, 5 / 3),
    "gelu exploding": lambda: mlp(6, nn.GELU, 6.0),
    "silu vanishing": lambda: mlp(6, nn.SiLU, 0.1),
    "layer norm": lambda: nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10)),
    "batch norm": lambda: nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_forecast_within_two_and_bounded(name: str) -> None:
    model, x = MODELS[name](), torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    analysis = analysed(model, x)
    F.cross_entropy(model(x), torch.arange(32) % 10).backward()  # type: ignore[no-untyped-call]  # torch's own signature
    for key, info in analysis.graph.params.items():
        gradient = model.get_parameter(key).grad
        assert gradient is not None
        assert analysis.flow.params[key].bound >= log10(float(gradient.norm()) + 1e-300) - 1e-9, "a bound was exceeded"
        if len(info.shape) == 2:
            forecast = analysis.flow.params[key].forecast
            assert forecast is not None
            assert abs(forecast - log10(float(gradient.pow(2).mean().sqrt()))) < log10(2), key


def test_sensitivity_does_not_depend_on_where_a_scale_stands() -> None:
    def sensitivities(c: float) -> list[float | None]:
        model = mlp(3, nn.ReLU, sqrt(2))
        with torch.no_grad():
            for layer, factor in ((model[0], c), (model[2], 1 / c)):  # type: ignore[index]  # a Sequential
                layer.weight *= factor
                layer.bias.zero_()
        analysis = analysed(model, torch.randn(16, 64, generator=torch.Generator().manual_seed(0)))
        return [analysis.flow.sensitivity(f"{i}.weight") for i in (0, 2, 4)]

    for one, other in zip(sensitivities(1.0), sensitivities(100.0), strict=True):
        assert one == pytest.approx(other, abs=0.02)


def test_a_zero_initialised_branch_is_transient() -> None:
    class ReZero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 64)
            self.scale = nn.Parameter(torch.zeros(1))
            self.head = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(x + self.scale * torch.relu(self.inner(x)))
            return y

    analysis = analysed(ReZero(), torch.randn(16, 64))
    assert analysis.flow.params["inner.weight"].forecast == NEVER
    assert analysis.later is not None
    assert (analysis.later.sensitivity("inner.weight") or NEVER) > -4


def test_two_zeros_on_one_branch_never_wake() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 64)
            nn.init.zeros_(self.inner.weight)
            nn.init.zeros_(self.inner.bias)
            self.scale = nn.Parameter(torch.zeros(1))
            self.head = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(x + self.scale * self.inner(x))
            return y

    analysis = analysed(Dead(), torch.randn(16, 64))
    assert analysis.flow.params["inner.weight"].forecast == NEVER
    assert analysis.later is None or analysis.later.params["inner.weight"].forecast == NEVER
