"""The gradient of every parameter, by one real forward and backward pass per draw of the random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10

import torch
from torch import Tensor

from netaudit.intake.subject import Subject
from netaudit.intake.trace import undisturbed
from netaudit.intake.wrap import Alone, WithLoss, leaves_of


def measured_gradients(subject: Subject, *, mode: str = "train", draws: int = 1, seed: int = 0) -> Mapping[str, float]:
    """MEASURED log10 RMS of the gradient of every trained parameter, over ``draws`` of dropout and cotangent; on the CPU.

    The cotangent is that of the loss, where there is one, else random with unit RMS at every output, as in a forecast. A parameter
    without a gradient has -inf.

    Raises:
        RuntimeError: the model fails in its forward or backward pass.
    """
    squares: dict[str, float] = {}
    wrapper = WithLoss(subject) if subject.loss is not None else Alone(subject)
    flat = leaves_of(subject.inputs if subject.loss is not None else (subject.args, dict(subject.kwargs)))
    with undisturbed(subject.model, mode):
        for draw in range(draws):
            torch.default_generator.manual_seed(seed + draw)
            subject.model.zero_grad(set_to_none=True)
            outputs = wrapper(*flat)
            heads = [y for y in (outputs[:1] if subject.loss is not None else outputs) if y.requires_grad]
            torch.autograd.backward(heads, [_cotangent(y) if subject.loss is None else torch.ones_like(y) for y in heads])
            for name, parameter in subject.model.named_parameters():
                if parameter.requires_grad:
                    gradient = parameter.grad
                    square = 0.0 if gradient is None or not gradient.numel() else float(gradient.abs().double().square().mean())
                    squares[name] = squares.get(name, 0.0) + square / draws
        subject.model.zero_grad(set_to_none=True)
    return {name: 0.5 * log10(square) if square > 0.0 else float("-inf") for name, square in squares.items()}


def _cotangent(y: Tensor) -> Tensor:
    noise = torch.randn_like(y)
    return noise / noise.abs().square().mean().sqrt().clamp_min(1e-30)
