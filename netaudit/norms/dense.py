"""How large is the spectral norm of a matrix?

The Gram matrix ``G`` of the short side in float64, a Ritz value for its top eigenvalue, and a Cholesky factorisation of
``level I - G`` as the proof; the errors of ``G`` and of the factorisation are added.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from netaudit.norms.certificate import (
    NOT_FINITE,
    NOTHING,
    Certificate,
    Effort,
    Squares,
    binary_exponent,
    certificate,
    readable,
)
from netaudit.norms.definite import certified_top
from netaudit.norms.gram import frobenius_square, gram, gram_error

TOLERANCE = 7e-7  # of the squared norm; the bound comes out within about as much of the truth
BATCH_BYTES = 2**28  # of Gram matrices held at once
QUICK_TOLERANCE = 1e-2  # of the squared norm
ALWAYS_TIGHT = 256  # short side up to which the quick way saves nothing ...
ALWAYS_TIGHT_PRODUCTS = 1e9  # ... unless the other side is very long
QUICK_PRODUCTS = 4.2e8  # multiply-adds of the quick way's Gram matrices: about 7 ms of one core
QUICK_ROWS = 512  # and a search and a Cholesky factorisation of so many rows are another 5 ms


def dense(weight: Tensor, *, effort: Effort = "tight") -> Certificate:
    """``||W||_2`` of a matrix ``W``: (m, n), any real floating dtype.

    ``tight``: within 1e-6. ``quick``: the same while ``min(m, n) <= 256``; beyond it ``sqrt(sum_i ||W_i||_2^2)`` over
    as few blocks of rows ``W_i`` as the work allows, each within 2 %: at best 1.02, at worst the Frobenius norm.
    Source: Rump 2006, section 2 (Cholesky as proof); blocks of rows: ``||W x||^2 = sum_i ||W_i x||^2``.
    """
    return dense_batch((weight,), effort=effort)[0]


def dense_batch(weights: Sequence[Tensor], *, effort: Effort = "tight") -> tuple[Certificate, ...]:
    """:func:`dense` of many matrices, those of one shape together: what keeps a GPU busy."""
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in map(_matrix, weights)]
    exponents = [binary_exponent(matrix) for matrix in wide]
    found = {index: NOTHING if wide[index].numel() == 0 else NOT_FINITE for index in range(len(wide))}
    for indices in _alike(wide, exponents):
        matrices = [wide[index] for index in indices]
        scales = [exponent for index in indices if (exponent := exponents[index]) is not None]
        is_tight = effort == "tight" or _is_small(matrices[0])
        certificates = _tight(matrices, scales) if is_tight else tuple(map(_quick, matrices, scales))
        found.update(zip(indices, certificates, strict=True))
    return tuple(found.values())


def dense_streamed(blocks: Iterable[Tensor], *, dim: Literal[0, 1] = 1) -> Certificate:
    """``||[B_1, B_2, ...]||_2`` for blocks concatenated along ``dim`` (1: blocks of columns, 0: of rows), read once.

    Holds one block and a few ``(n, n)`` matrices, ``n`` the size of the other dimension: cut the long side. Within
    1e-6. Blocks may differ in dtype and width. ``W W^T = sum_i B_i B_i^T`` is exact, so nothing is lost by the cut.
    """
    total, exponent, terms = torch.zeros(1, 0, 0), 0, 0
    for block in blocks:
        columns = _matrix(block) if dim == 1 else _matrix(block).T
        own = binary_exponent(columns)
        if own is None:
            return NOT_FINITE
        common = own if terms == 0 else max(exponent, own)
        part = gram((columns,), (own,)).mul_(4.0 ** (own - common))
        total = part if terms == 0 else part.add_(total, alpha=4.0 ** (exponent - common))
        exponent, terms = common, terms + columns.shape[1] + 1
    if total.numel() == 0:
        return NOTHING
    (squares,) = _squares(total, gram_error(total, terms), TOLERANCE, "streamed fp64 Gram + Cholesky")
    return certificate(squares, exponent)


def _matrix(weight: Tensor) -> Tensor:
    if weight.ndim != 2 or not weight.is_floating_point():
        raise ValueError(f"a matrix of real floats is needed, not {tuple(weight.shape)} of {weight.dtype}")
    return readable(weight)


def _alike(matrices: Sequence[Tensor], exponents: Sequence[int | None]) -> Iterator[list[int]]:
    """Indices of finite matrices of one shape, dtype and device, as many as memory allows together."""
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, (matrix, exponent) in enumerate(zip(matrices, exponents, strict=True)):
        if matrix.numel() > 0 and exponent is not None:
            groups[matrix.shape, matrix.dtype, matrix.device].append(index)
    for indices in groups.values():
        held = max(1, BATCH_BYTES // (8 * matrices[indices[0]].shape[0] ** 2))
        yield from (indices[start : start + held] for start in range(0, len(indices), held))


def _tight(matrices: Sequence[Tensor], exponents: Sequence[int]) -> tuple[Certificate, ...]:
    products = gram(matrices, exponents)
    error = gram_error(products, matrices[0].shape[1])
    return tuple(map(certificate, _squares(products, error, TOLERANCE, "fp64 Gram + Cholesky"), exponents))


def _quick(matrix: Tensor, exponent: int) -> Certificate:
    size, length = matrix.shape
    rows = min(size, QUICK_ROWS, max(1, int(2.0 * QUICK_PRODUCTS / (size * length))))
    count = math.ceil(size / rows)
    rows = math.ceil(size / count)
    whole = size // rows * rows
    dtype = torch.float32 if _is_float32_exact(matrix, exponent) else torch.float64
    found: list[Squares] = []
    for blocks in (matrix[:whole].view(-1, rows, length), matrix[None, whole:]):
        if blocks.shape[1] > 0:
            products = gram(blocks, [exponent] * len(blocks), dtype)
            found += _squares(products, gram_error(products, length, dtype), QUICK_TOLERANCE, "")
    method = f"{'fp32' if dtype is torch.float32 else 'fp64'} Gram + Cholesky"
    method += "" if len(found) == 1 else f" of {len(found)} blocks of rows"
    upper = math.fsum(block.upper for block in found)
    return certificate(Squares(max(block.lower for block in found), upper, method), exponent)


def _squares(products: Tensor, error: Tensor, tolerance: float, method: str) -> list[Squares]:
    top = certified_top(products, tolerance)
    uppers = torch.minimum(top.upper, frobenius_square(products)) + error
    pairs = zip((top.lower - error).tolist(), uppers.tolist(), strict=True)
    return [Squares(lower, upper, method) for lower, upper in pairs]


def _is_small(matrix: Tensor) -> bool:
    size, length = matrix.shape
    return size <= ALWAYS_TIGHT and size * size * length <= 2.0 * ALWAYS_TIGHT_PRODUCTS


def _is_float32_exact(matrix: Tensor, exponent: int) -> bool:
    """Do float32 products of this matrix round as float32? Not on a GPU (TF32), not where the user allowed bfloat16."""
    mkldnn = torch.backends.mkldnn
    backends = (torch.backends, mkldnn, mkldnn.matmul)  # type: ignore[attr-defined]  # torch adds it when imported
    is_ieee = all(backend.fp32_precision in ("none", "ieee") for backend in backends)
    return is_ieee and exponent == 0 and matrix.dtype is not torch.float64 and matrix.device.type == "cpu"
