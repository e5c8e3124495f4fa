"""Acme's layers. Their activation is an operator of its own, as one with a hand-written kernel would be: no tracer sees inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.library.custom_op("acme::squareplus", mutates_args=())
def squareplus(x: Tensor, b: float) -> Tensor:
    """``(x + sqrt(x^2 + b)) / 2`` for ``b > 0``: a smooth ReLU without exponentials (Barron 2021)."""
    if b <= 0.0:
        raise ValueError(f"squareplus needs b > 0, and got {b}")
    return (x + torch.sqrt(x * x + b)) / 2


@squareplus.register_fake
def _(x: Tensor, b: float) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
    x, ctx.b = inputs
    ctx.save_for_backward(x)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (x,) = ctx.saved_tensors
    return gradient * (1 + x / torch.sqrt(x * x + ctx.b)) / 2, None


squareplus.register_autograd(_backward, setup_context=_keep)


class Squareplus(nn.Module):
    """The activation as a layer."""

    def __init__(self, b: float = 4.0) -> None:
        super().__init__()
        self.b = b

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to every entry."""
        y: Tensor = squareplus(x, self.b)
        return y
