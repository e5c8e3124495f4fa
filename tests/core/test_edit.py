"""Changes made in a graph are those that the same change of the model's code makes: forecasts of both agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netaudit.audit import Analysis, Settings, analyse
from netaudit.change import Change, Normalised, Removed, Replaced, Rescaled, Residual, ScaledBranch, WithArg
from netaudit.edit import edited
from netaudit.errors import EditError
from netaudit.facts import derive
from netaudit.flow import Flow, flow
from netaudit.intake.subject import Subject
from netaudit.pack import installed

WIDTH = 32


class Net(nn.Module):
    """Three layers; ``how`` says how one is written."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(3)])
        self.norm = nn.LayerNorm(WIDTH, eps=1e-3 if how == "eps" else 1e-6)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            y = torch.relu(layer(x)) if self.how == "relu" else torch.sigmoid(layer(x))
            if self.how == "normalised":
                y = F.layer_norm(y, (WIDTH,))
            elif self.how == "scaled":
                y = 0.25 * y
            elif self.how == "residual":
                y = y + x
            x = y if i or self.how == "removed" else 3.0 * y
        result: Tensor = self.head(self.norm(x))
        return result


class Images(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = self.second(x)
        if self.how == "normalised":
            x = F.batch_norm(x, None, None, training=True)
        return torch.relu(x).mean((2, 3))


def loss(model: nn.Module, inputs: object) -> Tensor:
    output: Tensor = model(inputs)
    return F.cross_entropy(output, torch.arange(len(output)) % output.shape[1])


def analysed(model: nn.Module, *shape: int) -> Analysis:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return analyse(Subject("test", model, (x,), {}, x, "test", loss=loss), installed(), Settings())


def after(analysis: Analysis, *changes: Change) -> Flow:
    graph, leaves = edited(analysis.graph, analysis.leaves, changes)
    return flow(derive(graph, leaves, installed()))


SIGMOIDS, LINEAR = ("sigmoid", "sigmoid_1", "sigmoid_2"), ("linear", "linear_1", "linear_2")
CHANGES: dict[str, tuple[Callable[[str], nn.Module], tuple[int, ...], Sequence[Change]]] = {
    "relu": (Net, (16, WIDTH), [Replaced(SIGMOIDS, "aten.relu")]),
    "normalised": (Net, (16, WIDTH), [Normalised(SIGMOIDS)]),
    "scaled": (Net, (16, WIDTH), [ScaledBranch(SIGMOIDS, 0.25)]),
    "residual": (Net, (16, WIDTH), [Residual((("x", "sigmoid"), ("mul", "sigmoid_1"), ("sigmoid_1", "sigmoid_2")))]),
    "removed": (Net, (16, WIDTH), [Removed(("mul",))]),
    "eps": (Net, (16, WIDTH), [WithArg(("layer_norm",), "eps", 1e-3)]),
}


def assert_same(one: Flow, other: Flow, within: float = 1e-9) -> None:
    assert one.params.keys() == other.params.keys()
    for name in one.params:
        assert one.params[name].forecast == pytest.approx(other.params[name].forecast, abs=within), name
        assert one.sensitivity(name) == pytest.approx(other.sensitivity(name), abs=within), name


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_of_the_graph_is_the_change_of_the_code(how: str) -> None:
    make, shape, changes = CHANGES[how]
    assert_same(after(analysed(make("plain"), *shape), *changes), analysed(make(how), *shape).flow)


def test_channels_are_normalised_over_the_batch() -> None:
    shape = (4, 3, 8, 8)
    assert_same(
        after(analysed(Images("plain"), *shape), Normalised(("conv2d_1",), "channels")), analysed(Images("normalised"), *shape).flow
    )


def test_several_changes_meet_at_one_call() -> None:
    class Both(Net):
        def forward(self, x: Tensor) -> Tensor:
            for i, layer in enumerate(self.layers):
                y = F.layer_norm(torch.relu(layer(x)), (WIDTH,)) + x
                x = y if i else 3.0 * y
            result: Tensor = self.head(self.norm(x))
            return result

    pairs = (("x", "sigmoid"), ("mul", "sigmoid_1"), ("sigmoid_1", "sigmoid_2"))
    found = after(analysed(Net("plain"), 16, WIDTH), Replaced(SIGMOIDS, "aten.relu"), Normalised(SIGMOIDS), Residual(pairs))
    assert_same(found, analysed(Both("plain"), 16, WIDTH).flow)


def test_new_weights_have_the_size_that_they_are_given() -> None:
    names = tuple(f"layers.{i}.weight" for i in range(3))
    found = after(analysed(Net("plain"), 16, WIDTH), Rescaled(names, (sqrt(2 / WIDTH),) * 3))
    model = Net("plain")
    for layer in model.layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]  # a Linear's weight
    assert_same(found, analysed(model, 16, WIDTH).flow, within=0.1)  # 1024 entries: their RMS is good to 2 %, its products to 10 %


def test_a_removed_output_is_the_output_of_what_is_before_it() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(WIDTH, 10)

        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(self.head(x), 1)

    analysis = analysed(Head(), 16, WIDTH)
    graph, _ = edited(analysis.graph, analysis.leaves, [Removed(("softmax",))])
    assert graph.outputs == ("linear",)
    assert "softmax" not in graph.by_name()


def test_nothing_changes_without_changes() -> None:
    analysis = analysed(Net("plain"), 16, WIDTH)
    graph, leaves = edited(analysis.graph, analysis.leaves, [])
    assert graph == analysis.graph
    assert leaves.signals.keys() == analysis.leaves.signals.keys()
    assert leaves.norms == analysis.leaves.norms


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Removed(("sigmod",)), "did you mean 'sigmoid'?"),
        (Rescaled(("layers.0.wight",), (1.0,)), "did you mean 'layers.0.weight'?"),
        (Removed(("x",)), "cannot be left out"),
        (Residual((("x", "linear_3"),)), "different shapes"),
        (Normalised(("cross_entropy_loss",)), "is a scalar"),
    ],
)
def test_what_cannot_be_changed_is_said(change: Change, words: str) -> None:
    analysis = analysed(Net("plain"), 16, WIDTH)
    with pytest.raises(EditError) as error:
        edited(analysis.graph, analysis.leaves, [change])
    assert words in f"{error.value.message} {error.value.hint}"
