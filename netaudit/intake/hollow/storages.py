"""A table by the storage of tensors, which forgets storages that are gone."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

T = TypeVar("T")
_OFTEN = 1024


class Storages(Generic[T]):
    """What is remembered of storages. All views of one storage are the same key."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, T]] = {}
        self._next = _OFTEN

    def __contains__(self, tensor: Tensor) -> bool:
        return _key(tensor) in self._kept

    def get(self, tensor: Tensor) -> T | None:
        """What is remembered, or None."""
        found = self._kept.get(_key(tensor))
        return None if found is None else found[1]

    def keep(self, tensor: Tensor, value: T) -> None:
        """Remember a value, in place of an earlier one."""
        if len(self._kept) > self._next:
            self._kept = {key: kept for key, kept in self._kept.items() if not kept[0].expired()}
            self._next = 2 * len(self._kept) + _OFTEN
        self._kept[_key(tensor)] = (StorageWeakRef(tensor.untyped_storage()), value)  # type: ignore[no-untyped-call]  # torch's stub

    def drop(self, tensor: Tensor) -> None:
        """Forget the storage."""
        self._kept.pop(_key(tensor), None)


def _key(tensor: Tensor) -> int:
    """A storage by its address, which is not used again while a weak reference to it is held."""
    return int(tensor.untyped_storage()._cdata)
