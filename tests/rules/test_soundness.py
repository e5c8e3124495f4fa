"""No bound is ever exceeded: for scalar functions on every interval, where slope and values are exact. Single cases: test_axioms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isinf
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from netaudit import Interval, RowNorm, Signal
from netaudit.pack import Catalog
from netaudit.testing import Applied

ENDS = st.one_of(st.floats(-12.0, 12.0), st.sampled_from((-3.0, -0.5, 0.0, 0.3, 0.5, 1.0, 3.0, 6.0, -inf, inf)))
RESOLUTION = 1e-3
"""Distance of neighbouring points of the grid; a slope moves by at most this times the curvature, below 3 for all of them."""


def _grid(domain: Interval) -> Tensor:
    """Points of an interval, dense where functions turn, its ends included and far ones where it has none."""
    lo, hi = max(domain.lo, -13.0), min(domain.hi, 13.0)
    dense = torch.linspace(lo, hi, min(max(int((hi - lo) / RESOLUTION), 2), 26001), dtype=torch.float64)
    far = torch.tensor([-1e6, -300.0, -40.0, 40.0, 300.0, 1e6], dtype=torch.float64)
    return torch.cat([dense, far[(far >= domain.lo) & (far <= domain.hi)]])


def _slopes(op: Applied, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = op.output({op.names[0]: leaf})
    y.sum().backward()  # type: ignore[no-untyped-call]  # torch's own signature
    assert leaf.grad is not None
    return y.detach(), leaf.grad


@given(a=ENDS, b=ENDS)
@settings(max_examples=24, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_slope_and_values_of_a_scalar_function_are_exact_on_an_interval(scalar: Applied, catalog: Catalog, a: float, b: float) -> None:
    domain = Interval(min(a, b), max(a, b))
    if (isinf(domain.lo) and domain.lo > 0) or (isinf(domain.hi) and domain.hi < 0):
        return
    shape = scalar.node.shape
    effect = catalog.transfers[scalar.node.op](scalar.node, Signal(shape, domain, RowNorm(5.0, (-1,))))
    jac = effect.jac[0]
    assert jac is not None
    x = _grid(domain)
    y, slopes = _slopes(scalar, x)
    defined = torch.isfinite(y) & ~slopes.isnan()
    if not bool(defined.any()):
        return
    y, slopes, x = y[defined], slopes[defined], x[defined]
    steepest = float(slopes.abs().max())
    assert steepest <= jac.lip * (1 + 1e-9), f"|f'| = {steepest} on {domain}, the bound says {jac.lip}"
    out = effect.out.range
    slack = 1e-9 * float(y.abs().max()) + 1e-15 * float(x.abs().max())  # torch's own rounding: 1 + tanh(x) cancels
    assert out.lo - slack <= float(y.min())
    assert float(y.max()) <= out.hi + slack
    _assert_rows_hold(effect.out, x, y)
    if jac.kind in ("exact", "conditional") and bool(defined.all()):
        assert jac.lip <= steepest * (1 + 1e-6) + 3 * RESOLUTION or "sin" in scalar.node.op or "cos" in scalar.node.op


def _assert_rows_hold(out: Signal, x: Tensor, y: Tensor) -> None:
    """``|f(x)|`` of a row of length at most 5: a row that holds x alone is one."""
    if out.rows is not None:
        short = x.abs() <= 5.0
        if bool(short.any()):
            assert float(y[short].abs().max()) <= out.rows.bound * (1 + 1e-9)


CURVES: Mapping[str, tuple[Callable[[Any], Any], tuple[float, float], float]] = {
    "aten.gelu": (lambda x: x * mp.ncdf(x), (-1.414, 1.414), -0.75),
    "aten.gelu-tanh": (lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))), (-1.42, 1.42), -0.75),
    "aten.silu": (lambda x: x / (1 + mp.exp(-x)), (-2.4, 2.4), -1.28),
    "aten.mish": (lambda x: x * mp.tanh(mp.log(1 + mp.exp(x))), (-2.26, 1.49), -1.19),
}


@pytest.mark.parametrize("gate", list(CURVES))
def test_the_constants_of_smooth_gates_are_their_extrema_rounded_outward(gate: str, ops: Mapping[str, Applied]) -> None:
    f, turns, dip = CURVES[gate]
    with mp.workdps(30):
        steepest = max(abs(mp.diff(f, mp.findroot(lambda t: mp.diff(f, t, 2), turn))) for turn in turns)
        lowest = f(mp.findroot(lambda t: mp.diff(f, t), dip))
    lip, low = ops[gate].lip(ops[gate].names[0]), ops[gate].effect.out.range.lo
    assert steepest <= lip <= steepest * (1 + mp.mpf("1e-12"))
    assert lowest * (1 + mp.mpf("1e-9")) <= low <= lowest


def test_a_saturated_activation_sends_no_gradient(catalog: Catalog, ops: Mapping[str, Applied]) -> None:
    for case_id, domain in {
        "aten.relu": Interval(-3.0, -1.0),
        "aten.hardtanh": Interval(5.0, 9.0),
        "aten.relu6": Interval(7.0, 8.0),
    }.items():
        node = ops[case_id].node
        jac = catalog.transfers[node.op](node, Signal(node.shape, domain)).jac[0]
        assert jac is not None
        assert (jac.lip, jac.kind, "zero" in jac.tags) == (0.0, "exact", True)


def test_a_pole_inside_the_range_leaves_nothing_proved(catalog: Catalog, ops: Mapping[str, Applied]) -> None:
    node = ops["aten.reciprocal"].node
    effect = catalog.transfers[node.op](node, Signal(node.shape, Interval(-1.0, 1.0)))
    assert effect.jac[0] is not None
    assert isinf(effect.jac[0].lip)
    assert np.isinf(effect.out.range.magnitude)
