"""What is modelled of a tensor (Moments) and of a gradient (Cotangent).

Both rest on a pair-pattern kernel seen through views. Two refinements keep what a kernel alone would lose:

* ``Curve``: a tensor that is a pointwise function of an earlier one remembers that root and its values on the Gaussian grid,
  so that ``f(g(x))`` and ``x * sigmoid(x)`` are functions of one variable and not products of independent ones.
* ``Term``: a cotangent is a sum of terms, each the cotangent of one later tensor (its ``origin``) times a slope on the root.
  Terms of one origin are the same random tensor: their slopes add before they are squared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from netaudit.moments import gaussian, kernels
from netaudit.moments.kernels import Array, Kernel
from netaudit.moments.views import Groups, apply, identity, permute_groups, reshape_groups, reshaped

Signs: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """A kernel seen through reshapes and permutes; ``groups`` is None for the kernel as it is."""

    base: Kernel
    groups: Groups | None = None

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel on the view's own axes."""
        return self.base if self.groups is None else apply(self.base, self.groups)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the view."""
        return self.base.sizes if self.groups is None else tuple(prod(a[1] for a in group) for group in self.groups)

    @property
    def symbolic(self) -> Groups:
        """The view's axes as groups of the base's atoms."""
        return identity(self.base.sizes) if self.groups is None else self.groups

    def reshape(self, sizes: tuple[int, ...]) -> View:
        """The view with a new shape."""
        groups = None if 0 in sizes else reshape_groups(self.symbolic, sizes)
        return View(reshaped(self.kernel, sizes)) if groups is None else View(self.base, groups)

    def permute(self, order: Sequence[int]) -> View:
        """The view with its axes in a new order."""
        return View(self.base, permute_groups(self.symbolic, order))


@dataclass(frozen=True, eq=False, repr=False)
class Law:
    """The Gaussian (or log-normal) law of a root tensor. Compared by identity: two laws are the same only if they are one."""

    kernel: Kernel
    positive: bool = False

    @cached_property
    def correlations(self) -> Array:
        """By state, the correlation of two entries."""
        return gaussian.correlations(self.kernel, self.positive)

    @property
    def points(self) -> Array:
        """The root's values at the grid, by segment; not kept, since there are thousands of roots."""
        return gaussian.points(self.kernel, self.positive)

    def image(self, values: Array, weight: Array | None = None) -> Kernel:
        """The kernel of a function of the root, from its values at ``points``; of selected entries if ``weight`` is given."""
        if weight is None:
            return gaussian.image(values, self.correlations, self.kernel)
        return gaussian.selected_image(values, weight, self.kernel)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Curve:
    """A pointwise function of a root: ``factor * bent + shift``, ``bent`` its values at the root's grid points, None for these.

    So an affine function holds no array.
    """

    law: Law
    bent: Array | None = None
    factor: float = 1.0
    shift: float = 0.0

    @property
    def values(self) -> Array:
        """The function's values at the root's grid points."""
        values = self.law.points if self.bent is None else self.bent
        values = values if self.factor == 1.0 else values * self.factor
        return values if self.shift == 0.0 else values + self.shift

    def scaled(self, factor: float) -> Curve:
        """``factor`` times the function."""
        return Curve(self.law, self.bent, self.factor * factor, self.shift * factor)

    def shifted(self, value: float) -> Curve:
        """The function plus a number."""
        return Curve(self.law, self.bent, self.factor, self.shift + value)


@dataclass(frozen=True, eq=False, repr=False)
class Moments:
    """Modelled second moments of a tensor.

    ``offset`` is a known additive constant that the kernel leaves out: an attention mask (-inf) or bias, which softmax needs
    as it is. ``positive`` says that every entry is known to be positive: its law is then taken as log-normal; ``positive_at`` says so
    by segment where only some are (``signs.py``).
    """

    view: View
    own_curve: Curve | None = None
    offset: NDArray[np.float64] | None = None
    positive: bool = False
    positive_at: Signs | None = None

    @property
    def kernel(self) -> Kernel:
        """The pair-pattern kernel, without the offset."""
        return self.view.kernel

    @property
    def sizes(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.view.sizes

    @cached_property
    def curve(self) -> Curve:
        """The tensor as a function of its root: its own law if it is the root."""
        if self.own_curve is not None:
            return self.own_curve
        return Curve(Law(self.kernel, self.positive))

    @property
    def is_gaussian(self) -> bool:
        """Whether the tensor is modelled as Gaussian: its own root, or an affine function of one."""
        return self.own_curve is None or (self.own_curve.bent is None and not self.own_curve.law.positive)

    @property
    def is_constant(self) -> bool:
        """Whether all entries are one known number."""
        return self.offset is None and self.mean_square <= self.mean**2

    @property
    def mean_square(self) -> float:
        """``E[x^2]`` over entries."""
        return self.settled.view.base.mean_square

    @property
    def mean(self) -> float:
        """``E[x]`` over entries."""
        return self.settled.view.base.average

    @property
    def variance(self) -> float:
        """``E[x^2] - E[x]^2``."""
        settled = self.settled.view.base
        return max(settled.mean_square - settled.average**2, 0.0)

    @cached_property
    def settled(self) -> Moments:
        """The moments with the finite part of the offset added in."""
        if self.offset is None:
            return self
        finite = np.where(np.isfinite(self.offset) & (self.offset > MASKED), self.offset, 0.0)
        return Moments(View(kernels.total(self.kernel, kernels.from_array(finite))))


MASKED = -1e4
"""A logit this low or lower is a mask: what is at or below it gets no weight in a softmax of any dtype."""


def of(kernel: Kernel, *, positive: bool = False) -> Moments:
    """Moments that are their own root."""
    return Moments(View(kernel), positive=positive)


def known_array(array: NDArray[np.floating[Any]]) -> Moments:
    """The moments of a concrete tensor; one that holds masks (-inf or below ``MASKED``) becomes an offset."""
    if array.size and float(array.min()) <= MASKED:
        return Moments(View(kernels.constant(array.shape, 0.0)), None, array.astype(np.float64))
    return of(kernels.from_array(array), positive=bool(array.size) and float(array.min()) > 0.0)
