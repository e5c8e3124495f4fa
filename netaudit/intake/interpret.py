"""Run nodes of a Graph in torch: constants are evaluated with it, and the probe measures with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from netaudit.graph import Arg, Node, Ref

_DTYPES: dict[str, torch.dtype] = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of that name."""
    return _DTYPES[name]


def is_not_implemented(error: BaseException) -> bool:
    """Whether torch says of an op that there is no such thing for it, most often a derivative."""
    return "is not implemented" in str(error)


def call(node: Node, values: Mapping[str, Tensor], device: torch.device | None = None) -> Tensor:
    """The value of a node from those of its operands. Composites run the calls they were folded from.

    Raises:
        NotImplementedError: the op has no torch counterpart.
    """
    return picked(node, results(node, values, device))


def results(node: Node, values: Mapping[str, Tensor], device: torch.device | None = None) -> Any:
    """Everything that a node's call returns: a tensor, or several of which the node is one.

    Raises:
        NotImplementedError: the op has no torch counterpart.
    """
    if node.folded:
        local = dict(values)
        for inner in node.folded:
            local[inner.name] = call(inner, local, device)
        return local[node.folded[-1].name]
    operator = _operator(node.target)
    arguments = [_concrete(node.args.get(a.name), values) for a in operator._schema.arguments]
    positional, named = _split(operator, arguments, device)
    return operator(*positional, **named)


def picked(node: Node, result: Any) -> Tensor:
    """The node's own of the results of its call."""
    output = node.args.get("output")
    value: Tensor = result[output] if isinstance(output, int) and not isinstance(result, Tensor) else result
    return value


@lru_cache(maxsize=4096)
def _operator(target: str) -> Any:
    parts = target.split(".")
    if len(parts) != 3:  # what is no operator: a function of python, on numbers
        raise NotImplementedError(f"{target} cannot be run")
    namespace, packet, overload = parts
    found = getattr(getattr(torch.ops, namespace), packet, None)
    if found is None:
        raise NotImplementedError(f"{target} cannot be run")
    return getattr(found, overload)


def _concrete(argument: Arg, values: Mapping[str, Tensor]) -> Any:
    if isinstance(argument, Ref):
        return values[argument.name]
    if isinstance(argument, tuple):
        return [_concrete(a, values) for a in argument]
    return argument


def _split(operator: Any, arguments: Sequence[Any], device: torch.device | None) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword-only arguments, with dtypes and devices as torch wants them."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for schema, value in zip(operator._schema.arguments, arguments, strict=True):
        kind = str(schema.type)
        meant = dtype_of(value) if schema.name == "dtype" and isinstance(value, str) else value
        if schema.name in ("device", "layout", "pin_memory", "memory_format", "generator"):
            if schema.name == "device" and device is not None and "Device" in kind and schema.kwarg_only:
                named["device"] = device
            elif schema.name == "device" and device is not None and "Device" in kind:
                positional.append(device)
            elif not schema.kwarg_only:
                positional.append(None if "Optional" in kind or "?" in kind else meant)
            continue
        if schema.kwarg_only:
            named[schema.name] = meant
        else:
            positional.append(meant)
    return positional, named
