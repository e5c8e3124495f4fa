"""Known offsets of logits, kept once: all layers of a model mask alike, and a mask is as large as the logits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RECENT = 4
"""How many are remembered: a model has few masks, and remembering keeps them alive."""


def interned(offset: NDArray[np.floating]) -> NDArray[np.float64]:
    """The offset in float64; one that is equal to a recent one is that very array."""
    return _kept(offset.shape, offset.astype(np.float64, copy=False).tobytes())


@lru_cache(maxsize=RECENT)
def _kept(shape: tuple[int, ...], data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, dtype=np.float64).reshape(shape)


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """An array as a key: equal only to itself."""

    array: NDArray[np.float64]

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.array is other.array
