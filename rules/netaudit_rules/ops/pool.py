"""Pooling and resampling: known matrices on each axis, and maxima over windows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from netaudit import Effect, Interval, Jacobian, Node, Signal, Var, modelled, transfer, up

from .common import indices, ints, linear_jacobian, real, spectral_norm

Array = NDArray[np.float64]


def _along_axes(node: Node, x: Signal, matrices: Sequence[Array], factor: float = 1.0) -> Effect:
    """A separable linear map on the last axes: the norm of a Kronecker product is the product of the norms."""
    first = len(x.shape) - len(matrices)
    norm = up(abs(factor) * prod(spectral_norm(m) for m in matrices))

    def model(v: Var, *_: Var | None) -> Var:
        for i, matrix in enumerate(matrices):
            if matrix.shape[0] == 1 and np.ptp(matrix) == 0:
                v = v.sum(first + i, keep=True).scale(float(matrix[0, 0]))
            elif not _is_identity(matrix):
                v = v.along(first + i, matrix)
        return v.scale(factor) if factor != 1.0 else v

    rest = (None,) * (len(node.operands) - 1)
    moments, pull = modelled(model, x, *rest)
    values = x.range
    for matrix in matrices:
        values = _through(values, matrix)
    out = Signal(node.shape, values * Interval(factor, factor), None, moments)
    return Effect(out, (linear_jacobian(norm, f"product over axes of the norms of the {len(matrices)} pooling matrices"), *rest), pull)


def _is_identity(matrix: Array) -> bool:
    return matrix.shape[0] == matrix.shape[1] and bool((matrix == np.eye(len(matrix))).all())


def _through(values: Interval, matrix: Array) -> Interval:
    """The range of ``A x``: the largest positive and negative row sums."""
    positive, negative = np.maximum(matrix, 0).sum(1), np.minimum(matrix, 0).sum(1)
    if not values.is_bounded:
        return values if float(negative.min()) == 0 and values.lo >= 0 else Interval()
    return Interval(
        -up(-float((positive * values.lo + negative * values.hi).min())), up(float((positive * values.hi + negative * values.lo).max()))
    )


# averages ---------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def average_matrix(size: int, window: int, stride: int, padding: int, out: int, *, include_padding: bool, divide: bool = True) -> Array:
    """The matrix (out, size) of average pooling along one axis, divisors as torch counts them; of sums when none is wanted."""
    matrix = np.zeros((out, size))
    for i in range(out):
        start = i * stride - padding
        stop = min(start + window, size + padding)
        inside = range(max(start, 0), min(stop, size))
        divisor = (stop - start) if include_padding else len(inside)
        matrix[i, inside.start : inside.stop] = 1.0 / max(divisor, 1) if divide else 1.0
    return matrix


@transfer(
    "aten.avg_pool1d",
    "aten.avg_pool2d",
    "aten.avg_pool3d",
    source="Toeplitz: sqrt(sum max(0, k - |m| s)) / k per axis, 1 / sqrt s when s divides k",
    degree="1",
)
def avg_pool(node: Node, x: Signal) -> Effect:
    """Means over windows, by the exact matrix of each axis at this size."""
    dims = int(node.op[-2])
    window = ints(node.args["kernel_size"], dims)
    stride = ints(node.args["stride"], dims) if node.args.get("stride") else window
    padding = ints(node.args.get("padding", 0), dims)
    include = node.args.get("count_include_pad", True) is not False
    sizes, outs = x.shape[-dims:], node.shape[-dims:]
    divisor = real(node.args.get("divisor_override"))
    geometry = zip(sizes, window, stride, padding, outs, strict=True)
    matrices = [average_matrix(*axis, include_padding=include, divide=not divisor) for axis in geometry]
    return _along_axes(node, x, matrices, 1.0 / divisor if divisor else 1.0)


@lru_cache(maxsize=512)
def adaptive_matrix(size: int, out: int) -> Array:
    """The matrix of adaptive average pooling along one axis."""
    matrix = np.zeros((out, size))
    for i in range(out):
        start, stop = floor(i * size / out), ceil((i + 1) * size / out)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


@transfer(
    "aten.adaptive_avg_pool1d", "aten.adaptive_avg_pool2d", "aten.adaptive_avg_pool3d", "aten._adaptive_avg_pool2d",
    source="known matrices; global mean 1 / sqrt(HW)", degree="1",
)  # fmt: skip
def adaptive_avg_pool(node: Node, x: Signal) -> Effect:
    """Means over windows that tile each axis."""
    dims = int(node.op[-2])
    matrices = [adaptive_matrix(n, o) for n, o in zip(x.shape[-dims:], node.shape[-dims:], strict=True)]
    return _along_axes(node, x, matrices)


# maxima -----------------------------------------------------------------------------------------------------------------


def _most_windows(size: int, window: int, stride: int, padding: int, dilation: int, out: int) -> int:
    position = (np.arange(out)[:, None] * stride - padding + np.arange(window) * dilation).ravel()
    position = position[(position >= 0) & (position < size)]
    return int(np.bincount(position).max()) if position.size else 1


def _max_effect(node: Node, x: Signal, dims: int, most: int, window: int) -> Effect:
    first = len(x.shape) - dims
    moments, pull = modelled(lambda v: v.pool_max(list(range(first, first + dims)), window, list(node.shape[-dims:])), x)
    jac = Jacobian(
        up(sqrt(most)) if most > 1 else 1.0,
        "exact",
        f"one entry may win {most} windows",
        frozenset({"selection"}),
        attained="an entry above all others",
    )
    return Effect(Signal(node.shape, x.range, None, moments), (jac,), pull)


@transfer(
    "aten.max_pool1d", "aten.max_pool2d", "aten.max_pool3d", "aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices",
    "aten.max_pool1d_with_indices",
    source="sqrt of the number of windows that one entry can win", kinks="ties: all to one entry", degree="1 (positively)",
)  # fmt: skip
def max_pool(node: Node, x: Signal) -> Effect:
    """Maxima over windows: 1 when they do not overlap, 2 for the ResNet stem."""
    if not node.is_float:
        return indices(node)
    dims = int(node.op.split("pool")[1][0])
    window = ints(node.args["kernel_size"], dims)
    stride = ints(node.args["stride"], dims) if node.args.get("stride") else window
    padding, dilation = (ints(node.args.get(name, default), dims) for name, default in (("padding", 0), ("dilation", 1)))
    geometry = zip(x.shape[-dims:], window, stride, padding, dilation, node.shape[-dims:], strict=True)
    return _max_effect(node, x, dims, prod(_most_windows(*axis) for axis in geometry), prod(window))


@transfer(
    "aten.adaptive_max_pool1d",
    "aten.adaptive_max_pool2d",
    "aten.adaptive_max_pool3d",
    source="windows [floor(i n / o), ceil((i + 1) n / o))",
    kinks="ties: all to one entry",
    degree="1",
)
def adaptive_max_pool(node: Node, x: Signal) -> Effect:
    """Maxima over windows that tile each axis."""
    if not node.is_float:
        return indices(node)
    dims = int(node.op[-2])
    most, window = 1, 1
    for n, o in zip(x.shape[-dims:], node.shape[-dims:], strict=True):
        most *= int((adaptive_matrix(n, o) > 0).sum(0).max())
        window *= ceil(n / o)
    return _max_effect(node, x, dims, most, window)


# resampling -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def resampling_matrix(size: int, out: int, mode: str, align: bool, scale: float, antialias: bool) -> Array:
    """The matrix of interpolation along one axis, as torch places its samples. ``scale`` is input over output."""
    matrix = np.zeros((out, size))
    for i in range(out):
        for index, weight in _taps(i, size, out, mode, align, scale, antialias):
            matrix[i, min(max(index, 0), size - 1)] += weight
    return matrix


def _taps(i: int, size: int, out: int, mode: str, align: bool, scale: float, antialias: bool) -> list[tuple[int, float]]:
    if mode == "nearest":
        return [(min(floor(i * scale), size - 1), 1.0)]
    if mode == "nearest_exact":
        return [(min(floor((i + 0.5) * scale), size - 1), 1.0)]
    if antialias:
        return _antialiased(i, size, mode, scale)
    at = i * (size - 1) / max(out - 1, 1) if align else (i + 0.5) * scale - 0.5
    if mode == "linear":
        at = max(at, 0.0)
        low = min(floor(at), size - 1)
        return [(low, 1.0 - (at - low)), (low + 1, at - low)] if low + 1 < size else [(low, 1.0)]
    low = floor(at)
    return [(low + k, _cubic(at - low - k, -0.75)) for k in (-1, 0, 1, 2)]


def _cubic(distance: float, a: float) -> float:
    """Keys' cubic convolution kernel."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def _antialiased(i: int, size: int, mode: str, scale: float) -> list[tuple[int, float]]:
    """The kernel widened to the sampling step and normalised (PIL's rule, a = -1/2 for cubic)."""
    stretch = max(scale, 1.0)
    reach = (1.0 if mode == "linear" else 2.0) * stretch
    centre = scale * (i + 0.5)
    low, high = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), size)
    distances = [(j - centre + 0.5) / stretch for j in range(low, high)]
    weights = [max(0.0, 1.0 - abs(d)) if mode == "linear" else _cubic(d, -0.5) for d in distances]
    total = sum(weights) or 1.0
    return [(j, w / total) for j, w in zip(range(low, high), weights, strict=True)]


_MODES = {"nearest_exact": "nearest_exact", "nearest": "nearest", "bicubic": "cubic", "linear": "linear"}


@transfer(
    "aten.upsample_nearest1d", "aten.upsample_nearest2d", "aten.upsample_nearest3d", "aten._upsample_nearest_exact1d",
    "aten._upsample_nearest_exact2d", "aten.upsample_linear1d", "aten.upsample_bilinear2d", "aten.upsample_trilinear3d",
    "aten.upsample_bicubic2d", "aten._upsample_bilinear2d_aa", "aten._upsample_bicubic2d_aa",
    source="known matrices: nearest sqrt r per axis, bicubic overshoots (l_inf 1.64)", degree="1",
)  # fmt: skip
def upsample(node: Node, x: Signal) -> Effect:
    """Interpolation, by the exact matrix of each axis at this size."""
    mode = next(value for name, value in _MODES.items() if name in node.op)
    dims = len(node.shape) - 2
    align = node.args.get("align_corners") is True
    given = node.args.get("scale_factors")
    matrices = []
    for i, (n, o) in enumerate(zip(x.shape[2:], node.shape[2:], strict=True)):
        factor = (
            given[i]
            if isinstance(given, tuple) and len(given) == dims
            else node.args.get(("scales", "scales_h", "scales_w")[0 if dims == 1 else i + 1] if dims < 3 else "")
        )
        scale = 1.0 / real(factor) if factor else n / o
        matrices.append(resampling_matrix(n, o, mode, align, scale, node.op.endswith("_aa")))
    return _along_axes(node, x, matrices)
