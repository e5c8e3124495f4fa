"""Lines and slopes of every scalar function of the catalog, on random intervals, against its values and autograd's slopes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netaudit.certify.relax import lines_of
from netaudit.graph import Node
from netaudit.pack import installed
from netaudit.verbs import call

ARGUMENTS: dict[str, dict[str, object]] = {
    "aten.leaky_relu": {"negative_slope": 0.1},
    "aten.hardtanh": {"min_val": -1.0, "max_val": 1.0},
    "aten.gelu": {"approximate": "none"},
    "aten.elu": {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0},
    "aten.softplus": {"beta": 1.0, "threshold": 20.0},
    "aten.softshrink": {"lambd": 0.5},
    "aten.celu": {"alpha": 1.3},
    "netaudit.swish": {"beta": 1.7},
}
NAMED = sorted(op for op, t in installed().transfers.items() if t.curve is not None)


def _runs(op: str) -> bool:
    """Whether the row can be called with the arguments at hand; others need a call that nothing here makes up."""
    curve = installed().transfers[op].curve
    assert curve is not None
    try:
        call(curve.f, Node("n", op, args=ARGUMENTS.get(op, {})), np.zeros(1))  # type: ignore[arg-type]  # plain arguments
        call(curve.turns, Node("n", op, args=ARGUMENTS.get(op, {})))  # type: ignore[arg-type]  # plain arguments
    except KeyError:
        return False
    return True


OPS = [op for op in NAMED if _runs(op)]


def test_most_scalar_functions_are_looked_at() -> None:
    assert len(OPS) >= 40
    assert {"aten.relu", "aten.gelu", "aten.silu", "aten.tanh", "aten.sigmoid", "aten.softplus", "aten.elu"} <= set(OPS)


@pytest.mark.parametrize("op", OPS)
@example(low=1.0, width=2.0)  # hard-swish: a turn at the upper end
@given(low=st.floats(-6, 6), width=st.sampled_from((0.0, 1e-3, 0.5, 2.0, 9.0)))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_lines_and_slopes_hold_on_the_interval(op: str, low: float, width: float) -> None:
    curve, node = installed().transfers[op].curve, Node("n", op, args=ARGUMENTS.get(op, {}))  # type: ignore[arg-type]  # plain arguments
    assert curve is not None
    made = lines_of(node, curve, np.array([low]), np.array([low + width]))
    if made is None:  # a pole, a jump, or a value outside its own domain
        return
    x = np.linspace(low, low + width, 2001)
    with np.errstate(all="ignore"):
        y, slopes = call(curve.f, node, x), call(curve.df, node, x)
    size = 1e-9 * (1.0 + np.abs(y).max())
    assert (float(made.low_slope) * x + float(made.low) <= y + size).all()
    assert (float(made.high_slope) * x + float(made.high) >= y - size).all()
    assert float(made.slopes[0]) <= slopes[1:-1].min(initial=np.inf) + 1e-9
    assert float(made.slopes[1]) >= slopes[1:-1].max(initial=-np.inf) - 1e-9
    assert float(made.values[0]) <= y.min() + size
    assert float(made.values[1]) >= y.max() - size


def test_relu_lines_are_the_best_ones() -> None:
    curve = installed().transfers["aten.relu"].curve
    assert curve is not None
    made = lines_of(Node("n", "aten.relu"), curve, np.array([-1.0, -3.0, 1.0, -2.0]), np.array([3.0, 1.0, 2.0, -1.0]))
    assert made is not None
    assert made.high_slope.tolist() == [0.75, 0.25, 1.0, 0.0]
    assert made.low_slope.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert made.slopes[0].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert made.slopes[1].tolist() == [1.0, 1.0, 1.0, 0.0]
