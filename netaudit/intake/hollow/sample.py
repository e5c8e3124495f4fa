"""A sample of the entries of a storage that is not there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netaudit.intake.hollow.law import Law
from netaudit.intake.hollow.places import Places, Strided
from netaudit.moments import constant, independent, of
from netaudit.signal import Interval

COUNT = 4096
"""Entries that are followed: a mean square drawn at random is then known within 4.4 % (Gaussian, two standard errors)."""
FEW = 16
"""A write that meets fewer samples than this is not represented by them: its weight is kept apart (``hidden``)."""
NEGLIGIBLE = 0.02
"""The share of the mean square that such writes may have before the moments count as unknown: about the sampling error."""
ROUNDING = 1e-5
"""Of the root mean square: a mean smaller than this comes from float32 arithmetic on symmetric values."""


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Values of some entries of a tensor. ``known`` says which are; ``range`` holds for all entries of the tensor, not just these.

    ``noisy``: the mean of the values carries sampling noise. Draws are quantiles in random order, whose mean is exact; what
    mixes several random tensors, or was picked at random, is noisy. ``signs``: nothing is known but that either sign is
    equally likely.
    """

    values: Tensor
    known: NDArray[np.bool_]
    range: Interval = Interval()
    noisy: bool = False
    reason: str = ""
    signs: bool = False

    @classmethod
    def unknown(cls, count: int, dtype: torch.dtype, reason: str, *, signs: bool = False) -> Entries:
        """Entries of which nothing is known."""
        return cls(torch.zeros(count, dtype=dtype), np.zeros(count, dtype=np.bool_), reason=reason, signs=signs)

    @classmethod
    def drawn(cls, values: Tensor, values_range: Interval = Interval(), *, noisy: bool = False) -> Entries:
        """Entries that are all known."""
        return cls(values, np.ones(len(values), dtype=np.bool_), values_range, noisy)

    @property
    def is_constant(self) -> bool:
        """Whether every entry of the tensor has one and the same value, by proof."""
        return self.range.lo == self.range.hi

    def take(self, which: NDArray[np.intp]) -> Entries:
        """Some of the entries."""
        return replace(self, values=self.values[torch.from_numpy(which)], known=self.known[which])

    def mean_square(self) -> float:
        """Of the values; infinite when one is not known."""
        return float(self.values.double().square().mean()) if self.known.all() else np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Entries of a storage of ``size`` at ``places``.

    ``hidden``: the part of the mean square that was written where no sample is. ``exact``: the law of a view of it, where that
    was made from a tensor with values and not written to since.
    """

    size: int
    places: Places
    entries: Entries
    hidden: float = 0.0
    exact: tuple[Strided, Law] | None = None

    def lost(self, reason: str) -> Sample:
        """The sample after all of it became unknown."""
        return Sample(self.size, self.places, Entries.unknown(len(self.places), self.entries.values.dtype, reason))

    def read(self, view: Strided, index: Places, rng: np.random.Generator) -> Entries:
        """The entries of a view with these numbers: the sampled ones as they are, any other picked among those of the view."""
        places = view.places(index)
        if len(places) == len(self.places) and (places == self.places).all():
            return self.entries
        nearest = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
        missed = self.places[nearest] != places
        if not missed.any():
            return self.entries.take(nearest)
        pool, _ = view.held(self.places)
        if not len(pool) and self.hidden:
            return Entries.unknown(len(index), self.entries.values.dtype, "it is copied from a part too small to sample")
        picked = np.where(missed, rng.choice(pool if len(pool) else len(self.places), len(index)), nearest)
        return replace(self.entries.take(picked), noisy=not self.entries.is_constant)

    def written(self, which: NDArray[np.intp], new: Entries, share: float, hidden: float) -> Sample:
        """The sample after entries ``which`` were replaced in a view of ``share`` of the storage."""
        if share == 1.0:
            return replace(self, entries=new, hidden=0.0, exact=None)
        old = self.entries
        values, known = old.values.clone(), old.known.copy()
        values[torch.from_numpy(which)] = new.values
        known[which] = new.known
        unbalanced = bool(old.known[which].any()) and not old.is_constant  # what remains of quantiles has no exact mean
        joint = Entries(values, known, old.range.hull(new.range), old.noisy or new.noisy or unbalanced, new.reason or old.reason)
        return replace(self, entries=joint, hidden=self.hidden + hidden, exact=None)

    def law(self, tensor: Tensor) -> Law:
        """The law of a parameter that is this storage, or a part of it."""
        view = Strided.of(tensor)
        if self.exact is not None and self.exact[0] == view:
            return self.exact[1]
        if tensor.dtype != self.entries.values.dtype:
            return Law(reason="its bits are read as another dtype")
        which, _ = view.held(self.places)
        is_part = len(which) not in (0, len(self.places))
        entries = replace(self.entries.take(which), noisy=not self.entries.is_constant) if is_part else self.entries
        shape = tuple(tensor.shape)
        if not entries.known.all():
            return Law(reason=entries.reason or "it is never initialised")
        values = entries.values.double()
        if not bool(values.isfinite().all()):
            return Law(reason="NaN or infinity is drawn", broken=True)
        if entries.is_constant:
            return Law(of(constant(shape, entries.range.lo), positive=entries.range.lo > 0.0), entries.range)
        mean_square, mean = float(values.square().mean()), float(values.mean())
        if self.hidden > NEGLIGIBLE * mean_square:
            return Law(reason="it is initialised in parts too small to sample")
        spread = max(mean_square - mean * mean, 0.0)
        noise = 16.0 * spread / len(values) if entries.noisy else ROUNDING**2 * mean_square
        kernel = independent(shape, mean_square, mean if mean * mean > noise else 0.0)
        return Law(of(kernel, positive=entries.range.lo > 0.0), entries.range)
