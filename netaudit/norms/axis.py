"""How does a convolution run along one axis: which input does each tap of each output read?

Along an axis the output ``o`` reads, through tap ``t``, the padded position ``s o + d t``; several axes multiply.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

COUNTED_READS = 2**22  # up to here the reads of all windows are counted one by one

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]


@dataclass(frozen=True, slots=True)
class Axis:
    """``size`` inputs, ``left`` and ``right`` padded; ``outputs`` outputs through ``kernel`` taps."""

    size: int
    kernel: int
    stride: int
    dilation: int
    left: int
    right: int
    outputs: int
    mode: PaddingMode = "zeros"

    @property
    def is_padded(self) -> bool:
        """Whether any position outside the input can be read."""
        return self.left > 0 or self.right > 0

    @property
    def reduced_stride(self) -> int:
        """``s / gcd(s, d)``: inputs fall into ``gcd(s, d)`` classes of which outputs read one."""
        return self.stride // math.gcd(self.stride, self.dilation)

    @property
    def overlap(self) -> int:
        """How many outputs can read one padded position: ``ceil(k / (s / gcd(s, d)))``.

        Tap ``t`` is used where ``r + d t = 0 mod s``: one residue class of ``t`` modulo ``s / gcd(s, d)``.
        """
        return -(-self.kernel // self.reduced_stride)


def conv_axes(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: int | Sequence[int],
    padding: str | int | Sequence[int],
    dilation: int | Sequence[int],
    mode: PaddingMode,
) -> tuple[Axis, ...]:
    """Axes of ``torch.nn.ConvNd``; ``same`` pads the odd one on the right, as torch does."""
    if len(size) != len(kernel):
        raise ValueError(f"the kernel has {len(kernel)} spatial axes, input_size {len(size)}")
    axes = []
    for n, k, s, d, p in zip(
        size, kernel, per_axis(stride, len(size)), per_axis(dilation, len(size)), _pads(padding, len(size)), strict=True
    ):
        left, right = (d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2) if p is None else (p, p)
        axes.append(Axis(n, k, s, d, left, right, max(0, (n + left + right - d * (k - 1) - 1) // s + 1), mode))
    return tuple(axes)


def transposed_axes(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    output_padding: int | Sequence[int],
    dilation: int | Sequence[int],
) -> tuple[Axis, ...]:
    """Axes of the convolution whose adjoint ``torch.nn.ConvTransposeNd`` is: from its outputs to its inputs."""
    if len(size) != len(kernel):
        raise ValueError(f"the kernel has {len(kernel)} spatial axes, input_size {len(size)}")
    settings = (per_axis(value, len(size)) for value in (stride, padding, output_padding, dilation))
    return tuple(
        Axis(max(0, (n - 1) * s - 2 * p + d * (k - 1) + extra + 1), k, s, d, p, p, n)
        for n, k, s, p, extra, d in zip(size, kernel, *settings, strict=True)
    )


def per_axis(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    return (value,) * count if isinstance(value, int) else tuple(value)


def _pads(padding: str | int | Sequence[int], count: int) -> tuple[int | None, ...]:
    if padding == "same":
        return (None,) * count
    return (0,) * count if isinstance(padding, str) else per_axis(padding, count)


def sources(axis: Axis) -> Tensor:
    """The input each padded position holds, -1 where it holds zero: (left + size + right,)."""
    index = torch.arange(axis.size)
    if not axis.is_padded:
        return index
    if axis.mode == "zeros":
        return functional.pad(index, (axis.left, axis.right), value=-1)
    return functional.pad(index[None, None].double(), (axis.left, axis.right), mode=axis.mode)[0, 0].long()


def padding_multiplicity(axis: Axis) -> int:
    """How often padding repeats an input: the square of the padding's spectral norm."""
    index = sources(axis)
    return int(torch.bincount(index[index >= 0], minlength=1).max())


def window_multiplicity(axis: Axis) -> int:
    """How often the windows of all outputs read an input: the square of the norm of cutting out windows.

    At most ``overlap`` times the padding's, and that is the answer on maps too long to be counted out.
    """
    if axis.kernel * axis.outputs > COUNTED_READS:
        return axis.overlap * padding_multiplicity(axis)
    read = _read(axis)
    return int(torch.bincount(read[read >= 0], minlength=1).max())


def tap_matrices(axis: Axis) -> Tensor:
    """``P``: (k, outputs, size), ``P[t, o, i] = 1`` where output ``o`` reads input ``i`` through tap ``t``."""
    return (_read(axis)[..., None] == torch.arange(axis.size)).double()


def _read(axis: Axis) -> Tensor:
    position = axis.stride * torch.arange(axis.outputs) + axis.dilation * torch.arange(axis.kernel)[:, None]
    return sources(axis)[position]


def has_full_window(axis: Axis) -> bool:
    """Whether some output reads inputs only, one per tap: then a patch can be fed to it alone."""
    first = -(-axis.left // axis.stride)
    last = (axis.left + axis.size - 1 - axis.dilation * (axis.kernel - 1)) // axis.stride
    return first <= min(last, axis.outputs - 1)


def unpadded(axis: Axis) -> Axis:
    """The axis after the padding has been done: what is left when its norm is bounded on its own."""
    return Axis(axis.size + axis.left + axis.right, axis.kernel, axis.stride, axis.dilation, 0, 0, axis.outputs, "zeros")


def circulant_period(axis: Axis) -> int | None:
    """A period ``N`` (in outputs) of a block circulant that contains this axis as a compression; None: not known.

    Zero padding: with ``g = gcd(s, d)`` the outputs of one residue modulo ``d' = d / g`` form, with the inputs they
    read, a copy of stride ``s' = s / g`` and no dilation. Such a copy of ``A`` outputs reading the blocks
    ``q_0..q_1`` of ``s'`` inputs through ``k' = ceil(k / s')`` taps is free of wrap-around if
    ``N >= max(k' + A - 1 - q_0, q_1 + 1, A)``. Circular padding: the operator is (rows of) a circulant itself, of
    period ``n / s``, when strides do not wrap unevenly.
    """
    if axis.is_padded and axis.mode != "zeros":
        return _ring_period(axis) if axis.mode == "circular" else None
    residues = axis.dilation // math.gcd(axis.stride, axis.dilation)
    return max(_copy_period(axis, residue) for residue in range(residues))


def _ring_period(axis: Axis) -> int | None:
    if axis.size % axis.stride or axis.outputs * axis.stride > axis.size:
        return None
    if axis.stride == 1:
        return axis.size // math.gcd(axis.size, axis.dilation)
    return axis.size // axis.stride if axis.dilation == 1 else None


def _copy_period(axis: Axis, residue: int) -> int:
    common = math.gcd(axis.stride, axis.dilation)
    stride, dilation = axis.stride // common, axis.dilation // common
    outputs = -(-(axis.outputs - residue) // dilation)
    if outputs <= 0:
        return 1
    low = -(-(-(-axis.left // common) - stride * residue) // dilation)
    high = ((axis.left + axis.size - 1) // common - stride * residue) // dilation
    low, high = max(low, 0), min(high, stride * (outputs - 1) + axis.kernel - 1)
    if low > high:
        return 1
    return max(axis.overlap + outputs - 1 - low // stride, high // stride + 1, outputs)
