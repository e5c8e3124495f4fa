"""Convolutions: Toeplitz maps whose certified norm depends on the weight and on where it is used."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from netaudit import Effect, Interval, Node, Signal, Var, modelled, transfer, up

from .common import finite_product, integer, ints
from .linear import by_bias, by_input, by_weight

ENOUGH_TERMS = 4
"""Weights of an output below which a channel's scale varies so much that the mean of its inverse square is no guide."""


def _geometry(node: Node, dims: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    stride, dilation = (ints(node.args.get(name, 1), dims) for name in ("stride", "dilation"))
    return stride, dilation, integer(node, "groups", 1)


def _borders(node: Node, dims: int, taps: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Zeros in front of every axis; 'same' puts the smaller half in front."""
    padding = node.args.get("padding", 0)
    if isinstance(padding, str):
        return tuple(d * (k - 1) // 2 if padding == "same" else 0 for k, d in zip(taps, dilation, strict=True))
    return ints(padding, dims)


def conv_model(node: Node, x: Var, w: Var, b: Var | None, dims: int) -> Var:
    """Split groups, unfold with the zero border, multiply by the weight, sum over channels and taps."""
    stride, dilation, groups = _geometry(node, dims)
    taps = w.sizes[2:]
    borders = _borders(node, dims, taps, dilation)
    batched = len(x.sizes) == dims + 2
    x = x if batched else x.reshape(1, *x.sizes)
    batch, channels, *_ = x.sizes
    outs = node.shape[-dims:]
    x = x.reshape(batch, groups, channels // groups, *x.sizes[2:])
    w = w.reshape(groups, w.sizes[0] // groups, *w.sizes[1:])
    axis = 3
    for i in range(dims):
        x = x.unfold(axis, taps[i], outs[i], stride[i], dilation[i], borders[i])
        axis += 2
    at, tap = "hij"[:dims], "klm"[:dims]
    windows = "".join(a + t for a, t in zip(at, tap, strict=True))
    y = x.einsum(f"bgc{windows},goc{tap}->bgo{at}", w).reshape(*((batch,) if batched else ()), w.sizes[0] * w.sizes[1], *outs)
    return y if b is None else y + b.reshape(b.sizes[0], *(1,) * dims)


def transposed_model(node: Node, x: Var, w: Var, b: Var | None, dims: int) -> Var:
    """The adjoint: multiply, then fold the windows back."""
    stride, dilation, groups = _geometry(node, dims)
    padding = ints(node.args.get("padding", 0), dims)
    batched = len(x.sizes) == dims + 2
    x = x if batched else x.reshape(1, *x.sizes)
    batch, channels, *sizes = x.sizes
    x = x.reshape(batch, groups, channels // groups, *sizes)
    w = w.reshape(groups, w.sizes[0] // groups, *w.sizes[1:])
    at, tap = "hij"[:dims], "klm"[:dims]
    windows = "".join(a + t for a, t in zip(at, tap, strict=True))
    y = x.einsum(f"bgc{at},gco{tap}->bgo{windows}", w)
    for i in range(dims):
        y = y.fold(3 + i, node.shape[-dims + i], stride[i], dilation[i], padding[i])
    y = y.reshape(*((batch,) if batched else ()), groups * w.sizes[2], *node.shape[-dims:])
    return y if b is None else y + b.reshape(b.sizes[0], *(1,) * dims)


def _overlap(taps: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> int:
    """The largest number of windows an input lies in."""
    return prod(-(-k // (s // int(np.gcd(s, d)))) for k, s, d in zip(taps, stride, dilation, strict=True))


def _conv_effect(node: Node, x: Signal, weight: Signal, bias: Signal | None, *, transposed: bool) -> Effect:
    dims = len(weight.shape) - 2
    stride, dilation, _ = _geometry(node, dims)
    most = _overlap(weight.shape[2:], stride, dilation)
    rank = len(node.shape)
    by_b = None if bias is None else by_bias(Signal((bias.shape[0], *(1,) * dims)), node.shape)
    jac = (by_input(weight, "convolution", most), by_weight(x, sqrt(most)), by_b)
    model = transposed_model if transposed else conv_model
    moments, pull = modelled(lambda v, w, b: model(node, v, w, b, dims), x, weight, bias)
    size = float("inf")
    if weight.norms is not None and rank:
        size = up(finite_product(weight.norms.row_l1, x.range.magnitude) + (bias.range.magnitude if bias is not None else 0.0))
    thin = ("low fan-in",) if prod(weight.shape[1:]) < ENOUGH_TERMS else ()
    return Effect(Signal(node.shape, Interval(-size, size), None, moments), jac[: len(node.operands)], pull, thin)


@transfer(
    "aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution",
    source="zero-padded: a compression of a twisted block circulant; groups: the maximum over groups", degree="1 (bias 0)",
)  # fmt: skip
def conv(node: Node, x: Signal, weight: Signal, bias: Signal | None = None) -> Effect:
    """A convolution plus a bias: a block Toeplitz map, translation-equivariant away from the borders."""
    return _conv_effect(node, x, weight, bias, transposed=node.args.get("transposed") is True)


@transfer(
    "aten.conv_transpose1d",
    "aten.conv_transpose2d",
    "aten.conv_transpose3d",
    source="the exact adjoint of the convolution with the same weight",
    degree="1 (bias 0)",
)
def conv_transpose(node: Node, x: Signal, weight: Signal, bias: Signal | None = None) -> Effect:
    """The adjoint of a convolution; ``W``: (in, out / groups, taps)."""
    return _conv_effect(node, x, weight, bias, transposed=True)
