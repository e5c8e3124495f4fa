"""Pooling and resampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, normal

A = torch.ops.aten
R = Interval(-1.0, 2.0)
X1, X2, X3 = normal(1, 2, 7), normal(1, 1, 5, 6), normal(1, 1, 3, 4, 3)

AVERAGES: Mapping[str, tuple[Callable[[Tensor], object], Tensor]] = {
    "aten.avg_pool1d": (lambda x: F.avg_pool1d(x, 2), X1),
    "aten.avg_pool1d-overlap": (lambda x: F.avg_pool1d(x, 3, 1, 1), X1),
    "aten.avg_pool1d-counted": (lambda x: F.avg_pool1d(x, 3, 2, 1, count_include_pad=False), X1),
    "aten.avg_pool1d-ceil": (lambda x: F.avg_pool1d(x, 3, 2, 1, ceil_mode=True), X1),
    "aten.avg_pool2d": (lambda x: F.avg_pool2d(x, 2), X2),
    "aten.avg_pool2d-overlap": (lambda x: F.avg_pool2d(x, 3, 2, 1), X2),
    "aten.avg_pool2d-counted": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), X2),
    "aten.avg_pool2d-divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), X2),
    "aten.avg_pool2d-divisor-border": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False, divisor_override=3), X2),
    "aten.avg_pool3d": (lambda x: F.avg_pool3d(x, 2), X3),
    "aten.adaptive_avg_pool1d": (lambda x: F.adaptive_avg_pool1d(x, 3), X1),
    "aten.adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (3, 4)), X2),
    "aten.adaptive_avg_pool2d-global": (lambda x: F.adaptive_avg_pool2d(x, 1), X2),
    "aten._adaptive_avg_pool2d": (lambda x: A._adaptive_avg_pool2d(x, [2, 2]), X2),
    "aten.adaptive_avg_pool3d": (lambda x: F.adaptive_avg_pool3d(x, (2, 2, 2)), X3),
    "aten.upsample_nearest1d": (lambda x: F.interpolate(x, scale_factor=2), X1),
    "aten.upsample_nearest1d-down": (lambda x: F.interpolate(x, size=4), X1),
    "aten.upsample_nearest2d": (lambda x: F.interpolate(x, size=(7, 8)), X2),
    "aten.upsample_nearest3d": (lambda x: F.interpolate(x, scale_factor=(2, 1, 2)), X3),
    "aten._upsample_nearest_exact1d": (lambda x: F.interpolate(x, size=9, mode="nearest-exact"), X1),
    "aten._upsample_nearest_exact2d": (lambda x: F.interpolate(x, size=(7, 4), mode="nearest-exact"), X2),
    "aten.upsample_linear1d": (lambda x: F.interpolate(x, scale_factor=1.7, mode="linear"), X1),
    "aten.upsample_linear1d-recomputed": (lambda x: F.interpolate(x, scale_factor=1.7, mode="linear", recompute_scale_factor=True), X1),
    "aten.upsample_linear1d-aligned": (lambda x: F.interpolate(x, size=10, mode="linear", align_corners=True), X1),
    "aten.upsample_bilinear2d": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), X2),
    "aten.upsample_bilinear2d-aligned": (lambda x: F.interpolate(x, size=(8, 4), mode="bilinear", align_corners=True), X2),
    "aten.upsample_bilinear2d-two-scales": (lambda x: F.interpolate(x, scale_factor=(1.5, 2.3), mode="bilinear"), X2),
    "aten.upsample_trilinear3d": (lambda x: F.interpolate(x, scale_factor=(1.4, 1.0, 2.0), mode="trilinear"), X3),
    "aten.upsample_bicubic2d": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), X2),
    "aten.upsample_bicubic2d-aligned": (lambda x: F.interpolate(x, size=(3, 8), mode="bicubic", align_corners=True), X2),
    "aten._upsample_bilinear2d_aa": (lambda x: F.interpolate(x, size=(3, 8), mode="bilinear", antialias=True), X2),
    "aten._upsample_bicubic2d_aa": (lambda x: F.interpolate(x, size=(3, 4), mode="bicubic", antialias=True), X2),
}
MAXIMA: Mapping[str, tuple[Callable[[Tensor], object], Tensor]] = {
    "aten.max_pool1d": (lambda x: F.max_pool1d(x, 2), X1),
    "aten.max_pool1d-overlap": (lambda x: F.max_pool1d(x, 3, 1, 1), X1),
    "aten.max_pool1d-dilated": (lambda x: F.max_pool1d(x, 3, 2, 1, 2), X1),
    "aten.max_pool1d-ceil": (lambda x: F.max_pool1d(x, 3, 2, ceil_mode=True), X1),
    "aten.max_pool2d": (lambda x: F.max_pool2d(x, 2), X2),
    "aten.max_pool2d-bordered": (lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2), X2),
    "aten.max_pool2d-stem": (lambda x: F.max_pool2d(x, 3, 2, 1), X2),
    "aten.max_pool3d": (lambda x: F.max_pool3d(x, 2, 1), X3),
    "aten.max_pool1d_with_indices": (lambda x: A.max_pool1d_with_indices(x, [2])[0], X1),
    "aten.max_pool2d_with_indices": (lambda x: A.max_pool2d_with_indices(x, [2], [1])[0], X2),
    "aten.max_pool3d_with_indices": (lambda x: A.max_pool3d_with_indices(x, [2], [1])[0], X3),
    "aten.adaptive_max_pool1d": (lambda x: F.adaptive_max_pool1d(x, 3), X1),
    "aten.adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, (3, 4)), X2),
    "aten.adaptive_max_pool3d": (lambda x: F.adaptive_max_pool3d(x, (2, 2, 2)), X3),
}


def _spike(x: Tensor) -> Tensor:
    """One entry in the middle above all others: it wins every window that it lies in."""
    value = torch.zeros_like(x)
    middle: tuple[Any, ...] = (..., *(n // 2 for n in x.shape[2:]))
    value[middle] = 1.0
    return value


def _cases() -> tuple[Case, ...]:
    result = []
    for key, (function, x) in {**AVERAGES, **MAXIMA}.items():
        op, _, name = key.partition("-")
        is_max = key in MAXIMA
        starts = ((_spike(x),),) if is_max else ()
        # borders see fewer entries, which the model averages over
        result.append(Case(op=op, name=name, function=function, inputs=(x,), ranges={0: R}, starts=starts, factor=1.5 if is_max else 1.3))
    return tuple(result)


CASES = _cases()
