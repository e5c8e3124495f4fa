"""Windows along an axis (unfold), and the adjoint (fold)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from netaudit.moments.kernels import Kernel, collapsed, explicit, from_array, product, replaced
from netaudit.moments.views import reshaped


@lru_cache(maxsize=1024)
def _window_mask(size: int, taps: int, out: int, stride: int, dilation: int, padding: int) -> Kernel | None:
    """The kernel of the 0/1 matrix (out, taps) of window positions that fall inside the input; None if all do."""
    position = np.arange(out)[:, None] * stride - padding + np.arange(taps) * dilation
    inside = (position >= 0) & (position < size)
    return None if inside.all() else from_array(inside.astype(np.float64))


def _masked(kernel: Kernel, axis: int, mask: Kernel) -> Kernel:
    shape = [1] * kernel.rank
    shape[axis : axis + 2] = mask.sizes
    return product(kernel, reshaped(mask, tuple(shape)))


def unfolded(kernel: Kernel, axis: int, taps: int, out: int, stride: int, dilation: int, padding: int) -> Kernel:
    """Windows: axis ``n`` -> axes (out, taps), zero-padded. Two taps agree when position and tap both do."""
    kernel = explicit(collapsed(kernel, axis), axis)
    size = kernel.sizes[axis]
    same = np.take(kernel.second, [0], axis)
    different = np.take(kernel.second, [min(1, kernel.second.shape[axis] - 1)], axis)
    states = (2 if out > 1 else 1, 2 if taps > 1 else 1)
    flat = np.concatenate([same] + [different] * (states[0] * states[1] - 1), axis)
    second = flat.reshape(flat.shape[:axis] + states + flat.shape[axis + 1 :])
    mean = np.expand_dims(kernel.mean, axis + 1)
    sizes = (*kernel.sizes[:axis], out, taps, *kernel.sizes[axis + 1 :])
    result = Kernel(sizes, replaced(kernel.cuts, axis, (out,), (taps,)), second, mean)
    mask = _window_mask(size, taps, out, stride, dilation, padding)
    return result if mask is None else _masked(result, axis, mask)


def folded(kernel: Kernel, axis: int, size: int, stride: int, dilation: int, padding: int) -> Kernel:
    """The adjoint of ``unfolded``: axes (out, taps) add up in an axis of ``size``. The total over all pairs is conserved."""
    out, taps = kernel.sizes[axis : axis + 2]
    mask = _window_mask(size, taps, out, stride, dilation, padding)
    used, overlaps = _window_counts(size, taps, out, stride, dilation, padding)
    kernel = explicit(explicit(kernel if mask is None else _masked(kernel, axis, mask), axis), axis + 1)
    kernel = collapsed(kernel, axis, axis + 1)
    states = np.moveaxis(kernel.second, (axis, axis + 1), (0, 1))
    both, outs, inner = states[0, 0], states[-1, 0], states[0, -1]
    neither = states[-1, -1]
    total = out * taps * (both + (out - 1) * outs + (taps - 1) * inner + (out - 1) * (taps - 1) * neither)
    share = used / (out * taps)
    same = (out * taps / size) * both + overlaps / max(share * share, 1e-9) * neither
    parts = [total] if size == 1 else [same, (total - size * same) / (size * (size - 1))]
    second = np.stack(parts, axis)
    mean = kernel.mean.reshape(kernel.mean.shape[: axis + 1] + kernel.mean.shape[axis + 2 :]) * (out * taps / size)
    sizes = (*kernel.sizes[:axis], size, *kernel.sizes[axis + 2 :])
    cuts = (*kernel.cuts[:axis], (size,), *kernel.cuts[axis + 2 :])
    return Kernel(sizes, cuts, second, mean)


@lru_cache(maxsize=1024)
def _window_counts(size: int, taps: int, out: int, stride: int, dilation: int, padding: int) -> tuple[int, float]:
    """How many (window, tap) pairs lie inside, and the mean over positions of ordered pairs that meet there."""
    position = (np.arange(out)[:, None] * stride - padding + np.arange(taps) * dilation).ravel()
    position = position[(position >= 0) & (position < size)]
    counts = np.bincount(position, minlength=size).astype(np.float64)
    return int(counts.sum()), float((counts * (counts - 1)).mean())
