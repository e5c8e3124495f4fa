"""Where a measured gradient starts, and what it is measured against: as in a forecast, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10

import torch
from torch import Tensor

from netaudit.intake.interpret import dtype_of
from netaudit.probe.linear import noise
from netaudit.probe.machine import Machine
from netaudit.probe.sizes import Size


def cotangents(machine: Machine, seed: int) -> Mapping[str, Tensor]:
    """1 at the loss; without one, random with unit RMS at every floating output."""
    graph, nodes = machine.graph, machine.nodes
    if graph.loss is not None:
        return {graph.loss: torch.ones((), device=machine.device)}
    found = {}
    for index, head in enumerate(h for h in graph.heads if nodes[h].is_float):
        u = noise(torch.empty(nodes[head].shape, device=machine.device, dtype=dtype_of(nodes[head].dtype)), seed + index)
        found[head] = u / u.square().mean().sqrt().clamp_min(1e-30)
    return found


def reference(machine: Machine, values: Mapping[str, Size]) -> float:
    """log10 of ``||y||_F ||G||_F`` at the outputs where there is no loss: sensitivities are divided by it, as if the loss were O(1)."""
    if machine.graph.loss is not None:
        return 0.0
    heads = [values[h] for h in machine.graph.heads if h in values]
    count = sum(head.count for head in heads)
    energy = sum(head.norm**2 or float(head.count) for head in heads)
    return 0.5 * (log10(count) + log10(energy)) if count and energy else 0.0
