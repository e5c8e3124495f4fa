"""Products: of functions of one root, of independent tensors, and of a tensor with a factor that hardly varies."""

from __future__ import annotations

from functools import reduce
from math import prod, sqrt

import numpy as np

from netaudit.moments import kernels, signs
from netaudit.moments.cotangent import Cotangent, Euler, Term, cotangent
from netaudit.moments.kernels import Kernel
from netaudit.moments.modelled import Modelled
from netaudit.moments.pointwise import pointwise2
from netaudit.moments.state import Curve, Law, Moments, View

HARDLY = 0.05
"""Relative variance of a factor below which a product has the shape of the other one: gates have about 0.01 before training."""


def mul(x: Moments, y: Moments) -> Modelled:
    """``x y`` with broadcasting. Functions of one root are multiplied exactly, other operands as independent."""
    fused = pointwise2(x, y, np.multiply, lambda u, v: v, lambda u, v: u)
    if fused is not None:
        return fused
    x, y = x.settled, y.settled
    whole = kernels.product(x.kernel, y.kernel)
    steady = law_of_multiple(x, y, whole) or law_of_multiple(y, x, whole)
    out = Moments(View(whole), steady, positive=x.positive and y.positive)
    out = signs.signed(out, signs.product(x, y, out))

    def pull(g: Cotangent) -> tuple[Cotangent, ...]:
        kept = None if steady is None else steady.law
        return tuple(_factor(g, b, a.sizes, kept if kept is a.curve.law else None) for a, b in ((x, y), (y, x)))

    return Modelled(out, pull)


def law_of_multiple(x: Moments, y: Moments, whole: Kernel) -> Curve | None:
    """The law of ``x y`` where y hardly varies, a scale as it was initialised or a gate: that of x."""
    steady = y.mean != 0.0 and y.variance <= HARDLY * y.mean**2
    return x.curve.scaled(y.mean) if (steady or y.is_constant) and x.sizes == whole.sizes else None


def _factor(g: Cotangent, other: Moments, sizes: tuple[int, ...], slopes: Law | None) -> Cotangent:
    """The cotangent of one factor: ``G`` times the other one; slopes on the given root are kept."""
    if g.sizes == sizes and other.is_constant:
        return g.scaled(other.mean)
    if slopes is not None and any(term.slope is not None and term.slope.law is slopes for term in g.terms):
        return Cotangent(tuple(_term_beside(term, other.kernel) for term in g.terms), g.euler)
    kernel = kernels.unbroadcast(_times(g, other), sizes)
    euler = euler_of_operand(g, sizes)
    if euler is not None and prod(sizes) == sizes[euler.axis]:  # a scale per index of the axis: dL/dscale = <G, X>, nearly zero
        return cotangent(kernels.scaled(kernel, sqrt(euler.share)))
    return cotangent(kernel, euler)


def _term_beside(term: Term, other: Kernel) -> Term:
    """``G y`` for a y that is independent of the slope."""
    return Term(View(kernels.product(term.view.kernel, other)), object(), term.gain, term.slope)


def _times(g: Cotangent, other: Moments) -> Kernel:
    """``G y``. Where G holds a slope on the root of y, the two are one function of it: behind a scale and a relu, ``x relu'(x)``.

    Its mean is not zero, so that the gradient of a scale adds up over positions whose gradients agree.
    """
    law = other.curve.law
    if other.sizes != g.sizes or not any(term.slope is not None and term.slope.law is law for term in g.terms):
        return kernels.product(g.kernel, other.kernel)
    parts = [_term_times(term, other) for term in g.terms]
    return reduce(kernels.total, parts)


def _term_times(term: Term, other: Moments) -> Kernel:
    slope = term.slope
    if slope is None or slope.law is not other.curve.law:
        return kernels.product(term.resolve(), other.kernel)
    joint = kernels.centred_at_zero(slope.law.image(slope.values * other.curve.values, slope.weight))
    return kernels.scaled(kernels.product(term.view.kernel, joint), term.gain)


def euler_of_operand(g: Cotangent, sizes: tuple[int, ...]) -> Euler | None:
    """The tag on an operand that was broadcast, if it has the tagged axis at full size."""
    if g.euler is None:
        return None
    axis = g.euler.axis - (len(g.sizes) - len(sizes))
    return Euler(axis, g.euler.share) if axis >= 0 and sizes[axis] == g.sizes[g.euler.axis] else None
