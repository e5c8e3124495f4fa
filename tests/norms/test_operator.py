"""Maps that can only be applied: the bracket, its sharpness, and how often it may fail."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from netaudit.norms import Certificate, operator
from netaudit.norms.lanczos import lanczos, start_vector


def orthogonal(size: int, seed: int) -> Tensor:
    gaussian = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(gaussian)[0]
    return basis


def with_singular_values(values: Tensor, seed: int) -> Tensor:
    return orthogonal(len(values), seed) @ torch.diag(values) @ orthogonal(len(values), seed + 1)


def certificate_of(matrix: Tensor, **settings_: float) -> Certificate:
    return operator(lambda x: matrix @ x, lambda y: matrix.T @ y, (matrix.shape[1],), like=matrix, **settings_)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(-140.0, 140.0),
    st.integers(0, 10**6),
    st.sampled_from([0.01, 0.003, 0.2]),
)
def test_the_bracket_holds_within_the_tolerance(rows: int, columns: int, power: float, seed: int, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64) * 10.0**power
    truth = float(torch.linalg.matrix_norm(matrix, ord=2))
    found = certificate_of(matrix, tolerance=tolerance)
    assert found.failure == 1e-9
    assert found.lower <= truth * (1.0 + 1e-12)
    assert truth * (1.0 - 1e-12) <= found.upper <= truth * (1.0 + tolerance) * (1.0 + 1e-6)


SPECTRA = {
    "flat": torch.ones(60, dtype=torch.float64),
    "isolated": torch.cat([torch.tensor([2.0]), torch.linspace(0.0, 1.0, 59)]).double(),
    "clustered": 1.0 + 1e-6 * torch.linspace(0.0, 1.0, 60).double(),
    "power law": torch.arange(1, 61).double() ** -0.7,
    "rank one": torch.nn.functional.one_hot(torch.tensor(0), 60).double(),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_every_kind_of_spectrum_is_bracketed(spectrum: str) -> None:
    matrix = with_singular_values(SPECTRA[spectrum], seed=3)
    truth = float(SPECTRA[spectrum].max())
    found = certificate_of(matrix)
    assert found.lower <= truth * (1.0 + 1e-12)
    assert truth * (1.0 - 1e-12) <= found.upper <= truth * 1.01 * (1.0 + 1e-6)


def test_single_precision_takes_more_starts_and_stays_a_bound() -> None:
    matrix = with_singular_values(SPECTRA["power law"], seed=5).float()
    found = certificate_of(matrix)
    truth = float(torch.linalg.matrix_norm(matrix.double(), ord=2))
    assert "random starts" in found.method
    assert found.lower <= truth <= found.upper <= truth * 1.011


def test_products_too_coarse_to_conclude_from_claim_nothing_false() -> None:
    matrix = with_singular_values(SPECTRA["power law"], seed=7)
    assert certificate_of(matrix, relative_error=0.3).upper >= 1.0


def test_it_fails_at_most_as_often_as_it_says() -> None:
    """A failure of one in three is so often that it can be counted: 400 maps, turned at random against the start."""
    spectrum = torch.cat([torch.ones(1), torch.zeros(1) + 0.2, 0.1 * torch.rand(10)]).double()
    failure, trials, missed = 1.0 / 3.0, 400, 0
    for seed in range(trials):
        missed += certificate_of(with_singular_values(spectrum, 2 * seed), failure=failure, tolerance=1.0).upper < 1.0 - 1e-9
    assert missed / trials <= failure + 4.0 * math.sqrt(failure * (1.0 - failure) / trials)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_no_inputs_have_norm_zero(shape: tuple[int, ...]) -> None:
    found = operator(lambda x: x, lambda y: y, shape)
    assert (found.upper, found.lower) == (0.0, 0.0)


def test_the_zero_map_has_norm_zero() -> None:
    found = operator(lambda x: 0.0 * x, lambda y: 0.0 * y, (5, 2))
    assert (found.upper, found.lower) == (0.0, 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_map_that_is_not_finite_claims_nothing(value: float) -> None:
    for forward, back in ((value, 1.0), (1.0, value)):
        found = operator(lambda x, f=forward: f * x, lambda y, b=back: b * y, (4,))  # type: ignore[misc]  # bound early
        assert (found.upper, found.lower) == (math.inf, 0.0)


def test_signals_keep_their_shape() -> None:
    seen: list[tuple[int, ...]] = []

    def total(signal: Tensor) -> Tensor:
        seen.append(tuple(signal.shape))
        return signal.sum().reshape(1)

    found = operator(total, lambda image: image.expand(2, 3, 4), (2, 3, 4))
    assert set(seen) == {(2, 3, 4)}
    assert found.lower <= math.sqrt(24.0) <= found.upper <= math.sqrt(24.0) * 1.01


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32])
def test_ritz_vectors_of_a_batch_find_each_top_eigenvalue(dtype: torch.dtype, window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(3, 30, 40, generator=generator, dtype=torch.float64).to(dtype)
    matrices = factor @ factor.mH
    start = start_vector(matrices, 30).expand(3, 30)
    vectors = lanczos(lambda x: (matrices @ x[..., None])[..., 0], start, 60, 1e-12, window).vector
    quotients = (vectors.conj()[:, None] @ matrices @ vectors[..., None]).real.flatten()
    precision = torch.finfo(dtype).eps ** 0.5
    assert torch.allclose(quotients, torch.linalg.eigvalsh(matrices)[:, -1], rtol=precision)
