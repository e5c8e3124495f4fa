"""What a gradient remembers on its way back: slopes by root, orthogonality in front of a normalisation, what a maximum selected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.moments import Var, cotangent, independent, joined, of, record, shared
from netaudit.moments.cotangent import Cotangent, Euler, Slope
from netaudit.moments.state import Law, Moments, View

N = (64, 32)


def normal() -> Moments:
    return of(independent(N))


def relu(v: Var) -> Var:
    return v.apply(lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64))


def slope(law: Law, above: float) -> Slope:
    return Slope(law, (law.points > above).astype(np.float64))


def test_slopes_on_one_root_multiply_point_by_point() -> None:
    law = Law(independent(N))
    g = cotangent(independent(N)).times(slope(law, 0.0)).times(slope(law, 0.0))
    assert g.mean_square == pytest.approx(0.5, abs=0.01)  # the grid holds 0 itself


def test_slopes_on_two_roots_multiply_as_independent() -> None:
    g = cotangent(independent(N)).times(slope(Law(independent(N)), 0.0)).times(slope(Law(independent(N)), 0.0))
    assert g.mean_square == pytest.approx(0.25, abs=0.01)


def test_a_sum_of_branches_is_orthogonal_to_the_gradient_and_a_branch_is_not() -> None:
    """``E <G, x>^2`` for ``G`` orthogonal to ``x + y``: the share of y in the variance. Sampled, independent of the code."""
    rng = np.random.default_rng(0)
    x, y, g = (rng.standard_normal((4000, 50)) for _ in range(3))
    x *= 2.0
    s = x + y
    g -= s * (g * s).sum(1, keepdims=True) / (s * s).sum(1, keepdims=True)
    sampled = float(((g * x).sum(1) ** 2).mean() / ((x * x).sum(1)).mean())
    tagged = Cotangent(cotangent(independent(N)).terms, Euler(1, 0.0))
    pulled = record(lambda a, b: a.scale(2.0) + b, normal(), normal()).pull(tagged)
    assert pulled[0] is not None
    assert pulled[0].euler is not None
    assert pulled[0].euler.share == pytest.approx(0.2)
    assert sampled == pytest.approx(0.2, abs=4 * 0.2 * np.sqrt(2 / 4000) + 1 / 50)


def test_a_bias_leaves_the_orthogonality_as_it_is() -> None:
    tagged = Cotangent(cotangent(independent(N)).terms, Euler(1, 0.0))
    bias = of(independent((32,)))
    pulled = record(lambda a, b: a + b.reshape(1, 32), normal(), bias).pull(tagged)
    assert pulled[0] is not None
    assert pulled[0].euler == Euler(1, 0.0)


def test_softmax_sends_nothing_back_from_a_gradient_that_is_the_same_along_its_rows() -> None:
    pulled = record(lambda v: v.softmax(1), normal()).pull(cotangent(shared(N, 1.0)))
    assert pulled[0] is not None
    assert pulled[0].mean_square == 0.0


def test_a_maximum_over_joined_parts_selects_as_over_the_whole() -> None:
    """``pool(cat(relu(a), relu(b)))`` and ``pool(relu(cat(a, b)))`` are one function: sizes, and what comes back, agree."""

    def pool(v: Var) -> Var:
        return v.pool_max((0,), 4, (16,))

    parts = record(lambda a, b: pool(joined([relu(a), relu(b)], 1)), normal(), normal())
    whole = record(lambda a, b: pool(relu(joined([a, b], 1))), normal(), normal())
    assert parts.out.mean_square == pytest.approx(whole.out.mean_square, rel=1e-6)
    g = cotangent(independent((16, 64)))
    for one, other in zip(parts.pull(g), whole.pull(g), strict=True):
        assert one is not None
        assert other is not None
        assert one.mean_square == pytest.approx(other.mean_square, rel=1e-6)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), share=st.floats(0.0, 0.9), weight=st.floats(-1.5, 1.5))
def test_a_known_map_beside_the_identity_shares_its_cotangent(seed: int, share: float, weight: float) -> None:
    """``A x + w x`` sends back ``A' G + w G``: its energy and its sum over the axis, against the matrices themselves."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 7))
    matrix = rng.random((size, size))
    matrix /= matrix.sum(1, keepdims=True)
    covariance = share * np.ones((size, size)) + (1 - share) * np.eye(size)
    back = matrix.T + weight * np.eye(size)
    expected = back @ covariance @ back.T
    x = of(independent((3, size)))
    g = record(lambda a, b: a + b, of(independent((3, size), 1.0 - share)), of(independent((3, 1), share))).out
    pulled = record(lambda v: v.along(1, matrix) + v.scale(weight), x).pull(cotangent(g.kernel))[0]
    assert pulled is not None
    assert pulled.mean_square == pytest.approx(np.trace(expected) / size)
    summed = record(lambda v: v.sum(1), Moments(View(pulled.kernel))).out
    assert summed.mean_square == pytest.approx(expected.sum(), abs=1e-9)


def test_what_an_average_and_the_identity_send_back_cancels() -> None:
    """``mean of neighbours - x``: a constant shift of x changes nothing, its gradient is zero exactly."""
    matrix = np.array([[0.5, 0.5, 0.0, 0.0], [0.25, 0.5, 0.25, 0.0], [0.0, 0.25, 0.5, 0.25], [0.0, 0.0, 0.5, 0.5]])

    def difference(v: Var, b: Var) -> Var:
        shifted = v + b
        return shifted.along(1, matrix) - shifted

    pulled = record(difference, of(independent((3, 4))), of(independent((3, 1)))).pull(cotangent(independent((3, 4))))
    assert pulled[1] is not None
    assert pulled[1].mean_square == pytest.approx(0.0, abs=1e-12)
