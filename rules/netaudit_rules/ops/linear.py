"""Linear layers: a weight applied to activations."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isinf, prod, sqrt

import numpy as np

from netaudit import Effect, Interval, Jacobian, Node, RowNorm, Signal, Var, above, modelled, transfer, up

from .common import finite_product, linear_jacobian, no_gradient, product_up, ranged, repeats, root


def map_norm(weight: Signal, overlap: int = 1) -> tuple[float, str]:
    """PROVED norm of a weight as a linear map at this use: its certificate, else the Frobenius norm of its proved range.

    ``overlap``: how many windows an input lies in; a map on windows has at most ``sqrt(overlap)`` times the matrix' norm.
    """
    if weight.norms is not None:
        return weight.norms.spectral, weight.norms.how
    frobenius = weight.norm_bound(tuple(range(len(weight.shape))))
    return product_up(frobenius, root(overlap)), "Frobenius norm of the proved range"


def by_input(weight: Signal, what: str, overlap: int = 1) -> Jacobian:
    """The Jacobian of a linear layer with respect to its input."""
    norm, how = map_norm(weight, overlap)
    if isinf(norm):
        return Jacobian(inf, "unknown", f"the norm of the {what} is not known", frozenset({"linear"}))
    return linear_jacobian(
        norm, f"spectral norm of the {what} <= {above(norm)} ({how})", "exact" if weight.norms is not None else "conditional"
    )


def by_weight(x: Signal, factor: float = 1.0) -> Jacobian:
    """The Jacobian with respect to a weight: the spectral norm of the stacked inputs, at most their Frobenius norm."""
    norm = up(x.norm_bound(tuple(range(len(x.shape)))) * factor)
    if isinf(norm):
        return Jacobian(inf, "infinite", "the input has no proved bound", frozenset({"linear"}))
    return Jacobian(norm, "conditional", f"||X||_F <= {above(norm)} on the proved domain", frozenset({"linear"}))


def by_bias(bias: Signal | None, out: tuple[int, ...]) -> Jacobian | None:
    """The Jacobian with respect to a bias: sqrt(how often it is added)."""
    if bias is None:
        return None
    r = repeats(bias, out)
    return linear_jacobian(root(r), f"added {r:g} times")


def image_range(x: Signal, weight: Signal, bias: Signal | None) -> Interval:
    """PROVED range of a linear layer: ``|y_i| <= min(|w_i| ||x||, ||w_i||_1 max|x|) + |b_i|``."""
    if weight.norms is None:
        return Interval()
    by_rows = finite_product(weight.norms.row_l2, x.norm_bound((-1,)))
    by_range = finite_product(weight.norms.row_l1, x.range.magnitude)
    size = up(min(by_rows, by_range)) + (bias.range.magnitude if bias is not None else 0.0)
    return Interval(-up(size), up(size))


def _image_rows(x: Signal, weight: Signal, bias: Signal | None) -> RowNorm | None:
    """``||y|| <= ||W|| ||x|| + ||b||`` over the last axis."""
    if weight.norms is None or x.rows is None or isinf(weight.norms.spectral):
        return None
    length = x.norm_bound((-1,))
    shift = bias.norm_bound((-1,)) if bias is not None else 0.0
    return None if isinf(length) else RowNorm(up(weight.norms.spectral * length + shift), (-1,))


def linear_model(x: Var, w: Var, b: Var | None) -> Var:
    """``x W' + b``."""
    y = x.einsum("...i,oi->...o", w)
    return y if b is None else y + b


@transfer("aten.linear", source="J = W: ||J|| = sigma_max(W), exact; rank <= min(in, out)", degree="1 (bias 0)")
def linear(node: Node, x: Signal, weight: Signal, bias: Signal | None = None) -> Effect:
    """``y = x W' + b``; ``x``: (..., in), ``W``: (out, in). Null space: ker W."""
    jac = (replace(by_input(weight, "weight"), nullspace="ker W"), by_weight(x), by_bias(bias, node.shape))
    moments, pull = modelled(linear_model, x, weight, bias)
    out = ranged(Signal(node.shape, image_range(x, weight, bias), _image_rows(x, weight, bias), moments))
    return Effect(out, jac[: len(node.operands)], pull)


# tables and pairs -------------------------------------------------------------------------------------------------------


@transfer(
    "aten.embedding",
    source="d out / d table is a gather: ||J|| = sqrt(max count of an index)",
    degree="1 in the table",
    kinks="the padding row gets no gradient",
)
def embedding(node: Node, table: Signal, ids: Signal, *_: Signal | None) -> Effect:
    """Rows of a table picked by index: a source of activations, Lipschitz in the table alone."""
    most = max(ids.count, 1)
    if ids.constant and ids.value is not None and ids.value.size:
        most = int(np.unique(ids.value, return_counts=True)[1].max())
    jac = linear_jacobian(root(most), f"a row is used at most {most} times", "exact" if ids.constant else "upper")
    rows = RowNorm(table.norms.row_l2, (-1,)) if table.norms is not None else table.rows
    slots = (jac, no_gradient("indices"))
    if ids.value is None:
        return Effect(Signal(node.shape, table.range, rows), slots)
    picked = ids.value.astype(np.int64)
    moments, pull = modelled(lambda v, _i: v.gather(0, picked).reshape(*node.shape), table, None)
    return Effect(Signal(node.shape, table.range, rows, moments), slots, pull)


@transfer("aten.bilinear", source="J = [A x2 | A' x1]; ||A|| <= the smallest spectral norm of the three unfoldings", degree="2")
def bilinear(node: Node, x1: Signal, x2: Signal, weight: Signal, bias: Signal | None = None) -> Effect:
    """``y_k = x1' A_k x2 + b_k``: not Lipschitz; ``||A|| R2`` and ``||A|| R1`` on rows of norm R1, R2."""
    norm, how = map_norm(weight)
    jac = []
    for other in (x2, x1):
        lip = finite_product(norm, other.norm_bound((-1,)))
        why = "degree 2: no bound without one on the other input" if isinf(lip) else f"||A|| R <= {above(lip)} ({how})"
        jac.append(Jacobian(up(lip), "infinite" if isinf(lip) else "conditional", why, frozenset()))
    by_w = up(finite_product(x1.norm_bound((-1,)), x2.norm_bound((-1,))) * sqrt(max(prod(node.shape[:-1]), 1)))
    weight_jac = Jacobian(by_w, "infinite" if isinf(by_w) else "conditional", "||x1|| ||x2||", frozenset({"linear"}))

    def model(u: Var, v: Var, w: Var, b: Var | None) -> Var:
        y = u.einsum("...i,oij->...oj", w)
        z = (y * v.reshape(*v.sizes[:-1], 1, v.sizes[-1])).sum(len(y.sizes) - 1)
        return z if b is None else z + b

    moments, pull = modelled(model, x1, x2, weight, bias)
    return Effect(Signal(node.shape, Interval(), None, moments), (*jac, weight_jac, by_bias(bias, node.shape))[: len(node.operands)], pull)
