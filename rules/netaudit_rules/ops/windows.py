"""Ops on borders and windows: padding, unfold, im2col."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from netaudit import Effect, Interval, Jacobian, Node, Signal, Var, joined, modelled, transfer, up

from .common import axis_of, integer, ints, known, linear_jacobian, real

# padding ----------------------------------------------------------------------------------------------------------------


def _padding(node: Node) -> list[tuple[int, int]]:
    """(before, after) by axis, last axis first, as torch gives it."""
    flat = ints(node.args["pad"], 2)
    return [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]


def _padded(node: Node, x: Var, value: float) -> Var:
    for back, (before, after) in enumerate(_padding(node), start=1):
        axis = len(x.sizes) - back
        if before < 0 or after < 0:
            x = x.slice(axis, max(-before, 0), x.sizes[axis] + min(after, 0))
        sizes = x.sizes
        border = [known(np.full((*sizes[:axis], n, *sizes[axis + 1 :]), value)) if n > 0 else None for n in (before, after)]
        x = joined([v for v in (border[0], x, border[1]) if v is not None], axis)
    return x


def _copies(mode: str, size: int, before: int, after: int) -> int:
    """The largest number of times an entry of an axis appears after padding by copies."""
    index = np.pad(np.arange(size), (max(before, 0), max(after, 0)), mode={"replicate": "edge", "circular": "wrap"}.get(mode, mode))  # type: ignore[call-overload]
    return int(np.bincount(index).max()) if size else 1


@transfer(
    "aten.pad", "aten.constant_pad_nd", source="||J||^2 = the largest number of copies of an entry, since J'J is diagonal", degree="1"
)
def pad(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """Entries added at the borders: constants (1), or copies: replicate sqrt(1 + p), reflect and circular sqrt 2 to sqrt 3 per axis."""
    mode = str(node.args.get("mode") or "constant")
    rest = (None,) * (len(node.operands) - 1)
    if mode != "constant":
        copies = [_copies(mode, x.shape[-back], b, a) for back, (b, a) in enumerate(_padding(node), start=1)]
        jac = linear_jacobian(up(sqrt(prod(copies))) if prod(copies) > 1 else 1.0, f"entries appear up to {prod(copies)} times")
        moments, pull = modelled(lambda v, *_: _edges_repeated(node, v), x, *rest)
        return Effect(Signal(node.shape, x.range, None, moments), (jac, *rest), pull)
    value = real(node.args.get("value"))
    filler = 0.0 if abs(value) > 1e30 else value  # -inf pads a maximum: no entry of it is ever selected
    moments, pull = modelled(lambda v, *_: _padded(node, v, filler), x, *rest)
    cropped = any(n < 0 for pair in _padding(node) for n in pair)  # a negative border drops entries
    jac = Jacobian(1.0, "exact", "constants at the borders", frozenset({"linear", "projection" if cropped else "isometry"}))
    return Effect(Signal(node.shape, x.range.hull(Interval(value, value)), None, moments), (jac, *rest), pull)


def _edges_repeated(node: Node, x: Var) -> Var:
    """Copies at the borders: a gather along each padded axis."""
    mode = {"replicate": "edge", "circular": "wrap"}.get(str(node.args.get("mode")), str(node.args.get("mode")))
    for back, (before, after) in enumerate(_padding(node), start=1):
        axis = len(x.sizes) - back
        if before or after:
            x = x.gather(axis, np.pad(np.arange(x.sizes[axis]), (max(before, 0), max(after, 0)), mode=mode))  # type: ignore[call-overload]
    return x


# windows as a tensor ----------------------------------------------------------------------------------------------------


@transfer("aten.unfold", source="overlapping windows: J'J is diagonal with the multiplicities", degree="1")
def unfold(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """Sliding windows as a new last axis: ``||J|| = sqrt ceil(k / s)``."""
    axis = axis_of(node, len(x.shape), "dimension")
    size, stride = integer(node, "size", 1), integer(node, "step", 1)
    out = node.shape[axis]
    most = int(np.bincount((np.arange(out)[:, None] * stride + np.arange(size)).ravel()).max()) if out else 1

    def model(v: Var) -> Var:
        y = v.unfold(axis, size, out, stride, 1, 0)
        order = [a for a in range(len(y.sizes)) if a != axis + 1]
        return y.permute(*order, axis + 1)

    moments, pull = modelled(model, x)
    return Effect(
        Signal(node.shape, x.range, None, moments),
        (linear_jacobian(up(sqrt(most)) if most > 1 else 1.0, f"an entry lies in up to {most} windows"),),
        pull,
    )


@transfer("aten.im2col", source="overlapping windows: J'J is diagonal with the multiplicities", degree="1")
def im2col(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """Patches as columns: ``||J|| = sqrt prod ceil(k / s)``."""
    kernel, stride, dilation, padding = (ints(node.args[n], 2) for n in ("kernel_size", "stride", "dilation", "padding"))
    outs = [(x.shape[-2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]
    most = prod(-(-kernel[i] // max(stride[i] // np.gcd(stride[i], dilation[i]), 1)) for i in range(2))

    def model(v: Var) -> Var:
        lead = len(v.sizes) - 3
        y = v.unfold(lead + 1, kernel[0], outs[0], stride[0], dilation[0], padding[0])
        y = y.unfold(lead + 3, kernel[1], outs[1], stride[1], dilation[1], padding[1])
        return y.permute(*range(lead), lead, lead + 2, lead + 4, lead + 1, lead + 3).reshape(*node.shape)

    moments, pull = modelled(model, x)
    out = Signal(node.shape, x.range.hull(Interval(0.0, 0.0)) if any(padding) else x.range, None, moments)
    return Effect(out, (linear_jacobian(up(sqrt(most)) if most > 1 else 1.0, f"an entry lies in up to {most} patches", "upper"),), pull)


@transfer("aten.col2im", source="the adjoint of im2col", degree="1")
def col2im(node: Node, x: Signal, *_: Signal | None) -> Effect:
    """Patches added up: the adjoint of im2col, ``||J|| <= sqrt prod ceil(k / s)``."""
    kernel, stride, dilation, padding = (ints(node.args[n], 2) for n in ("kernel_size", "stride", "dilation", "padding"))
    most = prod(-(-kernel[i] // max(stride[i] // np.gcd(stride[i], dilation[i]), 1)) for i in range(2))
    size = node.shape[-2:]
    outs = [(size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]

    def model(v: Var) -> Var:
        lead = node.shape[:-3]
        y = v.reshape(*lead, node.shape[-3], kernel[0], kernel[1], outs[0], outs[1])
        n = len(lead)
        y = y.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
        y = y.fold(n + 3, size[1], stride[1], dilation[1], padding[1])
        return y.fold(n + 1, size[0], stride[0], dilation[0], padding[0])

    moments, pull = modelled(model, x)
    return Effect(
        Signal(node.shape, x.range * Interval(0.0, float(most)), None, moments),
        (linear_jacobian(up(sqrt(most)), f"up to {most} patches overlap", "upper"),),
        pull,
    )
