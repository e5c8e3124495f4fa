"""Modelled mean squares against large samples: the value of an op, and the gradient that it sends back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isinf, sqrt

import torch
from torch import Tensor

from netaudit.intake.interpret import call
from netaudit.moments import accumulate, cotangent, independent
from netaudit.testing.case import NORMAL, Applied
from netaudit.testing.search import gradients

QUADRATURE = 1e-3
"""Relative error of expectations on the Gaussian grid (a kink between two of its points costs half a step)."""
DEVIATIONS = 4.0


@dataclass(frozen=True, slots=True)
class _Mean:
    """A sample mean, and its standard error."""

    value: float
    error: float


def misjudged(op: Applied, *, draws: int = 120, seed: int = 0) -> Iterator[str]:
    """Mean squares that are further from sampled ones than sampling error and the case's factor allow.

    Inputs are drawn by the case's laws, the cotangent is standard normal; weights stay as they are.
    """
    factor, effect = op.case.factor, op.effect
    if factor is None:
        return
    value, gradients = _sampled(op, draws, seed)
    if effect.out.moments is not None:
        yield from (f"{op.case.id}: the output's {text}" for text in _compared(effect.out.moments.mean_square, value, factor))
    if effect.pull is None:
        return
    parts = effect.pull(cotangent(independent(op.node.shape)))
    for name, gradient in gradients.items():
        sent = [part for part in (parts[slot] for slot in op.slots(name)) if part is not None]
        model = accumulate(sent).mean_square if sent else 0.0
        if isinf(model):  # not claimed to be known: see unknown_cotangent
            continue
        yield from (f"{op.case.id}: the gradient's {text} at operand {op.slots(name)}" for text in _compared(model, gradient, factor))


def _compared(model: float, sample: _Mean, factor: float) -> Iterator[str]:
    slack = DEVIATIONS * sample.error + QUADRATURE * abs(sample.value) + 1e-14
    if not sample.value / factor - slack <= model <= sample.value * factor + slack:
        yield f"mean square is modelled as {model:.5g}, sampled as {sample.value:.5g} +- {sample.error:.2g}"


def _sampled(op: Applied, draws: int, seed: int) -> tuple[_Mean, Mapping[str, _Mean]]:
    """Mean squares over draws of the output and of the gradient at every floating operand that carries one."""
    values: list[float] = []
    gradients: dict[str, list[float]] = {}
    _ = op.differentiable  # found out by running the op: before the seed is set, or the draws depend on which test came first
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(draws):
            operands = op.run(_drawn(op))
            value, grads = _one(op, {name: operands[name] for name in op.names})
            values.append(value)
            for name, grad in grads.items():
                gradients.setdefault(name, []).append(grad)
    return _mean(values), {name: _mean(g) for name, g in gradients.items()}


def _drawn(op: Applied) -> Mapping[str, Tensor]:
    inputs = op.facts.graph.inputs
    laws = {name: op.case.laws.get(i, NORMAL) for i, name in enumerate(inputs)}
    return {name: laws[name].draw(op.tensors[name]) for name in inputs if op.tensors[name].is_floating_point()}


def _one(op: Applied, operands: Mapping[str, Tensor]) -> tuple[float, Mapping[str, float]]:
    names = [n for n in op.differentiable if operands[n].is_floating_point()]
    leaves = {n: v.detach().clone().requires_grad_(n in names) for n, v in operands.items()}
    y = call(op.node, leaves)
    value = float(y.detach().double().square().mean()) if y.numel() else 0.0
    if not y.requires_grad or not names:
        return value, {}
    grads = gradients(y, [leaves[n] for n in names], torch.randn_like(y))
    return value, {n: float(g.double().square().mean()) if g.numel() else 0.0 for n, g in zip(names, grads, strict=True)}


def _mean(values: list[float]) -> _Mean:
    sample = torch.tensor(values, dtype=torch.float64)
    return _Mean(float(sample.mean()), float(sample.std()) / sqrt(len(values)))
