"""What is measured of a tensor: against float64 and explicit matrices, in one pass, and without waiting for a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from math import inf, isnan, nan, sqrt
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.probe import sizes
from netaudit.probe.heads import cotangents
from netaudit.probe.linear import TILE, signs, typical_gain
from netaudit.probe.machine import Machine, machine_of, sweep
from netaudit.probe.sizes import Gauge, Sizes, norm


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-44, 38),
    st.integers(0, 40),
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64]),
    st.booleans(),
)
def test_a_norm_is_that_of_float64_whatever_the_size_of_the_entries(exponent: int, count: int, dtype: torch.dtype, far: bool) -> None:
    real = torch.randn(count, 2, generator=torch.Generator().manual_seed(count), dtype=torch.float64) * 10.0**exponent
    x = (torch.view_as_complex(real) if dtype.is_complex else real).to(dtype)
    parts = torch.view_as_real(x) if dtype.is_complex else x
    truth = float(parts.double().norm())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "is_far", lambda x: far)
        found = norm(x)
    half = parts.element_size() < 4
    assert found == pytest.approx(truth, rel=1e-3 if half else 1e-5) or (truth == inf and found == inf)  # inf: the format overflows


@pytest.mark.parametrize("entries", [(1.0, nan), (nan, inf), (-inf, 0.0), (1e300, inf)])
def test_a_norm_is_finite_exactly_if_the_entries_are(entries: tuple[float, ...]) -> None:
    assert not norm(torch.tensor(entries, dtype=torch.float64)) < inf
    assert norm(torch.full((9,), 1.7e308, dtype=torch.float64)) < inf  # although it overflows


def test_random_signs_are_signs_and_copies_of_their_tile_are_independent() -> None:
    """The mean of n signs is below ``4 / sqrt(n)``; so is that of the products of one tile with the next, and of two draws."""
    n = 2 * TILE + 5
    one, two = (signs(torch.empty(n), 3, draw) for draw in (0, 1))
    assert torch.equal(one.abs(), torch.ones(n))
    assert abs(float((one * two).mean())) < 4.0 / sqrt(n)
    flips = [float(signs(torch.empty(n), 0, draw)[0] * signs(torch.empty(n), 0, draw)[TILE]) for draw in range(64)]
    assert abs(sum(flips)) <= 4.0 * sqrt(64)
    assert torch.equal(one, signs(torch.empty(n), 3, 0))


def test_signs_give_the_typical_gain() -> None:
    matrix = torch.randn(30, 20, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    squares = [norm(matrix.T @ signs(matrix[:, 0], 0, draw)) ** 2 for draw in range(400)]
    found = typical_gain(squares, 30)
    truth = float(torch.linalg.matrix_norm(matrix)) / sqrt(30)
    assert abs(found.gain - truth) <= 4.0 * found.error * truth


# a whole run ------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Permuted values, exact zeros, a sum, two results of one call."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(6, 12)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.lin(x).relu().chunk(2, -1)
        out: Tensor = self.norm((a.transpose(1, 2).softmax(-1).transpose(1, 2) * b + x).tanh())
        return out


def _machine() -> Machine:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6)
    subject = Subject("block", Block(), (x,), {}, x, "test")
    return machine_of(lower(trace(subject), subject), torch.device("cpu"))


def _seen(machine: Machine, samples: int = 2) -> Sizes:
    watch = Gauge(samples)
    sweep(machine, cotangents(machine, 0), watch)
    return watch.read()


class Looking(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's stub
    """Counts the numbers that are taken out of tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's stub
        self.looks = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.looks += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_sweep_looks_at_no_number_of_a_device_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _machine()
    here = _seen(machine)
    monkeypatch.setattr(sizes, "is_far", lambda x: True)
    watch = Gauge(2)
    heads = cotangents(machine, 0)
    with Looking() as seen:
        sweep(machine, heads, watch)
    assert seen.looks == 0
    for one, other in ((asdict(here)[key], asdict(watch.read())[key]) for key in ("values", "extents", "gradients", "pulls")):
        assert one.keys() == other.keys()
        assert _numbers(one) == pytest.approx(_numbers(other), rel=1e-5, abs=1e-9)


def _numbers(tree: object) -> list[float]:
    if isinstance(tree, dict):
        return [number for value in tree.values() for number in _numbers(value)]
    if isinstance(tree, (tuple, list)):
        return [number for value in tree for number in _numbers(value)]
    return [float(tree)]  # type: ignore[arg-type]  # numbers are all that is left


def test_extents_are_those_of_the_values() -> None:
    """Against the same calls run once more by a watch that keeps them."""
    machine, kept = _machine(), {}

    class Kept(Gauge):
        def value(self, node: Any, value: Tensor) -> None:
            kept[node.name] = value.clone()

    sweep(machine, cotangents(machine, 0), Kept())
    found = _seen(machine)
    assert found.extents.keys() == kept.keys()
    assert any(0.2 < one.zeros < 0.8 for one in found.extents.values())
    for name, value in kept.items():
        extent = found.extents[name]
        assert (extent.least, extent.most) == (float(value.min()), float(value.max()))
        assert extent.zeros == pytest.approx(int((value == 0).sum()) / value.numel())
        assert found.values[name].norm == pytest.approx(float(value.double().norm()), rel=1e-5)


@pytest.mark.parametrize("function", [torch.relu, torch.abs, lambda x: x.cumsum(0)], ids=["relu", "abs", "cumsum"])
def test_the_typical_gain_of_a_call_is_that_of_its_jacobian(function: Callable[[Tensor], Tensor]) -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    torch.manual_seed(0)
    x = torch.randn(40)
    subject = Subject("one", Model(), (x,), {}, x, "test")
    machine = machine_of(lower(trace(subject), subject), torch.device("cpu"))
    (pulls,) = _seen(machine, 300).pulls.values()
    (pull,) = pulls.values()
    found = typical_gain(list(pull.squares), pull.outputs)
    explicit = torch.autograd.functional.jacobian(function, x)  # type: ignore[no-untyped-call]  # torch's stub
    assert found.gain == pytest.approx(float(explicit.norm()) / sqrt(40), rel=max(4.0 * found.error, 1e-5))
    assert pull.ratio <= float(torch.linalg.matrix_norm(explicit, 2)) * (1.0 + 1e-5)


def test_what_is_not_a_number_is_said_as_such() -> None:
    assert isnan(sizes.log(norm(torch.tensor([nan]))))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_sees_what_the_cpu_sees_and_is_never_waited_for() -> None:
    device = torch.device("cuda")
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6)
    subject = Subject("block", Block(), (x,), {}, x, "test")
    machine = machine_of(lower(trace(subject), subject), device)
    here, heads, watch = _machine(), cotangents(machine, 0), Gauge(2)
    sweep(machine, heads, Gauge(2))  # what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        sweep(machine, heads, watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    start = {name: head.cpu() for name, head in heads.items()}  # each device has random numbers of its own
    truth = Gauge(2)
    sweep(here, start, truth)
    for key in ("values", "extents", "gradients", "pulls"):
        one, other = asdict(truth.read())[key], asdict(watch.read())[key]
        assert one.keys() == other.keys()
        assert _numbers(one) == pytest.approx(_numbers(other), rel=1e-3, abs=1e-6)
