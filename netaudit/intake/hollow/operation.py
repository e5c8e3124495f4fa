"""An operator and what it is called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

ALIKE = frozenset({"fill", "zero", "copy", "clone", "_to_copy", "masked_fill", "abs", "where", "lift_fresh_copy"})
"""Entry by entry like the pointwise ones, but not tagged so, or not in every overload."""
NOISY = frozenset({"bernoulli", "random", "exponential", "geometric", "cauchy", "log_normal"})
"""In place, these fill a tensor with independent entries."""
OVERWRITING = frozenset({"fill", "zero", "copy", "normal", "uniform"}) | NOISY
"""What was in the tensor does not matter to these, in place."""
_BORN = ("zeros", "ones", "full", "rand", "randn", "normal", "empty", "empty_strided", "randint")
_FACTORIES = {f"{name}{suffix}": name for name in _BORN for suffix in ("", "_like")} | {f"new_{name}": name for name in _BORN}
_ASKING = frozenset({"_local_scalar_dense", "equal", "is_nonzero", "item", "nonzero", "unique", "_unique2", "unique_dim"})


def is_hollow(tensor: Tensor) -> bool:
    """Whether a tensor holds no values."""
    return isinstance(tensor, FakeTensor) or tensor.is_meta


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One call of an ATen operator. ``name`` is that of the operator without overload and underscore: ``mul`` for ``mul_.Tensor``."""

    func: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``mul`` for ``aten.mul_.Tensor`` and for ``aten.mul.Tensor``."""
        return _name(self.func)

    @property
    def is_mutable(self) -> bool:
        """Whether it writes to an argument."""
        return bool(self.func._schema.is_mutable)

    @property
    def is_entrywise(self) -> bool:
        """Whether each entry of the result is a function of the operands' entries at the same index, random or not."""
        return _is_entrywise(self.func)

    @property
    def is_asking(self) -> bool:
        """Whether its result is no tensor of a known shape, but something that depends on values."""
        return self.name in _ASKING

    @property
    def factory(self) -> str:
        """What kind of new tensor it makes, whose entries do not depend on those of another: ``zeros``; else empty."""
        return "" if self.is_mutable else _FACTORIES.get(self.name, "")

    @property
    def is_uninitialised(self) -> bool:
        """Whether it makes a tensor whose entries are whatever lay there."""
        return self.factory in ("empty", "empty_strided")

    @property
    def written(self) -> list[Tensor]:
        """The tensors whose entries it writes to: ``t_`` and its like only change how a tensor is seen."""
        if not self.is_mutable or (torch.Tag.inplace_view in self.func.tags and self.name not in ("resize", "set")):
            return []
        marked = [one.name for one in self.func._schema.arguments if one.alias_info is not None and one.alias_info.is_write]
        leaves = pytree.tree_leaves([self.argument(name) for name in marked])
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def writes_entrywise(self, tensor: Tensor) -> bool:
        """Whether it changes this tensor in place, entry by entry."""
        return self.is_entrywise and self.is_mutable and tensor is self.args[0]

    def argument(self, name: str) -> Any:
        """An argument by its name in the schema."""
        for position, schema in enumerate(self.func._schema.arguments):
            if schema.name == name:
                return self.args[position] if position < len(self.args) else self.kwargs.get(name, schema.default_value)
        return None

    def run(self) -> Any:
        """Call it."""
        return self.func(*self.args, **self.kwargs)

    def __str__(self) -> str:
        return str(self.func)


@lru_cache(maxsize=4096)
def _name(func: Any) -> str:
    name = str(func.overloadpacket).rpartition(".")[2]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


@lru_cache(maxsize=4096)
def _is_entrywise(func: Any) -> bool:
    name = _name(func)
    if name in ALIKE or (name in NOISY | {"normal", "uniform"} and func._schema.is_mutable):
        return True
    base = getattr(torch.ops.aten, name, None)
    return base is not None and any(torch.Tag.pointwise in getattr(base, overload).tags for overload in base.overloads())
