"""Linear maps that are known by what they do: the Jacobian of a function at a point, its largest gain and its typical one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, prod, sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Function = Callable[[Tensor], Tensor]
TOLERANCE = 1e-3
"""Relative size of the residual at which the largest gain counts as found: the gain itself is then right to its square."""
BASIS_MEMORY = 1 << 28
"""Bytes of Lanczos vectors that are kept to hold new ones orthogonal against; beyond it they are let go, which costs steps, not truth."""


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A linear map from tensors of one shape to tensors of another, by its products: ``forth`` is ``v -> J v``, ``back`` ``u -> J' u``.

    ``value`` is that of the function where the map is its Jacobian.
    """

    forth: Function
    back: Function
    example: Tensor
    value: Tensor

    @property
    def domain(self) -> torch.Size:
        """The shape of what goes in."""
        return self.example.shape

    @property
    def codomain(self) -> torch.Size:
        """The shape of what comes out."""
        return self.value.shape


def jacobian(function: Function, x: Tensor) -> Map:
    """The Jacobian of a function at a point, as autograd's backward pass has it; no matrix is made.

    ``J v`` is the derivative of ``u -> J' u`` along ``v``: what backward leaves out (the row of a padding index) is left out of both.
    Where torch has no second derivative of an op, its forward one is taken.

    Raises:
        NotImplementedError: torch has neither.
    """
    leaf = x.detach().requires_grad_()
    with differentiable():
        value = function(leaf)
        u = torch.zeros_like(value, requires_grad=True)
        pulled = _pulled_with_graph(value, leaf, u)

    def back(cotangent: Tensor) -> Tensor:
        if not value.requires_grad:
            return torch.zeros_like(x)
        (found,) = torch.autograd.grad(value, leaf, cotangent, retain_graph=True, allow_unused=True)
        return torch.zeros_like(x) if found is None else found

    def forth(tangent: Tensor) -> Tensor:
        if pulled is None:
            with differentiable():
                found: Tensor = torch.func.jvp(function, (x.detach(),), (tangent,))[1]
                return found.detach()
        if not pulled.requires_grad:
            return torch.zeros_like(value).detach()
        (along,) = torch.autograd.grad(pulled, u, tangent, retain_graph=True, allow_unused=True)
        return torch.zeros_like(value).detach() if along is None else along.detach()

    return Map(forth, back, x.detach(), value.detach())


def _pulled_with_graph(value: Tensor, leaf: Tensor, u: Tensor) -> Tensor | None:
    """``J' u`` as a function of ``u`` that can be differentiated; zero where there is no gradient, None where torch cannot."""
    if not value.requires_grad:
        return torch.zeros_like(leaf).detach()
    try:
        (pulled,) = torch.autograd.grad(value, leaf, u, create_graph=True, allow_unused=True)
        if pulled is None:
            return torch.zeros_like(leaf).detach()
        torch.autograd.grad(pulled, u, torch.zeros_like(leaf), retain_graph=True, allow_unused=True)
    except RuntimeError:  # "derivative for ... is not implemented", NotImplementedError among them
        return None
    return pulled


@contextmanager
def differentiable() -> Iterator[None]:
    """Attention by plain products: the fused kernels have no forward derivative and no second one."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# the largest gain -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Largest:
    """``||J v|| / ||v||`` for the best ``v`` found: a lower bound of ``||J||_2``.

    ``pairs`` counts products with ``J`` and ``J'``; ``residual`` is ``||J' u - gain v|| / gain`` at the end.
    """

    gain: float
    pairs: int
    residual: float

    @property
    def converged(self) -> bool:
        """Whether more steps would hardly change it."""
        return self.residual <= TOLERANCE


def largest_gain(linear: Map, *, pairs: int = 20, seed: int = 0) -> Largest:
    """The largest singular value of a map by Golub-Kahan-Lanczos bidiagonalisation; it grows with every step.

    ``J V_k = U_k B_k`` with ``B_k`` upper bidiagonal: the largest singular value of ``B_k`` is that of ``J`` on the span of
    ``V_k``, hence at most ``||J||_2``.

    Source: Golub and Van Loan 2013, Matrix Computations, section 10.4.
    """
    diagonal: list[float] = []
    above: list[float] = []
    basis: list[Tensor] = []
    keep = pairs * linear.example.numel() * linear.example.element_size() <= BASIS_MEMORY
    v = _unit(noise(linear.example, seed))
    u = torch.zeros_like(linear.value)
    gain, residual = 0.0, 0.0
    for _ in range(min(pairs, linear.example.numel())):
        basis = [*basis, v] if keep else []
        u = linear.forth(v) - (above[-1] if above else 0.0) * u
        alpha = _norm(u)
        if not isfinite(alpha):
            return Largest(alpha, len(diagonal) + 1, alpha)
        diagonal.append(alpha)
        if alpha > 0.0:
            u = u / alpha
        w = linear.back(u) - alpha * v
        for one in basis:
            w = w - _dot(one, w) * one
        beta = _norm(w)
        left, values, _ = np.linalg.svd(np.diag(diagonal) + np.diag(above, 1))
        gain = float(values[0])
        residual = beta * abs(float(left[-1, 0])) / gain if gain > 0.0 else 0.0
        if residual <= TOLERANCE or beta <= 1e-14 * max(gain, 1e-300):
            break
        above.append(beta)
        v = w / beta
    return Largest(gain, len(diagonal), residual)


# the typical gain -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Typical:
    """``||J||_F / sqrt(outputs)``, the factor on the norm of a random cotangent, with its relative standard error."""

    gain: float
    error: float


def typical_gain(squares: list[float], outputs: int) -> Typical:
    """From ``||J' u||^2`` for several ``u`` with ``E[u u'] = I`` (normal, or random signs), whose mean is ``||J||_F^2``.

    Source: Hutchinson 1990; the standard error of the root is half that of the mean.
    """
    mean = sum(squares) / len(squares)
    if mean == 0.0:
        return Typical(0.0, 0.0)
    spread = sum((s - mean) ** 2 for s in squares) / max(len(squares) - 1, 1) / len(squares)
    return Typical(sqrt(mean / max(outputs, 1)), 0.5 * sqrt(spread) / mean)


def noise(like: Tensor, seed: int) -> Tensor:
    """Normal numbers, the same every time on one kind of device."""
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


TILE = (1 << 20) - 3
"""Random signs that are drawn once. A prime: copies of a tile do not fall on the same channel of the next sample of a batch."""
STRIDE = 977
"""Between the places where two draws begin in the tile."""


def signs(like: Tensor, seed: int, draw: int) -> Tensor:
    """+1 or -1 for every entry, the same on all devices: ``E[u u'] = I`` and ``||u||^2`` is the number of entries exactly.

    A piece of one tile of signs, since drawing them anew for every call would cost as much as running the model; beyond a tile,
    copies of it, each with a sign from elsewhere in the tile.
    """
    count = prod(like.shape)
    tile = _tile(like.dtype, like.device)
    start = (draw * STRIDE + seed * TILE // 7) % TILE
    if count <= TILE:
        return tile[start : start + count].view(like.shape)
    flips = (start + TILE // 2) % TILE
    copies = -(-count // TILE)
    return (tile[flips : flips + copies, None] * tile[start : start + TILE]).flatten()[:count].view(like.shape)


@lru_cache(maxsize=2)
def _tile(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The tile, twice, so that a piece of it may begin anywhere."""
    tile = torch.randint(2, (TILE,), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    return (2 * tile - 1).to(device, dtype).repeat(2)


def _unit(x: Tensor) -> Tensor:
    return x / max(_norm(x), 1e-300)


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x))


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum()
