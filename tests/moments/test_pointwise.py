"""Functions of a Gaussian tensor against Gauss-Hermite quadrature and sampling; what has no second moment is not given one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.moments import Var, independent, of, record

SIZES = (16, 8)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
WEIGHTS = WEIGHTS / WEIGHTS.sum()

SMOOTH: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 0.5 + 0.5 * np.tanh(z / 2.0),
    "exp": np.exp,
    "square": np.square,
    "sine": np.sin,
}


def mean_square(f: Callable[[np.ndarray], np.ndarray], mean: float, deviation: float) -> float:
    x = of(independent(SIZES, mean * mean + deviation * deviation, mean))
    with np.errstate(all="ignore"):  # as in the forward sweep
        return record(lambda v: v.apply(f, np.zeros_like), x).out.mean_square


@pytest.mark.parametrize("name", sorted(SMOOTH))
@settings(max_examples=25, deadline=None, derandomize=True)
@given(mean=st.floats(-1.0, 1.0), deviation=st.floats(0.05, 1.0))
def test_a_smooth_function_has_the_second_moment_of_gauss_hermite_quadrature(name: str, mean: float, deviation: float) -> None:
    f = SMOOTH[name]
    expected = float((f(mean + deviation * NODES) ** 2) @ WEIGHTS)
    assert mean_square(f, mean, deviation) == pytest.approx(expected, rel=1e-4, abs=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(mean=st.floats(-2.0, 2.0), deviation=st.floats(0.5, 2.0))
def test_a_reciprocal_that_crosses_its_pole_has_no_second_moment(mean: float, deviation: float) -> None:
    """``E 1 / x^2`` is infinite for any Gaussian x; within four deviations of 0 the pole decides what one would measure."""
    assert not np.isfinite(mean_square(lambda z: 1.0 / z, mean, deviation))


@pytest.mark.parametrize("ratio", [6.0, 10.0, 100.0])
def test_a_reciprocal_far_from_its_pole_has_the_sampled_second_moment(ratio: float) -> None:
    samples = ratio + np.random.default_rng(0).standard_normal(1_000_000)
    assert mean_square(lambda z: 1.0 / z, ratio, 1.0) == pytest.approx(float(np.mean(samples**-2.0)), rel=0.01)


@pytest.mark.parametrize("deviation", [1.0, 1e2, 1e4])
def test_a_steep_but_bounded_function_keeps_its_second_moment(deviation: float) -> None:
    """The sigmoid of a huge pre-activation is a step: one half of the entries are 1. Sharp is not singular."""
    samples = SMOOTH["sigmoid"](deviation * np.random.default_rng(0).standard_normal(400_000))
    assert mean_square(SMOOTH["sigmoid"], 0.0, deviation) == pytest.approx(float(np.mean(samples**2)), abs=5e-3)


def test_a_quotient_by_a_divisor_known_positive_stays_known() -> None:
    """A positive divisor is taken as log-normal, which has no mass at 0."""
    x = of(independent(SIZES))

    def ratio(v: Var) -> Var:
        energy = v.apply(np.square, lambda z: 2.0 * z).mean(1, keep=True)
        return v * energy.apply(lambda z: 1.0 / z, lambda z: -1.0 / (z * z))

    assert np.isfinite(record(ratio, x).out.mean_square)


def test_a_function_of_one_number_is_one_number() -> None:
    """The kernel of a tensor without axes has none: it is multiplied with tensors of any rank."""
    x = of(independent((), 101.0, 10.0))
    kernel = record(lambda v: v.apply(lambda z: 1.0 / z, lambda z: -1.0 / z**2), x).out.kernel
    assert (kernel.second.shape, kernel.mean.shape) == ((), ())
