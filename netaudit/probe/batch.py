"""Another subject for the same model: in another precision, or with half the batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from netaudit.errors import ProbeError
from netaudit.intake.subject import Subject

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def word_of(dtype: torch.dtype) -> str:
    """What the command line calls a precision; torch's own name for one that it does not take."""
    return next((word for word, known in DTYPES.items() if known == dtype), str(dtype).removeprefix("torch."))


def cast(subject: Subject, dtype: torch.dtype) -> Subject:
    """The model and its inputs in another precision; the subject itself stays as it is."""
    model = copy.deepcopy(subject.model).to(dtype)
    return _mapped(replace(subject, model=model, program=None), lambda t: t.to(dtype) if t.is_floating_point() else t)


def halved(subject: Subject) -> Subject:
    """The first half of the batch: of every input whose first axis is as long as that of the first one.

    Raises:
        ProbeError: there is nothing to halve.
    """
    tensors = [leaf for leaf in pytree.tree_leaves(subject.inputs) if isinstance(leaf, Tensor) and leaf.ndim]
    size = len(tensors[0]) if tensors else 0
    if size < 2 or subject.program is not None:
        raise ProbeError("the model does not fit into memory with a batch of one", "give --probe-memory, or another --device")
    return _mapped(subject, lambda t: t[: size // 2].clone() if t.ndim and len(t) == size else t)


def _mapped(subject: Subject, change: Callable[[Tensor], Tensor]) -> Subject:
    """The subject with every input tensor changed; a tensor that is used twice is changed once."""
    known: dict[int, Tensor] = {}

    def once(leaf: Any) -> Any:
        return known.setdefault(id(leaf), change(leaf)) if isinstance(leaf, Tensor) else leaf

    args, kwargs, inputs = (pytree.tree_map(once, tree) for tree in (subject.args, dict(subject.kwargs), subject.inputs))
    return replace(subject, args=args, kwargs=kwargs, inputs=inputs)


def dominant(model: nn.Module) -> torch.dtype:
    """The precision of most of a model's floating parameters and buffers; torch's default where it has none."""
    counts: dict[torch.dtype, int] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numel()
    return max(counts, key=lambda kind: counts[kind]) if counts else torch.get_default_dtype()
