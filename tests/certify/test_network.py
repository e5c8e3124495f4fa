"""Bounds of whole networks: never below a gain that autograd finds, never above the product, exact where that is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netaudit.certify import Ball, Certified, Request, certify_subject
from netaudit.intake.subject import Subject
from netaudit.pack import installed

CATALOG = installed()
few = settings(max_examples=25, deadline=None, derandomize=True)
ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.Softplus, nn.ELU)


def certified(model: nn.Module, x: Tensor, *, ball: Ball | None = None, seconds: float = 0.2) -> Certified:
    subject = Subject("model", model, (x,), {}, x, "here")
    return certify_subject(subject, CATALOG, Request(ball=ball, seconds=seconds))


def gain(model: nn.Module, x: Tensor) -> float:
    """The norm of the Jacobian at a point, by autograd on the module itself."""
    jacobian = torch.autograd.functional.jacobian(model, x)  # type: ignore[no-untyped-call]  # torch's own signature
    return float(torch.linalg.matrix_norm(jacobian.reshape(-1, x.numel()).double(), 2))


class Residual(nn.Module):
    def __init__(self, body: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.body, self.scale = body, scale

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.scale * x + self.body(x)
        return y


class Branches(nn.Module):
    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x)[..., :2]], dim=-1)


def network(data: st.DataObject, width: int = 5) -> nn.Sequential:
    """Chains of layers, residual blocks, joined branches, normalisation, in random order."""
    torch.manual_seed(data.draw(st.integers(0, 999)))
    layers: list[nn.Module] = [nn.Linear(4, width)]
    for _ in range(data.draw(st.integers(1, 3))):
        activation = data.draw(st.sampled_from(ACTIVATIONS))
        kind = data.draw(st.sampled_from(("plain", "residual", "branches", "norm", "batch", "square")))
        if kind == "plain":
            layers += [activation(), nn.Linear(width, width)]
        elif kind == "residual":
            body = nn.Sequential(nn.Linear(width, 7), activation(), nn.Linear(7, width))
            layers.append(Residual(body, data.draw(st.sampled_from((1.0, -0.5, 5.0)))))
        elif kind == "branches":
            layers += [Branches(nn.Sequential(nn.Linear(width, 3), activation()), nn.Linear(width, 4)), nn.Linear(5, width)]
        elif kind == "norm":
            layers += [nn.LayerNorm(width, eps=0.1), activation()]
        elif kind == "batch":
            layers += [nn.BatchNorm1d(width), activation(), nn.Dropout(0.5)]
        else:
            layers += [nn.Tanh(), _Squared()]
    return nn.Sequential(*layers, nn.Linear(width, 3)).double().eval()


class _Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


@few
@given(st.data())
def test_no_gain_exceeds_the_global_bound(data: st.DataObject) -> None:
    model = network(data)
    found = certified(model, torch.zeros(1, 4, dtype=torch.float64))
    found_gain = max(
        gain(model, scale * torch.randn(1, 4, dtype=torch.float64)) for scale in (0.0, 0.1, 0.5, 1.0, 3.0, 10.0) for _ in range(8)
    )
    assert found_gain <= 10.0**found.bound.log10 * (1 + 1e-9)
    assert found.bound.log10 <= found.bound.composition + 1e-9
    assert found.measured <= found.bound.log10


@few
@given(st.data(), st.sampled_from(("l2", "linf")), st.sampled_from((0.01, 0.2, 1.0)))
def test_no_gain_in_the_ball_exceeds_the_local_bound(data: st.DataObject, norm: str, radius: float) -> None:
    model = network(data)
    x = torch.randn(1, 4, dtype=torch.float64)
    found = certified(model, x, ball=Ball(radius, norm))  # type: ignore[arg-type]  # one of the two norms
    assert found.local is not None
    for _ in range(40):
        step = torch.randn(1, 4, dtype=torch.float64)
        step = step.sign() if norm == "linf" else step / step.norm()
        assert gain(model, x + radius * step * torch.rand(())) <= 10.0**found.local.log10 * (1 + 1e-9)
    assert found.local_measured is not None
    assert found.local_measured <= found.local.log10


def test_the_bound_of_a_linear_network_is_its_norm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3)).double()
    found = certified(model, torch.randn(1, 6).double())
    truth = torch.linalg.matrix_norm(model[2].weight @ model[1].weight @ model[0].weight, 2)  # type: ignore[operator]  # linear layers
    assert 10.0**found.bound.log10 == pytest.approx(float(truth.detach()), rel=1e-6)


def test_a_small_relu_network_comes_close_to_the_largest_gain_of_all_patterns() -> None:
    """One hidden layer: the sup over activation patterns is a maximum over 2^n sign masks, an upper bound of the truth."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    first, last = model[0].weight, model[2].weight
    assert isinstance(first, Tensor)
    assert isinstance(last, Tensor)
    masks = (torch.tensor(m, dtype=torch.float64) for m in itertools.product((0.0, 1.0), repeat=8))
    largest = max(float(torch.linalg.matrix_norm(last @ (mask[:, None] * first), 2)) for mask in masks)
    found = 10.0 ** certified(model, torch.randn(1, 3).double(), seconds=2.0).bound.log10
    assert largest * (1 - 1e-9) <= found <= 1.05 * largest


def test_a_residual_through_a_walker_of_linear_layers_is_not_missed() -> None:
    """A tool that multiplies the norms of ``modules()`` says less than 1 where the truth is above 4."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    for layer in (body[0], body[2]):
        with torch.no_grad():
            layer.weight.mul_(0.5 / torch.linalg.matrix_norm(layer.weight, 2))  # type: ignore[operator]  # linear layers
    found = certified(Residual(body, 5.0).double(), torch.randn(1, 6).double(), seconds=5.0).bound
    assert math.log10(4.5) < found.log10 <= math.log10(5.25) + 1e-9


def test_convolutions_keep_their_zero_padding() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, 2, 1), nn.ReLU(), nn.Conv2d(3, 2, 3, 1, 1), nn.Flatten(), nn.Linear(32, 3)).double()
    x = torch.randn(1, 1, 8, 8).double()
    found = certified(model, x, seconds=1.0)
    assert [s.method for s in found.bound.segments] == ["certificate"]
    largest = max(gain(model, scale * torch.randn(1, 1, 8, 8).double()) for scale in (0.3, 1.0, 3.0) for _ in range(10))
    assert largest <= 10.0**found.bound.log10 <= 3.0 * largest


class _Jumps(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x + 1.0, x)


class _Rounds(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.round(x) * 0.5


class _Hides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3.0 * x.detach()


@pytest.mark.parametrize("model", [_Jumps(), _Rounds()])
def test_what_jumps_has_no_lipschitz_constant(model: nn.Module) -> None:
    found = certified(model, torch.randn(1, 4).double()).bound
    assert math.isinf(found.log10)
    assert "not continuous" in found.notes[0]


def test_detach_hides_a_path_from_autograd_but_not_from_the_function() -> None:
    assert certified(_Hides(), torch.randn(1, 4).double()).bound.log10 == pytest.approx(math.log10(3.0), abs=1e-6)


def test_log_softmax_and_overlapping_pools_are_not_taken_for_contractions() -> None:
    log_softmax = certified(nn.LogSoftmax(-1), torch.randn(1, 6).double()).bound.log10
    assert math.log10(gain(nn.LogSoftmax(-1), torch.tensor([[30.0, 0, 0, 0, 0, 0]]).double())) <= log_softmax
    pool = nn.MaxPool1d(3, 1)
    spike = torch.tensor([[[0.0, 0, 5, 0, 0]]]).double()
    assert gain(pool, spike) == pytest.approx(math.sqrt(3.0))
    assert certified(pool, spike).bound.log10 >= math.log10(math.sqrt(3.0)) - 1e-12


class _PreNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        y: Tensor = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return y


def test_attention_after_a_norm_has_a_finite_constant_and_alone_it_has_none() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 5, 8).double()
    block = certified(nn.Sequential(_PreNorm(), _PreNorm()).double(), x)
    assert math.isfinite(block.bound.log10)
    assert block.measured <= block.bound.log10

    class Bare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    assert math.isinf(certified(Bare(), x).bound.log10)
    near = certified(Bare(), x, ball=Ball(0.1)).local
    assert near is not None
    assert math.isfinite(near.log10)


def test_depth_does_not_underflow() -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(60) for m in (nn.Linear(8, 8), nn.Sigmoid())]
    found = certified(nn.Sequential(*layers).double(), torch.randn(1, 8).double(), seconds=0.5).bound
    assert -200 < found.log10 < found.composition < -20


def test_one_sample_stands_for_the_batch() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).double()
    found = certified(model, torch.randn(16, 4).double())
    assert found.inputs[0][2] == (1, 4)
    assert any("one sample" in note for note in found.notes)


class _Fills(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.tril(F.pad(x, (1, 1)).reshape(2, 3))
        return torch.slice_scatter(y, torch.full((1, 3), 0.3, dtype=x.dtype), 0, 1, 2)


def test_an_entry_that_is_filled_in_is_not_taken_for_one_that_is_moved() -> None:
    model = nn.Sequential(_Fills(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    x = torch.randn(1, 4).double()
    found = certified(model, x, ball=Ball(0.5))
    assert found.local is not None
    for scale in (0.1, 1.0, 10.0):
        assert gain(model, scale * torch.randn(1, 4).double()) <= 10.0**found.bound.log10 * (1 + 1e-9)
    for _ in range(20):
        step = torch.randn(1, 4).double()
        assert gain(model, x + 0.5 * step / step.norm()) <= 10.0**found.local.log10 * (1 + 1e-9)


@pytest.mark.parametrize(
    "selects", [nn.MaxPool1d(2), nn.MaxPool1d(3, 1), nn.AdaptiveMaxPool1d(2), nn.AvgPool1d(3, 1)], ids=lambda m: type(m).__name__
)
def test_pooling_inside_a_network(selects: nn.Module) -> None:
    """What is selected depends on the values: a maximum is not linear, whatever it does at one point."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 3, 3, padding=1), nn.ReLU(), selects, nn.Conv1d(3, 2, 2), nn.Tanh()).double()
    found = certified(model, torch.randn(1, 1, 8).double(), ball=Ball(0.5))
    assert found.local is not None
    points = [scale * torch.randn(1, 1, 8).double() for scale in (0.1, 1.0, 10.0) for _ in range(30)]
    assert max(gain(model, p) for p in points) <= 10.0**found.bound.log10 * (1 + 1e-9)
    kinds = {node.name: node.kind for node in found.bound.nodes}
    assert ("max_pool1d" in kinds and kinds["max_pool1d"] == "norm") or not isinstance(selects, nn.MaxPool1d)


class _Sorts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.sort(-1).values, x.cummax(-1).values, x.amax(-1, keepdim=True), x.abs().topk(2, -1).values], -1)


def test_sorting_inside_a_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), _Sorts(), nn.Linear(13, 3), nn.ReLU(), nn.Linear(3, 3)).double()
    found = certified(model, torch.randn(1, 4).double())
    points = [scale * torch.randn(1, 4).double() for scale in (0.1, 1.0, 10.0) for _ in range(40)]
    assert max(gain(model, p) for p in points) <= 10.0**found.bound.log10 * (1 + 1e-9)


class _Cosine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.normalize(self.weight))


def test_a_weight_that_is_normalised_on_the_way_is_measured_as_it_is_used() -> None:
    torch.manual_seed(0)
    model = _Cosine().eval()
    norm = float(torch.linalg.matrix_norm(F.normalize(model.weight.double()), 2))
    assert 10.0 ** certified(model, torch.randn(1, 8)).bound.log10 == pytest.approx(norm, rel=1e-3)


def test_what_only_moves_entries_has_exactly_one() -> None:
    found = certified(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 1800))), torch.randn(1, 3600))  # too large for a matrix
    assert {node.by for node in found.bound.nodes} == {"composition"}
    assert found.bound.log10 == 0.0
