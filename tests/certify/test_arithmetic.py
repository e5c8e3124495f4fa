"""The moves of a certificate matrix, against exact arithmetic and against the increments that they certify."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from netaudit.certify.arithmetic import Fast, InfeasibleError, Verified

few = settings(max_examples=60, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10_000)
SPREAD = st.sampled_from((0.0, 2.0, 6.0))


def psd(n: int, seed: int, decades: float = 0.0) -> Tensor:
    """A random certificate whose eigenvalues spread over some decades."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    p = basis @ torch.diag(10.0 ** (-decades * torch.rand(n, generator=generator, dtype=torch.float64))) @ basis.mT
    symmetric: Tensor = 0.5 * (p + p.mT)
    return symmetric


def exact(matrix: Tensor) -> mp.matrix:
    return mp.matrix(matrix.tolist())


def least_eigenvalue(matrix: mp.matrix) -> mp.mpf:
    return min(mp.eigsy((matrix + matrix.T) / 2, eigvals_only=True))


@few
@given(n=st.integers(1, 5), m=st.integers(1, 5), seed=SEEDS, decades=SPREAD)
def test_a_verified_affine_map_dominates_the_exact_one(n: int, m: int, seed: int, decades: float) -> None:
    p = psd(n, seed, decades)
    t = torch.randn(m, n, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    with mp.workdps(50):
        difference = exact(Verified().affine(p, t)) - exact(t) * exact(p) * exact(t).T
        assert least_eigenvalue(difference) >= 0
        assert max(mp.eigsy(difference, eigvals_only=True)) <= mp.mpf("1e-11") * float(torch.linalg.matrix_norm(t)) ** 2


@few
@given(n=st.integers(1, 5), seed=SEEDS, decades=SPREAD, above=st.sampled_from((1.001, 2.0, 1e4)), data=st.data())
def test_a_verified_schur_step_dominates_the_exact_one(n: int, seed: int, decades: float, above: float, data: st.DataObject) -> None:
    p = psd(n, seed, decades)
    units = torch.tensor(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    d = torch.full((len(units),), above * float(torch.linalg.eigvalsh(p[units][:, units])[-1]), dtype=torch.float64)
    k, used = Verified().schur(p, units, d)
    with mp.workdps(60):
        whole, rows = exact(p), exact(p[units])
        core = mp.diag([mp.mpf(v) for v in used.tolist()]) - exact(p[units][:, units])
        truth = whole + rows.T * (core**-1) * rows
        assert least_eigenvalue(exact(k) - truth) >= 0
        assert mp.mnorm(exact(k) - truth, "f") <= mp.mpf("1e-6") * mp.mnorm(truth, "f")
    assert bool((used >= d).all())


def test_a_multiplier_below_the_certificate_certifies_nothing() -> None:
    p = psd(4, 3)
    units = torch.arange(4)
    for arithmetic in (Fast(), Verified()):
        with pytest.raises(InfeasibleError):
            arithmetic.schur(p, units, torch.full((4,), 0.5 * float(torch.linalg.eigvalsh(p)[-1]), dtype=torch.float64))


@few
@given(n=st.integers(1, 6), seed=SEEDS, above=st.sampled_from((1.01, 1.5, 10.0)))
def test_the_schur_step_certifies_every_slope(n: int, seed: int, above: float) -> None:
    """Sampled: with ``dz dz^T <= P`` and ``|psi_i| <= |dz_i|``, the pair lies in the ellipsoid of ``diag(K, D)``."""
    p = psd(n, seed)
    d = torch.full((n,), above * float(torch.linalg.eigvalsh(p)[-1]), dtype=torch.float64)
    k, d = Fast().schur(p, torch.arange(n), d)
    whole = torch.block_diag(k, torch.diag(d)).numpy()  # type: ignore[no-untyped-call]  # torch's own signature
    root = np.linalg.cholesky(p.numpy() + 1e-15 * np.eye(n))
    rng = np.random.default_rng(seed)
    for _ in range(50):
        u = rng.standard_normal(n)
        dz = root @ (u / np.linalg.norm(u))
        pair = np.concatenate([dz, rng.uniform(-1, 1, n) * dz])
        assert pair @ np.linalg.solve(whole, pair) <= 1.0 + 1e-9


@few
@given(n=st.integers(1, 8), seed=SEEDS, decades=SPREAD)
def test_fast_and_verified_agree(n: int, seed: int, decades: float) -> None:
    p = psd(n, seed, decades)
    d = torch.full((n,), 2.0 * float(torch.linalg.eigvalsh(p)[-1]), dtype=torch.float64)
    assert torch.allclose(Fast().schur(p, torch.arange(n), d)[0], Verified().schur(p, torch.arange(n), d)[0], rtol=1e-9, atol=1e-9)
    assert float(Verified().top(p)) >= float(Fast().top(p)) * (1 - 1e-12)
    assert float(Verified().top(p)) <= float(Fast().top(p)) * (1 + 1e-7)
