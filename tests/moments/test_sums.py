"""The law of a sum with a non-Gaussian part, and the direction a normalisation takes out: against samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.moments import Kernel, Moments, Var, cotangent, independent, of, record
from netaudit.moments.cotangent import Euler
from netaudit.moments.direction import tangential, without_direction
from netaudit.moments.kernels import expanded, explicit, from_array, pair_product, refined
from netaudit.moments.normalise import centred

ROWS, COLUMNS = 40, 400


def relu(v: Var) -> Var:
    return v.apply(lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64))


def correlated(rng: np.random.Generator, share: float, mean: float = 0.0) -> tuple[np.ndarray, Moments]:
    """A Gaussian array whose rows share a part by column, and its exact moments."""
    x = mean + np.sqrt(share) * rng.standard_normal((1, COLUMNS)) + np.sqrt(1 - share) * rng.standard_normal((ROWS, COLUMNS))
    own = independent((ROWS, COLUMNS), 1.0 - share, 0.0)
    common = independent((1, COLUMNS), share + mean * mean, mean)
    return x, record(lambda a, b: a + b, of(own), of(common)).out


def agrees(found: Kernel, sampled: list[Kernel], slack: float) -> None:
    mean = np.mean([k.second for k in sampled], 0)
    error = 4 * np.std([k.second for k in sampled], 0) / np.sqrt(len(sampled))
    assert np.abs(found.second - mean) == pytest.approx(np.zeros_like(mean), abs=float(np.max(error + slack * mean[0, 0])))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(first=st.floats(0.05, 0.9), second=st.floats(0.05, 0.9), bias=st.floats(-0.8, 0.8))
def test_relu_of_a_stream_plus_a_branch(first: float, second: float, bias: float) -> None:
    """``relu(relu(x) + y)``: a Gaussian closure of the sum is off by up to a tenth."""
    rng = np.random.default_rng(0)
    x, y = (correlated(rng, share, mean)[1] for share, mean in ((first, bias), (second, 0.0)))
    found = record(lambda a, b: relu(relu(a) + b), x, y).out.kernel
    sampled = []
    for _ in range(12):
        a, b = correlated(rng, first, bias)[0], correlated(rng, second)[0]
        sampled.append(from_array(np.maximum(np.maximum(a, 0.0) + b, 0.0)))
    agrees(found, sampled, 0.01)


def test_a_branch_that_is_zero_changes_nothing() -> None:
    x = correlated(np.random.default_rng(0), 0.3)[1]
    zero = of(independent((ROWS, COLUMNS), 0.0))
    alone = record(lambda a: relu(relu(a)), x)
    beside = record(lambda a, b: relu(relu(a) + b), x, zero)
    assert beside.out.kernel.second == pytest.approx(alone.out.kernel.second)
    g = cotangent(independent((ROWS, COLUMNS)))
    with_zero, without = beside.pull(g)[0], alone.pull(g)[0]
    assert with_zero is not None
    assert without is not None
    assert with_zero.mean_square == pytest.approx(without.mean_square)


def test_masks_along_a_stream_agree_more_often_than_independent_ones() -> None:
    """Through ``relu(relu(x) + y)`` an entry passes both masks with P(x > 0, relu(x) + y > 0), not with the product."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1_000_000))
    both = float(np.mean((x > 0) & (np.maximum(x, 0.0) + y > 0)))
    assert both > 1.1 * np.mean(x > 0) * np.mean(np.maximum(x, 0.0) + y > 0)
    model = record(lambda a, b: relu(relu(a) + b), of(independent((ROWS, COLUMNS))), of(independent((ROWS, COLUMNS))))
    back = model.pull(cotangent(independent((ROWS, COLUMNS))))[0]
    assert back is not None
    assert back.mean_square == pytest.approx(both, rel=0.01)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(
    ("batch", "pixels", "share", "common"), [(4, 16, 0.5, 0.7), (8, 9, 0.2, 0.2), (8, 25, 0.6, 0.1), (64, 4, 0.0, 0.0)]
)
def test_what_a_normalisation_takes_out_of_a_gradient(centre: bool, batch: int, pixels: int, share: float, common: float) -> None:
    """``(I - y y' / N) G`` for images whose pixels share a part, against the same in numpy; ``1 / s`` fluctuates as sampled."""
    rng = np.random.default_rng(0)
    channels, over = 4000, (0, 2)

    def images(part: float) -> tuple[np.ndarray, Kernel]:
        shared = np.sqrt(part) * rng.standard_normal((batch, channels, 1))
        own = independent((batch, channels, pixels), 1.0 - part)
        kernel = record(lambda a, b: a + b, of(own), of(independent((batch, channels, 1), part))).out.kernel
        return shared + np.sqrt(1 - part) * rng.standard_normal((batch, channels, pixels)), kernel

    (x, kx), (g, kg) = images(share), images(common)
    if centre:
        x, g = (a - a.mean(over, keepdims=True) for a in (x, g))
        kx, kg = (centred(k, over) for k in (kx, kg))
    scale = np.sqrt((x * x).mean(over, keepdims=True))
    y = x / scale
    back = (g - y * (y * g).mean(over, keepdims=True)) / scale
    unit = Kernel(kx.sizes, kx.cuts, kx.second / kx.mean_square, kx.mean)
    found = tangential(kg, unit, over).mean_square / kx.mean_square
    assert found == pytest.approx(float((back * back).mean()), rel=0.06)


def test_a_mean_that_is_not_taken_out_does_not_fluctuate() -> None:
    """RMSNorm of entries with one mean: ``(I - y y' / N) G / s`` against samples."""
    rng = np.random.default_rng(0)
    rows, size = 20_000, 64
    x, g = 1.0 + rng.standard_normal((rows, size)), rng.standard_normal((rows, size))
    scale = np.sqrt((x * x).mean(1, keepdims=True))
    y = x / scale
    back = (g - y * (y * g).mean(1, keepdims=True)) / scale
    unit = independent((rows, size), 1.0, np.sqrt(0.5))
    found = tangential(independent((rows, size)), unit, (1,)).mean_square / 2.0
    assert found == pytest.approx(float((back * back).mean()), rel=0.01)


def test_a_gradient_cut_into_segments_through_a_normalisation_of_what_repeats() -> None:
    """Rows that are all the same are normalised; the gradient of the first two is twice that of the others."""
    rng = np.random.default_rng(0)
    rows, repeats, size = 4000, 6, 32
    x = np.repeat(rng.standard_normal((rows, 1, size)), repeats, 1)
    scales = np.array([2.0, 2.0, 1.0, 1.0, 1.0, 1.0]).reshape(1, repeats, 1)
    g = scales * rng.standard_normal((rows, repeats, size))
    spread = np.sqrt((x * x).mean(2, keepdims=True))
    y = x / spread
    back = (g - y * (y * g).mean(2, keepdims=True)) / spread
    given_g = independent((rows, repeats, size))
    cut = refined(given_g, 1, (2, repeats - 2))
    cut = Kernel(cut.sizes, cut.cuts, cut.second * pair_product(np.array([[[2.0], [1.0]]]), np.array([[[2.0], [1.0]]]), cut), cut.mean)
    repeated = expanded(independent((rows, 1, size)), (rows, repeats, size))
    pulled = record(lambda v: v.normalise((2,), 1e-12, subtract_mean=False), of(repeated)).pull(cotangent(cut))[0]
    assert pulled is not None
    assert pulled.mean_square == pytest.approx(float((back * back).mean()), rel=0.05)


def test_what_a_direction_takes_is_the_same_however_a_gradient_that_does_not_vary_is_written() -> None:
    """An axis along which all entries are one has no states; written out, it has one for each segment."""
    sizes, cut = (4, 6, 5), (1, 2, 3)
    back = cotangent(refined(independent(sizes), 1, cut))
    plain = expanded(independent((4, 1, 5)), sizes)
    found = [without_direction(cotangent(k, Euler(1, 0.1)), back, 0.4, 0.3) for k in (plain, refined(explicit(plain, 1), 1, cut))]
    assert not np.array_equal(found[0].kernel.second, back.kernel.second)
    assert np.array_equal(found[0].kernel.second, found[1].kernel.second)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(share=st.floats(0.0, 0.7), bias=st.floats(-0.5, 0.5))
def test_a_normalised_tensor_keeps_the_shape_it_has_within_a_group(share: float, bias: float) -> None:
    """``relu(norm(relu(x)))`` for columns that share a part: relu leaves more of a skew tensor than of a Gaussian one."""
    rng = np.random.default_rng(0)
    moments = correlated(rng, share, bias)[1]
    found = record(lambda a: relu(relu(a).normalise((0,), 1e-9)), moments).out.kernel
    sampled = []
    for _ in range(12):
        x = np.maximum(
            bias + np.sqrt(share) * rng.standard_normal(COLUMNS) + np.sqrt(1 - share) * rng.standard_normal((2000, COLUMNS)), 0.0
        )
        x -= x.mean(0)
        sampled.append(from_array(np.maximum(x / np.maximum(np.sqrt((x * x).mean(0)), 1e-6), 0.0)))
    agrees(found, sampled, 0.02)


def test_a_branch_of_a_normalised_skew_tensor_makes_the_sum_skew() -> None:
    """``relu(norm(relu(x)) + y)``: a BatchNorm beside convolutions, in front of an activation."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1_000_000))
    unit = np.maximum(x, 0.0)
    unit = (unit - unit.mean()) / unit.std()
    left = np.maximum(unit + y, 0.0)
    normal = of(independent((4000, COLUMNS)))
    found = record(lambda a, b: relu(relu(a).normalise((0,), 1e-9) + b), normal, normal).out
    assert found.mean_square == pytest.approx(float((left**2).mean()), rel=0.01)
    assert found.variance == pytest.approx(float(left.var()), rel=0.01)
    assert found.mean_square > 1.05  # of a Gaussian of variance 2 relu leaves 1
