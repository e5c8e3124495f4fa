"""Pointwise functions of a tensor, or of two functions of one root."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from netaudit.moments import gaussian, kernels
from netaudit.moments.cotangent import Cotangent, Slope
from netaudit.moments.direction import without_direction
from netaudit.moments.kernels import Array
from netaudit.moments.modelled import Modelled
from netaudit.moments.state import Curve, Law, Moments, View


def pointwise(x: Moments, f: Callable[[Array], Array], df: Callable[[Array], Array]) -> Modelled:
    """``f(x)`` entry by entry: the Hermite series of ``f`` on the root of ``x``, of ``f'`` backward."""
    x = x.settled
    curve = x.curve
    with np.errstate(all="ignore"):
        points = curve.values
        values, slopes = _finite(f(points)), _finite(df(points))
    out = _image(curve, values)
    slope = Slope(curve.law, slopes)

    def pull(g: Cotangent) -> tuple[Cotangent]:
        if g.euler is None:
            return (g.times(slope),)
        back = g.times(slope, _nonhomogeneity(curve.values, values, slopes))
        return (without_direction(g, back, *_regressed(curve.law, slopes, values, g.euler.axis)),)

    return Modelled(out, pull)


def _finite(values: Array) -> Array:
    """A singular point of measure zero (1/x at the grid's x = 0) carries no weight."""
    return np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _image(curve: Curve, values: Array) -> Moments:
    positive = bool((values >= 0).all() and (values > 0).any())
    return Moments(View(curve.law.image(values)), Curve(curve.law, values), positive=positive)


def _nonhomogeneity(x: Array, y: Array, slopes: Array) -> float:
    """``1 - R^2`` of ``x f'(x)`` regressed on ``(1, f(x))``: 0 for positively homogeneous ``f``, for which Euler's relation holds."""
    x, y, slopes = (np.broadcast_to(a, np.broadcast_shapes(x.shape, y.shape)).reshape(-1, a.shape[-1])[0] for a in (x, y, slopes))
    u = x * slopes
    mean = gaussian.expectation
    yc, uc = y - mean(y), u - mean(u)
    vy, vu = float(mean(yc * yc)), float(mean(uc * uc))
    if vy <= 0 or vu <= 0:
        return 0.0
    return max(vu - float(mean(yc * uc)) ** 2 / vy, 0.0) / max(float(mean(u * u)), 1e-300)


def _regressed(law: Law, slopes: Array, values: Array, axis: int) -> tuple[float, float]:
    """Of ``f'`` within one index of an axis: its mean square level, and the share of its variance that is a linear function of ``f``."""
    shape = np.broadcast_shapes(slopes.shape, values.shape)
    s, y = (np.broadcast_to(a, shape).reshape(-1, a.shape[-1])[0] for a in (slopes, values))
    pair = tuple(0 if a == axis else -1 for a in range(law.kernel.rank))
    s, y = (gaussian.groups(a, float(law.correlations[pair])) for a in (s, y))
    level, middle = gaussian.expectation(s), gaussian.expectation(y)
    sc, yc = s - level[:, None], y - middle[:, None]
    spread, both, square = (gaussian.expectation(a) for a in (sc * sc, sc * yc, yc * yc))
    explained = np.divide(both * both, square, out=np.zeros_like(both), where=square > 0)
    whole = float(gaussian.over_groups(spread))
    return float(gaussian.over_groups(level * level)), min(float(gaussian.over_groups(explained)) / whole, 1.0) if whole > 0 else 0.0


def pointwise2(
    x: Moments,
    y: Moments,
    f: Callable[[Array, Array], Array],
    dx: Callable[[Array, Array], Array],
    dy: Callable[[Array, Array], Array],
) -> Modelled | None:
    """``f(x, y)`` for two functions of one root; None when the roots differ."""
    x, y = x.settled, y.settled
    if x.sizes != y.sizes or x.curve.law is not y.curve.law:
        return None
    u, v = x.curve.values, y.curve.values
    with np.errstate(all="ignore"):
        values, sx, sy = _finite(f(u, v)), _finite(dx(u, v)), _finite(dy(u, v))
    law = x.curve.law
    return Modelled(_image(x.curve, values), lambda g: (g.times(Slope(law, sx)), g.times(Slope(law, sy))))


def scale(x: Moments, factor: float) -> Modelled:
    """``factor x``."""
    view = View(kernels.scaled(x.view.base, factor), x.view.groups)
    curve = x.curve.scaled(factor) if x.own_curve is not None or x.view.groups is None else None
    offset = None if x.offset is None else x.offset * factor
    return Modelled(Moments(view, curve, offset, x.positive and factor > 0), lambda g: (g.scaled(factor),))


def shift(x: Moments, value: float) -> Modelled:
    """``x + value``."""
    if value == 0.0:
        return Modelled(x, lambda g: (g,))
    base = x.settled.kernel
    out = Moments(
        View(kernels.total(base, kernels.constant(base.sizes, value))),
        x.settled.curve.shifted(value),
        positive=x.positive and value > 0,
    )
    return Modelled(out, lambda g: (g,))
