"""How checks write numbers: what is proved is rounded up, what is forecast to the nearest."""

from __future__ import annotations

from math import log10

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaudit_rules.checks.common import scientific


@given(st.floats(-200.0, 200.0))
def test_a_proved_number_is_never_written_below_itself(log: float) -> None:
    assert float(scientific(log, up=True)) >= 10.0**log


@given(st.floats(-200.0, 200.0), st.booleans())
def test_what_is_written_is_near(log: float, up: bool) -> None:
    assert float(scientific(log, up=up)) == pytest.approx(10.0**log, rel=0.1 if up else 0.05)


def test_numbers_are_written_as_people_read_them() -> None:
    assert [scientific(log10(x)) for x in (2e-7, 1e-5, 0.05, 99.7, 100.0, 3e13)] == ["2.0e-07", "1.0e-05", "0.05", "99.7", "100", "3.0e+13"]
    assert scientific(log10(0.02641), up=True) == "0.0265"
    assert scientific(float("-inf")) == "0"
