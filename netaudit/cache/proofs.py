"""Certified norms, kept one by one: when a layer is edited, that layer is computed again and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netaudit.signal import WeightNorms

from .state import key_of, own_code
from .store import Store

KIND = "norm"
MOST = 4096
"""Norms that are kept: of some dozens of models."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """Norms by what they are norms of, in a ``store``; without one nothing is known, and nothing kept.

    A number comes back as the one that was proved, to the last bit, or not at all: an entry says which key it is of, and the
    store knows whether it is whole. ``code``: of what computes them; any other code computes its own.
    """

    store: Store | None = None
    code: str = ""

    def of(self, use: Sequence[object], content: Callable[[], str], prove: Callable[[], WeightNorms | None]) -> WeightNorms | None:
        """What was proved before, else what is proved now, which is kept at once: a run may be ended at any time.

        ``use`` and ``content``, the hash of the tensor, say everything that the numbers depend on beside the code; a hash is dear,
        and asked for only where there is a store.
        """
        if self.store is None:
            return prove()
        key = key_of(KIND, self.code, use, content())
        known = decoded(key, self.store.read(KIND, key))
        if known is not None:
            return known
        proved = prove()
        if proved is not None:
            self.store.put(KIND, key, encoded(key, proved))
        return proved

    def prune(self) -> None:
        """Drop the oldest entries when there are too many."""
        if self.store is not None:
            self.store.prune(KIND, MOST)


def proofs_in(store: Store | None) -> Proofs:
    """The norms kept in a store by this very code."""
    return Proofs() if store is None else Proofs(store, own_code())


def encoded(key: str, proved: WeightNorms) -> object:
    """As JSON: numbers in hexadecimal, which is exact."""
    return [key, *(number.hex() for number in (proved.spectral, proved.row_l2, proved.row_l1)), proved.how]


def decoded(key: str, value: object) -> WeightNorms | None:
    """From JSON; None when it is something else, or of another key."""
    match value:
        case [str() as own, str() as spectral, str() as row_l2, str() as row_l1, str() as how] if own == key:
            try:
                numbers = tuple(map(float.fromhex, (spectral, row_l2, row_l1)))
            except (ValueError, OverflowError):
                return None
            return WeightNorms(numbers[0], numbers[1], numbers[2], how) if all(number >= 0.0 for number in numbers) else None
    return None
