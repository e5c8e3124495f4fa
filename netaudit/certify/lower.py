"""How much of a bound is attained: the largest norm of the Jacobian that can be found, at points of the domain. A measurement."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf, log10, sqrt

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from netaudit.certify.ball import Ball
from netaudit.certify.plan import TRANSPARENT, Live
from netaudit.graph import Node
from netaudit.intake.interpret import call

POPULATION = 128
SURVIVORS = 16
LARGEST_JACOBIAN = 40_000
"""Entries up to which whole Jacobians are formed, many points at once; beyond, power iteration at a few points."""
ROUNDS = 24
"""Generations of the hill climb: a fixed number, so that a run is repeated; time only cuts it short."""
POINTS = 3
PAIRS = 12
"""Jacobian-vector products and their transposes at one point."""

Function = Callable[[Tensor], Tensor]


def largest_gain(part: Live, *, ball: Ball | None, seconds: float, seed: int) -> float:
    """log10 of the largest ``||J(x)||_2`` found within a time, from a seed; -inf when nothing was found (or J = 0 everywhere).

    Small maps: hill climbing on a population of points, ReLU nets having no gradient of ``||J||`` to follow. Large ones:
    power iteration ``v <- J^T J v`` at the centre and at random points, ``||J v|| / ||v||`` being a lower bound at any step.
    """
    function, centre = network(part), part.centre
    generator = torch.Generator().manual_seed(seed)
    stop = time.perf_counter() + seconds
    outputs = sum(part.size(name) for name in part.outputs)
    if not outputs or not len(centre):
        return -inf
    # The fused attention kernels have neither forward-mode nor batched derivatives; the composed one computes the same.
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        try:
            search = _climb if _is_cheap(function, centre, outputs, seconds) else _iterate
            best = search(function, centre, ball, generator, stop)
        except (RuntimeError, NotImplementedError):  # an op that has no forward-mode or batched derivative: nothing is measured
            return -inf
    return log10(best) if 0.0 < best < inf else -inf


def _is_cheap(function: Function, centre: Tensor, outputs: int, seconds: float) -> bool:
    """Whether some twenty populations of whole Jacobians fit into the time."""
    if len(centre) * outputs > LARGEST_JACOBIAN:
        return False
    began = time.perf_counter()
    function(centre)
    return (time.perf_counter() - began) * 2 * min(len(centre), outputs) * POPULATION < 3.0 * seconds


def network(part: Live) -> Function:
    """The live part as a function of the stacked, flattened sources; it returns the stacked, flattened outputs."""

    def run(flat: Tensor) -> Tensor:
        values: dict[str, Tensor] = dict(part.values)
        start = 0
        for name in part.sources:
            size = part.size(name)
            values[name] = flat[start : start + size].reshape(part.facts.nodes[name].shape)
            start += size
        for position, node in enumerate(part.nodes):
            values[node.name] = values[node.inputs[0]] if node.op in TRANSPARENT else call(node, values)
            _forget(part, node, position, values)
        return torch.cat([values[name].reshape(-1) for name in part.outputs])

    return run


def _forget(part: Live, node: Node, position: int, values: dict[str, Tensor]) -> None:
    """Drop what no later call needs."""
    for name in set(node.inputs) & part.live:
        if part.last_use.get(name, -1) <= position:
            values.pop(name, None)


def _draw(centre: Tensor, ball: Ball | None, count: int, generator: torch.Generator) -> Tensor:
    """Points of the domain: of the ball, or far and near around the origin on the scale of the example."""
    noise = torch.randn(count, len(centre), generator=generator, dtype=torch.float64)
    if ball is None:
        return 2.0 * noise * centre.square().mean().sqrt().clamp_min(1e-3)
    return centre + _within(noise, ball) * torch.rand(count, 1, generator=generator, dtype=torch.float64)


def _within(step: Tensor, ball: Ball) -> Tensor:
    """Directions scaled to the surface of the ball."""
    if ball.norm == "linf":
        return ball.radius * (step / step.abs().amax(1, keepdim=True).clamp_min(1e-300))
    return ball.radius * step / step.square().sum(1, keepdim=True).sqrt().clamp_min(1e-300)


def _projected(points: Tensor, centre: Tensor, ball: Ball | None) -> Tensor:
    if ball is None:
        return points
    away = points - centre
    if ball.norm == "linf":
        return centre + away.clamp(-ball.radius, ball.radius)
    return centre + away * (ball.radius / away.square().sum(1, keepdim=True).sqrt().clamp_min(1e-300)).clamp_max(1.0)


def _climb(function: Function, centre: Tensor, ball: Ball | None, generator: torch.Generator, stop: float) -> float:
    """Random starts, then moves of many scales from the best points."""
    outputs = len(function(centre))
    differentiate = torch.func.jacrev if outputs <= len(centre) else torch.func.jacfwd
    batched = torch.func.vmap(differentiate(function))

    def gains(points: Tensor) -> Tensor:
        found: Tensor = torch.linalg.matrix_norm(batched(points).detach(), ord=2)
        return torch.where(torch.isfinite(found), found, 0.0)

    points = torch.cat([centre[None], _draw(centre, ball, POPULATION - 1, generator)])
    values = gains(points)
    for _ in range(ROUNDS):
        if time.perf_counter() > stop:
            break
        top = values.argsort(descending=True)[:SURVIVORS]
        base = points[top].repeat(POPULATION // len(top), 1)
        scale = 10.0 ** (-2.5 * torch.rand(len(base), 1, generator=generator, dtype=torch.float64))
        reach = ball.radius if ball is not None else base.square().sum(1, keepdim=True).sqrt() / sqrt(len(centre)) * 2.0
        moved = base + torch.randn(base.shape, generator=generator, dtype=torch.float64) * scale * reach
        moved = _projected(moved, centre, ball)
        points, values = torch.cat([points[top], moved]), torch.cat([values[top], gains(moved)])
    return float(values.max())


def _iterate(function: Function, centre: Tensor, ball: Ball | None, generator: torch.Generator, stop: float) -> float:
    """Power iteration at the centre, then at random points while time is left."""
    best = 0.0
    point = centre
    for _ in range(POINTS):
        pull = torch.func.vjp(function, point)[1]
        v = torch.randn(len(centre), generator=generator, dtype=torch.float64)
        for _ in range(PAIRS):
            image = torch.func.jvp(function, (point,), (v / v.norm(),))[1]
            best = max(best, float(image.norm()))
            (v,) = pull(image)
            if float(v.norm()) == 0.0 or time.perf_counter() > stop:
                break
        if time.perf_counter() > stop:
            break
        point = _draw(centre, ball, 1, generator)[0]
    return best
