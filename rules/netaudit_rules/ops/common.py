"""What several ops of the pack share: axes, broadcasting, row norms under views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isinf, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from netaudit import Arg, Effect, Interval, Jacobian, Kind, Node, RowNorm, Signal, Var, from_array, moments_of, up

Array = NDArray[np.float64]
NON_NEGATIVE = Interval(0.0, inf)


def axes_of(argument: Arg, rank: int) -> tuple[int, ...]:
    """A ``dim`` argument as sorted non-negative axes; None and () mean all."""
    if argument is None or argument == ():
        return tuple(range(rank))
    given = argument if isinstance(argument, tuple) else (argument,)
    return tuple(sorted(int(a) % max(rank, 1) for a in given if isinstance(a, (int, float))))


def ints(argument: Arg, count: int) -> tuple[int, ...]:
    """A per-dimension argument (an int or a list of ints) for ``count`` dimensions."""
    if isinstance(argument, tuple):
        values = tuple(int(a) for a in argument if isinstance(a, (int, float)))
        return values * count if len(values) == 1 else values
    return (int(argument),) * count if isinstance(argument, (int, float)) else (0,) * count


def real(argument: Arg, default: float = 0.0) -> float:
    """A number argument."""
    return float(argument) if isinstance(argument, (int, float)) else default


def repeats(operand: Signal, out: tuple[int, ...]) -> float:
    """How often broadcasting to ``out`` repeats an entry: the square of the expansion's spectral norm."""
    return prod(out) / max(operand.count, 1)


def spectral_norm(matrix: Array) -> float:
    """PROVED norm of a small known matrix: LAPACK's singular value plus its backward error bound, or Schur's bound if large."""
    rows, columns = float(np.abs(matrix).sum(1).max()), float(np.abs(matrix).sum(0).max())
    schur = up(sqrt(rows * columns))
    if max(matrix.shape) > 1024:
        return schur
    return min(schur, up(float(np.linalg.norm(matrix, 2)) * (1.0 + 40 * max(matrix.shape) * 2.3e-16)))


def root(r: float) -> float:
    """``sqrt r`` rounded up; exact for squares."""
    value = sqrt(r)
    return value if value == int(value) else up(value)


def copies(x: Signal, out: tuple[int, ...], kept: NDArray[np.bool_] | None = None) -> int:
    """How often an entry appears after broadcasting, at most; of the copies only those count that are ``kept``."""
    if kept is None:
        return round(repeats(x, out))
    lead = len(out) - len(x.shape)
    summed = tuple(a for a in range(len(out)) if a < lead or x.shape[a - lead] == 1)
    return int(np.broadcast_to(kept, out).sum(summed).max(initial=0))


def node_count(node: Node) -> int:
    """The number of entries of a node."""
    return prod(node.shape)


def is_number(signal: Signal) -> bool:
    """Whether a tensor is one known number."""
    return signal.shape == () and signal.constant


def finite_product(a: float, b: float) -> float:
    """``a b`` for sizes that may be unbounded: 0 wins, since every finite factor is allowed."""
    return 0.0 if a == 0.0 or b == 0.0 else a * b


def product_up(a: float, b: float) -> float:
    """``a b`` rounded up; exact when one of them is 1."""
    return b if a == 1.0 else a if b == 1.0 else up(finite_product(a, b))


def linear_jacobian(lip: float, why: str, kind: str = "exact") -> Jacobian:
    """The Jacobian of a linear map with a known norm."""
    if lip == 0.0:
        return no_gradient(why)
    return Jacobian(lip, "infinite" if isinf(lip) else kind, why, frozenset({"linear"}))  # type: ignore[arg-type]  # a Kind


def no_gradient(why: str) -> Jacobian:
    """The Jacobian of an operand through which autograd sends nothing, whatever its value."""
    return Jacobian(0.0, "exact", why, frozenset({"zero", "linear"}))


def spread_rows(rows: RowNorm | None, signal: Signal, rank: int) -> RowNorm | None:
    """Row norms of an operand seen in a result of higher rank (leading axes added)."""
    if rows is None:
        return None
    shift = rank - len(signal.shape)
    return RowNorm(rows.bound, tuple(a % len(signal.shape) + shift for a in rows.axes))


def rows_of(signal: Signal, axes: Sequence[int]) -> float:
    """PROVED row norm over given axes."""
    return signal.norm_bound(tuple(axes))


def rows_through_reshape(node: Node, x: Signal) -> RowNorm | None:
    """Row norms after a reshape: an axis whose entries all come from the row's axes holds a part of the row."""
    sources = _sources(x.shape, node.shape)
    if x.rows is None or sources is None:
        return None
    own = {a % len(x.shape) for a in x.rows.axes}
    kept = tuple(new for new, olds in enumerate(sources) if olds and olds <= own)
    return RowNorm(x.rows.bound, kept) if kept else None


def _sources(old: Sequence[int], new: Sequence[int]) -> list[set[int]] | None:
    """For every new axis of a reshape, the old axes it takes entries from; None when an axis is cut across its factors."""
    result: list[set[int]] = []
    queue = [(axis, size) for axis, size in enumerate(old) if size != 1]
    for size in new:
        taken: set[int] = set()
        left = size
        while left > 1:
            if not queue:
                return None
            axis, have = queue.pop(0)
            taken.add(axis)
            if left % have == 0:
                left //= have
            elif have % left == 0:
                queue.insert(0, (axis, have // left))
                left = 1
            else:
                return None
        result.append(taken)
    return result


def scaled_rows(rows: RowNorm | None, factor: float) -> RowNorm | None:
    """Row norms of ``factor x``."""
    return None if rows is None or isinf(factor) else RowNorm(up(rows.bound * factor), rows.axes)


def added_rows(x: Signal, y: Signal, shape: tuple[int, ...]) -> RowNorm | None:
    """Row norms of a sum: the triangle inequality over the axes of whichever operand has them."""
    for left, right in ((x, y), (y, x)):
        if left.rows is None or left.shape != shape:
            continue
        axes = tuple(a % len(shape) for a in left.rows.axes)
        other = _rows_broadcast(right, axes, shape)
        if not isinf(other):
            return RowNorm(up(left.rows.bound + other), axes)
    return None


def _rows_broadcast(signal: Signal, axes: tuple[int, ...], shape: tuple[int, ...]) -> float:
    """The norm over axes of an operand after broadcasting to ``shape``."""
    if signal.shape == shape:
        return signal.norm_bound(axes)
    size = prod(shape[a] for a in axes)
    return up(signal.range.magnitude * sqrt(size))


def empty(node: Node, *operands: Signal | None) -> Effect:
    """An op through which no gradient passes."""
    jac = tuple(None if o is None else Jacobian(0.0, "exact", "no gradient passes", frozenset({"zero"})) for o in operands)
    return Effect(Signal(node.shape), jac, lambda _g: (None,) * len(operands))


def indices(node: Node) -> Effect:
    """A second output that is no number: indices, a mask. No gradient passes."""
    jac = tuple(no_gradient("indices or a mask") if isinstance(o, str) else None for o in node.operands)
    return Effect(Signal(node.shape), jac, lambda _g: (None,) * len(node.operands))


def limit_kind(x: Signal) -> Kind:
    """The kind of a supremum that is a limit at infinity: on a bounded range it is not reached."""
    return "conditional" if x.range.is_bounded else "exact"


def integer(node: Node, name: str, default: int = 0) -> int:
    """An int argument of a call."""
    value = node.args.get(name)
    return int(value) if isinstance(value, (int, float)) else default


def axis_of(node: Node, rank: int, name: str = "dim", default: int = 0) -> int:
    """A single axis argument, non-negative."""
    return integer(node, name, default) % max(rank, 1)


def known(array: NDArray[np.float64]) -> Var:
    """A known array in a model."""
    return Var(moments_of(from_array(array), positive=bool(array.size) and float(array.min()) > 0.0))


def first_slots(node: Node, effect: Effect) -> Effect:
    """An effect cut to the slots that a call has: trailing optional operands may be left out."""
    n, pull = len(node.operands), effect.pull
    return replace(effect, jac=effect.jac[:n], pull=None if pull is None else lambda g: pull(g)[:n])


def padded(effect: Effect, *, before: int = 0, after: int = 0) -> Effect:
    """An effect on some slots of a call, with empty slots put around them."""
    left, right = (None,) * before, (None,) * after
    pull = effect.pull
    return replace(effect, jac=(*left, *effect.jac, *right), pull=None if pull is None else lambda g: (*left, *pull(g), *right))


def ranged(signal: Signal) -> Signal:
    """A signal whose range is met with what its row norm implies: no entry is larger than its row."""
    if signal.rows is None:
        return signal
    bound = signal.rows.bound
    return Signal(signal.shape, signal.range.meet(Interval(-bound, bound)), signal.rows, signal.moments)
