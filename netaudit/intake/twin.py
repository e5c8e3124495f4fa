"""A copy of a model on the CPU, so that whatever its code does while it is analysed, the model itself stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from netaudit.errors import TargetError
from netaudit.intake.usercode import failure, kind_of

_PLAIN = (Tensor, nn.Parameter, nn.Buffer)
_COPYING = "netaudit analyses a copy of the model, so that yours stays as it is: copy.deepcopy(model) must work"


@dataclass(frozen=True, slots=True)
class Twin:
    """The copy, and what every tensor of the original became, by the original's id."""

    model: nn.Module
    tensors: dict[int, Tensor]
    memo: dict[int, Any]

    def of(self, value: Any) -> Any:
        """The same value about the copy: a method of the model becomes one of its twin, modules and tensors are copied."""
        if isinstance(value, nn.Module):
            self.memo.update(_copies("the loss", value, self.tensors))
        return copy.deepcopy(value, self.memo)


def twin(name: str, model: nn.Module, apart: Sequence[object] = ()) -> Twin:
    """A deep copy with the values of parameters, buffers and other tensors on the CPU, without their gradients.

    ``apart`` are objects that a model refers to without owning them, such as its trainer: the copy has None in their place.

    Raises:
        TargetError: a tensor has no values, or the model cannot be copied.
    """
    tensors = _copies(name, model, {})
    memo: dict[int, Any] = dict(tensors)
    attached = [(part, key) for part in model.modules() for key, value in vars(part).items() if any(value is one for one in apart)]
    memo |= {id(vars(part)[key]): _APART for part, key in attached}
    try:
        copied: nn.Module = copy.deepcopy(model, memo)
    except Exception as error:
        raise TargetError(f"{name} cannot be copied: {failure(error)}", _COPYING) from error
    for part in copied.modules():
        for key in [key for key, value in vars(part).items() if value is _APART]:
            vars(part)[key] = None
    return Twin(copied, tensors, memo)


_APART = object()


def _copies(name: str, model: nn.Module, known: dict[int, Tensor]) -> dict[int, Tensor]:
    """A copy of each tensor that the modules hold, as parameter, buffer, or in an attribute."""
    found = dict(known)
    for path, tensor in _held(model):
        if id(tensor) not in found and type(tensor) in _PLAIN:
            found[id(tensor)] = _copy(f"{path} of {name}", tensor)
        elif isinstance(tensor, UninitializedParameter):
            hint = "call the model once on a batch, or give its layers their sizes"
            raise TargetError(f"{name} has lazy parameters, whose shape is not known yet: {path}", hint)
    return found


def _held(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
    for path, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in ("_parameters", "_buffers", "_modules")}
        for leaf in pytree.tree_leaves(own):
            if isinstance(leaf, Tensor):
                yield f"a tensor in {path or kind_of(module)}", leaf


def _copy(what: str, tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        raise TargetError(f"{what} is on the meta device and holds no values", "load its weights first")
    values = tensor.detach().to("cpu", copy=True)
    if isinstance(tensor, nn.Parameter):
        copied: Tensor = nn.Parameter(values, requires_grad=tensor.requires_grad)
    else:
        copied = values.requires_grad_(tensor.requires_grad and tensor.is_leaf)
    vars(copied).update({key: value for key, value in vars(tensor).items() if key != "_is_param"})
    return copied


def on_cpu(batch: Any) -> Any:
    """A batch with copies of its tensors on the CPU: models write into what they are fed."""

    def copied(tensor: Tensor) -> Tensor:
        return tensor.detach().to("cpu", copy=True).requires_grad_(tensor.requires_grad)

    return pytree.tree_map_only(torch.Tensor, copied, batch)
