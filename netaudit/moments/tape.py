"""A tape over the primitives: the model of an op written as the op itself is defined.

``record(lambda x, w, b: x.einsum("...i,oi->...o", w) + b, x, w, b)`` gives the moments of a linear layer and the pull-back
to its three operands: the abstract counterpart of reverse-mode differentiation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netaudit.moments import algebra, attention, extreme, joins, normalise, products
from netaudit.moments import pointwise as scalar
from netaudit.moments.cotangent import Cotangent, accumulate
from netaudit.moments.kernels import Array
from netaudit.moments.modelled import Modelled, Pull
from netaudit.moments.state import Moments


@dataclass(frozen=True, eq=False)
class Var:
    """A modelled quantity inside one op, and where it came from."""

    moments: Moments
    parents: tuple[Var, ...] = ()
    pull: Pull | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape."""
        return self.moments.sizes

    def __mul__(self, other: Var) -> Var:
        return _node(products.mul(self.moments, other.moments), self, other)

    def __add__(self, other: Var) -> Var:
        return _node(algebra.add(self.moments, other.moments), self, other)

    def __sub__(self, other: Var) -> Var:
        return _node(algebra.add(self.moments, other.moments, -1.0), self, other)

    def scale(self, factor: float) -> Var:
        """``factor x``."""
        return _node(scalar.scale(self.moments, factor), self)

    def shift(self, value: float) -> Var:
        """``x + value``."""
        return _node(scalar.shift(self.moments, value), self)

    def apply(self, f: Callable[[Array], Array], df: Callable[[Array], Array]) -> Var:
        """``f(x)`` entry by entry, with its derivative."""
        return _node(scalar.pointwise(self.moments, f, df), self)

    def sum(self, *axes: int, keep: bool = False) -> Var:
        """Sum over axes."""
        return _node(algebra.reduce_sum(self.moments, axes, keep=keep), self)

    def mean(self, *axes: int, keep: bool = False) -> Var:
        """Mean over axes."""
        return _node(algebra.reduce_sum(self.moments, axes, keep=keep, average=True), self)

    def reshape(self, *sizes: int) -> Var:
        """A reshape."""
        return _node(algebra.reshape(self.moments, sizes), self)

    def permute(self, *order: int) -> Var:
        """A permutation of axes."""
        return _node(algebra.permute(self.moments, order), self)

    def expand(self, *sizes: int) -> Var:
        """Axes of size 1 repeated."""
        return _node(algebra.expand(self.moments, sizes), self)

    def slice(self, axis: int, start: int, stop: int, step: int = 1) -> Var:
        """``x[start:stop:step]`` along an axis."""
        return _node(algebra.slice_axis(self.moments, axis % len(self.sizes), start, stop, step), self)

    def centre(self, *axes: int) -> Var:
        """``x - mean(x)``."""
        return _node(normalise.centre(self.moments, axes), self)

    def normalise(self, axes: Sequence[int], eps: float, *, subtract_mean: bool = True) -> Var:
        """``(x - mean) / sqrt(mean square + eps)``."""
        return _node(normalise.normalise(self.moments, axes, eps, subtract_mean=subtract_mean), self)

    def softmax(self, axis: int) -> Var:
        """Softmax along an axis."""
        return _node(attention.softmax(self.moments, axis), self)

    def with_offset(self, offset: NDArray[np.float64]) -> Var:
        """A known additive constant, kept apart for softmax."""
        return _node(algebra.with_offset(self.moments, offset), self)

    def pool_max(self, axes: Sequence[int], window: int, out_sizes: Sequence[int]) -> Var:
        """Maximum over windows."""
        return _node(extreme.pool_max(self.moments, axes, window, out_sizes), self)

    def along(self, axis: int, matrix: Array) -> Var:
        """A known matrix along an axis."""
        return _node(algebra.map_axis(self.moments, axis, matrix), self)

    def unfold(self, axis: int, taps: int, out: int, stride: int, dilation: int, padding: int) -> Var:
        """One axis becomes (windows, taps)."""
        return _node(algebra.unfold(self.moments, axis, taps, out, stride, dilation, padding), self)

    def fold(self, axis: int, size: int, stride: int, dilation: int, padding: int) -> Var:
        """Axes (windows, taps) become one."""
        return _node(algebra.fold(self.moments, axis, size, stride, dilation, padding), self)

    def gather(self, axis: int, ids: NDArray[np.integer]) -> Var:
        """``x[ids]`` along an axis."""
        return _node(algebra.gather(self.moments, axis, ids), self)

    def with_slope(self, value: float, slope: Var, share: float | None) -> Var:
        """A loss of known mean value, whose derivative is ``slope``: by entry (``share`` None) or summed with that weight."""
        return _node(algebra.with_slope(self.moments, value, slope.moments, share), self)

    def cross_entropy(self, axis: int, share: float | None, collisions: float) -> Var:
        """Softmax cross-entropy of logits along an axis; see ``attention.cross_entropy``."""
        return _node(attention.cross_entropy(self.moments, axis, share, collisions), self)

    def log_softmax(self, axis: int) -> Var:
        """Log-softmax along an axis."""
        return _node(attention.log_softmax(self.moments, axis), self)

    def einsum(self, equation: str, other: Var) -> Var:
        """``einsum`` of two operands: align, multiply, sum. ``...`` stands for leading axes of the first operand."""
        return einsum(equation, self, other)


def _node(modelled: Modelled, *parents: Var) -> Var:
    return Var(modelled.out, parents, modelled.pull)


def joined(variables: Sequence[Var], axis: int) -> Var:
    """Tensors joined along an axis."""
    return _node(joins.concatenate([v.moments for v in variables], axis), *variables)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def expand_dots(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The labels of the operands and of the result, with ``...`` spelled out (right-aligned, as broadcasting does)."""
    left, out = equation.replace(" ", "").split("->")
    terms = left.split(",")
    spare = [c for c in _LETTERS if c not in equation]
    hidden = [rank - len(term) + 3 if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)]
    most = max(hidden, default=0)
    names = "".join(spare[:most])
    spelled = [term.replace("...", names[most - n :] if n else "") for term, n in zip(terms, hidden, strict=True)]
    return spelled, out.replace("...", names)


def einsum(equation: str, x: Var, y: Var) -> Var:
    """``einsum(equation, x, y)`` as products and sums of kernels. Labels may not repeat within an operand."""
    (left, right), out = expand_dots(equation, [len(x.sizes), len(y.sizes)])
    every = out + "".join(dict.fromkeys(c for c in left + right if c not in out))
    z = _laid_out(x, left, every) * _laid_out(y, right, every)
    summed = [a for a, label in enumerate(every) if label not in out]
    return z.sum(*summed) if summed else z


def _laid_out(v: Var, labels: str, every: str) -> Var:
    present = [c for c in every if c in labels]
    order = [labels.index(c) for c in present]
    if order != sorted(order):
        v = v.permute(*order)
    sizes = iter(v.sizes)
    wanted = tuple(next(sizes) if c in labels else 1 for c in every)
    return v.reshape(*wanted) if wanted != v.sizes else v


def record(model: Callable[..., Var], *operands: Moments | None) -> Modelled:
    """Run an op's model on its operands; the pull-back replays it in reverse. A missing operand is passed as None."""
    leaves = tuple(None if m is None else Var(m) for m in operands)
    out = model(*leaves)
    order = _reverse_order(out)

    def pull(g: Cotangent) -> tuple[Cotangent | None, ...]:
        waiting: dict[int, list[Cotangent]] = {id(out): [g]}
        arrived: dict[int, Cotangent] = {}
        for var in order:
            parts = waiting.pop(id(var), None)
            if not parts:
                continue
            total = accumulate(parts)
            if var.pull is None:
                arrived[id(var)] = total
                continue
            for parent, part in zip(var.parents, var.pull(total), strict=True):
                if part is not None:
                    waiting.setdefault(id(parent), []).append(part)
        return tuple(None if leaf is None else arrived.get(id(leaf)) for leaf in leaves)

    return Modelled(out.moments, pull)


def _reverse_order(out: Var) -> list[Var]:
    """Every Var after all Vars that use it."""
    order: list[Var] = []
    seen: set[int] = set()
    stack: list[tuple[Var, bool]] = [(out, False)]
    while stack:
        var, expanded = stack.pop()
        if expanded:
            order.append(var)
        elif id(var) not in seen:
            seen.add(id(var))
            stack.append((var, True))
            stack.extend((parent, False) for parent in var.parents)
    return order[::-1]
