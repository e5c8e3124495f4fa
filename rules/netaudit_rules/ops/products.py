"""Products of matrices and tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp, hypot, inf, isfinite, isinf, prod, sqrt

import numpy as np

from netaudit import Effect, Interval, Jacobian, Node, RowNorm, Signal, Var, above, modelled, transfer, up

from .activations import sigmoid, sigmoid_slope
from .algebra import mul
from .common import axis_of, finite_product, linear_jacobian, no_gradient, product_up, ranged, real, repeats, root


def _factor_norm(y: Signal) -> float:
    """PROVED sup over the batch of the spectral norm of the matrices in ``y``."""
    if y.norms is not None:
        return y.norms.spectral
    return y.norm_bound((-2, -1) if len(y.shape) >= 2 else (-1,))


def _by_factor(other: Signal, lead: float, norm: float | None = None) -> Jacobian:
    """The Jacobian for one factor: the norm of the other one, times the square root of its own reuse."""
    norm = _factor_norm(other) if norm is None else norm
    if isinf(norm):
        return Jacobian(inf, "infinite", "the other factor has no proved bound: a product of two activations has degree 2", frozenset())
    if other.norms is not None or other.constant:
        return linear_jacobian(product_up(norm, lead), f"spectral norm of the other factor <= {above(norm)}", "upper")
    return Jacobian(product_up(norm, lead), "conditional", f"norm of the other factor <= {above(norm)} on the proved domain", frozenset())


def _reuse(own: Signal, batch: Sequence[int]) -> float:
    """Sqrt of how often a matrix (or vector) is reused by broadcasting over the batch axes."""
    return root(max(prod(batch) / max(prod(own.shape[:-2]), 1), 1.0))


def _batch(node: Node, x: Signal, y: Signal) -> tuple[int, ...]:
    """The batch axes of a product: all but the rows and columns, which a vector does not have."""
    own = 2 - (len(x.shape) == 1) - (len(y.shape) == 1)
    return node.shape[: len(node.shape) - own]


def matmul_model(x: Var, y: Var) -> Var:
    """``x y`` over the last two axes, batch axes broadcast; vectors as torch.matmul treats them."""
    vector_x, vector_y = len(x.sizes) == 1, len(y.sizes) == 1
    x = x.reshape(1, *x.sizes) if vector_x else x
    y = y.reshape(*y.sizes, 1) if vector_y else y
    rank = max(len(x.sizes), len(y.sizes)) - 2
    letters = "abcdefgh"[:rank]
    left, right = letters[rank - len(x.sizes) + 2 :], letters[rank - len(y.sizes) + 2 :]
    z = x.einsum(f"{left}ts,{right}sr->{letters}tr", y)
    sizes = [n for i, n in enumerate(z.sizes) if not (vector_x and i == rank) and not (vector_y and i == rank + 1)]
    return z.reshape(*sizes)


@transfer("aten.glu", source="per pair: sup s sqrt(1 + R^2 (1 - s)^2) over s = sigmoid(b), |a| <= R (Dauphin 2017)", degree="none")
def glu(node: Node, x: Signal) -> Effect:
    """``a sigmoid(b)`` for the two halves of an axis: ``J = [diag s, diag a s (1 - s)]``, a product of two activations."""
    axis = axis_of(node, len(x.shape), "dim", -1)
    half = x.shape[axis] // 2
    low, high = (1.0 / (1.0 + exp(-min(max(end, -700.0), 700.0))) for end in (x.range.lo, x.range.hi))
    low, high = max(low * (1 - 1e-15), 0.0), min(high * (1 + 1e-15), 1.0)
    r = x.range.magnitude
    jac = Jacobian(inf, "infinite", "the gated half has no proved bound: a product of two activations has degree 2")
    if isfinite(r):
        jac = Jacobian(_glu_gain(r, low, high), "conditional", f"sup s sqrt(1 + R^2 (1 - s)^2), R = {above(r, 4)}, s <= {above(high, 4)}")
    moments, pull = modelled(lambda v: v.slice(axis, 0, half) * v.slice(axis, half, 2 * half).apply(sigmoid, sigmoid_slope), x)
    return Effect(ranged(Signal(node.shape, x.range * Interval(low, high), None, moments)), (jac,), pull)


def _glu_gain(r: float, low: float, high: float) -> float:
    """``sup s sqrt(1 + r^2 (1 - s)^2)``: at the ends, or where ``2 r^2 s^2 - 3 r^2 s + r^2 + 1 = 0``."""
    points = [low, high]
    if r * r >= 8.0:
        points += [s for sign in (1.0, -1.0) if low < (s := (3.0 + sign * sqrt(1.0 - 8.0 / (r * r))) / 4.0) < high]
    return up(up(max(s * hypot(1.0, r * (1.0 - s)) for s in points)))


SHORT = 16
"""Terms of an inner product of activations up to which it is far from Gaussian: keys of few dimensions."""


@transfer(
    "aten.matmul", "aten.mm", "aten.bmm", "aten.mv", "aten.dot", "aten.vdot",
    source="d(XY) = dX Y + X dY; jointly sqrt(||X||^2 + ||Y||^2)", degree="2 in two variables, 1 in each",
)  # fmt: skip
def matmul(node: Node, x: Signal, y: Signal) -> Effect:
    """``X Y``: ``||Y||`` for X and ``||X||`` for Y, on the proved domain."""
    batch = _batch(node, x, y)
    jac = (_by_factor(y, _reuse(x, batch)), _by_factor(x, _reuse(y, batch)))
    moments, pull = modelled(matmul_model, x, y)
    size = finite_product(x.norm_bound((-1,)), y.norm_bound((-2,) if len(y.shape) > 1 else (-1,)))
    rows = None
    if not isinf(_factor_norm(y)) and x.rows is not None and len(y.shape) > 1 and len(node.shape) == len(x.shape):
        rows = RowNorm(up(x.norm_bound((-1,)) * _factor_norm(y)), (-1,))
    thin = ("short contraction",) if x.shape and x.shape[-1] <= SHORT and not (x.constant or y.constant) else ()
    return Effect(ranged(Signal(node.shape, Interval(-up(size), up(size)), rows, moments)), jac, pull, thin)


@transfer(
    "aten._grouped_mm", "transformers.grouped_mm_fallback",
    source="rows of different groups do not meet: ||J_x|| = max_e ||W_e||, ||J_W|| = max_e ||X_e||", degree="2 in two variables, 1 in each",
)  # fmt: skip
def grouped_mm(node: Node, x: Signal, w: Signal, ends: Signal | None = None, bias: Signal | None = None) -> Effect:
    """``Y_s = X_s W_e`` for a row s of group e, the experts of a mixture; ``X``: (rows, n) sorted by group, ``W``: (groups, n, m).

    Which rows are of which group depends on the data. The model: every group has as many, whatever is in them.
    """
    if (len(x.shape), len(w.shape)) != (2, 3) or bias is not None:
        jac = Jacobian(inf, "unknown", "groups along another axis", frozenset())
        return Effect(Signal(node.shape), tuple(None if s is None else jac for s in (x, w, ends, bias))[: len(node.operands)])
    rows, groups = x.shape[0], w.shape[0]
    evenly = np.arange(rows) * groups // max(rows, 1)

    def model(u: Var, v: Var, *_: Var) -> Var:
        return matmul_model(u.reshape(rows, 1, u.sizes[1]), v.gather(0, evenly)).reshape(*node.shape)

    others = (None,) * (len(node.operands) - 2)
    moments, pull = modelled(model, x, w, *others) if rows and groups else (None, None)
    size = up(finite_product(x.norm_bound((-1,)), w.norm_bound((-2,))))
    norm = _factor_norm(w)
    own = None if isinf(norm) or x.rows is None else RowNorm(up(x.norm_bound((-1,)) * norm), (-1,))
    jac_others = (None if ends is None else no_gradient("ends of groups"), None)[: len(others)]
    out = ranged(Signal(node.shape, Interval(-size, size), own, moments))
    return Effect(out, (_by_factor(w, 1.0), _by_factor(x, 1.0), *jac_others), pull)


@transfer("aten.inner", source="z_ab = <x_a, y_b>: ||J_x|| = ||Y||", degree="2 in two variables, 1 in each")
def inner(node: Node, x: Signal, y: Signal) -> Effect:
    """Inner products of all rows of x with all rows of y."""
    if not x.shape or not y.shape:
        return mul(node, x, y)
    norms = [s.norms.spectral if s.norms is not None else s.norm_bound(tuple(range(len(s.shape)))) for s in (x, y)]

    def model(u: Var, v: Var) -> Var:
        rows = [w.reshape(prod(w.sizes[:-1]), w.sizes[-1]) for w in (u, v)]
        return rows[0].einsum("ai,bi->ab", rows[1]).reshape(*node.shape)

    moments, pull = modelled(model, x, y)
    size = up(finite_product(x.norm_bound((-1,)), y.norm_bound((-1,))))
    return Effect(
        Signal(node.shape, Interval(-size, size), None, moments), (_by_factor(y, 1.0, norms[1]), _by_factor(x, 1.0, norms[0])), pull
    )


@transfer("aten.addmm", "aten.baddbmm", "aten.addmv", source="beta b + alpha X Y", degree="2")
def addmm(node: Node, bias: Signal, x: Signal, y: Signal) -> Effect:
    """``beta b + alpha X Y``."""
    return _added(node, bias, matmul(replace(node, op="aten.matmul", operands=node.operands[1:]), x, y), (x, y), matmul_model)


@transfer("aten.addbmm", source="beta b + alpha sum_b X_b Y_b: the factors side by side make one matrix", degree="2")
def addbmm(node: Node, bias: Signal, x: Signal, y: Signal) -> Effect:
    """``beta b + alpha sum_b X_b Y_b``."""
    jac = tuple(_by_factor(other, 1.0, other.norm_bound((0, 1, 2))) for other in (y, x))
    size = up(finite_product(x.norm_bound((0, 2)), y.norm_bound((0, 1))))
    inner_effect = Effect(Signal(node.shape, Interval(-size, size)), jac)
    return _added(node, bias, inner_effect, (x, y), lambda u, v: matmul_model(u, v).sum(0))


def _added(node: Node, bias: Signal, factors: Effect, xy: tuple[Signal, Signal], model: Callable[[Var, Var], Var]) -> Effect:
    alpha, beta = real(node.args.get("alpha"), 1.0), real(node.args.get("beta"), 1.0)
    jac = [None if j is None else replace(j, lip=product_up(abs(alpha), j.lip)) for j in factors.jac]
    r = repeats(bias, node.shape)
    first = linear_jacobian(product_up(abs(beta), root(r)), f"added {r:g} times")

    def total(b: Var, u: Var, v: Var) -> Var:
        z = model(u, v).scale(alpha)
        return z + b.scale(beta) if beta else z

    moments, pull = modelled(total, bias, *xy)
    values = factors.out.range * Interval(alpha, alpha) + bias.range * Interval(beta, beta)
    return Effect(Signal(node.shape, values, None, moments), (first, *jac), pull)


@transfer("aten.outer", "aten.ger", source="d(x y') = dx y' + x dy'", degree="2")
def outer(node: Node, x: Signal, y: Signal) -> Effect:
    """``x y'``: ``||y||`` for x and ``||x||`` for y."""
    moments, pull = modelled(lambda u, v: u.reshape(*u.sizes, 1) * v.reshape(1, *v.sizes), x, y)
    return Effect(Signal(node.shape, x.range * y.range, None, moments), (_by_factor(y, 1.0), _by_factor(x, 1.0)), pull)


# einsum -----------------------------------------------------------------------------------------------------------------


def _labels(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Operand labels and result labels, dots spelled out, the result made explicit."""
    equation = equation.replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    hidden = [rank - len(t) + 3 if "..." in t else 0 for t, rank in zip(terms, ranks, strict=True)]
    names = "".join(spare[: max(hidden, default=0)])
    terms = [t.replace("...", names[len(names) - n :]) for t, n in zip(terms, hidden, strict=True)]
    if not arrow:
        every = "".join(terms)
        out = names + "".join(sorted(c for c in set(every) - set(names) if every.count(c) == 1))
    return terms, out.replace("...", names)


def _einsum_norm(own: str, other: Signal, labels: str, out: str, own_sizes: Sequence[int]) -> float:
    """``||x -> einsum(x, y)||`` for fixed y: the Frobenius norm of y within a batch index, times what is only summed."""
    rank = len(labels)
    within = tuple(a for a in range(rank) if not (labels[a] in own and labels[a] in out))
    norm = other.norm_bound(within) if within else other.range.magnitude
    alone = prod(n for c, n in zip(own, own_sizes, strict=True) if c not in labels and c not in out)
    summed = prod(other.shape[a] for a in range(rank) if labels[a] not in own and labels[a] not in out)
    return up(norm * sqrt(alone * summed))


@transfer("aten.einsum", source="a bilinear map: ||J_x|| <= ||y||_F over what is not a batch index", degree="2 in two variables, 1 in each")
def einsum(node: Node, *xs: Signal) -> Effect:
    """``einsum`` of one or two operands; more are multiplied from the left."""
    terms, out = _labels(str(node.args["equation"]), [len(x.shape) for x in xs])
    if any(len(set(t)) != len(t) for t in terms):
        return Effect(Signal(node.shape), (Jacobian(inf, "unknown", "a repeated label", frozenset()),) * len(xs))
    moments, pull = modelled(lambda *vs: _einsum_model(vs, terms, out), *xs)
    if len(xs) == 1:
        alone = prod(n for c, n in zip(terms[0], xs[0].shape, strict=True) if c not in out)
        return Effect(Signal(node.shape, x_range(xs[0], alone), None, moments), (linear_jacobian(up(sqrt(alone)), "a sum"),), pull)
    if len(xs) > 2:
        return Effect(
            Signal(node.shape, Interval(), None, moments),
            (Jacobian(inf, "infinite", "a product of three tensors", frozenset()),) * len(xs),
            pull,
        )
    x, y = xs
    lips = (_einsum_norm(terms[0], y, terms[1], out, x.shape), _einsum_norm(terms[1], x, terms[0], out, y.shape))
    jac = tuple(
        Jacobian(lip, "infinite" if isinf(lip) else "conditional", "norm of the other factor on the proved domain", frozenset())
        for lip in lips
    )
    sizes = dict(zip(terms[0] + terms[1], x.shape + y.shape, strict=True))
    contracted = prod(n for label, n in sizes.items() if label not in out)
    size = up(finite_product(x.range.magnitude, y.range.magnitude) * contracted)
    return Effect(Signal(node.shape, Interval(-size, size), None, moments), jac, pull)


def x_range(x: Signal, times: float) -> Interval:
    """The range of a sum of ``times`` entries."""
    return x.range * Interval(float(times), float(times))


def _einsum_model(vs: Sequence[Var], terms: Sequence[str], out: str) -> Var:
    v, label = vs[0], terms[0]
    for position in range(1, len(vs)):
        later = "".join(terms[position + 1 :]) + out
        keep = "".join(c for c in dict.fromkeys(label + terms[position]) if c in later)
        keep = out if position == len(vs) - 1 else keep
        v, label = v.einsum(f"{label},{terms[position]}->{keep}", vs[position]), keep
    if label != out:
        gone = [a for a, c in enumerate(label) if c not in out]
        v = v.sum(*gone) if gone else v
        left = [c for c in label if c in out]
        v = v.permute(*(left.index(c) for c in out))
    return v
