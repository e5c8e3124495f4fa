"""The search for multipliers: any of them gives a valid bound, gradient descent on the bound finds good ones."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from netaudit.certify.arithmetic import Arithmetic, Fast, InfeasibleError
from netaudit.certify.stages import Multiplier, Stage, advance, start_multipliers

STEPS = 100
RATE = 0.2
"""Adam's rate on logarithms. On random and trained nets of 2 to 10 layers 100 steps at 0.2 come within 0.5 % of the optimum;
0.1 needs three times as many, 0.4 overshoots."""
WINDOW = 60
"""A certificate is rescaled by a power of two when its trace leaves 2^+-60."""


def run(p: Tensor, stages: Sequence[Stage], multipliers: Sequence[Multiplier | None], arithmetic: Arithmetic) -> list[tuple[Tensor, int]]:
    """The certificates after each stage, with exponents: ``P = p 4^e``."""
    exponent, found = 0, []
    for stage, multiplier in zip(stages, multipliers, strict=True):
        p = advance(p, stage, multiplier, arithmetic)
        trace = float(p.detach().diagonal().sum())
        if trace > 0.0 and math.isfinite(trace) and abs(math.log2(trace)) > WINDOW:
            shift = round(0.5 * math.log2(trace))
            p, exponent = p * 4.0**-shift, exponent + shift
        found.append((p, exponent))
    return found


def search(p: Tensor, stages: Sequence[Stage], seconds: float) -> tuple[Multiplier | None, ...]:
    """Multipliers that make the largest eigenvalue of the last certificate small; at least those of the start."""
    current = start_multipliers(stages)
    free = [tensor.requires_grad_() for m in current if m is not None for tensor in (m.log, m.distance)]
    if not free or seconds <= 0.0:
        return _copied(current)
    optimiser = torch.optim.Adam(free, lr=RATE, betas=(0.9, 0.99))
    best, least, steps, step = _copied(current), math.inf, STEPS, 0
    began = time.perf_counter()
    while step < steps:
        try:
            last, exponent = run(p, stages, current, Fast())[-1]
            value = 0.5 * torch.log(Fast().top(last)) + exponent * math.log(2.0)
        except (InfeasibleError, RuntimeError):  # an eigenvalue search that did not converge
            break
        if not math.isfinite(float(value.detach())):
            break
        if float(value.detach()) < least:
            best, least = _copied(current), float(value.detach())
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        rate = RATE * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        step += 1
        if step == 1:  # as many steps as the budget allows, known from the first
            steps = max(1, min(STEPS, int(seconds / max(time.perf_counter() - began, 1e-9))))
    return best


def _copied(multipliers: Sequence[Multiplier | None]) -> tuple[Multiplier | None, ...]:
    return tuple(None if m is None else Multiplier(m.log.detach().clone(), m.distance.detach().clone()) for m in multipliers)
