"""The primitives that every op is made of: each returns the moments of its result and how a cotangent is pulled back.

``Modelled(out, pull)``: ``pull(cotangent)`` gives one cotangent per operand, None where no gradient flows. An op is one of
five cases, forward and backward alike: a product, a sum over an axis, an addition, a pointwise function, a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from netaudit.moments import along, kernels, signs, windows
from netaudit.moments import gather as picks
from netaudit.moments.cotangent import Cotangent, Echo, Euler, Term, cotangent
from netaudit.moments.kernels import Array, Kernel
from netaudit.moments.modelled import Modelled
from netaudit.moments.normalise import centred
from netaudit.moments.offsets import interned
from netaudit.moments.pointwise import pointwise2
from netaudit.moments.products import euler_of_operand
from netaudit.moments.state import Moments, View, of
from netaudit.moments.sums import handed_back, law_of_sum


def add(x: Moments, y: Moments, sign: float = 1.0) -> Modelled:
    """``x + sign y`` with broadcasting. Tensors that are not functions of one root share nothing but their means."""
    fused = pointwise2(x, y, lambda u, v: u + sign * v, lambda u, v: np.ones_like(u), lambda u, v: np.full_like(v, sign))
    if fused is not None:
        return fused
    offset = _joint_offset(x, y, sign)
    kx, ky = x.kernel, y.kernel
    whole = kernels.total(kx, ky, sign)
    positive = x.positive and y.positive and sign > 0
    curve = law_of_sum(x, y, sign, whole) if offset is None and not positive else None
    out = Moments(View(whole), curve, offset, positive)

    def pull(g: Cotangent) -> tuple[Cotangent, Cotangent]:
        left, right = (_beside(g, own, other) for own, other in ((kx, ky), (ky, kx)))
        if curve is not None:
            left, right = handed_back(left, curve, x, y, sign), handed_back(right, curve, y, x, sign)
        return unbroadcast(left, kx.sizes), unbroadcast(right, ky.sizes).scaled(sign)

    return Modelled(out, pull)


def _beside(g: Cotangent, own: Kernel, other: Kernel) -> Cotangent:
    """The cotangent of one term of a sum. Where it is orthogonal to the sum, it is so to the term only up to the others' energy.

    With ``<G, x + y> = 0`` and x, y independent, ``E <G, x>^2`` is the share ``v_y / (v_x + v_y)`` of its free value, in variances
    per index of the tagged axis: two branches in front of one BatchNorm do receive a gradient of their scales.
    """
    if g.euler is None:
        return g
    mine, rest = (_within(kernel, g.euler.axis, len(g.sizes)) for kernel in (own, other))
    if rest <= 0.0:
        return g
    return Cotangent(g.terms, Euler(g.euler.axis, min(g.euler.share + rest / max(mine + rest, 1e-300), 1.0)))


def _within(kernel: Kernel, axis: int, rank: int) -> float:
    """The variance of entries that share the index of an axis."""
    kernel = kernels.with_leading(kernel, rank)
    others = tuple(a for a in range(rank) if a != axis and kernel.varies(a))
    return centred(kernel, others).mean_square if others else 0.0


def _joint_offset(x: Moments, y: Moments, sign: float) -> NDArray[np.float64] | None:
    if y.offset is None:
        return x.offset
    return sign * y.offset if x.offset is None else x.offset + sign * y.offset


def with_offset(x: Moments, offset: NDArray[np.float64]) -> Modelled:
    """``x + offset`` for a known array that is kept apart: a mask or a bias on attention logits."""
    offset = interned(offset if x.offset is None else x.offset + offset)
    kernel = x.kernel
    sizes = np.broadcast_shapes(kernel.sizes, offset.shape)
    out = Moments(View(kernels.expanded(kernel, sizes)), None, offset)
    return Modelled(out, lambda g: (unbroadcast(g, kernel.sizes),))


def unbroadcast(g: Cotangent, sizes: tuple[int, ...]) -> Cotangent:
    """The cotangent of an operand of shape ``sizes`` that was broadcast."""
    if g.sizes == sizes:
        return g
    return cotangent(kernels.unbroadcast(g.kernel, sizes), euler_of_operand(g, sizes))


def reduce_sum(x: Moments, axes: Sequence[int], *, keep: bool = False, average: bool = False) -> Modelled:
    """Sum or mean over axes."""
    x = x.settled
    sizes, rank = x.sizes, len(x.sizes)
    gone = tuple(sorted({a % rank for a in axes} if rank else ()))
    count = prod(sizes[a] for a in gone)
    kernel = kernels.summed(x.kernel, gone, average=average)
    with_ones = kernel.sizes
    out = of(kernel if keep else kernels.without(kernel, gone), positive=x.positive)
    out = signs.signed(out, signs.summed(x, gone, keep=keep))
    left = [a for a in range(rank) if a not in gone]

    def pull(g: Cotangent) -> tuple[Cotangent]:
        full = g.kernel if keep else g.reshape(with_ones).kernel
        full = kernels.expanded(full, sizes)
        euler = None
        if g.euler is not None:
            axis = g.euler.axis if keep else left[g.euler.axis]
            euler = Euler(axis, g.euler.share) if axis not in gone else None
        return (cotangent(kernels.scaled(full, 1.0 / count) if average and count else full, euler),)

    return Modelled(out, pull)


def expand(x: Moments, sizes: tuple[int, ...]) -> Modelled:
    """Axes of size 1 repeated."""
    kernel = x.kernel
    sizes = kernels.expanded(kernel, sizes).sizes
    out = Moments(View(kernels.expanded(kernel, sizes)), None, x.offset, x.positive)
    return Modelled(out, lambda g: (unbroadcast(g, kernel.sizes),))


# views ------------------------------------------------------------------------------------------------------------------


def reshape(x: Moments, sizes: tuple[int, ...]) -> Modelled:
    """A reshape."""
    if sizes == x.sizes:
        return Modelled(x, lambda g: (g,))
    old = x.sizes
    offset = None
    if x.offset is not None:
        offset = np.broadcast_to(x.offset, old).reshape(sizes)
    out = Moments(x.view.reshape(sizes), None, offset, x.positive)
    return Modelled(signs.signed(out, signs.reshaped(x, sizes)), lambda g: (g.reshape(old),))


def permute(x: Moments, order: Sequence[int]) -> Modelled:
    """A permutation of axes."""
    rank = len(x.sizes)
    order = tuple(a % rank for a in order)
    inverse = tuple(int(a) for a in np.argsort(order))
    offset = None
    if x.offset is not None:
        offset = np.broadcast_to(x.offset, x.sizes).transpose(order)
    out = Moments(x.view.permute(order), None, offset, x.positive)
    out = out if x.positive_at is None else signs.signed(out, x.positive_at.transpose(order))
    return Modelled(out, lambda g: (g.permute(inverse),))


def slice_axis(x: Moments, axis: int, start: int, stop: int, step: int = 1) -> Modelled:
    """``x[start:stop:step]`` along an axis."""
    size = x.sizes[axis]
    if len(range(start, stop, step)) == size:
        return Modelled(x, lambda g: (g,))
    x = x.settled
    out = of(along.sliced(x.kernel, axis, start, stop, step), positive=x.positive)
    out = signs.signed(out, signs.sliced(x, axis, range(start, stop, step)))
    # Orthogonal index by index stays so: the entries left out get none. Of the sliced axis itself, only the indices kept speak.
    return Modelled(out, lambda g: (cotangent(along.put_back(g.kernel, axis, size, start, step), g.euler),))


def _unless(euler: Euler | None, *axes: int) -> Euler | None:
    return euler if euler is not None and euler.axis not in axes else None


# one axis ---------------------------------------------------------------------------------------------------------------


def map_axis(x: Moments, axis: int, matrix: Array) -> Modelled:
    """A known matrix applied along an axis."""
    x = x.settled
    out = of(along.mapped(x.kernel, axis, matrix), positive=x.positive and bool((matrix >= 0).all()))

    def pull(g: Cotangent) -> tuple[Cotangent]:
        terms = tuple(_mapped_back(term, axis, matrix) for term in g.terms)
        return (Cotangent(terms, _unless(g.euler, axis)),)

    return Modelled(out, pull)


def _mapped_back(term: Term, axis: int, matrix: Array) -> Term:
    """``A' G`` along an axis; where A keeps the size it remembers G, beside which it may be added."""
    kernel = along.mapped(term.resolve(), axis, matrix.T)
    echo = None
    if term.slope is None and matrix.shape[0] == matrix.shape[1]:
        origin, mixed = (term.origin, kernels.doubled(term.view.kernel)) if term.echo is None else (term.echo.origin, term.echo.mixed)
        echo = Echo(origin, along.mapped_once(mixed, axis, matrix.T))
        kernel = along.mapped(term.view.kernel, axis, matrix.T)
    return Term(View(kernels.centred_at_zero(kernel)), object(), term.gain if echo is not None else 1.0, None, echo)


def gather(x: Moments, axis: int, ids: NDArray[np.integer]) -> Modelled:
    """``x[ids]`` along an axis, for concrete ids."""
    x = x.settled
    size = x.sizes[axis]
    out = of(picks.gathered(x.kernel, axis, ids), positive=x.positive)
    return Modelled(out, lambda g: (cotangent(picks.scattered(g.kernel, axis, ids, size)),))


def unfold(x: Moments, axis: int, taps: int, out: int, stride: int, dilation: int, padding: int) -> Modelled:
    """Windows along an axis: one axis becomes (windows, taps)."""
    size = x.sizes[axis]

    def pull(g: Cotangent) -> tuple[Cotangent]:
        euler = _unless(g.euler, axis, axis + 1)
        if euler is not None and euler.axis > axis:
            euler = Euler(euler.axis - 1, euler.share)
        return (cotangent(windows.folded(g.kernel, axis, size, stride, dilation, padding), euler),)

    return Modelled(of(windows.unfolded(x.settled.kernel, axis, taps, out, stride, dilation, padding)), pull)


def fold(x: Moments, axis: int, size: int, stride: int, dilation: int, padding: int) -> Modelled:
    """Windows added up: axes (windows, taps) become one."""
    out, taps = x.sizes[axis : axis + 2]
    result = of(windows.folded(x.settled.kernel, axis, size, stride, dilation, padding))
    return Modelled(result, lambda g: (cotangent(windows.unfolded(g.kernel, axis, taps, out, stride, dilation, padding)),))


def noise(sizes: tuple[int, ...], mean_square: float, mean: float, *, positive: bool = False) -> Moments:
    """Random numbers drawn afresh: independent entries."""
    return of(kernels.independent(sizes, mean_square, mean), positive=positive)


def with_slope(x: Moments, value: float, slope: Moments, share: float | None) -> Modelled:
    """A loss of mean value ``value`` whose derivative at ``x`` is modelled by the tensor ``slope``.

    By entry when ``share`` is None, else the sum over entries times ``share`` (1 / N for a mean).
    """
    kernel = slope.settled.kernel
    sizes = x.sizes

    def pull(g: Cotangent) -> tuple[Cotangent]:
        scalar = g.kernel if share is None else g.reshape((1,) * len(sizes)).kernel
        return (cotangent(kernels.scaled(kernels.product(kernel, scalar), 1.0 if share is None else share)),)

    count = prod(sizes)
    out = kernels.constant(sizes, value) if share is None else kernels.constant((), share * count * value)
    return Modelled(of(out), pull)
