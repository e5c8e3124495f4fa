"""Pair-pattern kernels: the type, its layout and its algebra. See kernel.py for what a kernel is."""

from netaudit.moments.kernels.combine import (
    aligned,
    centred_at_zero,
    doubled,
    expanded,
    permuted,
    product,
    scaled,
    summed,
    total,
    unbroadcast,
    with_leading,
    with_unit_axis,
    without,
)
from netaudit.moments.kernels.kernel import Kernel, constant, independent, pair_product, shared, spread
from netaudit.moments.kernels.layout import MAX_SEGMENTS, Array, Cut, pair_counts, replaced, segments_of, shares, whole
from netaudit.moments.kernels.segments import coarsened, collapsed, common_cut, explicit, refined
from netaudit.moments.kernels.statistics import from_array, from_blocks

__all__ = [
    "MAX_SEGMENTS",
    "Array",
    "Cut",
    "Kernel",
    "aligned",
    "centred_at_zero",
    "coarsened",
    "collapsed",
    "common_cut",
    "constant",
    "doubled",
    "expanded",
    "explicit",
    "from_array",
    "from_blocks",
    "independent",
    "pair_counts",
    "pair_product",
    "permuted",
    "product",
    "refined",
    "replaced",
    "scaled",
    "segments_of",
    "shared",
    "shares",
    "spread",
    "summed",
    "total",
    "unbroadcast",
    "whole",
    "with_leading",
    "with_unit_axis",
    "without",
]
