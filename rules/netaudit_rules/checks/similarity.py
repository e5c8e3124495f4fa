"""How alike entries are along an axis, from the forecast of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netaudit import Signal


def difference(signal: Signal, axis: int) -> float | None:
    """``1 - E[x_i x_j] / E[x_i^2]`` for entries that differ on one axis only: 0 when all are alike; None when it is not modelled.

    A known constant that was added (a mask, a position bias) is left out.
    """
    if signal.moments is None or not -len(signal.shape) <= axis < len(signal.shape):
        return None
    kernel = signal.moments.kernel
    axis %= kernel.rank
    if not kernel.varies(axis):
        return 0.0
    if any(len(cut) > 1 for cut in kernel.cuts):
        return None  # segments (a class token) have similarities of their own
    same, other = [0] * kernel.rank, [0] * kernel.rank
    other[axis] = 1
    energy = float(kernel.second[tuple(same)])
    return None if energy <= 0.0 else max(1.0 - float(kernel.second[tuple(other)]) / energy, 0.0)


def token_difference(signal: Signal) -> float | None:
    """The same along the axis of tokens, the last but one."""
    return difference(signal, -2)
