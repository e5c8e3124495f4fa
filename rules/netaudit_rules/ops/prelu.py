"""A leaky rectifier whose slopes are learned."""

from __future__ import annotations

from math import isfinite, isinf, prod

import numpy as np

from netaudit import Effect, Interval, Jacobian, Node, Signal, Tag, Var, above, modelled, transfer, up

from .activations import step
from .common import no_gradient, root, scaled_rows


@transfer(
    "aten.prelu", "aten._prelu_kernel",
    source="f' in {1, a}; df/da = min(x, 0), once for every entry that shares the slope (He 2015, eq. 1)",
    kinks="0: autograd returns the slope a", degree="1 (positively) in x, 1 in a",
)  # fmt: skip
def prelu(node: Node, x: Signal, slope: Signal) -> Effect:
    """``x`` above 0, ``a x`` below: one slope, or one for each channel (axis 1)."""
    shared = tuple(axis for axis in range(len(x.shape)) if slope.count == 1 or axis != 1)
    sizes = tuple(1 if axis in shared else n for axis, n in enumerate(x.shape))

    def model(v: Var, a: Var) -> Var:
        positive = v.apply(lambda z: np.maximum(z, 0.0), step)
        negative = v.apply(lambda z: np.minimum(z, 0.0), lambda z: (z <= 0).astype(np.float64))
        return positive + negative * a.reshape(*sizes)

    moments, pull = modelled(model, x, slope)
    below = Interval(min(x.range.lo, 0.0), 0.0) * slope.range
    values = below.hull(Interval(0.0, max(x.range.hi, 0.0))) if x.range.lo < 0 else x.range
    jac = (_by_input(x, slope), _by_slope(x, shared))
    return Effect(Signal(node.shape, values, scaled_rows(x.rows, jac[0].lip), moments), jac, pull)


def _by_input(x: Signal, slope: Signal) -> Jacobian:
    learned = [slope.range.magnitude] if x.range.lo <= 0.0 else []  # at 0, too
    lip = max(learned + [1.0] * (x.range.hi > 0.0 or not learned))
    if isinf(lip):
        return Jacobian(lip, "infinite", "the slope has no proved bound", frozenset({"diagonal", "symmetric"}))
    tags: frozenset[Tag] = frozenset({"diagonal", "symmetric", "psd"} if slope.range.lo >= 0 else {"diagonal", "symmetric"})
    return Jacobian(lip, "exact", f"slopes 1, and {above(max(learned))} at most below 0" if learned else "its slope is 1", tags)


def _by_slope(x: Signal, shared: tuple[int, ...]) -> Jacobian:
    if x.range.lo >= 0.0:
        return no_gradient("x is not negative: its slope is 1")
    size = min(x.norm_bound(shared), up(max(-x.range.lo, 0.0) * root(prod(x.shape[axis] for axis in shared))))
    if not isfinite(size):
        return Jacobian(size, "infinite", "grows with x", frozenset())
    return Jacobian(size, "conditional", f"norm of min(x, 0) <= {above(size)} on the proved domain", frozenset({"linear"}))
