"""What is modelled of a gradient: a sum of terms, each the cotangent of a later tensor times a slope.

Terms of one origin are the same random tensor: their slopes add before they are squared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from netaudit.moments import kernels
from netaudit.moments.kernels import Array, Kernel
from netaudit.moments.state import Law, View


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Slope:
    """A derivative on the root's grid; ``weight`` tilts the law towards entries that were selected by a maximum."""

    law: Law
    values: Array
    weight: Array | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Echo:
    """``R = A G`` for a known linear map A of the cotangent G of ``origin``: ``mixed`` holds ``E[R_i G_j + G_i R_j]`` by state."""

    origin: object
    mixed: Kernel


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Term:
    """``gain * slope(root) * G`` with ``G`` the cotangent of ``origin``; ``echo`` if it is a known map of an earlier one."""

    view: View
    origin: object
    gain: float = 1.0
    slope: Slope | None = None
    echo: Echo | None = None

    def resolve(self) -> Kernel:
        """The term's kernel: slope and cotangent are modelled as independent."""
        kernel = self.view.kernel
        if self.slope is not None:
            kernel = kernels.product(kernel, kernels.centred_at_zero(self.slope.law.image(self.slope.values, self.slope.weight)))
        return kernels.scaled(kernel, self.gain) if self.gain != 1.0 else kernel


@dataclass(frozen=True, slots=True)
class Euler:
    """For each index of ``axis`` the cotangent is orthogonal to the value, up to ``share`` of the free energy.

    Euler's relation: a scale-invariant function (a normalisation downstream) has ``<G, X> = 0``.
    """

    axis: int
    share: float


@dataclass(frozen=True, eq=False, repr=False)
class Cotangent:
    """The modelled gradient with respect to a tensor: mean zero, a sum of terms."""

    terms: tuple[Term, ...]
    euler: Euler | None = None

    @cached_property
    def kernel(self) -> Kernel:
        """The pair-pattern kernel of the gradient."""
        parts = [term.resolve() for term in self.terms]
        result = parts[0]
        for part in parts[1:]:
            result = kernels.total(result, part)
        return result

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the tensor it belongs to."""
        return self.terms[0].view.sizes

    @property
    def mean_square(self) -> float:
        """``E[g^2]`` over entries."""
        if len(self.terms) == 1 and self.terms[0].slope is None:  # views do not change it: no need to apply them
            return self.terms[0].view.base.mean_square * self.terms[0].gain ** 2
        return self.kernel.mean_square

    def resolved(self) -> Cotangent:
        """One term without slope; the origin is kept when it already was one."""
        if len(self.terms) == 1 and self.terms[0].slope is None and self.terms[0].gain == 1.0:
            return self
        return cotangent(self.kernel, self.euler)

    def scaled(self, factor: float) -> Cotangent:
        """``factor G``, of the same origins."""
        return replace(self, terms=tuple(replace(term, gain=term.gain * factor) for term in self.terms))

    def times(self, slope: Slope, nonhomogeneity: float = 1.0) -> Cotangent:
        """The cotangent of ``x`` where this is that of ``f(x)`` and ``slope`` is ``f'`` on the root of both."""
        euler = self.euler and Euler(self.euler.axis, min(self.euler.share + nonhomogeneity, 1.0))
        return Cotangent(tuple(_times(term, slope) for term in self.terms), euler)

    def reshape(self, sizes: tuple[int, ...]) -> Cotangent:
        """The gradient of the tensor before a reshape from ``sizes``."""
        view = self._one_view()
        return _seen(view, view.reshape(sizes), self.euler)

    def permute(self, order: Sequence[int]) -> Cotangent:
        """The gradient with its axes in a new order."""
        view = self._one_view()
        euler = self.euler and Euler(list(order).index(self.euler.axis), self.euler.share)
        return Cotangent((Term(view.permute(order), object()),), euler)

    def _one_view(self) -> View:
        only = self.terms[0]
        if len(self.terms) == 1 and only.slope is None and only.gain == 1.0:
            return only.view
        return View(self.kernel)


def _times(term: Term, slope: Slope) -> Term:
    if term.slope is None:
        return replace(term, slope=slope, echo=None)
    if term.slope.law is not slope.law:  # slopes on two roots are independent: only those on one multiply point by point
        return Term(View(term.resolve()), object(), 1.0, slope)
    weight = term.slope.weight if slope.weight is None else slope.weight
    return replace(term, slope=Slope(slope.law, term.slope.values * slope.values, weight))


def _seen(old: View, new: View, euler: Euler | None) -> Cotangent:
    """A view keeps an Euler tag when it keeps the tagged axis whole."""
    kept = None
    if euler is not None and new.base is old.base:
        group = old.symbolic[euler.axis]
        places = [axis for axis, other in enumerate(new.symbolic) if other == group and group]
        kept = Euler(places[0], euler.share) if places else None
    return Cotangent((Term(new, object()),), kept)


def cotangent(kernel: Kernel, euler: Euler | None = None) -> Cotangent:
    """A cotangent of its own origin."""
    return Cotangent((Term(View(kernels.centred_at_zero(kernel)), object()),), euler)


def unknown(sizes: tuple[int, ...]) -> Cotangent:
    """A cotangent that a model does not claim to know. An infinite mean square spreads, and is read as unknown, as an overflow is."""
    return cotangent(kernels.independent(sizes, np.inf))


MAX_TERMS = 6


def accumulate(parts: Iterable[Cotangent]) -> Cotangent:
    """The sum of the cotangents that a tensor's users send back. Terms of one origin on one root add in amplitude."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    merged: dict[object, list[Term]] = {}
    for part in parts:
        for term in part.terms:
            merged.setdefault(term.origin, []).append(term)
    terms = _with_echoes([_coherent(group) for group in merged.values()])
    axes = {part.euler.axis if part.euler else None for part in parts}
    euler = None
    if len(axes) == 1 and None not in axes:
        euler = Euler(parts[0].euler.axis if parts[0].euler else 0, max(p.euler.share for p in parts if p.euler))
    result = Cotangent(terms, euler)
    return result if len(terms) <= MAX_TERMS else cotangent(result.kernel, euler)


def _with_echoes(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Terms that meet the cotangent they are a map of: ``pool(x) - x`` sends back ``A G - G``, which is small where A keeps G.

    What the two share is a term of its own, with a kernel of either sign: part of a sum, not a tensor.
    """
    plain = {term.origin: term for term in terms if term.slope is None}
    result: list[Term] = []
    for term in terms:
        met = plain.get(term.echo.origin) if term.echo is not None and term.slope is None else None
        if term.echo is None or met is None or met.view.sizes != term.echo.mixed.sizes:
            result.append(term)
            continue
        mixed, factor = term.echo.mixed, term.gain * met.gain
        shared = Kernel(mixed.sizes, mixed.cuts, mixed.second * factor, np.zeros((1,) * mixed.rank))
        result += [replace(term, echo=None), Term(View(shared), object())]
    return tuple(result)


def _coherent(terms: list[Term]) -> Term:
    if len(terms) == 1:
        return terms[0]
    first = terms[0]
    if any(term.view is not first.view for term in terms):
        result = terms[0].resolve()
        for term in terms[1:]:
            result = kernels.total(result, term.resolve())
        return Term(View(result), object())
    sloped = [term.slope for term in terms if term.slope is not None]
    if not sloped:
        return replace(first, gain=sum(term.gain for term in terms))
    values = sum((term.gain * (term.slope.values if term.slope is not None else 1.0) for term in terms), np.zeros(1))
    return Term(first.view, first.origin, 1.0, Slope(sloped[0].law, np.asarray(values), sloped[0].weight))
