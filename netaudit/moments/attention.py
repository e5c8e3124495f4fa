"""Softmax on kernels: the weights of a known mask or bias, times the fluctuation of Gaussian logits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log

import numpy as np

from netaudit.moments import kernels
from netaudit.moments.cotangent import Cotangent, cotangent
from netaudit.moments.kernels import Array, Cut, Kernel
from netaudit.moments.modelled import Modelled
from netaudit.moments.normalise import centred
from netaudit.moments.offsets import RECENT, Same
from netaudit.moments.state import MASKED, Moments, of


def softmax(x: Moments, axis: int) -> Modelled:
    """The softmax of Gaussian logits with a known offset, along an axis.

    ``p_rs`` is the softmax ``A`` of the known offset (uniform without one) times a fluctuation: ``E p^2 = A^2 r(v, n)`` with
    ``v`` the row-centred variance of the logits and ``r(v, n) = n E sum p^2`` that of ``n`` Gaussian logits; pairs with logit
    correlation ``w`` get ``r^w``. Rows sum to one, which fixes the pairs at different ``s``. Backward, with
    ``J = diag p - p p'``: ``(C_G[same s] - C_G[different s]) p^2 (1 - 1 / n)``, zero-sum along the row.
    """
    axis %= len(x.sizes)
    size = x.sizes[axis]
    if size <= 1:
        return Modelled(of(kernels.constant(x.sizes, 1.0)), lambda g: (cotangent(kernels.constant(x.sizes, 0.0)),))
    known = None if x.offset is None else _known_weights(Same(x.offset), x.sizes, axis)
    logits = _on_cuts_of(x.kernel, known, axis)
    known = None if known is None else _on_cuts_too(known, logits)
    growth = _growth(logits, axis, known)
    same, different, damped = _uniform(growth, size) if known is None else _masked(known, growth, axis, size)
    others = np.broadcast_shapes(_thin(same, axis), _thin(different, axis))
    second = np.concatenate([_widened(same, axis, others), _widened(different, axis, others)], axis)
    mean = np.full((1,) * logits.rank, 1.0 / size) if known is None else known.weights.mean
    out = of(Kernel(logits.sizes, logits.cuts, second, mean), positive=True)
    weights = mean if len(logits.cuts[axis]) > 1 else None
    return Modelled(out, lambda g: (cotangent(_through_rows(g.kernel, damped if weights is None else same, logits, axis, weights)),))


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """The softmax ``A`` of a known offset: its kernel, that of ``A sqrt(1 - 1 / n_row)``, and the effective row length."""

    weights: Kernel
    damped: Kernel
    length: Array


@lru_cache(maxsize=RECENT)
def _known_weights(same: Same, sizes: tuple[int, ...], axis: int) -> _Known:
    offset = same.array
    shape = (1,) * (len(sizes) - offset.ndim) + offset.shape
    shape = tuple(sizes[a] if a == axis else n for a, n in enumerate(shape))
    logits = np.broadcast_to(offset.reshape((1,) * (len(sizes) - offset.ndim) + offset.shape), shape)
    logits = np.where(logits <= MASKED, -np.inf, logits)
    top = np.max(logits, axis, keepdims=True)
    weights = np.exp(logits - np.where(np.isfinite(top), top, 0.0))
    weights = weights / np.maximum(weights.sum(axis, keepdims=True), 1e-300)
    length = np.minimum(1.0 / np.maximum((weights * weights).sum(axis, keepdims=True), 1e-300), shape[axis])  # a row without keys
    cuts = _row_cuts(length, shape, axis)
    by_segment = kernels.from_array(np.log(length), tuple(c if a != axis else (1,) for a, c in enumerate(cuts))).mean
    return _Known(
        kernels.from_array(weights, cuts),
        kernels.from_array(weights * np.sqrt(np.maximum(1 - 1 / length, 0.0)), cuts),
        np.exp(by_segment),
    )


def _row_cuts(length: Array, shape: tuple[int, ...], axis: int) -> tuple[Cut, ...]:
    """Causal rows are cut where their length doubles (1, 1, 2, 4, ...), and the keys they see likewise."""
    cuts = list(kernels.whole(shape))
    row = axis - 1
    if axis == len(shape) - 1 and row >= 0 and shape[row] == shape[axis] > 2 and length.max() > 4 * length.min():
        by_row = length.reshape(-1, shape[row])
        level = np.ceil(np.log2(np.maximum(by_row.mean(0), 1.0)) - 1e-6)
        edges = np.flatnonzero(np.diff(level)) + 1
        cut = tuple(int(b - a) for a, b in zip([0, *edges], [*edges, shape[row]], strict=True))
        if len(cut) <= kernels.MAX_SEGMENTS // 2:
            cuts[row] = cuts[axis] = cut
    return tuple(cuts)


def _on_cuts_of(kernel: Kernel, known: _Known | None, axis: int) -> Kernel:
    """The logits on the cuts of the known weights, with explicit states on the softmax axis."""
    cut_axes = [axis] if known is None else [a for a in range(kernel.rank) if a == axis or len(known.weights.cuts[a]) > 1]
    kernel = kernels.collapsed(kernel, *cut_axes)
    for a in cut_axes:
        kernel = kernels.explicit(kernel, a)
        if known is not None:
            kernel = kernels.refined(kernel, a, known.weights.cuts[a])
    return kernel


def _on_cuts_too(known: _Known, logits: Kernel) -> _Known:
    """The known weights on the cuts that the logits have of axes along which the weights are one segment."""
    weights, damped = known.weights, known.damped
    for axis, cut in enumerate(logits.cuts):
        weights, damped = kernels.refined(weights, axis, cut), kernels.refined(damped, axis, cut)
    return _Known(weights, damped, known.length)


def _without_axis(kernel: Kernel, axis: int, second: Array) -> Kernel:
    sizes = tuple(n for a, n in enumerate(kernel.sizes) if a != axis)
    return Kernel(sizes, tuple(c for a, c in enumerate(kernel.cuts) if a != axis), second, np.zeros((1,) * len(sizes)))


def _growth(logits: Kernel, axis: int, known: _Known | None) -> Array:
    """``r^w`` for pairs at the same ``s``, by state of the other axes; the softmax axis has one entry per segment."""
    count, size = len(logits.cuts[axis]), logits.sizes[axis]
    length = np.full((1,) * (logits.rank - 1), float(size)) if known is None else np.asarray(known.length.take(0, axis))
    parts = []
    for s in range(count):
        centred_rows = np.asarray(logits.second.take(s, axis) - logits.second.take(count + s * count + s, axis))
        rest = _without_axis(logits, axis, centred_rows)
        variance = np.maximum(rest.diagonal(), 0.0)
        log_ratio = np.log(_ratios(variance, length))
        scale = np.sqrt(kernels.pair_product(variance, variance, rest))
        share = np.clip(np.divide(centred_rows, scale, out=np.zeros_like(centred_rows), where=scale > 1e-12), -1.0, 1.0)
        root = np.sqrt(log_ratio)
        parts.append(np.exp(share * kernels.pair_product(root, root, rest)))
    return np.stack(parts, axis)


def _ratios(variance: Array, length: Array) -> Array:
    variance, length = np.broadcast_arrays(variance, length)
    result = np.empty(variance.shape)
    for index in np.ndindex(variance.shape):
        result[index] = softmax_ratio(float(variance[index]), max(round(float(length[index])), 1))
    return result


def softmax_ratio(variance: float, length: int) -> float:
    """``n E sum p^2`` of a softmax of ``n`` independent N(0, v) logits: 1 at v = 0, e^v for small v, n when one key wins."""
    if variance < 1e-6 or length <= 1:
        return 1.0
    if variance > 1e4:  # a gap of 100 between the two largest logits: one key takes all
        return float(length)
    return _sampled_ratio(round(log(variance) * 8), length)


@lru_cache(maxsize=4096)
def _sampled_ratio(eighths: int, length: int) -> float:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((max(8, 20000 // length), length)) * exp(eighths / 16)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return max(float(length * (weights * weights).sum(1).mean()), 1.0)


def _uniform(growth: Array, size: int) -> tuple[Array, Array, Array]:
    same = growth / size**2
    different = np.maximum(1 - size * same, 0.0) / (size * (size - 1))
    return same, different, same * (1 - np.minimum(growth / size, 1.0))


def _masked(known: _Known, growth: Array, axis: int, size: int) -> tuple[Array, Array, Array]:
    count = len(known.weights.cuts[axis])
    same = known.weights.second.take(range(count), axis) * growth
    damped = known.damped.second.take(range(count), axis) * growth
    if count > 1:
        return same, known.weights.second.take(range(count, count + count * count), axis), damped
    return same, np.maximum(1 - size * same, 0.0) / (size * (size - 1)), damped


def _thin(array: Array, axis: int) -> tuple[int, ...]:
    return tuple(1 if a == axis else n for a, n in enumerate(array.shape))


def _widened(array: Array, axis: int, others: tuple[int, ...]) -> Array:
    return np.broadcast_to(array, tuple(array.shape[a] if a == axis else n for a, n in enumerate(others)))


def _through_rows(g: Kernel, square: Array, logits: Kernel, axis: int, weights: Array | None) -> Kernel:
    """``J' g`` with ``J = diag p - p p'``; ``square``: ``E p^2`` at the same key, damped by ``1 - 1 / n`` where keys are one segment."""
    count, size = len(logits.cuts[axis]), logits.sizes[axis]
    if not g.varies(axis):  # J 1 = 0: what is the same along the row is lost
        return kernels.constant(logits.sizes, 0.0)
    g = _same_cuts(g, logits, axis)
    fluctuation = g.second.take([0], axis) - g.second.take([1], axis) if weights is None else _deviation(g, weights, axis)
    same = fluctuation * square
    counts = np.array(logits.cuts[axis], dtype=np.float64).reshape([-1 if a == axis else 1 for a in range(g.rank)])
    zero_sum = -(same * counts).sum(axis, keepdims=True) / (size * (size - 1))
    different = np.broadcast_to(zero_sum, _thin_to(zero_sum, axis, count * count))
    return Kernel(logits.sizes, g.cuts, np.concatenate([same, different], axis), np.zeros((1,) * g.rank))


def _deviation(g: Kernel, weights: Array, axis: int) -> Array:
    """``E (g_ts - gbar_t)(g_us - gbar_u)`` by segment of the key s and state of the other axes, ``gbar_t = sum_s p_ts g_ts``.

    Early causal rows see few keys, each in a segment of its own: what matters is how a key differs from the row's mean over all
    segments. ``weights``: ``E p`` by segment.
    """
    cut = g.cuts[axis]
    count = len(cut)

    def pair(s: int, t: int) -> Array:
        return g.second.take([count + s * count + t], axis)

    def seen(s: int, side: int) -> Array:
        return kernels.spread(weights if weights.shape[axis] == 1 else weights.take([s], axis), g, side)

    same = [g.second.take([s], axis) for s in range(count)]
    means = []
    for side in (0, 1):
        by_key = []
        for s in range(count):
            total = seen(s, side) * (same[s] + (cut[s] - 1) * pair(s, s))
            for t in range(count):
                if t != s:
                    total = total + cut[t] * seen(t, side) * (pair(t, s) if side == 0 else pair(s, t))
            by_key.append(total)
        means.append(by_key)
    both = sum((cut[s] * seen(s, 0) * means[1][s] for s in range(count)), np.zeros(1))
    return np.concatenate(np.broadcast_arrays(*(same[s] - means[0][s] - means[1][s] + both for s in range(count))), axis)


def _thin_to(array: Array, axis: int, states: int) -> tuple[int, ...]:
    return tuple(states if a == axis else n for a, n in enumerate(array.shape))


def _same_cuts(g: Kernel, logits: Kernel, axis: int) -> Kernel:
    """The cotangent on the logits' cuts: other cuts of the same axes are averaged away."""
    for a in range(g.rank):
        if a == axis or len(logits.cuts[a]) > 1:
            if g.cuts[a] != logits.cuts[a]:
                g = kernels.refined(kernels.explicit(kernels.collapsed(g, a), a), a, logits.cuts[a])
        elif len(g.cuts[a]) > 1 and logits.varies(a):
            g = kernels.collapsed(g, a)
    return g


def log_softmax(x: Moments, axis: int) -> Modelled:
    """``x - logsumexp(x)``: the centred logits less their constant; backward ``g - p sum(g)``."""
    axis %= len(x.sizes)
    size = x.sizes[axis]
    kernel = kernels.explicit(kernels.collapsed(x.settled.kernel, axis), axis)
    weights = softmax(x, axis).out.kernel
    body = centred(kernel, (axis,))
    level = -(0.5 * body.mean_square + log(max(size, 1)))
    out = kernels.total(body, kernels.constant(x.sizes, level))

    def pull(g: Cotangent) -> tuple[Cotangent]:
        sums = kernels.summed(g.kernel, (axis,))
        body = kernels.total(g.kernel, kernels.product(kernels.expanded(sums, g.sizes), kernels.centred_at_zero(weights)))
        same = kernels.explicit(kernels.collapsed(body, axis), axis).second.take([0], axis)
        second = np.concatenate([same, -same / max(size - 1, 1)], axis) if size > 1 else 0.0 * same
        return (cotangent(Kernel(g.sizes, kernels.replaced(body.cuts, axis, (size,)), second, body.mean)),)

    return Modelled(of(out), pull)


def cross_entropy(x: Moments, axis: int, share: float | None, collisions: float) -> Modelled:
    """``logsumexp(x) - x_y`` along an axis, by row (``share`` None) or summed with weight ``share``; gradient ``p - onehot``.

    Rows see one label each; ``collisions`` is the chance that two rows have the same label (1 / n for uniform labels).
    Same row: ``E p^2 - 2 p_y / n + 1 / n``; other rows at the same class: ``E p p' - 2 / n^2 + collisions / n``; zero-sum
    over classes. Value: ``log n + v / 2`` for logits of variance ``v``, at most ``log n + sqrt(2 v log n)``.
    """
    axis %= len(x.sizes)
    size = x.sizes[axis]
    weights = softmax(x, axis).out.kernel
    weights = kernels.explicit(kernels.collapsed(weights, axis), axis)
    variance = centred(kernels.collapsed(x.settled.kernel, axis), (axis,)).mean_square
    value = log(max(size, 2)) + min(variance / 2, (2 * variance * log(max(size, 2))) ** 0.5)
    slope = _minus_labels(weights, axis, size, collisions)
    left = tuple(n for a, n in enumerate(x.sizes) if a != axis)
    beside = tuple(1 if a == axis or share is not None else n for a, n in enumerate(x.sizes))

    def pull(g: Cotangent) -> tuple[Cotangent]:
        return (cotangent(kernels.scaled(kernels.product(slope, g.reshape(beside).kernel), 1.0 if share is None else share)),)

    rows = int(np.prod(left, dtype=np.int64))
    out = kernels.constant(left, value) if share is None else kernels.constant((), share * rows * value)
    return Modelled(of(out), pull)


def _minus_labels(weights: Kernel, axis: int, size: int, collisions: float) -> Kernel:
    for a in range(weights.rank):
        weights = kernels.explicit(kernels.collapsed(weights, a), a)
    same_class = weights.second.take([0], axis) - 2 / size**2 + collisions / size
    own_row = tuple(slice(0, 1) for _ in range(weights.rank))
    same_class[own_row] = np.maximum(weights.second[own_row] - 2 / size**2 + 1 / size, 0.0)
    second = np.concatenate([same_class, -same_class / max(size - 1, 1)], axis) if size > 1 else 0.0 * same_class
    return Kernel(weights.sizes, weights.cuts, second, np.zeros((1,) * weights.rank))
