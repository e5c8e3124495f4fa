"""The law of a sum of independent tensors that are not Gaussian: a residual stream behind a relu.

The sum is written as ``T(g)`` with ``g`` standard normal and ``T`` increasing, so that its distribution over entries is that of
``X + Y``; the correlations of ``g`` are those for which pairs of ``T(g)`` have the second moments of the sum (a translation
process: Grigoriu 1984). A Gaussian closure would keep the mean square alone: what relu leaves of ``relu(x) + y`` it gets wrong by
a tenth, block after block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netaudit.moments import gaussian, kernels
from netaudit.moments.cotangent import Cotangent, Slope, Term
from netaudit.moments.gaussian import GRID, QUANTILES, WEIGHTS
from netaudit.moments.kernels import Array, Kernel
from netaudit.moments.state import Curve, Law, Moments, View

FEW = slice(10, None, 20)
"""The points of the grid that are summed over: 80, symmetric, without 0, where steps are."""
POINTS = 401
"""Values at which a distribution, or what depends on it, is computed."""
MAX_SEGMENTS = 8
"""A law is found for each segment; with more of them the sum is taken as Gaussian."""
_TAIL = 3.5
_RHO = np.linspace(-1.0, 1.0, 201)


def law_of_sum(x: Moments, y: Moments, sign: float, total: Kernel) -> Curve | None:
    """``x + sign y`` as an increasing function of a Gaussian with kernel ``total``; None where both are Gaussian themselves."""
    for one, constant, factor, shift in ((x, y, 1.0, sign), (y, x, sign, 1.0)):
        if constant.is_constant and one.sizes == total.sizes:  # a bias or a branch that is still zero: nothing is added
            return one.curve.scaled(factor).shifted(shift * constant.mean)
    if (x.is_gaussian and y.is_gaussian) or _is_fine(total):
        return None
    left, right = (_values(m, total) for m in (x, y))
    if left is None or right is None:
        return None
    shape = np.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    left, right = (np.broadcast_to(a, (*shape, GRID.size)) for a in (left, right))
    values = np.empty((*shape, GRID.size))
    for index in np.ndindex(shape):
        values[index] = _quantiles(left[index], sign * right[index])
    return with_shape(values, total)


def with_shape(values: Array, total: Kernel) -> Curve | None:
    """An increasing function of a Gaussian, of the shape that ``values`` have on the grid, with the moments ``total``."""
    diagonal = total.diagonal()
    shape = np.broadcast_shapes(values.shape[:-1], diagonal.shape, total.mean.shape)
    if any(n > 1 and not total.varies(a) for a, n in enumerate(shape)):
        return None
    values = np.broadcast_to(values, (*shape, GRID.size)).copy()
    diagonal, mean = np.broadcast_to(diagonal, shape), np.broadcast_to(total.mean, shape)
    for index in np.ndindex(shape):
        values[index] = _matched(values[index], float(mean[index]), float(diagonal[index]))
    return Curve(Law(_root(values, total)), values)


def law_of_normalised(x: Moments, over: Sequence[int], out: Kernel, *, centred: bool) -> Curve | None:
    """The law of ``(x - mean) / s`` over axes: the shape of ``x`` within one group, groups together; None where ``x`` is Gaussian.

    What the entries of a group share, a share ``r`` of the variance of the root, is not seen within it: ``x = f(g)`` is, given
    ``g = sqrt(r) u + sqrt(1 - r) v`` with ``u`` of the group, a function of ``v`` of mean 0 and mean square 1.
    """
    law = x.curve.law
    if x.is_gaussian or law.positive or law.kernel.sizes != x.sizes or _is_fine(out) or any(len(law.kernel.cuts[a]) > 1 for a in over):
        return None
    pairs = tuple(slice(-1, None) if a in over else slice(0, len(cut)) for a, cut in enumerate(law.kernel.cuts))
    values, shares = x.curve.values, np.clip(law.correlations[pairs], 0.0, 1.0)
    shape = np.broadcast_shapes(values.shape[:-1], shares.shape)
    values, shares = np.broadcast_to(values, (*shape, GRID.size)), np.broadcast_to(shares, shape)
    result = np.empty((*shape, GRID.size))
    for index in np.ndindex(shape):
        result[index] = _within_groups(values[index], float(shares[index]), centred)
    return with_shape(result, out)


FEEBLE = 0.05
"""Groups spread less than this share of the widest are left at 0: what varies in them are entries so rare that a real group has none."""


def _within_groups(values: Array, share: float, centred: bool) -> Array:
    """The quantiles, at the grid's, of values that are normalised group by group."""
    parts = gaussian.groups(values, share)
    parts = parts - gaussian.expectation(parts)[:, None] if centred else parts
    size = np.sqrt(gaussian.expectation(parts * parts))[:, None]
    return gaussian.quantiles_over_groups(np.divide(parts, size, out=np.zeros_like(parts), where=size > FEEBLE * size.max()))


def _is_fine(kernel: Kernel) -> bool:
    return int(np.prod([len(cut) if kernel.varies(a) else 1 for a, cut in enumerate(kernel.cuts)])) > MAX_SEGMENTS


def _values(x: Moments, total: Kernel) -> Array | None:
    """The values of an operand on its own root, by segment, where its segments are those of the sum or none."""
    values = x.curve.values
    values = values.reshape((1,) * (total.rank - (values.ndim - 1)) + values.shape)
    for axis, cut in enumerate(total.cuts):
        if values.shape[axis] not in (1, len(cut)):
            return None
    return values


def _quantiles(x: Array, y: Array) -> Array:
    """The quantile function of ``X + Y`` at the grid's quantiles, both given on the grid; tails go on as straight lines.

    ``F(t) = sum_j w_j F_Y(t - x_j)``: the one with the flatter parts (relu's zeros) is summed over, the other gives the smooth F.
    """
    if np.count_nonzero(np.diff(x)) > np.count_nonzero(np.diff(y)):
        x, y = y, x
    weights = WEIGHTS[FEW] / WEIGHTS[FEW].sum()
    sums = np.linspace(*_ends(x, y), POINTS)
    order = np.argsort(y, kind="stable")
    below = np.cumsum(WEIGHTS[order]) - 0.5 * WEIGHTS[order]
    levels = np.interp(np.subtract.outer(sums, x[FEW]), y[order], below, left=0.0, right=1.0) @ weights
    values = np.interp(QUANTILES, levels, sums)
    inside = np.abs(GRID) <= _TAIL
    low, high = int(np.argmax(inside)), int(GRID.size - 1 - np.argmax(inside[::-1]))
    span = 50  # half a unit of the grid, for the slope at the ends
    values[:low] = values[low] + (GRID[:low] - GRID[low]) * (values[low + span] - values[low]) / (GRID[low + span] - GRID[low])
    values[high:] = values[high] + (GRID[high:] - GRID[high]) * (values[high] - values[high - span]) / (GRID[high] - GRID[high - span])
    return np.asarray(values)


def _ends(x: Array, y: Array) -> tuple[float, float]:
    """Where all but the tails of ``X + Y`` lie."""
    inside = np.abs(GRID) <= 5.0
    return float(x[inside].min() + y[inside].min()), float(x[inside].max() + y[inside].max())


def _matched(values: Array, mean: float, square: float) -> Array:
    """The same shape with exactly this mean and mean square."""
    first = float(gaussian.expectation(values))
    spread = float(gaussian.expectation((values - first) ** 2))
    variance = max(square - mean * mean, 0.0)
    return np.asarray(mean + (values - first) * np.sqrt(variance / spread)) if spread > 0.0 else np.full_like(values, mean)


def _root(values: Array, total: Kernel) -> Kernel:
    """The unit Gaussian whose image under ``values`` is ``total``: correlations by inverting the increasing Hermite series."""
    counts = values.shape[:-1]
    coefficients, rest = gaussian.hermite(values)
    second = np.empty(total.second.shape)
    for states in np.ndindex(second.shape):
        ends = [_segments(state, count) for state, count in zip(states, counts, strict=True)]
        first, other = tuple(e[0] for e in ends), tuple(e[1] for e in ends)
        image = gaussian.pair_moment(coefficients[first], coefficients[other], float(rest[first] * rest[other]), _RHO)
        second[states] = np.interp(total.second[states], np.maximum.accumulate(image), _RHO)
    second[tuple(slice(0, n) if total.varies(a) else slice(None) for a, n in enumerate(counts))] = 1.0
    return Kernel(total.sizes, total.cuts, second, np.zeros((1,) * total.rank))


def _segments(state: int, count: int) -> tuple[int, int]:
    """The segments of the two indices of a state of an axis with ``count`` segments."""
    return (state, state) if state < count else ((state - count) // count, (state - count) % count)


def handed_back(g: Cotangent, total: Curve, x: Moments, y: Moments, sign: float) -> Cotangent:
    """The cotangent of ``x``, a function of a root, from that of ``x + sign y``: slopes on the sum's root become slopes on ``x``'s.

    Where ``x`` is large so is the sum: relu lets both through or neither. Given ``x``, a slope S on the sum has the mean square
    ``h(x)^2 = E[S(x + sign y)^2 | x]`` over y. The term keeps the kernel of S as it is, divided by that of ``h``, and carries ``h``
    on: a later slope on ``x``'s root then multiplies ``h`` point by point.
    """
    if total.law is x.curve.law or x.is_constant or x.is_gaussian or x.sizes != g.sizes:
        return g
    if not any(term.slope is not None and term.slope.law is total.law for term in g.terms):
        return g
    return Cotangent(tuple(_on_operand(term, total, x, y, sign) for term in g.terms), g.euler)


def _on_operand(term: Term, total: Curve, x: Moments, y: Moments, sign: float) -> Term:
    slope = term.slope
    law, values, others = x.curve.law, x.curve.values, y.curve.values
    shape = slope.values.shape[:-1] if slope is not None else ()
    if slope is None or slope.law is not total.law or slope.weight is not None or not _same_layout(values, others, total.values, shape):
        return term
    squares = np.empty(np.broadcast_shapes(values.shape, total.values.shape))
    for index in np.ndindex(squares.shape[:-1]):
        at, of, along, steep = (np.broadcast_to(a, squares.shape)[index] for a in (values, others, total.values, slope.values))
        squares[index] = _conditional(at, sign * of, along, steep)
    own = np.sqrt(np.maximum(squares, 0.0))
    carried = law.image(own)
    _, cuts, whole, part = kernels.aligned(term.resolve(), carried)
    nothing = np.zeros(np.broadcast_shapes(whole.second.shape, part.second.shape))
    ratio = np.divide(whole.second, part.second, out=nothing, where=part.second > 0)
    return Term(View(Kernel(whole.sizes, cuts, ratio, np.zeros((1,) * whole.rank))), object(), 1.0, Slope(law, own))


def _same_layout(*arrays: Array | tuple[int, ...]) -> bool:
    """Whether laws are known for the same segments, or for none: then they can be compared entry by entry."""
    shapes = [a if isinstance(a, tuple) else a.shape[:-1] for a in arrays]
    return len({len(s) for s in shapes}) == 1 and all(len({n for n in axis if n > 1}) <= 1 for axis in zip(*shapes, strict=True))


def _conditional(x: Array, y: Array, total: Array, slope: Array) -> Array:
    """``E[S(x + y)^2 | x]`` at the grid's values of ``x``, with S given by its values where the sum takes the values ``total``."""
    weights = WEIGHTS[FEW] / WEIGHTS[FEW].sum()
    order = np.argsort(total, kind="stable")
    at = np.linspace(float(x.min()), float(x.max()), POINTS)
    squares = np.interp(np.add.outer(at, y[FEW]), total[order], (slope * slope)[order]) @ weights
    return np.asarray(np.interp(x, at, squares))
