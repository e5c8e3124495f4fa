"""What a model does in evaluation mode: dropout that stays on. Its python is run on shapes alone, no number is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from netaudit.check import Drop

from .subject import Subject
from .trace import undisturbed

_WRITTEN: tuple[Callable[..., Any], ...] = (
    functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d, functional.alpha_dropout,
    functional.feature_alpha_dropout,
)  # fmt: skip
_BUILT_IN = {torch.dropout: 2, torch.feature_dropout: 2, torch.alpha_dropout: 2, torch.feature_alpha_dropout: 2}
"""Functions without a python signature, and the position of ``train``; p stands before it."""


def drops_in_evaluation(subject: Subject) -> tuple[Drop, ...]:
    """The calls that still drop entries when the model is in evaluation mode.

    The model runs on the meta device, where tensors have shapes only; functions of torch are watched, modules give the paths.
    None are found when its code asks for a value, or mixes devices: that is not known then.
    """
    model, watch = subject.model, _Watch()
    held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    moved: dict[int, Tensor] = {}
    state = {name: moved.setdefault(id(tensor), tensor.detach().to("meta")) for name, tensor in held}
    args, kwargs = pytree.tree_map_only(Tensor, lambda t: t.to("meta"), (subject.args, dict(subject.kwargs)))
    with undisturbed(model, "eval"), torch.no_grad(), torch.device("meta"), _paths(model, watch):
        try:
            with watch:
                torch.func.functional_call(model, state, args, kwargs)
        except Exception:  # whatever the user's code raises on tensors without values
            return ()
    return tuple(watch.found)


class _Watch(TorchFunctionMode):
    """Notes calls of dropout that drop; ``path`` is the module that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Drop] = []
        self.path: list[str] = [""]

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        p = _dropped(func, args, kwargs)
        if p > 0.0:
            self.found.append(Drop(self.path[-1], getattr(func, "__name__", str(func)), p))
        return func(*args, **kwargs)


def _dropped(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    """The share of entries that a call drops; 0 for one that is no dropout, or off."""
    if func is functional.scaled_dot_product_attention:
        return _number(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0))
    if func in _WRITTEN:
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.apply_defaults()
        return _number(bound.arguments["p"]) if bound.arguments["training"] is True else 0.0
    if func in _BUILT_IN:
        place = _BUILT_IN[func]
        given = [kwargs.get(name, args[i] if len(args) > i else None) for name, i in (("p", place - 1), ("train", place))]
        return _number(given[0]) if given[1] is True else 0.0
    return 0.0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


@contextmanager
def _paths(model: nn.Module, watch: _Watch) -> Iterator[None]:
    """Keep the path of the running module in the watch."""
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _m, _a, own=name: watch.path.append(own)))
        handles.append(module.register_forward_hook(lambda _m, _a, _o: watch.path.pop() and None, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
