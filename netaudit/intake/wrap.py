"""Adapters between a subject and a tracer: flat tensors in, a list of tensors out."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch.utils._pytree as pytree
from torch import Tensor, nn

from netaudit.intake.subject import Subject
from netaudit.intake.usercode import kind_of


def leaves_of(inputs: object) -> tuple[Tensor, ...]:
    """The tensors of a batch, in order."""
    return tuple(leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))


def names_of(inputs: object, parameters: Sequence[str]) -> tuple[str, ...]:
    """What the user's code calls the tensors of a batch, in the order of ``leaves_of``: ``x``, ``batch.mask``, ``images.0``.

    ``inputs`` is one argument, a tuple of them, or a mapping by name; ``parameters`` name the positions.
    """
    if isinstance(inputs, Tensor):
        return (parameters[0] if parameters else "x",)
    names = []
    for path, leaf in pytree.tree_flatten_with_path(inputs)[0]:
        if isinstance(leaf, Tensor):
            keys = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", "")))) for key in path]
            first = parameters[int(keys[0])] if keys[0].isdecimal() and int(keys[0]) < len(parameters) else keys[0]
            names.append(".".join((first if not first.isdecimal() else f"input{first}", *keys[1:])))
    return tuple(names)


def _parameters(model: nn.Module) -> tuple[str, ...]:
    """The names of the arguments of ``forward``, as far as it can be asked."""
    try:
        return tuple(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):
        return ()


def tensors_in(value: object, depth: int = 0) -> list[Tensor]:
    """All tensors of a model's output: tuples, mappings, dataclasses; caches and other objects are left out."""
    if isinstance(value, Tensor):
        return [value]
    if depth > 6:
        return []
    if isinstance(value, Mapping):
        return [t for v in value.values() for t in tensors_in(v, depth + 1)]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors_in(v, depth + 1)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [t for f in dataclasses.fields(value) for t in tensors_in(getattr(value, f.name), depth + 1)]
    return []


class Flat(nn.Module):
    """Rebuilds the inputs from a flat list of tensors; ``names`` are what the user's code calls them."""

    def __init__(self, model: nn.Module, inputs: object, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names
        leaves, self._spec = pytree.tree_flatten(inputs)
        self._rest = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def _inputs(self, flat: Sequence[Tensor]) -> Any:
        leaves = list(self._rest)
        for place, tensor in zip(self._places, flat, strict=True):
            leaves[place] = tensor
        return pytree.tree_unflatten(leaves, self._spec)


class Alone(Flat):
    """The model by itself."""

    def __init__(self, subject: Subject) -> None:
        parameters = _parameters(subject.model)
        names = names_of(subject.args, parameters) + names_of(dict(subject.kwargs), ())
        super().__init__(subject.model, (subject.args, dict(subject.kwargs)), names)

    def forward(self, *flat: Tensor) -> list[Tensor]:
        """The tensors the model returns."""
        args, kwargs = self._inputs(flat)
        returned = self.model(*args, **kwargs)
        found = tensors_in(returned)
        if not found:
            raise TypeError(f"forward() must return tensors, alone or in tuples, mappings or dataclasses; it returned {kind_of(returned)}")
        return found


class WithLoss(Flat):
    """The loss first, then what the model returned inside it."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject.model, subject.inputs, names_of(subject.inputs, _parameters(subject.model)))
        self._loss = subject.loss

    def forward(self, *flat: Tensor) -> list[Tensor]:
        """The loss, then the tensors the model returned."""
        returned: list[Tensor] = []
        handle = self.model.register_forward_hook(lambda _m, _a, out: returned.extend(tensors_in(out)))
        try:
            assert self._loss is not None, "built only for subjects with a loss"
            loss = self._loss(self.model, self._inputs(flat))
        finally:
            handle.remove()
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"loss(model, inputs) must return one number, it returned {shape}")
        return [loss, *returned]
