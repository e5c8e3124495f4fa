"""The direction of a value that a normalisation takes out of a gradient, and how much its scale fluctuates.

``y = x / s`` over N entries has the Jacobian ``(I - y y' / N) / s``. For a Gaussian ``x`` that is independent of the cotangent G,
with ``K_y = E y y'`` and ``K_g = E G G'`` as matrices over the normalised entries (Isserlis 1918 for the fourth moments):

``E (I - y y' / N) G G' (I - y y' / N) = K_g - (K_g K_y + K_y K_g) / N + (tr(K_y K_g) K_y + 2 K_y K_g K_y) / N^2``

Kernels are sums of products of ``I`` and ``1 1'`` axis by axis, so all these matrices commute: they are multiplied mode by mode
(the mean along an axis, and what fluctuates about it). Entries that are correlated, as pixels of one image are, leave fewer degrees
of freedom ``nu = N^2 / tr K_y^2``, and both effects are large where ``nu`` is small: BatchNorm on small maps and batches.
What is not centred (RMSNorm) has a mean m that does not fluctuate: ``2 m m' (m' K_g m) / N^2`` and ``|m|^4`` are taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from netaudit.moments import kernels
from netaudit.moments.cotangent import Cotangent, Term
from netaudit.moments.kernels import Array, Kernel
from netaudit.moments.state import View

LEAST_FREEDOM = 4.0
"""Degrees of freedom below which the second moment of ``1 / s`` is no longer followed: that of a chi-square diverges at 2."""


def tangential(g: Kernel, y: Kernel, over: Sequence[int]) -> Kernel:
    """The kernel of ``s (I - y y' / N) G / s``: along ``y`` nothing is left, and ``1 / s`` fluctuates as a chi does.

    ``g`` and ``y`` are on common cuts and uncut along ``over``; ``y`` has mean square 1 (less what eps takes).
    """
    g, y = (kernels.explicit(kernel, *range(g.rank)) for kernel in (g, y))
    count = prod(g.sizes[a] for a in over)
    weights = _multiplicities(y.sizes, over)
    kg, ky = _modes(g.second, g.sizes, over), _modes(y.second, y.sizes, over)
    own = _same_index(ky, y, over)
    fixed = y.mean * y.mean * count  # of the mode along the mean of y, which does not fluctuate
    freedom = _freedom(own, weights, fixed, over)
    left, right = (_by_state(own, y, over, side) for side in (0, 1))
    nu_left, nu_right = (_by_state(freedom, y, over, side) for side in (0, 1))
    together = (weights * ky * kg).sum(tuple(over), keepdims=True)
    spherical = 1 / np.sqrt((1 + 2 / nu_left) * (1 + 2 / nu_right))  # y'y is N exactly, not only on average
    removed = kg * (left + right) / count
    returned = together * ky + left * kg * right + ky * kg * ky
    along_mean = _mean_mode(kg, over)
    returned[along_mean] -= 2 * (_by_state(fixed, y, over, 0) * _by_state(fixed, y, over, 1)) * kg[along_mean]
    returned = returned / count**2 * spherical
    second = _entries(kg - removed + returned, g.sizes, over) * _inverse_scale(nu_left, nu_right, y, over)
    return Kernel(g.sizes, g.cuts, second, g.mean)


def without_direction(g: Cotangent, back: Cotangent, level: float, share: float) -> Cotangent:
    """``G f'(x)`` for a G that is orthogonal to ``f(x)`` for each index of an axis (Euler's relation): what the sum over the others loses.

    ``<G, f'> = <G, m> + <G, f' - m>`` with m the mean of ``f'``, ``level`` its mean square; of the second part G sees only what is no
    multiple of ``f(x)``: 1 - ``share`` of its energy, ``share`` the squared correlation of ``f'`` and ``f`` within one index of the
    axis. Single entries keep theirs: pairs of different entries lose it.
    """
    if g.euler is None or share <= 0.0:
        return back
    axis, rank = g.euler.axis, len(g.sizes)
    others = tuple(a for a in range(rank) if a != axis)
    count = prod(g.sizes[a] for a in others)
    if count < 2:
        return back
    _, cuts, before, after = kernels.aligned(*(kernels.explicit(k, axis) for k in (g.kernel, back.kernel)))
    sums = [kernels.summed(k, others).second.reshape(-1)[: len(cuts[axis])] for k in (before, after)]
    lost = share * (1.0 - g.euler.share) * np.maximum(sums[1] - level * sums[0], 0.0)
    kept = tuple(cuts[a] if a == axis else (n,) for a, n in enumerate(g.sizes))
    second = np.zeros([len(cut) + len(cut) ** 2 if n > 1 else 1 for cut, n in zip(kept, g.sizes, strict=True)])
    same = [slice(0, len(cut)) if a == axis else slice(None) for a, cut in enumerate(kept)]
    second[tuple(same)] = (-lost / (count * (count - 1.0))).reshape([-1 if a == axis else 1 for a in range(rank)])
    second[tuple(slice(0, len(cut)) for cut in kept)] = 0.0
    return Cotangent((*back.terms, Term(View(Kernel(g.sizes, kept, second, np.zeros((1,) * rank))), object())), back.euler)


def _modes(second: Array, sizes: tuple[int, ...], over: Sequence[int]) -> Array:
    """Eigenvalues along ``over``: of the mean along an axis (``same + (n - 1) different``) and of what fluctuates about it."""
    for axis in over:
        n = sizes[axis]
        if n > 1:
            same, different = second.take([0], axis), second.take([1], axis)
            second = np.concatenate([same + (n - 1) * different, same - different], axis)
    return second


def _entries(modes: Array, sizes: tuple[int, ...], over: Sequence[int]) -> Array:
    """The inverse of ``_modes``."""
    for axis in over:
        n = sizes[axis]
        if n > 1:
            mean, rest = modes.take([0], axis), modes.take([1], axis)
            modes = np.concatenate([(mean + (n - 1) * rest) / n, (mean - rest) / n], axis)
    return modes


def _multiplicities(sizes: tuple[int, ...], over: Sequence[int]) -> Array:
    """How often each mode occurs."""
    result = np.ones((1,) * len(sizes))
    for axis in over:
        n = sizes[axis]
        if n > 1:
            result = result * np.array([1.0, n - 1.0]).reshape([2 if a == axis else 1 for a in range(len(sizes))])
    return result


def _same_index(modes: Array, kernel: Kernel, over: Sequence[int]) -> Array:
    """The modes of one normalised group, by segment of the other axes."""
    index = [slice(None) if a in over or modes.shape[a] == 1 else slice(0, len(cut)) for a, cut in enumerate(kernel.cuts)]
    return np.asarray(modes[tuple(index)])


def _by_state(values: Array, kernel: Kernel, over: Sequence[int], side: int) -> Array:
    """Values by segment of the other axes -> by state, for one index of the pair."""
    for axis, cut in enumerate(kernel.cuts):
        if axis not in over and values.shape[axis] > 1:
            values = values.take(kernels.segments_of(len(cut))[side], axis)
    return values


def _mean_mode(modes: Array, over: Sequence[int]) -> tuple[slice, ...]:
    """The mode that is constant along all of ``over``."""
    return tuple(slice(0, 1) if a in over else slice(None) for a in range(modes.ndim))


def _freedom(own: Array, weights: Array, fixed: Array, over: Sequence[int]) -> Array:
    """``nu = (tr K)^2 / (tr K^2 - |m|^4)`` of each group, at least 1: ``2 / nu`` is the relative variance of ``|x|^2``, m its mean."""
    axes = tuple(over)
    square = np.maximum((weights * own * own).sum(axes, keepdims=True) - fixed * fixed, 0.0)
    whole = (weights * own).sum(axes, keepdims=True) ** 2
    shape = np.broadcast_shapes(whole.shape, square.shape)
    return np.asarray(np.maximum(np.divide(whole, square, out=np.full(shape, np.inf), where=square > 0), 1.0))


def _inverse_scale(left: Array, right: Array, kernel: Kernel, over: Sequence[int]) -> Array:
    """``E 1 / (s_i s_j)`` for scales of mean square 1: ``nu / (nu - 2)`` within a group, ``E[1/s]^2`` between two."""
    left, right = np.maximum(left, LEAST_FREEDOM), np.maximum(right, LEAST_FREEDOM)
    factor = np.broadcast_to((1 + 0.75 / left) * (1 + 0.75 / right), np.broadcast_shapes(left.shape, right.shape)).copy()
    index = [slice(None) if a in over or factor.shape[a] == 1 else slice(0, len(cut)) for a, cut in enumerate(kernel.cuts)]
    factor[tuple(index)] = (1 / (1 - 2 / left))[tuple(index)]
    return factor
