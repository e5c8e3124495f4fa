"""Reductions, and sums along an axis."""

from __future__ import annotations

from math import inf, isinf, log10, pi, prod, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from netaudit import Effect, Interval, Jacobian, Kind, Node, RowNorm, Signal, Var, modelled, transfer, up

from .common import (
    NON_NEGATIVE,
    axes_of,
    axis_of,
    finite_product,
    ints,
    limit_kind,
    linear_jacobian,
    no_gradient,
    real,
    root,
    spectral_norm,
)

Array = NDArray[np.float64]


def _reduced(node: Node, x: Signal) -> tuple[tuple[int, ...], int, bool]:
    """The axes of a reduction, how many entries it takes together, and whether they stay with size 1."""
    axes = axes_of(node.args.get("dim"), len(x.shape))
    return axes, prod(x.shape[a] for a in axes), node.args.get("keepdim") is True


@transfer("aten.sum", source="sqrt n: the all-ones row", degree="1")
def total(node: Node, x: Signal) -> Effect:
    """A sum over n entries: ``||J|| = sqrt n``."""
    axes, count, keep = _reduced(node, x)
    moments, pull = modelled(lambda v: v.sum(*axes, keep=keep), x)
    values = x.range * Interval(float(count), float(count)) if count else Interval(0.0, 0.0)
    by_rows = up(x.norm_bound(axes) * sqrt(count)) if axes else inf
    if not isinf(by_rows):
        values = values.meet(Interval(-by_rows, by_rows))
    return Effect(Signal(node.shape, values, None, moments), (linear_jacobian(root(max(count, 1)), f"sqrt n, n = {count}"),), pull)


@transfer("aten.mean", source="1 / sqrt n", degree="1")
def mean(node: Node, x: Signal) -> Effect:
    """A mean over n entries: ``||J|| = 1 / sqrt n``; each entry gets 1 / n of the gradient."""
    axes, count, keep = _reduced(node, x)
    moments, pull = modelled(lambda v: v.mean(*axes, keep=keep), x)
    rows = None
    if x.rows is not None and not {a % len(x.shape) for a in x.rows.axes} & set(axes):
        left = [a for a in range(len(x.shape)) if keep or a not in axes]
        rows = RowNorm(x.rows.bound, tuple(left.index(a % len(x.shape)) for a in x.rows.axes))
    jac = linear_jacobian(up(1 / sqrt(max(count, 1))) if count > 1 else 1.0, f"1 / sqrt n, n = {count}")
    return Effect(Signal(node.shape, x.range, rows, moments), (jac,), pull)


def _correction(node: Node) -> float:
    if node.args.get("unbiased") is False:
        return 0.0
    given = node.args.get("correction")
    return real(given, 1.0)


def _variance_model(v: Var, axes: tuple[int, ...], count: int, correction: float, *, keep: bool) -> Var:
    centred = v.centre(*axes)
    squares = centred.apply(np.square, lambda z: 2.0 * z)
    return squares.sum(*axes, keep=keep).scale(1.0 / max(count - correction, 1e-12))


@transfer("aten.var", "aten.var_mean", source="grad 2 (x - mean) / (n - c): 2 R sqrt(n) / (n - c) on |x - mean| <= R", degree="2")
def variance(node: Node, x: Signal) -> Effect:
    """Variance (or, as second output of var_mean, the mean)."""
    if node.args.get("output") == 1:
        return mean(node, x)
    axes, count, keep = _reduced(node, x)
    c = _correction(node)
    length = min(x.norm_bound(axes), up(0.5 * (x.range - x.range).magnitude * sqrt(count)))  # |x - mean| is largest at half and half
    lip = up(2 * length / max(count - c, 1e-12)) if count > c else inf
    why = "degree 2: no bound without one on x" if isinf(lip) else f"2 |x - mean| / (n - {c:g})"
    moments, pull = modelled(lambda v: _variance_model(v, axes, count, c, keep=keep), x)
    hi = up(length * length / max(count - c, 1e-12)) if not isinf(length) else inf
    return Effect(
        Signal(node.shape, Interval(0.0, hi), None, moments),
        (Jacobian(lip, "infinite" if isinf(lip) else "conditional", why, nullspace="span{1}"),),
        pull,
    )


@transfer(
    "aten.std",
    "aten.std_mean",
    source="|grad| = 1 / sqrt(n - c) away from constants",
    kinks="constant x: autograd returns 0 (the composed form NaN)",
    degree="1",
)
def deviation(node: Node, x: Signal) -> Effect:
    """Standard deviation (or, as second output of std_mean, the mean)."""
    if node.args.get("output") == 1:
        return mean(node, x)
    axes, count, keep = _reduced(node, x)
    c = _correction(node)
    lip = up(1 / sqrt(count - c)) if count > c else inf
    moments, pull = modelled(lambda v: _variance_model(v, axes, count, c, keep=keep).apply(_root, _root_slope), x)
    jac = Jacobian(
        lip, "infinite" if isinf(lip) else "exact", f"1 / sqrt(n - {c:g}), n = {count}", nullspace="span{1, x - mean} loses the first"
    )
    return Effect(Signal(node.shape, NON_NEGATIVE, None, moments), (jac,), pull)


def _root(z: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(z, 0.0)))


def _root_slope(z: Array) -> Array:
    return np.asarray(0.5 / np.sqrt(np.maximum(z, 1e-300)))


@transfer(
    "aten.linalg_vector_norm",
    "aten.norm",
    source="p >= 2: 1; 1 <= p < 2: n^(1/p - 1/2); p < 1: the slope has no bound",
    kinks="x = 0: autograd returns 0",
    degree="1 (positively)",
)
def vector_norm(node: Node, x: Signal) -> Effect:
    """The p-norm over axes."""
    given = node.args.get("ord", node.args.get("p"))
    return _norm(node, x, 2.0 if given is None or isinstance(given, str) else real(given, 2.0))  # a string is "fro"


def _norm(node: Node, x: Signal, order: float) -> Effect:
    axes, count, keep = _reduced(node, x)
    lip = 1.0 if order >= 2 else up(max(count, 1) ** (1 / order - 0.5)) if order >= 1 else inf

    def model(v: Var) -> Var:
        powers = v.apply(lambda z: np.abs(z) ** order, lambda z: order * np.sign(z) * np.abs(z) ** (order - 1))
        total = powers.sum(*axes, keep=keep)
        level = max(total.moments.mean, 1e-300)  # the root is taken as its tangent there: sums of many entries vary little
        slope = level ** (1 / order - 1) / order
        return total.scale(slope).shift(level ** (1 / order) - slope * level)

    moments, pull = modelled(model, x) if 1 <= order < 64 else (None, None)
    bound = x.norm_bound(axes) if order >= 2 else finite_product(x.range.magnitude, up(float(count) ** (1 / order))) if order > 0 else inf
    jac = Jacobian(lip, "infinite" if isinf(lip) else "exact", f"{order:g}-norm of {count} entries")
    return Effect(Signal(node.shape, Interval(0.0, bound), None, moments), (jac,), pull)


@transfer(
    "aten.linalg_norm", "aten.linalg_matrix_norm",
    source="norm of the dual ball: nuclear sqrt r, spectral and Frobenius 1, largest row sum sqrt n, largest column sum sqrt m",
    degree="1 (positively)",
)  # fmt: skip
def matrix_norm(node: Node, x: Signal) -> Effect:
    """A norm of a vector (of everything, when no order is given), or of the matrices on two axes."""
    order, dims = node.args.get("ord"), node.args.get("dim")
    on_matrices = (
        node.op == "aten.linalg_matrix_norm" or (isinstance(dims, tuple) and len(dims) == 2) or (dims is None and len(x.shape) == 2)
    )
    if order is None or not on_matrices:
        return _norm(node, x, 2.0 if order is None else real(order, 2.0))
    axes = ints(dims if isinstance(dims, tuple) else (-2, -1), 2)
    rows, columns = (x.shape[a] for a in axes)
    # of a number its absolute value counts: -2, -1 and -inf take the smallest instead of the largest
    square = {"fro": 1, "nuc": min(rows, columns), "2": 1, "1": rows, "inf": columns}.get(
        f"{order:g}".lstrip("-") if not isinstance(order, str) else order, 0
    )
    why = f"matrix norm {order} of {rows} x {columns}"
    jac = Jacobian(root(square), "upper", why) if square else Jacobian(inf, "unknown", why)
    bound = finite_product(x.norm_bound(axes), root(square) if square else inf)
    return Effect(Signal(node.shape, Interval(0.0, bound)), (jac,))


# along an axis ----------------------------------------------------------------------------------------------------------


@transfer("aten.cumsum", source="1 / (2 sin(pi / (4 n + 2))), about 2 n / pi", degree="1")
def cumsum(node: Node, x: Signal) -> Effect:
    """Running sums: the lower triangle of ones."""
    if not x.shape:
        return total(node, x)
    axis = axis_of(node, len(x.shape))
    n = x.shape[axis]
    moments, pull = modelled(lambda v: v.along(axis, np.tril(np.ones((n, n)))), x)
    jac = linear_jacobian(up(up(0.5 / sin(pi / (4 * n + 2)))), f"1 / (2 sin(pi / (4 n + 2))), n = {n}")
    values = (x.range * Interval(1.0, float(max(n, 1)))).hull(x.range)
    return Effect(Signal(node.shape, values, None, moments), (jac,), pull, ("running sums",))


@transfer("aten.diff", source="2 cos(pi / 2n) < 2 each time", degree="1")
def diff(node: Node, x: Signal, *ends: Signal | None) -> Effect:
    """Differences of neighbours, taken once or more often."""
    axis, times = axis_of(node, len(x.shape), default=-1), int(real(node.args.get("n"), 1.0))
    if any(end is not None for end in ends):  # entries put in front or behind: part of one longer axis
        jac = linear_jacobian(2.0**times, "at most 2 each time", "upper")
        return Effect(Signal(node.shape), (jac, *(None if end is None else jac for end in ends)))
    matrix = np.diff(np.eye(x.shape[axis]), times, axis=0)
    moments, pull = modelled(lambda v, *_: v.along(axis, matrix), x, *ends)
    values = x.range
    for _ in range(times):
        values = values - values
    jac = linear_jacobian(spectral_norm(matrix), f"a known matrix, n = {x.shape[axis]}")
    return Effect(Signal(node.shape, values, None, moments), (jac, *(None,) * len(ends)), pull)


@transfer("aten.logsumexp", "aten.special_logsumexp", source="grad = softmax: 1 in l2 (limit), 1 in l_inf", degree="shift-equivariant")
def logsumexp(node: Node, x: Signal) -> Effect:
    """``log sum e^x``: 1. Its mean is ``log n + v / 2`` for entries of variance v, at most ``log n + sqrt(2 v log n)``."""
    axes, count, _ = _reduced(node, x)
    kept = [a for a in range(len(x.shape)) if a not in axes]

    def model(v: Var) -> Var:
        rows = v.permute(*kept, *axes).reshape(*(v.sizes[a] for a in kept), count)
        spread, room = rows.moments.variance, float(np.log(max(count, 2)))
        level = rows.moments.mean + float(np.log(max(count, 1))) + min(spread / 2, sqrt(2 * spread * room))
        return rows.with_slope(level / count, rows.softmax(-1), None).sum(len(kept)).reshape(*node.shape)

    moments, pull = modelled(model, x) if count else (None, None)
    values = x.range + Interval(0.0, up(float(np.log(max(count, 1)))))
    return Effect(Signal(node.shape, values, None, moments), (Jacobian(1.0, limit_kind(x), "the gradient is a softmax"),), pull)


@transfer("aten.prod", source="degree n: not Lipschitz for n >= 2", degree="n")
def product(node: Node, x: Signal) -> Effect:
    """A product over n entries: ``n^(1/2) R^(n - 1)`` on |x| <= R."""
    _, count, _ = _reduced(node, x)
    lip = 1.0 if count <= 1 else _power(x.range.magnitude, count - 1, sqrt(count))
    return _of_degree(node, x, count, lip, _power(x.range.magnitude, count, 1.0))


@transfer("aten.cumprod", source="entry i has degree i: |J|_F^2 = sum i R^(2 (i - 1))", degree="n")
def running_product(node: Node, x: Signal) -> Effect:
    """Running products of n entries: ``sqrt(sum i R^(2 (i - 1)))`` on |x| <= R."""
    count = x.shape[axis_of(node, len(x.shape))] if x.shape else 1
    size = x.range.magnitude
    lip = (
        1.0
        if count <= 1
        else inf
        if isinf(_power(size, 2 * count, 1.0))
        else up(sqrt(sum(i * size ** (2 * i - 2) for i in range(1, count + 1))))
    )
    return _of_degree(node, x, count, lip, max(size, _power(size, count, 1.0)))


def _power(size: float, exponent: int, factor: float) -> float:
    """``factor size^exponent``, inf where float64 overflows."""
    if isinf(size) or (size > 1 and exponent * log10(size) > 300):
        return inf
    return up(factor * size**exponent)


def _of_degree(node: Node, x: Signal, count: int, lip: float, largest: float) -> Effect:
    kind: Kind = "infinite" if isinf(lip) else "exact" if count <= 1 else "conditional"
    values = x.range if count == 1 else Interval(-largest, largest) if count else Interval(1.0, 1.0)
    return Effect(Signal(node.shape, values), (Jacobian(lip, kind, f"degree {count}") if lip else no_gradient("x = 0"),))
