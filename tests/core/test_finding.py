"""Which kind of knowledge a finding rests on."""

from __future__ import annotations

import pytest

from netaudit.finding import Evidence

# threshold, proved, forecast, measured -> kind
CASES = {
    "no number": (None, None, None, None, ""),
    "a forecast": (-5.0, None, -9.0, None, "forecast"),
    "a measurement beside a forecast": (-5.0, None, -9.0, -8.0, "measured"),
    "an upper bound below the limit": (-5.0, -6.0, -9.0, None, "proved"),
    "an upper bound at the limit": (-5.0, -5.0, -9.0, None, "proved"),
    "an upper bound above the limit says nothing": (-5.0, 3.0, -9.0, None, "forecast"),
    "an upper bound never proves an explosion": (2.0, 7.0, 6.0, None, "forecast"),
    "a bound without a limit beside a forecast": (None, -6.0, -9.0, None, "forecast"),
    "exactly zero": (None, float("-inf"), None, None, "proved"),
    "a supremum is what the finding is about": (2.0, 7.0, None, None, "proved"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_finding_rests_on(case: str) -> None:
    threshold, proved, forecast, measured, kind = CASES[case]
    assert Evidence("S", threshold, proved, forecast, measured).kind == kind
