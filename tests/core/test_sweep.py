"""The forward sweep never stops: what leaves float64 is unbounded."""

from __future__ import annotations

from math import inf

from torch import Tensor

from netaudit import Interval
from netaudit.testing import facts_of, normal


def test_squares_beyond_float64_are_unbounded_and_no_exception() -> None:
    def model(x: Tensor) -> Tensor:
        return x.var(1) + (x / x.flip(0)).sum(1) + (x * x).sum(1)

    facts = facts_of(model, normal(3, 4), ranges={0: Interval(1e-200, 1e200)})
    assert facts.signals[facts.graph.outputs[0]].range.hi == inf
