"""What is ``A A^T``, and how far is the computed one from it?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from netaudit.norms.certificate import UNIT, gamma

CHUNK_COLUMNS = 512  # columns converted at a time: as many as a core's cache holds of a long matrix
FLOAT32_COLUMNS = 1024  # columns summed in float32; more lose precision, fewer time for the sums of chunks in float64
LEAF = 96  # rows multiplied without regard to symmetry
FLOAT32_UNIT = 2.0**-24


def gram(weights: Sequence[Tensor] | Tensor, exponents: Sequence[int], dtype: torch.dtype = torch.float64) -> Tensor:
    """``G_b = 4^-e_b W_b W_b^T``: (b, n, n) float64, symmetric, for ``b`` matrices ``W_b``: (n, m) of one shape.

    Only the blocks on and under the diagonal are multiplied. The weights are converted in chunks of columns, so that
    beside ``G`` almost nothing is held. ``dtype`` float32 asks for float32 products of float32 (or narrower) weights.
    """
    size, length = weights[0].shape
    total = torch.zeros(len(weights), size, size, dtype=torch.float64, device=weights[0].device)
    step = CHUNK_COLUMNS if dtype is torch.float64 else FLOAT32_COLUMNS
    for start in range(0, length, step):
        chunk = _scaled(_columns(weights, start, start + step), exponents, dtype)
        if dtype is torch.float64:
            add_lower_product(total, chunk)
        else:
            partial = torch.zeros(total.shape, dtype=dtype, device=total.device)
            add_lower_product(partial, chunk)
            total += partial
    _mirror(total)
    return total


def gram_error(matrices: Tensor, terms: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Bound on ``||fl(G) - G||_2``: (b,), for inner products of ``terms`` terms.

    Entrywise the error is at most ``gamma |W| |W|^T``, and ``|| |W| ||_2^2 <= ||W||_F^2 = tr G``. In float32
    only a chunk is summed in it. Underflow loses less than 2^-900 of a norm above 2^-75: it hides in the ``+ 4``.
    Source: Higham 2002, section 3.5.
    """
    relative = gamma(terms + 4)
    if dtype is torch.float32:
        relative += gamma(min(terms, FLOAT32_COLUMNS) + 4, FLOAT32_UNIT)
    return relative * frobenius_square(matrices) / (1.0 - relative)


def frobenius_square(matrices: Tensor) -> Tensor:
    """``tr fl(G)``, rounded up for the sum: (b,)."""
    trace = matrices.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    return trace * (1.0 + gamma(matrices.shape[-1]) + 2.0 * UNIT)


def add_lower_product(total: Tensor, factor: Tensor, sign: int = 1) -> None:
    """``total += sign F F^*`` in place, on and under the diagonal; ``total``: (b, n, n), ``F``: (b, n, m).

    In place since the product of a large layer is the largest object there is; by halves since that is one large
    multiplication and two of a quarter of the work, down to blocks where the wasted upper triangle costs nothing.
    """
    size = factor.shape[1]
    if size <= LEAF:
        total.baddbmm_(factor, factor.mH, alpha=sign)
        return
    half = size // 2
    add_lower_product(total[:, :half, :half], factor[:, :half], sign)
    add_lower_product(total[:, half:, half:], factor[:, half:], sign)
    total[:, half:, :half].baddbmm_(factor[:, half:], factor[:, :half].mH, alpha=sign)


def _columns(weights: Sequence[Tensor] | Tensor, start: int, stop: int) -> Tensor:
    if isinstance(weights, Tensor):
        return weights[:, :, start:stop]
    if len(weights) == 1:  # not copied: it may be large
        return weights[0][None, :, start:stop]
    return torch.stack([weight[:, start:stop] for weight in weights])


def _scaled(columns: Tensor, exponents: Sequence[int], dtype: torch.dtype) -> Tensor:
    if not any(exponents):
        return columns.to(dtype)
    scales = torch.tensor([2.0**-e for e in exponents], dtype=dtype, device=columns.device)
    return columns.to(dtype) * scales[:, None, None]


def _mirror(total: Tensor) -> None:
    """Copy the lower triangle up, along the same halves: the leaves are complete already."""
    size = total.shape[1]
    if size > LEAF:
        half = size // 2
        total[:, :half, half:] = total[:, half:, :half].mT
        _mirror(total[:, :half, :half])
        _mirror(total[:, half:, half:])
