"""Which segments of a tensor are positive throughout: ones beside values (``cat(v, 1)``), of which a divisor is made later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from netaudit.moments.along import kept_segments
from netaudit.moments.state import Moments, Signs


def signs_of(x: Moments) -> Signs:
    """By segment (one dimension per axis, 1 long where it does not matter), whether every entry is positive."""
    return x.positive_at if x.positive_at is not None else np.full((1,) * len(x.sizes), x.positive)


def signed(out: Moments, signs: Signs | None) -> Moments:
    """The moments with what is known of signs; nothing, if it does not fit the kernel's segments."""
    if signs is None or signs.ndim != len(out.sizes):
        return out
    fits = all(n in (1, len(cut)) for n, cut in zip(signs.shape, out.kernel.cuts, strict=True))
    return replace(out, positive=bool(signs.all()), positive_at=signs if fits and signs.any() and not signs.all() else None)


def joined(parts: Sequence[Moments], axis: int) -> Signs | None:
    """Of parts joined along an axis; None unless each is positive throughout or not."""
    if any(x.positive_at is not None for x in parts):
        return None
    signs = np.concatenate([np.full(len(x.kernel.cuts[axis]), x.positive) for x in parts])
    return signs.reshape([-1 if a == axis else 1 for a in range(len(parts[0].sizes))])


def reshaped(x: Moments, sizes: tuple[int, ...]) -> Signs | None:
    """Of a reshape that only adds or removes axes of size 1."""
    old = [a for a, n in enumerate(x.sizes) if n != 1]
    new = [a for a, n in enumerate(sizes) if n != 1]
    if x.positive_at is None or [x.sizes[a] for a in old] != [sizes[a] for a in new]:
        return None
    shape = [1] * len(sizes)
    for before, after in zip(old, new, strict=True):
        shape[after] = x.positive_at.shape[before]
    return x.positive_at.reshape(shape)


def product(x: Moments, y: Moments, out: Moments) -> Signs | None:
    """Of ``x y``: positive where both are."""
    if x.positive_at is None and y.positive_at is None:
        return None
    for one in (x, y):
        lead = len(out.sizes) - len(one.sizes)
        cut = [a for a, n in enumerate(signs_of(one).shape) if n > 1]
        if any(one.kernel.cuts[a] != out.kernel.cuts[a + lead] for a in cut):
            return None
    return np.asarray(signs_of(x) & signs_of(y))


def summed(x: Moments, axes: tuple[int, ...], *, keep: bool) -> Signs | None:
    """Of a sum over axes: positive where all terms are."""
    return None if x.positive_at is None else np.asarray(x.positive_at.all(axes, keepdims=keep))


def sliced(x: Moments, axis: int, indices: range) -> Signs | None:
    """Of the indices of an axis that are kept."""
    if x.positive_at is None or not indices:
        return None
    if x.positive_at.shape[axis] == 1:
        return x.positive_at
    return x.positive_at.take(kept_segments(x.kernel.cuts[axis], indices)[0], axis)
