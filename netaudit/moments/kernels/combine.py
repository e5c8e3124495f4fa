"""Products, sums and views of kernels: what happens to every pattern at once."""

from __future__ import annotations

import numpy as np

from netaudit.moments.kernels.kernel import Kernel, along_axis, pair_product
from netaudit.moments.kernels.layout import Cut, pair_counts
from netaudit.moments.kernels.segments import collapsed, common_cut, refined


def with_leading(kernel: Kernel, rank: int) -> Kernel:
    """Axes of size 1 put in front, up to ``rank`` axes."""
    extra = rank - kernel.rank
    if extra == 0:
        return kernel
    ones = (1,) * extra
    return Kernel(
        ones + kernel.sizes,
        ((1,),) * extra + kernel.cuts,
        kernel.second.reshape(ones + kernel.second.shape),
        kernel.mean.reshape(ones + kernel.mean.shape),
    )


def aligned(x: Kernel, y: Kernel) -> tuple[tuple[int, ...], tuple[Cut, ...], Kernel, Kernel]:
    """Two kernels on common cuts, ready for numpy's broadcasting, with the sizes and cuts of the result."""
    rank = max(x.rank, y.rank)
    x, y = with_leading(x, rank), with_leading(y, rank)
    for axis in range(rank):
        if x.cuts[axis] != y.cuts[axis] and x.varies(axis) and y.varies(axis):
            cut = common_cut(x.cuts[axis], y.cuts[axis])
            x, y = (collapsed(x, axis), collapsed(y, axis)) if len(cut) == 1 else (refined(x, axis, cut), refined(y, axis, cut))
    sizes = tuple(max(p, q) if min(p, q) > 0 else 0 for p, q in zip(x.sizes, y.sizes, strict=True))
    cuts = tuple(x.cuts[a] if x.varies(a) else y.cuts[a] if y.varies(a) else (n,) for a, n in enumerate(sizes))
    return sizes, cuts, x, y


def product(x: Kernel, y: Kernel) -> Kernel:
    """``Z = X Y`` for independent tensors: ``C_Z = C_X C_Y`` pattern by pattern, means likewise."""
    sizes, cuts, x, y = aligned(x, y)
    return Kernel(sizes, cuts, x.second * y.second, x.mean * y.mean)


def total(x: Kernel, y: Kernel, sign: float = 1.0) -> Kernel:
    """``Z = X + s Y`` for tensors that share nothing but their means: ``C_Z = C_X + s^2 C_Y + s (m_i m'_j + m'_i m_j)``."""
    sizes, cuts, x, y = aligned(x, y)
    second = x.second + (sign * sign) * y.second
    if x.mean.any() and y.mean.any():
        frame = Kernel(sizes, cuts, second, x.mean)
        second = second + sign * (pair_product(x.mean, y.mean, frame) + pair_product(y.mean, x.mean, frame))
    return Kernel(sizes, cuts, second, x.mean + sign * y.mean)


def scaled(kernel: Kernel, factor: float) -> Kernel:
    """``factor X``."""
    return Kernel(kernel.sizes, kernel.cuts, kernel.second * (factor * factor), kernel.mean * factor)


def doubled(kernel: Kernel) -> Kernel:
    """``E[X_i X_j + X_j X_i]``."""
    return Kernel(kernel.sizes, kernel.cuts, 2.0 * kernel.second, kernel.mean)


def centred_at_zero(kernel: Kernel) -> Kernel:
    """The same second moments with the mean forgotten: what a cotangent is."""
    return Kernel(kernel.sizes, kernel.cuts, kernel.second, np.zeros((1,) * kernel.rank))


def summed(kernel: Kernel, axes: tuple[int, ...], *, average: bool = False) -> Kernel:
    """Sum (or mean) over axes, which stay with size 1: ``C'[T] = n C[T + a] + n (n - 1) C[T]``."""
    second, mean, sizes, cuts = kernel.second, kernel.mean, list(kernel.sizes), list(kernel.cuts)
    for axis in axes:
        n = sizes[axis]
        unit = 1.0 / n if average and n else 1.0
        if second.shape[axis] > 1:
            second = np.expand_dims(along_axis(second, axis, pair_counts(cuts[axis]) * (unit * unit)), axis)
        else:
            second = second * (n * unit) ** 2
        sums = np.array(cuts[axis], dtype=np.float64) * unit
        mean = np.expand_dims(along_axis(mean, axis, sums), axis) if mean.shape[axis] > 1 else mean * (n * unit)
        sizes[axis], cuts[axis] = 1, (1,)
    return Kernel(tuple(sizes), tuple(cuts), second, mean)


def expanded(kernel: Kernel, sizes: tuple[int, ...]) -> Kernel:
    """Axes of size 1 repeated to ``sizes`` (-1 keeps a size), new axes in front."""
    kernel = with_leading(kernel, len(sizes))
    sizes = tuple(old if new == -1 else new for old, new in zip(kernel.sizes, sizes, strict=True))
    cuts = tuple(cut if old == new else (new,) for cut, old, new in zip(kernel.cuts, kernel.sizes, sizes, strict=True))
    return Kernel(sizes, cuts, kernel.second, kernel.mean)


def unbroadcast(kernel: Kernel, sizes: tuple[int, ...]) -> Kernel:
    """Sum over what broadcasting from ``sizes`` had repeated: the adjoint of ``expanded``."""
    extra = kernel.rank - len(sizes)
    axes = tuple(a for a in range(kernel.rank) if a < extra or (sizes[a - extra] == 1 and kernel.sizes[a] > 1))
    kernel = summed(kernel, axes) if axes else kernel
    return without(kernel, tuple(range(extra))) if extra else kernel


def without(kernel: Kernel, axes: tuple[int, ...]) -> Kernel:
    """Axes of size 1 removed."""
    keep = [a for a in range(kernel.rank) if a not in axes]
    return Kernel(
        tuple(kernel.sizes[a] for a in keep),
        tuple(kernel.cuts[a] for a in keep),
        kernel.second.reshape([kernel.second.shape[a] for a in keep]),
        kernel.mean.reshape([kernel.mean.shape[a] for a in keep]),
    )


def with_unit_axis(kernel: Kernel, axis: int) -> Kernel:
    """An axis of size 1 put in at ``axis``."""
    return Kernel(
        (*kernel.sizes[:axis], 1, *kernel.sizes[axis:]),
        (*kernel.cuts[:axis], (1,), *kernel.cuts[axis:]),
        np.expand_dims(kernel.second, axis),
        np.expand_dims(kernel.mean, axis),
    )


def permuted(kernel: Kernel, order: tuple[int, ...]) -> Kernel:
    """Axes in a new order."""
    return Kernel(
        tuple(kernel.sizes[a] for a in order),
        tuple(kernel.cuts[a] for a in order),
        kernel.second.transpose(order),
        kernel.mean.transpose(order),
    )
