"""The largest and the least eigenvalue of a symmetric map that is known by its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
import torch
from torch import Tensor

from netaudit.probe.linear import BASIS_MEMORY, TOLERANCE, noise


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of a spectrum as far as they were found: ``top`` is at most the largest eigenvalue, ``bottom`` at least the least.

    ``products`` counts the products; ``residual`` is ``||A v - top v|| / |top|`` at the end.
    """

    top: float
    bottom: float
    products: int
    residual: float

    @property
    def converged(self) -> bool:
        """Whether more products would hardly change the top."""
        return self.residual <= TOLERANCE


def ends(product: Callable[[Tensor], Tensor], example: Tensor, *, products: int, seed: int = 0) -> Ends:
    """The extreme eigenvalues by Lanczos' method: those of ``T = V' A V`` (tridiagonal) with ``V`` an orthonormal Krylov basis.

    They lie between those of ``A`` (Courant-Fischer), and the outer ones converge first. Symmetry is assumed.

    Source: Golub and Van Loan 2013, Matrix Computations, sections 10.1 and 10.3.
    """
    diagonal: list[float] = []
    beside: list[float] = []
    basis: list[Tensor] = []
    keep = products * example.numel() * example.element_size() <= BASIS_MEMORY
    v = noise(example, seed)
    v, before = v / torch.linalg.vector_norm(v), torch.zeros_like(v)
    found = Ends(nan, nan, 0, nan)
    for _ in range(min(products, example.numel())):
        basis = [*basis, v] if keep else []
        w = product(v)
        diagonal.append(float((v * w).sum()))
        w = w - diagonal[-1] * v - (beside[-1] * before if beside else 0.0)
        for one in basis:
            w = w - (one * w).sum() * one
        length = float(torch.linalg.vector_norm(w))
        if not isfinite(length) or not isfinite(diagonal[-1]):
            return Ends(nan, nan, len(diagonal), nan)
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        size = max(abs(values[0]), abs(values[-1]))
        residual = length * abs(float(vectors[-1, -1])) / abs(float(values[-1])) if values[-1] else 0.0
        found = Ends(float(values[-1]), float(values[0]), len(diagonal), residual)
        if found.converged or length <= 1e-14 * max(size, 1e-300):
            break
        beside.append(length)
        before, v = v, w / length
    return found
