"""Gradients that are not independent of the value they are multiplied with: against samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.moments import Cotangent, Var, constant, cotangent, from_array, independent, of, record
from netaudit.moments.cotangent import Euler
from netaudit.moments.kernels import summed
from netaudit.moments.normalise import centred

ROWS, COLUMNS = 50, 4000


def relu(v: Var) -> Var:
    return v.apply(lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64))


def cotangents(rng: np.random.Generator, share: float) -> tuple[np.ndarray, Cotangent]:
    """Gradients that agree in a part over rows, and their exact moments."""
    drawn = np.sqrt(share) * rng.standard_normal((1, COLUMNS)) + np.sqrt(1 - share) * rng.standard_normal((ROWS, COLUMNS))
    parts = of(independent((ROWS, COLUMNS), 1.0 - share)), of(independent((1, COLUMNS), share))
    return drawn, cotangent(record(lambda a, b: a + b, *parts).out.kernel)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(share=st.floats(0.0, 1.0), scale=st.floats(0.5, 2.0), shift=st.floats(-0.5, 0.5))
def test_the_gradient_of_a_scale_in_front_of_relu(share: float, scale: float, shift: float) -> None:
    """``d/dgamma sum G relu(gamma x + beta) = sum G x [gamma x + beta > 0]``: ``x`` has a mean where relu lets it through."""
    rng = np.random.default_rng(0)
    x, (g, modelled) = rng.standard_normal((ROWS, COLUMNS)), cotangents(rng, share)
    found = record(
        lambda a, s, t: relu(a * s + t), of(independent((ROWS, COLUMNS))), of(constant((COLUMNS,), scale)), of(constant((COLUMNS,), shift))
    ).pull(modelled)
    slack = 4 * np.sqrt(2 / COLUMNS) + 0.01  # of a mean of squares over columns; the grid's step
    truth = (g * x * (scale * x + shift > 0)).sum(0)
    assert found[1] is not None
    assert found[1].mean_square == pytest.approx(float((truth**2).mean()), rel=slack)
    back = scale * g * (scale * x + shift > 0)
    assert found[0] is not None
    assert found[0].mean_square == pytest.approx(float((back**2).mean()), rel=slack)


def test_a_scale_that_differs_by_channel_is_a_product_of_independent_tensors() -> None:
    rng = np.random.default_rng(0)
    gamma = rng.standard_normal(COLUMNS)
    out = record(lambda a, s: a * s, of(independent((ROWS, COLUMNS), 2.0)), of(from_array(gamma))).out
    assert out.mean_square == pytest.approx(2.0 * float((gamma**2).mean()))
    assert out.own_curve is None


@pytest.mark.parametrize("window", [2, 4])
def test_a_gradient_that_sums_to_zero_over_windows_still_does_in_front_of_a_maximum(window: int) -> None:
    """And behind relu, where windows without a positive entry send nothing on: ``P = 2^-window`` of them."""
    rng = np.random.default_rng(0)
    windows = 32
    x = rng.standard_normal((COLUMNS, windows, window))
    g = rng.standard_normal((COLUMNS, windows))
    g -= g.mean(1, keepdims=True)
    zero_sum = cotangent(centred(independent((COLUMNS, windows)), (1,)))
    model = record(lambda a: a.pool_max([1], window, [windows]), of(independent((COLUMNS, windows * window))))
    back = model.pull(zero_sum)[0]
    assert back is not None
    assert back.mean_square == pytest.approx(float((g**2).mean()) / window, rel=0.05)
    assert summed(back.kernel, (1,)).mean_square == pytest.approx(0.0, abs=1e-9)
    rectified = record(lambda a: relu(a).pool_max([1], window, [windows]), of(independent((COLUMNS, windows * window))))
    back = rectified.pull(zero_sum)[0]
    assert back is not None
    sums = (g * (x.max(2) > 0)).sum(1)
    assert summed(back.kernel, (1,)).mean_square == pytest.approx(float((sums**2).mean()), rel=0.1)


def test_a_gate_that_hardly_varies_keeps_what_a_maximum_selects() -> None:
    """``max(relu(x) s)`` over windows, s by channel: what is selected has passed the relu, and gets the whole gradient."""
    rng = np.random.default_rng(0)
    windows, window = 32, 4
    x = rng.standard_normal((COLUMNS, windows, window))
    gate = 0.5 + 0.05 * rng.standard_normal((COLUMNS, 1))
    g = rng.standard_normal((COLUMNS, windows))
    model = record(
        lambda a, s: (relu(a) * s).pool_max([1], window, [windows]),
        of(independent((COLUMNS, windows * window))),
        of(independent((COLUMNS, 1), 0.25 + 0.05**2, 0.5)),
    )
    truth = np.maximum(x, 0.0).max(2) * gate
    assert model.out.mean_square == pytest.approx(float((truth**2).mean()), rel=0.02)
    back, by_gate = model.pull(cotangent(independent((COLUMNS, windows))))
    assert back is not None
    assert by_gate is not None
    assert back.mean_square == pytest.approx(float(((g * gate * (x.max(2) > 0)) ** 2).mean()) / window, rel=0.03)
    by_channel = (g * np.maximum(x, 0.0).max(2)).sum(1)
    assert by_gate.mean_square == pytest.approx(float((by_channel**2).mean()), rel=0.1)


ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64)),
    "silu": (lambda z: z / (1 + np.exp(-z)), lambda z: (1 + np.exp(-z) * (1 + z)) / (1 + np.exp(-z)) ** 2),
}


@pytest.mark.parametrize("common", [0.0, 0.6])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_a_gradient_that_is_orthogonal_to_an_activation(name: str, common: float) -> None:
    """In front of depthwise convolution and BatchNorm ``G`` is orthogonal to 1 and to ``f(x)``, by channel.

    ``sum G f'(x)``, the gradient of a bias before the activation, then sees only what of ``f'`` is no linear function of ``f``.
    ``common``: the share of G that eight pixels of one image have in common, as behind a pooling.
    """
    f, df = ACTIVATIONS[name]
    rng = np.random.default_rng(0)
    images, pixels = 64, 8
    x = rng.standard_normal((images, pixels, COLUMNS))
    drawn = np.sqrt(common) * rng.standard_normal((images, 1, COLUMNS)) + np.sqrt(1 - common) * rng.standard_normal(x.shape)
    value = f(x) - f(x).mean((0, 1))
    g = drawn - drawn.mean((0, 1))
    g -= value * (g * value).sum((0, 1)) / (value * value).sum((0, 1))
    whole = record(lambda a, b: a + b, of(independent(x.shape, 1 - common)), of(independent((images, 1, COLUMNS), common))).out.kernel
    modelled = cotangent(centred(whole, (0, 1)), Euler(2, 0.0))
    bias = of(constant((COLUMNS,), 0.0))
    found = record(lambda a, b: (a + b).apply(f, df), of(independent(x.shape)), bias).pull(modelled)
    truth = (g * df(x)).sum((0, 1))
    assert found[1] is not None
    assert found[1].mean_square == pytest.approx(float((truth**2).mean()), rel=4 * np.sqrt(2 / COLUMNS) + 0.05)
    assert found[0] is not None
    assert found[0].mean_square == pytest.approx(float(((g * df(x)) ** 2).mean()), rel=0.05)
