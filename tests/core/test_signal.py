"""What is proved stays true when it is printed."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from netaudit.signal import Interval, above, below

finite = st.floats(-1e300, 1e300, allow_subnormal=False)


@given(finite, st.integers(1, 12))
def test_printed_bounds_round_outward_and_by_one_digit_at_most(value: float, digits: int) -> None:
    low, high = Fraction(below(value, digits)), Fraction(above(value, digits))
    assert low <= Fraction(value) <= high
    assert high - low <= abs(Fraction(value)) * 10 / Fraction(10) ** digits


def test_short_numbers_stay_as_they_are() -> None:
    assert [above(x) for x in (1.0, 0.5, -2.0, 1e6, float("inf"))] == ["1", "0.5", "-2", "1e+06", "inf"]
    assert str(Interval(-1.0, 7303.9112)) == "[-1, 7303.92]"
    assert str(Interval()) == "[-inf, inf]"
