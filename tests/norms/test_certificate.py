"""Rounding helpers against exact rational arithmetic."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netaudit.norms.certificate import UNIT, Certificate, binary_exponent, gamma, root_down, root_up

squares = st.floats(min_value=0.0, max_value=1e300, allow_subnormal=True)
exponents = st.integers(-1000, 1000)


@given(st.integers(1, 10**9))
def test_gamma_bounds_n_roundings_in_a_row(terms: int) -> None:
    exact = Fraction(UNIT) * terms
    assert Fraction(gamma(terms)) >= exact / (1 - exact)


def test_gamma_of_too_many_terms_is_unknown() -> None:
    assert gamma(2**53) == math.inf


@given(squares, exponents)
def test_roots_bracket_the_exact_root(square: float, exponent: int) -> None:
    exact = Fraction(square) * Fraction(4) ** exponent
    upper, lower = root_up(square, exponent), root_down(square, exponent)
    assert Fraction(lower) ** 2 <= exact
    assert upper == math.inf or exact <= Fraction(upper) ** 2


@given(squares.filter(lambda square: square > 1e-290))
def test_roots_are_three_units_apart_at_most(square: float) -> None:
    assert root_up(square) <= root_down(square) * (1.0 + 12.0 * UNIT)


def test_a_root_beyond_the_range_is_inf_above_and_finite_below() -> None:
    assert root_up(4.0, 1024) == math.inf
    assert math.isfinite(root_down(4.0, 1024))


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e-40, 1e-10, 1.0, 1e9, 1e30, 1e300])
def test_scaled_weights_have_safe_squares(scale: float) -> None:
    exponent = binary_exponent(torch.tensor([scale, -scale / 2.0, 0.0], dtype=torch.float64))
    assert exponent is not None
    assert 1e-60 < math.ldexp(scale, -exponent) ** 2 < 1e60


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_exponent_of_a_weight_that_is_not_finite_is_unknown(value: float) -> None:
    assert binary_exponent(torch.tensor([1.0, value])) is None


def test_looseness_is_unknown_without_a_lower_bound_and_one_for_zero() -> None:
    assert Certificate(2.0, 1.0, "").looseness == 2.0
    assert Certificate(2.0, 0.0, "").looseness == math.inf
    assert Certificate(0.0, 0.0, "").looseness == 1.0
