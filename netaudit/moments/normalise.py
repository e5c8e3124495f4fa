"""Centring and normalisation of kernels: LayerNorm, RMSNorm, GroupNorm, InstanceNorm and BatchNorm in one formula."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netaudit.moments import kernels
from netaudit.moments.cotangent import Cotangent, Euler, cotangent
from netaudit.moments.direction import tangential
from netaudit.moments.kernels import Array, Kernel
from netaudit.moments.modelled import Modelled
from netaudit.moments.state import Moments, View, of
from netaudit.moments.sums import law_of_normalised

SCALE_JITTER = 0.02
"""Relative variance, beyond the Gaussian 1 / 2n, of the scale by which single tokens are divided. Measured on transformers."""


def centred(kernel: Kernel, axes: tuple[int, ...]) -> Kernel:
    """``X - mean_D X``: ``C - mean_D C`` for every pattern, exact for exchangeable arrays; what sums to zero stays exactly so."""
    kernel = kernels.explicit(kernels.collapsed(kernel, *axes), *axes)
    mean = kernels.summed(kernel, axes, average=True)
    return Kernel(kernel.sizes, kernel.cuts, kernel.second - mean.second, np.zeros((1,) * kernel.rank))


def centre(x: Moments, axes: Sequence[int]) -> Modelled:
    """``x - mean(x)`` over axes: symmetric, so it is its own pull-back."""
    over = tuple(sorted(a % len(x.sizes) for a in axes))
    return Modelled(of(centred(x.settled.kernel, over)), lambda g: (cotangent(centred(g.kernel, over)),))


def normalise(x: Moments, axes: Sequence[int], eps: float, *, subtract_mean: bool = True) -> Modelled:
    """``(x - mean) / sqrt(mean square + eps)`` over axes, the scale taken as its expectation per segment.

    Backward: ``1 / s``, centre, and without the direction of ``x`` itself (``direction.tangential``). With one remaining axis
    (channels of a BatchNorm) the cotangent is orthogonal to ``x`` per channel up to ``(eps / (v + eps))^2``.
    """
    x = x.settled
    rank = len(x.sizes)
    over = tuple(sorted(a % rank for a in axes))
    body = centred(x.kernel, over) if subtract_mean else kernels.collapsed(x.kernel, *over)
    variance = np.maximum(_by_segment(body, over), 0.0)
    inverse = 1.0 / np.sqrt(variance + eps)
    kernel = _rescaled(body, inverse)
    out = Moments(View(kernel), law_of_normalised(x, over, kernel, centred=subtract_mean))
    rest = [a for a in range(rank) if a not in over]
    share = float(np.mean((eps / (variance + eps)) ** 2))

    def pull(g: Cotangent) -> tuple[Cotangent]:
        kernel = centred(g.kernel, over) if subtract_mean else kernels.collapsed(g.kernel, *over)
        # explicit before they are cut alike: an axis along which a kernel does not vary has no cut that could be refined
        _, _, kernel, own = kernels.aligned(*(kernels.explicit(k, *range(rank)) for k in (kernel, body)))
        scale = 1.0 / np.sqrt(np.maximum(_by_segment(own, over), 0.0) + eps)
        kernel = _rescaled(tangential(kernel, _rescaled(own, scale), over), scale)
        if 0 not in over:
            kernel = _jittered(kernel, over, 1 + SCALE_JITTER)
        euler = Euler(rest[0], share) if len(rest) == 1 else None
        return (cotangent(kernel, euler),)

    return Modelled(out, pull)


def _by_segment(kernel: Kernel, over: tuple[int, ...]) -> Array:
    """Mean square by segment of the axes that are not normalised over."""
    return kernel.diagonal()[tuple(slice(0, 1) if a in over else slice(None) for a in range(kernel.rank))]


def _rescaled(kernel: Kernel, factor: Array) -> Kernel:
    """``factor_i factor_j C``, for a factor by segment."""
    second = kernel.second * kernels.pair_product(factor, factor, kernel)
    return Kernel(kernel.sizes, kernel.cuts, second, kernel.mean * factor)


def _jittered(kernel: Kernel, over: tuple[int, ...], factor: float) -> Kernel:
    """The scale differs from token to token: pairs within one token carry its second moment."""
    second = kernel.second.copy()
    same = tuple(slice(None) if a in over or not kernel.varies(a) else slice(0, len(kernel.cuts[a])) for a in range(kernel.rank))
    second[same] *= factor
    return Kernel(kernel.sizes, kernel.cuts, second, kernel.mean)
