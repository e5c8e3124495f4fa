"""The convolution itself: what it does to a signal, and how much it is seen to stretch one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from netaudit.norms.axis import Axis, padding_multiplicity
from netaudit.norms.certificate import gamma
from netaudit.norms.lanczos import lanczos, start_vector

BASIS_ENTRIES = 2**26  # of the vectors kept, in float32
ORTHOGONAL_ENTRIES = 2**21  # of vectors that may be made orthogonal to each other all the time

CONVOLVE: tuple[Callable[..., Tensor], ...] = (functional.conv1d, functional.conv2d, functional.conv3d)


@dataclass(frozen=True, slots=True)
class Stretch:
    """``norm <= ||A||_2``, rounded inward; ``group`` holds most of the vector that attains it."""

    norm: float
    group: int


def apply(weight: Tensor, axes: Sequence[Axis], signal: Tensor) -> Tensor:
    """``A x``: (groups * out, *outputs) for ``x``: (groups * in, *size), ``W``: (groups, out, in, *kernel)."""
    pads = [pad for axis in reversed(axes) for pad in (axis.left, axis.right)]
    mode = "constant" if axes[0].mode == "zeros" else axes[0].mode
    padded = functional.pad(signal[None], pads, mode=mode) if any(pads) else signal[None]
    stride, dilation = [axis.stride for axis in axes], [axis.dilation for axis in axes]
    image = CONVOLVE[len(axes) - 1](padded, weight.flatten(0, 1), None, stride, 0, dilation, weight.shape[0])[0]
    for dim, axis in enumerate(axes, 1):
        image = image.narrow(dim, 0, axis.outputs)  # a transposed convolution may ask for fewer
    return image


def adjoint(weight: Tensor, axes: Sequence[Axis]) -> Callable[[Tensor], Tensor]:
    """``y -> A^T y``, by automatic differentiation: it knows every kind of padding."""
    with torch.enable_grad():
        origin = weight.new_zeros(signal_shape(weight, axes), requires_grad=True)
        image = apply(weight, axes, origin)
    return lambda signal: torch.autograd.grad(image, origin, signal, retain_graph=True)[0]


def normal_map(weight: Tensor, axes: Sequence[Axis]) -> Callable[[Tensor], Tensor]:
    """``x -> A^T A x`` on flat vectors."""
    back, shape = adjoint(weight, axes), signal_shape(weight, axes)
    return lambda vector: back(apply(weight, axes, vector.reshape(shape))).reshape(vector.shape)


def signal_shape(weight: Tensor, axes: Sequence[Axis]) -> tuple[int, ...]:
    """Shape of an input: (groups * in, *size)."""
    return (weight.shape[0] * weight.shape[2], *(axis.size for axis in axes))


def rounding_error(weight: Tensor, axes: Sequence[Axis]) -> float:
    """Bound on ``||fl(A x) - A x|| / ||x||``, and on the adjoint's, in float64.

    Entrywise ``gamma |A| |x|``, and ``|| |A| ||_2 <= sum_t ||W_t||_F sqrt(multiplicity)`` over the taps ``t``.
    """
    taps, repeats = math.prod(weight.shape[3:]), math.prod(map(padding_multiplicity, axes))
    terms = taps * max(weight.shape[1:3]) * repeats + 2
    return gamma(terms) * math.sqrt(repeats * taps) * float(weight.norm()) * 1.01


@torch.inference_mode(False)  # the adjoint needs a graph, also where the caller wants none
def stretch(weight: Tensor, axes: Sequence[Axis], steps: int, tolerance: float) -> Stretch:
    """A Ritz vector found in float32 and applied in float64; ``tolerance`` of the squared norm ends the search."""
    shape = signal_shape(weight, axes)
    size = math.prod(shape)
    steps = min(steps, max(1, BASIS_ENTRIES // size))
    single = (weight / weight.abs().max()).float()  # or squares would overflow
    start = start_vector(single, size)[None]
    window = None if size * steps <= ORTHOGONAL_ENTRIES else 2
    vector = lanczos(normal_map(single, axes), start, steps, tolerance, window).vector[0].double()
    image = apply(weight, axes, vector.reshape(shape))
    quotient = float(image.norm() / vector.norm())
    rounded = quotient * (1.0 - 2.0 * gamma(size + image.numel())) - rounding_error(weight, axes)
    energy = vector.reshape(len(weight), -1).square().sum(1)
    return Stretch(max(0.0, rounded) if math.isfinite(quotient) else 0.0, int(energy.argmax()))
