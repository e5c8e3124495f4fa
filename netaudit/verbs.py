"""The verbs that make most transfers: name the class of the op, and the rest follows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import inf, isinf, nextafter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .effect import ZERO, Body, Curve, Effect, Jacobian, Pull, Tag, Transfer, modelled, primitive
from .graph import Node
from .moments import Var
from .moments.pointwise import pointwise
from .signal import Interval, RowNorm, Signal, up

Array: TypeAlias = NDArray[np.float64]

STEP = replace(ZERO, why="piecewise constant: the derivative is zero wherever it exists", tags=frozenset({"zero", "linear", "step"}))

Move: TypeAlias = Callable[[Node, Var], Var]
Rows: TypeAlias = Callable[[Node, Signal], RowNorm | None]


def isometry(*ops: str, move: Move, rows: Rows | None = None, doc: str = "") -> Transfer:
    """Ops that only move entries: ``||J|| = 1``, every entry goes to exactly one place."""
    jac = Jacobian(1.0, "exact", "entries are moved, none is lost or repeated", frozenset({"linear", "isometry"}), spectrum="{1}")
    return Transfer(ops, _moving(move, rows, jac), doc or "Entries are moved.", "each entry has one image", "none", "1")


def selection(*ops: str, move: Move, rows: Rows | None = None, doc: str = "") -> Transfer:
    """Ops that keep some entries: an orthogonal projection, ``||J|| = 1``, the null space is what was left out."""
    tags: frozenset[Tag] = frozenset({"linear", "selection", "projection", "rank-deficient"})
    jac = Jacobian(1.0, "exact", "entries are kept or dropped", tags, spectrum="{0, 1}", nullspace="the entries left out")
    return Transfer(ops, _moving(move, rows, jac), doc or "Entries are kept or dropped.", "rows of the identity", "none", "1")


def _moving(move: Move, rows: Rows | None, jac: Jacobian) -> Body:
    def body(node: Node, x: Signal, *others: Signal | None) -> Effect:
        moments, pull = modelled(lambda v, *_: move(node, v), x, *(None,) * len(others))
        out = Signal(node.shape, x.range, rows(node, x) if rows is not None and x.rows is not None else None, moments)
        return Effect(out, (jac, *(None if o is None else ZERO for o in others)), pull)

    return body


def zero(*ops: str, f: Callable[..., Array] | None = None, values: Interval = Interval(), doc: str = "") -> Transfer:
    """Ops whose derivative is zero wherever it exists: steps, comparisons, counts. ``f`` gives the values of a scalar one."""

    def body(node: Node, *operands: Signal | None) -> Effect:
        jac = tuple(None if operand is None else STEP for operand in operands)
        x = operands[0] if operands else None
        moments = None
        if f is not None and x is not None:
            moments, _ = primitive(pointwise, x, f=lambda z: call(f, node, z), df=np.zeros_like)
        return Effect(Signal(node.shape, values, None, moments), jac, lambda _g: (None,) * len(operands))

    return Transfer(ops, body, doc or "Piecewise constant: no gradient passes.", "derivative of a step", "jumps", "")


Constant: TypeAlias = Any
"""A number, or a function of the op's arguments by name (``lambda negative_slope: ...``)."""


def elementwise(
    *ops: str,
    f: Callable[..., Array],
    df: Callable[..., Array],
    slope: Constant,
    values: Constant = Interval(),
    turns: Constant = (),
    extrema: Constant = (),
    jump: Constant = 0.0,
    ref: str = "",
    kinks: str = "none",
    degree: str = "",
    doc: str = "",
) -> Transfer:
    """A scalar function applied to every entry: ``J = diag f'(x)``, so ``||J|| = max |f'|`` in l2, l_inf and l_1 alike.

    Args:
        ops: packet names.
        f: the function on arrays; named parameters beyond the first are taken from the call's arguments.
        df: its derivative, with autograd's value at kinks.
        slope: ``(inf f', sup f')``, exact, over the reals.
        values: the range of ``f`` over the reals.
        turns: the points between which ``f'`` is monotone (poles too); with the ends of an interval they give its exact
            extremes. None for functions that oscillate: the global range is used.
        extrema: the points where ``f'`` changes sign, for the range of ``f`` on an interval; None likewise.
        jump: the size of the largest jump; not 0 makes the function non-Lipschitz.
        ref: where the constants come from.
        kinks: points of no derivative and what autograd returns there.
        degree: homogeneity.
        doc: one line for the manual.
    """
    curve = Curve(f, df, _function(slope), _function(values), _function(turns), _function(extrema), _function(jump))

    def body(node: Node, x: Signal, *_: Signal | None) -> Effect:
        return elementwise_effect(node, x, curve)

    return Transfer(
        ops,
        body,
        doc or f"y = f(x) entry by entry; f' in {slope if isinstance(slope, tuple) else 'a range set by its arguments'}",
        ref,
        kinks,
        degree,
        curve,
    )


def _function(constant: Constant) -> Callable[..., Any]:
    return constant if callable(constant) else lambda: constant


def call(function: Callable[..., Any], node: Node, *values: Any) -> Any:
    """Call a function of arrays with the arguments of the node that its remaining parameters name."""
    return function(*values, **{name: node.args[name] for name in _named(function, len(values))})


@lru_cache(maxsize=4096)
def _named(function: Callable[..., Any], positional: int) -> tuple[str, ...]:
    """The parameters of a row's function beyond the arrays; a ufunc's own keywords are not meant."""
    return () if isinstance(function, np.ufunc) else tuple(inspect.signature(function).parameters)[positional:]


def elementwise_on(
    node: Node, x: Signal, *, f: Callable[..., Array], df: Callable[..., Array], slope: Constant, values: Constant = Interval(),
    turns: Constant = (), extrema: Constant = (), jump: Constant = 0.0, slot: int = 0,
) -> Effect:  # fmt: skip
    """The effect of a scalar function that is only known at the call (``x ** p``); see ``elementwise`` for the arguments."""
    curve = Curve(f, df, _function(slope), _function(values), _function(turns), _function(extrema), _function(jump))
    return elementwise_effect(node, x, curve, slot)


def elementwise_effect(node: Node, x: Signal, curve: Curve, slot: int = 0) -> Effect:
    """The effect of a scalar function on the operand in a slot: slope and values on its proved range, moments by Hermite series."""
    low, high = slope_on(node, curve, x.range)
    moments, pull = primitive(pointwise, x, f=lambda z: call(curve.f, node, z), df=lambda z: call(curve.df, node, z))
    out = Signal(node.shape, values_on(node, curve, x.range), _rows(node, x, curve), moments)
    jac = _diagonal(low, high, x.range, _jump_on(node, curve, x.range))
    slots = tuple(jac if i == slot else None for i in range(max(len(node.operands), 1)))
    return Effect(out, slots, _in_slot(pull, slot, len(slots)))


def _in_slot(pull: Pull | None, slot: int, slots: int) -> Pull | None:
    """The pull-back of one operand among several."""
    if pull is None or slots == 1:
        return pull
    return lambda g: tuple(pull(g)[0] if i == slot else None for i in range(slots))


def _rows(node: Node, x: Signal, curve: Curve) -> RowNorm | None:
    """``|f(x)| <= L |x|`` for ``f(0) = 0``, with the slope taken from 0 on: the proved range need not hold 0."""
    if x.rows is None or float(call(curve.f, node, np.zeros(1))[0]) != 0.0:
        return None
    from_zero = x.range.hull(Interval(0.0, 0.0))
    lip = max(abs(s) for s in slope_on(node, curve, from_zero))
    return None if isinf(lip) or _jump_on(node, curve, from_zero) else replace(x.rows, bound=up(lip * x.rows.bound))


def _jump_on(node: Node, curve: Curve, domain: Interval) -> float:
    """The size of the largest jump inside an interval: jumps lie at turns."""
    turns = call(curve.turns, node)
    return float(call(curve.jump, node)) if turns is None or any(t in domain for t in turns) else 0.0


def _diagonal(low: float, high: float, domain: Interval, jump: float) -> Jacobian:
    lip = max(abs(low), abs(high))
    tags: frozenset[Tag] = frozenset({"diagonal", "symmetric", "psd"} if low >= 0 else {"diagonal", "symmetric"})
    if lip == 0.0 and not jump:
        return replace(ZERO, why=f"f' = 0 for x in {domain}", slope=(0.0, 0.0))
    if jump:
        return Jacobian(inf, "infinite", f"jumps by {jump:.3g}", tags)
    if isinf(lip):
        return Jacobian(inf, "infinite", "the slope has no bound on the proved range", tags)
    everywhere = isinf(domain.lo) and isinf(domain.hi)
    why = f"f' in {Interval(low, high)}" + ("" if everywhere else f" for x in {domain}")
    return Jacobian(lip, "exact" if everywhere else "conditional", why, tags, slope=(low, high))


def slope_on(node: Node, curve: Curve, domain: Interval) -> tuple[float, float]:
    """PROVED ``(inf f', sup f')`` on an interval: its ends and the turning points inside, never beyond the global range."""
    low, high = call(curve.slope, node)
    turns = call(curve.turns, node)
    if turns is None or (isinf(domain.lo) and isinf(domain.hi)):
        return low, high
    points = [end for end in (domain.lo, domain.hi) if not isinf(end)]
    points += [p for t in turns if t in domain for p in (nextafter(t, -inf), t, nextafter(t, inf)) if p in domain]
    with np.errstate(all="ignore"):
        slopes = np.asarray(call(curve.df, node, np.array(points)), dtype=np.float64) if points else np.empty(0)
    if np.isnan(slopes).any():  # outside the function's own domain nothing better is known
        return low, high
    candidates = slopes.tolist()
    candidates += [s for end in (domain.lo, domain.hi) if isinf(end) for s in _slope_at_infinity(node, curve, end)]
    if not any(candidates):  # flat: a slack would turn a gradient that is exactly zero into a tiny one
        return 0.0, 0.0
    slack = 1e-12 * max(abs(low) if not isinf(low) else 0.0, abs(high) if not isinf(high) else 0.0, 1e-300)
    return max(low, min(candidates) - slack), min(high, max(candidates) + slack)


_HUGE = 1e100
"""A slope beyond this at the far points has no limit: rows of f that saturate (``exp`` of at most 700) look constant there."""


def _slope_at_infinity(node: Node, curve: Curve, end: float) -> tuple[float, ...]:
    """The slopes beyond the last turn: two far points, and the global bound on the side to which the slope still moves."""
    low, high = call(curve.slope, node)
    with np.errstate(all="ignore"):
        near, far = np.asarray(call(curve.df, node, np.copysign(np.array([1e4, 1e150]), end)), dtype=np.float64).tolist()
    if not abs(near) + abs(far) < _HUGE:  # also when one is NaN
        return low, high
    moves = far - near if abs(far) > abs(near) * (1 + 1e-9) else 0.0
    return (near, far, *((high,) if moves > 0 else (low,) if moves < 0 else ()))


def values_on(node: Node, curve: Curve, domain: Interval) -> Interval:
    """PROVED range of ``f`` on an interval: its ends, and the extrema, jumps and poles inside, met with the global range."""
    everywhere: Interval = call(curve.values, node)
    extrema, turns = call(curve.extrema, node), call(curve.turns, node)
    if extrema is None or turns is None or (isinf(domain.lo) and isinf(domain.hi)):
        return everywhere
    low_slope, high_slope = slope_on(node, curve, domain)
    inner = [p for t in (*extrema, *turns) for p in (t - 4 * np.spacing(abs(t)), t, t + 4 * np.spacing(abs(t))) if p in domain]
    with np.errstate(all="ignore"):
        points = np.array([p for p in (domain.lo, domain.hi, *inner) if not isinf(p)])
        values = np.asarray(call(curve.f, node, points), dtype=np.float64)
    if np.isnan(values).any():
        return everywhere
    ends = values.tolist()
    if isinf(domain.lo):
        ends += _limits(everywhere, falls=low_slope < 0, rises=high_slope > 0)
    if isinf(domain.hi):
        ends += _limits(everywhere, falls=high_slope > 0, rises=low_slope < 0)
    low, high = min(ends), max(ends)
    slack = 1e-12 * max(abs(v) for v in (low, high, 0.0) if not isinf(v))
    return Interval(max(everywhere.lo, low - slack), min(everywhere.hi, high + slack))


def _limits(everywhere: Interval, *, falls: bool, rises: bool) -> list[float]:
    """What ``f`` may tend to at an infinite end: seen from there towards the interval it can fall from above, rise from below."""
    return [everywhere.lo] * rises + [everywhere.hi] * falls
