"""Along a path: the shortest run against enumeration, gains and shares against autograd on wide nets."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log10

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from netaudit.audit import Analysis, Settings, analyse
from netaudit.claims import FORECAST_ERROR
from netaudit.intake.subject import Subject
from netaudit.pack import installed
from netaudit.paths import backward_run, blocks, change_of, forward_path, forward_run, gains, share, shortest_run

CHANGES = st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=1, max_size=14)


def best_by_enumeration(changes: Sequence[float], part: float) -> tuple[int, float]:
    total = sum(changes)
    sign = 1.0 if total > 0 else -1.0
    windows = [(j - i, -sign * sum(changes[i:j])) for i in range(len(changes)) for j in range(i + 1, len(changes) + 1)]
    length, negative = min((length, found) for length, found in windows if -found >= part * abs(total) - 1e-9)
    return length, -negative


@settings(max_examples=300, deadline=None, derandomize=True)
@given(CHANGES.filter(lambda changes: sum(changes) != 0), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_the_shortest_run_is_the_one_found_by_trying_all(changes: list[float], part: float) -> None:
    start, stop = shortest_run(changes, part)
    length, found = best_by_enumeration(changes, part)
    assert stop - start == length
    assert abs(sum(changes[start:stop])) == pytest.approx(found)


def test_a_single_cause_is_a_single_node() -> None:
    assert shortest_run([-0.1, 0.1, -5.0, -0.1, 0.1]) == (2, 3)
    assert shortest_run([0.0, -inf, 0.0]) == (1, 2)
    assert shortest_run([-1.0] * 10) in [(0, 9), (1, 10)]


# models -----------------------------------------------------------------------------------------------------------------

ROWS, WIDTH, DEPTH = 64, 512, 6


def cross_entropy(model: nn.Module, inputs: object) -> Tensor:
    output: Tensor = model(inputs)
    return F.cross_entropy(output, torch.arange(len(output)) % output.shape[1])


def analysed(model: nn.Module) -> tuple[Analysis, Tensor]:
    x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))
    return analyse(Subject("test", model, (x,), {}, x, "test", loss=cross_entropy), installed(), Settings()), x


class Deep(nn.Module):
    """Sigmoid or tanh layers in series, or around them a residual."""

    def __init__(self, activation: type[nn.Module], *, residual: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.residual = residual
        self.body = nn.ModuleList([nn.Sequential(nn.Linear(WIDTH, WIDTH), activation()) for _ in range(DEPTH)])
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.body:
            x = x + block(x) if self.residual else block(x)
        result: Tensor = self.head(x)
        return result


def measured(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, float]:
    """log10 of the l2 norm of the gradient at the outputs of modules, by autograd."""
    outputs: dict[str, Tensor] = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: outputs.update({name: out}))
    value = cross_entropy(model, x)
    found = torch.autograd.grad(value, [outputs[name] for name in names])
    return {name: log10(float(g.norm())) for name, g in zip(names, found, strict=True)}


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh, nn.ReLU])
def test_gains_are_those_that_autograd_measures(activation: type[nn.Module]) -> None:
    model = Deep(activation)
    analysis, x = analysed(model)
    path = analysis.flow.path("p_model_body_0_0_weight")[1:]
    rows = {row.label: row for row in gains(analysis.flow, path) if row.place == "body.*.*"}
    names = [f"body.{i}.{j}" for i in range(DEPTH) for j in (0, 1)] + ["head"]
    real = measured(model, x, names)
    for row in rows.values():
        for module, gain in zip(row.modules, row.backward, strict=True):
            before = names[names.index(module) - 1]
            assert gain == pytest.approx(20 * (real[before] - real[module]), abs=1.0), module  # widths of 512: a few per cent
    assert {label: len(row.modules) for label, row in rows.items()} == {activation.__name__: DEPTH, "Linear": DEPTH - 1}


@pytest.mark.parametrize("residual", [False, True])
def test_gains_add_up_to_the_change_along_the_path(residual: bool) -> None:
    analysis, _ = analysed(Deep(nn.Tanh, residual=residual))
    path = analysis.flow.path("p_model_body_0_0_weight")[1:]
    total = change_of([gain for row in gains(analysis.flow, path) for gain in row.backward])
    first, last = analysis.flow.norm(path[0]), analysis.flow.norm(path[-1])
    assert first is not None
    assert last is not None
    assert total == pytest.approx(20 * (first - last))


def test_the_share_of_a_path_is_the_energy_that_it_carries() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 64), nn.Linear(WIDTH, 64)
            nn.init.normal_(self.a.weight, std=0.05)
            nn.init.normal_(self.b.weight, std=0.02)
            self.head = nn.Linear(64, 10)

        def forward(self, x: Tensor, only: str = "ab") -> Tensor:
            h = self.stem(x)
            parts = [layer(h if name in only else h.detach()) for name, layer in (("a", self.a), ("b", self.b))]
            result: Tensor = self.head(parts[0] + parts[1])
            return result

    model = Two()
    analysis, x = analysed(model)
    energies = []
    for only in "ab":
        (g,) = torch.autograd.grad(F.cross_entropy(model(x, only), torch.arange(ROWS) % 10), model.stem.weight)
        energies.append(float(g.square().sum()))
    path = analysis.flow.path("p_model_stem_weight")
    assert "linear_1" in path
    assert share(analysis.flow, path) == pytest.approx(energies[0] / sum(energies), abs=0.02)


def test_a_path_without_branches_carries_everything() -> None:
    analysis, _ = analysed(Deep(nn.Tanh))
    assert share(analysis.flow, analysis.flow.path("p_model_body_0_0_weight")) == pytest.approx(1.0)


def test_blocks_are_the_modules_of_a_path_in_its_order() -> None:
    analysis, _ = analysed(Deep(nn.Tanh))
    path = analysis.flow.path("p_model_body_4_0_weight")[1:]
    assert [block.module for block in blocks(analysis.facts, path)] == ["body.4.0", "body.4.1", "body.5.0", "body.5.1", "head", ""]


def test_one_tiny_layer_is_the_whole_run() -> None:
    model = Deep(nn.Tanh)
    with torch.no_grad():
        model.body[4][0].weight *= 1e-5  # type: ignore[index]  # a Sequential
    analysis, _ = analysed(model)
    run = backward_run(analysis.flow, analysis.flow.path("p_model_body_3_0_weight")[1:])
    assert run is not None
    assert [analysis.facts.nodes[name].where.module for name in run.nodes] == ["body.4.0"]


def test_activations_are_followed_to_what_makes_them_large() -> None:
    class Doubling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inp = nn.Linear(WIDTH, 64)
            self.blocks = nn.ModuleList([nn.Linear(64, 64) for _ in range(12)])
            self.head = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.inp(x)
            for block in self.blocks:
                x = 3 * x + torch.relu(block(x))
            result: Tensor = self.head(x)
            return result

    analysis, _ = analysed(Doubling())
    call = analysis.flow.path("p_model_head_weight")[1]
    operand = analysis.facts.nodes[call].operands[0]
    assert isinstance(operand, str)
    path = forward_path(analysis.facts, operand)
    assert analysis.facts.nodes[path[0]].op == "input"
    run = forward_run(analysis.facts, path)
    assert run is not None
    assert run.change == pytest.approx(run.total, rel=0.1 + 1e-9)
    assert run.total > 12 * log10(3) - 1
    assert all(analysis.facts.nodes[name].op in ("aten.mul", "aten.add") for name in run.nodes)


def test_the_size_at_the_end_of_a_forward_path_is_what_it_adds_up_to() -> None:
    analysis, _ = analysed(Deep(nn.ReLU, residual=True))
    path = forward_path(analysis.facts, "linear_3")
    run = forward_run(analysis.facts, path)
    moments = analysis.facts.signals["linear_3"].moments
    assert run is not None
    assert moments is not None
    assert run.total == pytest.approx(0.5 * log10(moments.mean_square))
    assert abs(run.total) < 2 + FORECAST_ERROR
