"""Tensors joined along an axis. Joined functions of roots are a function of the joined root: ``cat(f(a), g(b))``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from netaudit.moments import along, signs
from netaudit.moments.cotangent import Cotangent, Slope, Term, cotangent
from netaudit.moments.kernels import Array
from netaudit.moments.modelled import Modelled
from netaudit.moments.state import Curve, Law, Moments, View


def concatenate(xs: Sequence[Moments], axis: int) -> Modelled:
    """Tensors joined along an axis.

    What a maximum downstream needs to know, which entries of a root it selects, stays known: the result keeps the joined root,
    and a slope on it is handed back to each part on the part's own root.
    """
    xs = [x.settled for x in xs]
    sizes = [x.sizes[axis] if x.sizes != (0,) else 0 for x in xs]
    edges = np.cumsum([0, *sizes])
    parts = [x for x, n in zip(xs, sizes, strict=True) if n]
    curve = _joined_curve(parts, axis)
    kernel = along.joined([x.kernel for x in parts], axis)
    out = signs.signed(Moments(View(kernel), curve), signs.joined(parts, axis) if parts else None)
    segments = np.cumsum([0, *(len(x.curve.law.kernel.cuts[axis]) if n else 0 for x, n in zip(xs, sizes, strict=True))]) if curve else edges

    def pull(g: Cotangent) -> tuple[Cotangent | None, ...]:
        spans = zip(xs, pairwise(edges), pairwise(segments), strict=True)
        return tuple(_part(g, curve, x, axis, span, own) if span[1] > span[0] else None for x, span, own in spans)

    return Modelled(out, pull)


def _part(g: Cotangent, curve: Curve | None, x: Moments, axis: int, span: tuple[int, int], own: tuple[int, int]) -> Cotangent:
    """The cotangent of one part: slopes on the joined root become slopes on the part's."""
    if curve is None or any(term.slope is None or term.slope.law is not curve.law for term in g.terms):
        return cotangent(along.sliced(g.kernel, axis, int(span[0]), int(span[1])), g.euler)
    terms = []
    for term in g.terms:
        assert term.slope is not None
        weight = None if term.slope.weight is None else _segments(term.slope.weight, axis, own)
        slope = Slope(x.curve.law, _segments(term.slope.values, axis, own), weight)
        terms.append(Term(View(along.sliced(term.view.kernel, axis, int(span[0]), int(span[1]))), object(), term.gain, slope))
    return Cotangent(tuple(terms), g.euler)


def _segments(array: Array, axis: int, own: tuple[int, int]) -> Array:
    return array if array.shape[axis] == 1 else array.take(range(int(own[0]), int(own[1])), axis)


def _joined_curve(parts: Sequence[Moments], axis: int) -> Curve | None:
    """The parts as one function of one root; None unless each is a function of a Gaussian root of its own shape and cuts."""
    laws = [x.own_curve.law for x in parts if x.own_curve is not None]
    if len(laws) < max(len(parts), 2) or any(law.positive for law in laws):
        return None
    if any(law.kernel.sizes != x.sizes or not law.kernel.varies(axis) for law, x in zip(laws, parts, strict=True)):
        return None
    others = {law.kernel.cuts[:axis] + law.kernel.cuts[axis + 1 :] for law in laws}
    root = along.joined([law.kernel for law in laws], axis)
    if len(others) > 1 or root.cuts[axis] != tuple(n for law in laws for n in law.kernel.cuts[axis]):
        return None
    shapes = [x.curve.values.shape for x in parts]
    common = [max(shape[a] for shape in shapes) for a in range(root.rank)]
    values = []
    for x, law in zip(parts, laws, strict=True):
        wide = list(common)
        wide[axis] = len(law.kernel.cuts[axis])
        values.append(np.broadcast_to(x.curve.values, (*wide, x.curve.values.shape[-1])))
    return Curve(Law(root), np.concatenate(values, axis))
