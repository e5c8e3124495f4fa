"""Where a gradient starts: the subject's own loss, a unit cotangent at its outputs, or a cross-entropy made up for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from .subject import Subject
from .wrap import tensors_in

Head: TypeAlias = Literal["loss", "unit", "ce"]


def with_head(subject: Subject, head: Head) -> Subject:
    """The subject with a gradient that starts as asked: ``loss`` as it is, ``unit`` without a loss, ``ce`` with cross-entropy.

    The cross-entropy is that of the first output, its last axis as classes, against uniform random labels.
    """
    if head == "loss" or subject.program is not None:
        return subject
    if head == "unit":
        return replace(subject, loss=None)
    return replace(subject, loss=_cross_entropy, inputs=(subject.args, dict(subject.kwargs)))


def _cross_entropy(model: nn.Module, inputs: Any) -> Tensor:
    args, kwargs = inputs
    logits = next(y for y in tensors_in(model(*args, **kwargs)) if y.is_floating_point() and y.ndim)
    rows = logits.reshape(-1, logits.shape[-1])
    labels = torch.randint(0, rows.shape[-1], (rows.shape[0],), generator=torch.Generator().manual_seed(0))
    return nn.functional.cross_entropy(rows, labels)
