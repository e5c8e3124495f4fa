"""How much the outputs move when the inputs do: the gains of the whole model at the point where it was run."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isfinite, sqrt

import torch
from torch import Tensor

from netaudit.facts import LEAVES, Facts
from netaudit.measured import Study
from netaudit.probe.linear import Largest, Map, Typical, jacobian, largest_gain, noise, typical_gain
from netaudit.probe.machine import Machine, forward
from netaudit.probe.recut import Entrance, answering, at_least, entrance, outputs
from netaudit.probe.sizes import norm

from .bench import Bench, Studied

NAME, TITLE = "gain", "local gain of the model, inputs to outputs"
SAMPLES = 8
"""Random cotangents for the typical gain; each costs a backward pass."""


def gain(bench: Bench) -> Studied:
    """``||J||_2`` from below and ``||J||_F / sqrt(outputs)``, for the Jacobian ``J`` of all floating outputs by each floating input.

    The outputs are flattened and joined; where no input is floating, ``J`` is that by the first embedding. The largest gain is
    a lower bound by Golub-Kahan with products ``J v`` and ``J' u`` (``linear.largest_gain``), the typical one Hutchinson's
    estimate with its relative standard error; beside them stands the PROVED bound composed call by call,
    ``L_y = sum over operands of lip L_operand``. Gains have no unit but that of outputs over inputs.

    Assumes the point that was run, its dropout masks included; in the model's precision, at least float32: a lower bound but for
    rounding.
    Source: Golub and Van Loan 2013, section 10.4; Hutchinson 1990; Virmaux and Scaman 2018, section 3 (composition).
    """
    came = entrance(at_least(bench.machine, "float32"), seed=bench.plan.seed)
    heads = outputs(came.machine)
    pairs = max(bench.plan.pairs // len(came.names), 1)
    rows, says = [], []
    for name in came.names:
        linear = _jacobian(answering(came.machine, heads), name, bench.plan.seed)
        found = largest_gain(
            replace(linear, forth=bench.counted(f"gain from {name}", linear.forth, pairs)), pairs=pairs, seed=bench.plan.seed
        )
        typical = _typical(linear, bench.plan.seed)
        bound = inf if bench.facts is None else composed(bench.facts, name, heads)
        rows.append(_row(came, name, found, typical, bound))
        says.append(_said(name, found, typical))
    columns = ("from", "typical", "rel. error", "largest >=", "pairs", "converged", "proved <=")
    return Studied(Study(NAME, TITLE, columns, tuple(rows), "; ".join(says)))


def _jacobian(machine: Machine, name: str, seed: int) -> Map:
    def function(x: Tensor) -> Tensor:
        found = forward(machine, {name: x}, seed=seed)
        return torch.cat([found[head].flatten() for head in machine.graph.heads])

    return jacobian(function, machine.leaves[name])


def _typical(linear: Map, seed: int) -> Typical:
    squares = [norm(linear.back(noise(linear.value, seed + draw))) ** 2 for draw in range(SAMPLES)]
    return typical_gain(squares, linear.value.numel())


def composed(facts: Facts, source: str, heads: tuple[str, ...]) -> float:
    """PROVED bound of ``||J||_2`` from a node to several joined: that of a call is the sum over its operands of gain times bound.

    inf where a call has no finite gain; of what does not depend on the source, zero.
    """
    bounds: dict[str, float] = {source: 1.0}
    for node in facts.graph.nodes:
        if node.op in LEAVES or node.name == source:
            continue
        steps = ((slot, bounds.get(operand, 0.0)) for slot, operand in enumerate(node.operands) if isinstance(operand, str))
        bounds[node.name] = sum(_lip(facts, node.name, slot) * bound for slot, bound in steps if bound)
    return sqrt(sum(_square(bounds.get(head, 0.0)) for head in heads))


def _square(bound: float) -> float:
    return bound * bound


def _lip(facts: Facts, node: str, slot: int) -> float:
    found = facts.jacobian(node, slot)
    return 0.0 if found is None else found.lip


def _row(came: Entrance, name: str, found: Largest, typical: Typical, bound: float) -> tuple[str | float | None, ...]:
    label = f"{came.word} {name}"
    converged = "yes" if found.converged else "no"
    return (label, typical.gain, typical.error, found.gain, f"{found.pairs}", converged, bound if isfinite(bound) else "unbounded")


def _said(name: str, found: Largest, typical: Typical) -> str:
    if not isfinite(found.gain):
        return f"the gain from {name} is not finite"
    return f"from {name} the typical gain is {typical.gain:.2g}, the largest at least {found.gain:.2g}"
