"""How large is the spectral norm of a convolution as it is used: input size, padding, stride, dilation, groups?

Windows that do not meet make it a matrix; few channels make it a band; all else is seen through its frequencies.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netaudit.norms.axis import (
    Axis,
    PaddingMode,
    conv_axes,
    has_full_window,
    transposed_axes,
    window_multiplicity,
)
from netaudit.norms.banded import banded_squares
from netaudit.norms.certificate import (
    NOT_FINITE,
    NOTHING,
    Certificate,
    Effort,
    binary_exponent,
    certificate,
    readable,
    root_up,
)
from netaudit.norms.convolution import adjoint, apply, rounding_error, signal_shape
from netaudit.norms.dense import dense_batch
from netaudit.norms.embedding import GAP, embed, plain_squares, twisted_squares
from netaudit.norms.operator import operator

QUICK_COST = 2e7  # rows cubed over frequencies and groups: about 20 ms
EXPONENT_REFINED = 400  # beyond it the squares that a likely bound works with could leave float64's range


def conv(
    weight: Tensor,
    input_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    effort: Effort = "tight",
    failure: float = 0.0,
) -> Certificate:
    """Spectral norm of ``x -> W * x`` on ``x``: (in, *input_size); ``W``: (out, in / groups, *kernel), 1 to 3 axes.

    ``tight``: within 1e-6 where windows do not meet and where a group has few channels; else, with zero or circular
    padding, the symbol of a circulant embedding, which the norm approaches as the map grows. ``quick``: the symbol if
    that is cheap, else the norm of the kernel as a matrix times the root of the number of windows that meet, at most
    ``sqrt(prod ceil(k / s))`` too large. Reflecting and replicating padding on larger maps count the inputs they
    repeat, ``sqrt(2)`` or more per axis.
    ``failure``: a tight bound that stays looser than 1 % is replaced, if it helps, by one from :func:`operator` that is
    wrong with that probability; 0 keeps to what is certain.
    Source: Sedghi et al. 2019 (circular case); the compression argument in ``axis.circulant_period``.
    """
    axes = conv_axes(input_size, weight.shape[2:], stride, padding, dilation, padding_mode)
    return _refined(_grouped(weight, groups), axes, effort, failure)


def conv_transpose(
    weight: Tensor,
    input_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    effort: Effort = "tight",
    failure: float = 0.0,
) -> Certificate:
    """Spectral norm of the transposed convolution of ``x``: (in, *input_size); ``W``: (in, out / groups, *kernel).

    It is the adjoint of the convolution with the same ``W`` from its outputs to its inputs, so the norm is that one's.
    """
    axes = transposed_axes(input_size, weight.shape[2:], stride, padding, output_padding, dilation)
    return _refined(_grouped(weight, groups), axes, effort, failure)


def _grouped(weight: Tensor, groups: int) -> Tensor:
    if not 3 <= weight.ndim <= 5 or not weight.is_floating_point() or weight.shape[0] % groups:
        raise ValueError(
            f"a kernel of real floats with 1 to 3 spatial axes and outputs divisible by groups={groups} is needed, "
            f"not {tuple(weight.shape)} of {weight.dtype}"
        )
    return readable(weight).reshape(groups, -1, *weight.shape[1:])


@torch.inference_mode(False)  # adjoints are taken by automatic differentiation
def _refined(weight: Tensor, axes: Sequence[Axis], effort: Effort, failure: float) -> Certificate:
    found = _certify(weight, axes, effort)
    if failure == 0.0 or effort == "quick" or found.looseness <= GAP or not math.isfinite(found.upper):
        return found
    exact = weight.double()
    likely = operator(
        lambda signal: apply(exact, axes, signal),
        adjoint(exact, axes),
        signal_shape(exact, axes),
        tolerance=GAP - 1.0,
        failure=failure,
        relative_error=_relative_error(exact, axes, found.lower),
        like=exact,
    )
    return replace(likely, lower=max(found.lower, likely.lower)) if likely.upper < found.upper else found


def _relative_error(weight: Tensor, axes: Sequence[Axis], norm: float) -> float:
    """Of one application in float64, relative to ``norm``; 1 (nothing can be concluded) where scales are extreme."""
    exponent = binary_exponent(weight)
    if exponent is None or abs(exponent) > EXPONENT_REFINED or norm == 0.0:
        return 1.0
    return rounding_error(weight * 2.0**-exponent, axes) / math.ldexp(norm, -exponent)


def _certify(weight: Tensor, axes: Sequence[Axis], effort: Effort) -> Certificate:
    """``weight``: (groups, out, in, *kernel)."""
    windows = math.prod(map(window_multiplicity, axes))
    if windows == 0 or not bool(weight.any()):
        return NOTHING
    exponent = binary_exponent(weight)
    if exponent is None:
        return NOT_FINITE
    embedding = embed(weight, axes)
    is_slow = effort == "quick" and len(embedding.plain.numerators) * embedding.cost > QUICK_COST
    if is_slow or (windows == 1 and all(map(has_full_window, axes))):
        return _windows(weight, axes, effort)
    scaled = weight.double() * 2.0**-exponent
    if effort == "quick":
        found = certificate(plain_squares(scaled, axes, embedding), exponent)
    else:
        found = certificate(banded_squares(scaled, axes) or twisted_squares(scaled, axes, embedding), exponent)
    if axes[0].mode == "zeros":
        return found
    other = _windows(weight, axes, effort)  # repeated inputs may be cheaper to count where they are read
    return found if found.upper <= other.upper else replace(other, lower=max(found.lower, other.lower))


def _windows(weight: Tensor, axes: Sequence[Axis], effort: Effort) -> Certificate:
    """The map cuts out windows, ``||.||^2`` their multiplicity, and applies ``W`` as a matrix (out, in * k) to each."""
    count = math.prod(map(window_multiplicity, axes))
    parts = dense_batch([group.flatten(1) for group in weight], effort=effort)
    upper = max(part.upper for part in parts)
    lower = max(part.lower for part in parts) if all(map(has_full_window, axes)) else 0.0
    if count == 1:
        return Certificate(upper, lower, f"windows as a matrix: {parts[0].method}")
    loose = math.nextafter(upper * root_up(float(count)), math.inf)
    return Certificate(loose, lower, f"windows as a matrix, times sqrt({count}) windows that meet: {parts[0].method}")
