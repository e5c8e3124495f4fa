"""Matrices: every certificate brackets the norm; exact arithmetic is the oracle where the norm is rational."""

import math
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from netaudit.norms import Certificate, Effort, dense, dense_batch, dense_streamed

EFFORTS: tuple[Effort, ...] = ("tight", "quick")
# decimal exponents from the denormals up to where sums would overflow
RANGES = {
    torch.float64: (-322.0, 290.0),
    torch.float32: (-44.0, 35.0),
    torch.bfloat16: (-39.0, 35.0),
    torch.float16: (-7.0, 3.0),
}
SPECTRA = ("gaussian", "rank one", "constant", "orthogonal", "graded", "sparse")


def matrix(kind: str, rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    if kind == "rank one":
        return gaussian[:, :1] * gaussian[:1]
    if kind == "constant":
        return torch.full((rows, columns), 0.1, dtype=torch.float64)
    if kind == "orthogonal":
        basis: Tensor = torch.linalg.qr(gaussian if rows >= columns else gaussian.T)[0]
        return basis
    if kind == "graded":
        return gaussian * torch.logspace(0, -12, columns, dtype=torch.float64)
    if kind == "sparse":
        return gaussian * (gaussian > 1.0)
    return gaussian


def truth(weight: Tensor) -> tuple[Fraction, Fraction]:
    """The norm by LAPACK's SVD of the weight scaled to one, and how far that can be off.

    Its backward error is a low-degree polynomial in the size times the unit roundoff; 20 max(m, n) is generous.
    """
    exact = weight.double()
    peak = float(exact.abs().max())
    if peak == 0.0:
        return Fraction(0), Fraction(0)
    scale = math.frexp(peak)[1]
    half = scale // 2  # 2^-scale itself may not be representable
    norm = Fraction(float(torch.linalg.matrix_norm(exact * 2.0**-half * 2.0 ** (half - scale), ord=2)))
    unscaled = norm * Fraction(2) ** scale
    return unscaled, unscaled * 20 * max(weight.shape) * Fraction(1, 2**53)


def assert_brackets(certificate: Certificate, weight: Tensor) -> None:
    norm, error = truth(weight)
    assert certificate.failure == 0.0
    assert Fraction(certificate.lower) <= norm + error
    assert certificate.upper == math.inf or norm - error <= Fraction(certificate.upper)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.sampled_from(SPECTRA),
    st.integers(1, 24),
    st.integers(1, 24),
    st.sampled_from(tuple(RANGES)),
    st.floats(0.0, 1.0),
    st.sampled_from(EFFORTS),
    st.integers(0, 10**6),
)
def test_the_bracket_holds_at_any_scale(
    kind: str, rows: int, columns: int, dtype: torch.dtype, where: float, effort: Effort, seed: int
) -> None:
    low, high = RANGES[dtype]
    root = 10.0 ** ((low + where * (high - low)) / 2.0)  # the scale itself may not be representable
    weight = (matrix(kind, rows, columns, seed) * root * root).to(dtype)
    certificate = dense(weight, effort=effort)
    assert_brackets(certificate, weight)
    if float(weight.abs().max()) > 1e-300:  # so small a matrix is tight either way; below, floats are coarse
        assert certificate.upper <= certificate.lower * (1.0 + 1e-6)


def exactly_known() -> Iterator[tuple[str, Tensor, Fraction]]:
    """Weights whose squared norm is a rational number, and that number."""
    for dtype in (torch.float32, torch.bfloat16):
        constant = torch.full((300, 1300), 0.1, dtype=dtype)
        yield f"constant {dtype}", constant, Fraction(float(constant[0, 0])) ** 2 * 300 * 1300
    yield "identity", torch.eye(300), Fraction(1)
    yield "diagonal", torch.diag(torch.arange(1, 301).double() / 7.0), Fraction(300 / 7.0) ** 2
    left, right = torch.arange(1, 301), torch.arange(-400, 400)
    squares = Fraction(int((left**2).sum())) * Fraction(int((right**2).sum()))
    yield "rank one", (left[:, None] * right).float(), squares
    yield "one row", torch.full((1, 5000), 1.0 / 3.0), Fraction(float(torch.tensor(1.0 / 3.0))) ** 2 * 5000
    yield "denormal", torch.full((20, 30), 1e-44), Fraction(float(torch.tensor(1e-44))) ** 2 * 600


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(("weight", "square"), [pytest.param(w, s, id=name) for name, w, s in exactly_known()])
def test_the_bracket_holds_in_exact_arithmetic(weight: Tensor, square: Fraction, effort: Effort) -> None:
    certificate = dense(weight, effort=effort)
    assert Fraction(certificate.lower) ** 2 <= square <= Fraction(certificate.upper) ** 2
    if effort == "tight":
        assert Fraction(certificate.upper) ** 2 <= square * (1 + Fraction(2, 10**6))


@pytest.mark.parametrize("shape", [(300, 700), (700, 300), (900, 1600)])
def test_quick_is_certified_and_never_above_frobenius(shape: tuple[int, int]) -> None:
    weight = matrix("gaussian", *shape, seed=1).float()
    certificate = dense(weight, effort="quick")
    assert_brackets(certificate, weight)
    assert certificate.upper <= float(weight.double().norm()) * (1.0 + 1e-9)


def test_quick_in_blocks_of_rows_is_looser_than_tight_by_at_most_the_root_of_their_number() -> None:
    weight = matrix("gaussian", 900, 1600, seed=2).float()
    quick, tight = dense(weight, effort="quick"), dense(weight)
    assert "blocks of rows" in quick.method
    assert tight.upper <= quick.upper <= 1.02 * math.sqrt(2.0) * tight.upper


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_quick_does_not_trust_float32_that_may_be_rounded_further(precision: str) -> None:
    weight = matrix("gaussian", 300, 700, seed=3).float()
    torch.set_float32_matmul_precision(precision)
    try:
        certificate = dense(weight, effort="quick")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert certificate.method.startswith("fp64")
    assert_brackets(certificate, weight)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_claims_nothing(value: float, effort: Effort) -> None:
    weight = torch.ones(5, 400)
    weight[2, 3] = value
    certificate = dense(weight, effort=effort)
    assert (certificate.upper, certificate.lower) == (math.inf, 0.0)


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (4, 0), (400, 500)])
def test_nothing_has_norm_zero(shape: tuple[int, int]) -> None:
    for effort in EFFORTS:
        certificate = dense(torch.zeros(shape), effort=effort)
        assert (certificate.upper, certificate.lower) == (0.0, 0.0)


def test_only_a_matrix_of_floats_is_taken() -> None:
    for weight in (torch.ones(3), torch.ones(2, 2, 2), torch.ones(2, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match="a matrix of real floats"):
            dense(weight)


def test_clustered_top_singular_values_stay_tight() -> None:
    basis = matrix("orthogonal", 300, 300, seed=4)
    spread = 1.0 - 1e-9 * torch.arange(300, dtype=torch.float64)
    weight = basis @ torch.diag(spread) @ matrix("orthogonal", 300, 300, seed=5)
    certificate = dense(weight)
    assert_brackets(certificate, weight)
    assert certificate.upper <= certificate.lower * (1.0 + 1e-6)


def test_a_batch_equals_its_members_in_their_order() -> None:
    weights = [
        matrix("gaussian", 8, 30, seed=6),
        torch.zeros(4, 4),
        matrix("gaussian", 30, 8, seed=7),
        torch.full((2, 2), math.nan),
        matrix("gaussian", 8, 30, seed=8) * 1e200,
        torch.ones(0, 3),
        matrix("gaussian", 8, 30, seed=9).float(),
    ]
    for effort in EFFORTS:
        for weight, found in zip(weights, dense_batch(weights, effort=effort), strict=True):
            alone = dense(weight, effort=effort)
            assert (found.upper, found.lower) == pytest.approx((alone.upper, alone.lower), rel=1e-6)


def test_an_empty_batch_is_empty() -> None:
    assert dense_batch([]) == ()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 9), st.integers(-250, 140)), max_size=5), st.sampled_from([0, 1]))
def test_streamed_equals_dense(size: int, pieces: list[tuple[int, int]], dim: int) -> None:
    blocks = [matrix("gaussian", size, width, seed=index) * 10.0**power for index, (width, power) in enumerate(pieces)]
    whole = torch.cat(blocks, 1) if blocks else torch.zeros(size, 0, dtype=torch.float64)
    streamed = dense_streamed((block.T for block in blocks), dim=0) if dim == 0 else dense_streamed(iter(blocks))
    if whole.numel():
        assert_brackets(streamed, whole)
    assert streamed.upper == pytest.approx(dense(whole).upper, rel=1e-6)


def test_streamed_takes_blocks_of_different_dtypes_and_refuses_one_that_is_not_finite() -> None:
    blocks = [matrix("gaussian", 6, 5, seed=1).float(), matrix("gaussian", 6, 9, seed=2).bfloat16()]
    assert_brackets(dense_streamed(blocks), torch.cat([block.double() for block in blocks], 1))
    assert dense_streamed([*blocks, torch.full((6, 1), math.inf)]).upper == math.inf


def test_streamed_is_not_scaled_by_blocks_that_hold_nothing() -> None:
    block = torch.full((3, 2), 1e-156, dtype=torch.float64)
    for nothing in (torch.zeros(3, 4), torch.zeros(3, 0)):
        assert_brackets(dense_streamed([nothing, block]), block)
        assert_brackets(dense_streamed([block, nothing]), block)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_bounds() -> None:
    weights = [matrix("gaussian", 300, 700, seed=seed).float() for seed in range(3)]
    for here, there in zip(dense_batch(weights), dense_batch([weight.cuda() for weight in weights]), strict=True):
        assert (there.upper, there.lower) == pytest.approx((here.upper, here.lower), rel=1e-6)
