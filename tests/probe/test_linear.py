"""Linear maps known by their products: against explicit matrices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netaudit.probe.linear import TOLERANCE, jacobian, largest_gain, noise, typical_gain

ROUNDING = 1e-9


def _matrix(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_the_largest_gain_of_a_matrix_is_a_lower_bound_and_where_it_stops_a_singular_value(rows: int, columns: int, seed: int) -> None:
    """Of a start that happens to be nearly orthogonal to the largest, it may be the next one (rows 12, columns 5, seed 390)."""
    matrix = _matrix(rows, columns, seed)
    values = torch.linalg.svdvals(matrix)
    truth = float(values[0])
    found = largest_gain(jacobian(lambda x: matrix @ x, torch.zeros(columns, dtype=torch.float64)), pairs=20, seed=seed)
    assert found.gain <= truth * (1.0 + ROUNDING)
    assert not found.converged or float((values - found.gain).abs().min()) <= TOLERANCE * found.gain + ROUNDING


def test_each_step_grows_and_a_gap_is_found_soon() -> None:
    left, right = (torch.linalg.qr(_matrix(200, 200, seed))[0] for seed in (1, 2))
    values = torch.linspace(1.0, 2.0, 200, dtype=torch.float64)
    linear = jacobian(lambda x: left @ (values * (right @ x)), torch.zeros(200, dtype=torch.float64))
    gains = [largest_gain(linear, pairs=pairs).gain for pairs in (1, 2, 5, 10, 20)]
    assert gains == sorted(gains)
    assert 0.99 * 2.0 <= gains[-1] <= 2.0 * (1.0 + ROUNDING)


@pytest.mark.parametrize(
    "function",
    [torch.tanh, lambda x: x**3, lambda x: torch.softmax(x, -1), lambda x: x[:2], nn.functional.gelu, torch.zeros_like],
    ids=["tanh", "cube", "softmax", "slice", "gelu", "zero"],
)
def test_products_are_those_of_the_explicit_jacobian(function: Callable[[Tensor], Tensor]) -> None:
    x = _matrix(1, 5, 3)[0]
    linear = jacobian(function, x)
    explicit = torch.autograd.functional.jacobian(function, x)  # type: ignore[no-untyped-call]  # torch's stub
    v, u = _matrix(1, 5, 4)[0], noise(linear.value, 5)
    assert torch.allclose(linear.forth(v), explicit @ v)
    assert torch.allclose(linear.back(u), explicit.T @ u)


def test_a_jacobian_is_the_one_that_backward_uses() -> None:
    """The row of a padding index gets no gradient, although the value depends on it."""
    indices = torch.tensor([0, 0, 0, 1])
    linear = jacobian(lambda w: nn.functional.embedding(indices, w, padding_idx=0), torch.ones(2, 3, dtype=torch.float64))
    assert largest_gain(linear).gain == pytest.approx(1.0)


def test_the_typical_gain_is_the_frobenius_norm_over_the_root_of_the_outputs() -> None:
    matrix = _matrix(30, 20, 6)
    draws = 400
    squares = [float((matrix.T @ _matrix(1, 30, 100 + i)[0]).square().sum()) for i in range(draws)]
    found = typical_gain(squares, 30)
    truth = float(torch.linalg.matrix_norm(matrix)) / 30**0.5
    assert abs(found.gain - truth) <= 4.0 * found.error * truth
    assert found.error < 0.05


def test_what_is_not_finite_is_no_gain() -> None:
    found = largest_gain(jacobian(torch.sqrt, torch.zeros(3, dtype=torch.float64)))
    assert not found.gain < float("inf")
