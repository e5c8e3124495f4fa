"""A stretch of the live part compiled into moves of one certificate matrix over everything that is live at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from netaudit.certify.arithmetic import MARGIN, Arithmetic
from netaudit.certify.plan import TRANSPARENT, Kind, Live, linear_matrices, moved_entries
from netaudit.graph import Node

_NONE = torch.zeros(0, dtype=torch.long)
Slopes: TypeAlias = tuple[Tensor, Tensor]
"""The least and the largest slope of each entry of a scalar function."""
Layout: TypeAlias = tuple[tuple[str, int], ...]
"""The live tensors that are stacked, and their sizes."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Step:
    """One call on the stacked live tensors, before any slope is fixed.

    ``carried``: the entries (before) that stay; ``matrix``: all rows of a linear call (an index list where entries only move),
    ``offset`` its constant; ``entries``: the operand (before) of a scalar function; ``gains``: Lipschitz constants and entries
    of the operands of a call known by its norm.
    """

    node: Node
    kind: Kind
    layout: Layout
    carried: Tensor
    matrix: Tensor
    offset: Tensor
    entries: Tensor
    gains: tuple[tuple[float, Tensor], ...] = ()

    @property
    def new(self) -> Tensor:
        """Where the result stands afterwards."""
        return torch.arange(len(self.carried), len(self.carried) + self.layout[-1][1])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stage:
    """A step as a move of the certificate; ``units`` are the entries (before) whose slope is not one number."""

    step: Step
    matrix: Tensor
    units: Tensor = _NONE
    middle: Tensor = _NONE
    radius: Tensor = _NONE
    places: Tensor = _NONE


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Multiplier:
    """The free numbers of one scalar function: ``log`` of the relative sizes of D, and how far it stays above P."""

    log: Tensor
    distance: Tensor


def compile_steps(part: Live, nodes: Sequence[tuple[int, Node]], layout: Layout) -> tuple[Step, ...]:
    """Steps for consecutive calls (with their positions), starting from the live tensors in ``layout``."""
    steps = []
    for position, node in nodes:
        steps.append(_step(part, node, position, layout))
        layout = steps[-1].layout
    return tuple(steps)


def _step(part: Live, node: Node, position: int, before: Layout) -> Step:
    starts, total = _starts(before)
    kept = [(name, size) for name, size in before if part.last_use.get(name, -1) > position]
    after = (*kept, (node.name, part.size(node.name)))
    carried = torch.cat([_NONE, *(torch.arange(starts[name], starts[name] + size) for name, size in kept)])
    kind, offset = part.kind(node), torch.zeros(after[-1][1], dtype=torch.float64)
    moved = moved_entries(part, node) if kind == "move" else None
    if moved is not None:
        (name,) = part.operands(node)
        return Step(node, "move", after, carried, torch.cat([carried, starts[name] + moved]), offset, _NONE)
    if kind in ("move", "linear"):
        rows = torch.zeros(after[-1][1], total, dtype=torch.float64)
        matrices, offset = linear_matrices(part, node)
        for name, matrix in zip(part.operands(node), matrices, strict=True):
            rows[:, starts[name] : starts[name] + matrix.shape[1]] += matrix
        return Step(node, "linear", after, carried, torch.cat([_unit_rows(carried, total), rows]), offset, _NONE)
    if kind == "slope":
        (name,) = part.operands(node)
        return Step(node, kind, after, carried, _NONE, offset, _entries(part, name, starts))
    gains = tuple((gain, _entries(part, name, starts)) for name, gain in operand_gains(part, node).items())
    return Step(node, "norm", after, carried, _NONE, offset, _NONE, gains)


def with_slopes(step: Step, total: int, slopes: Slopes | None) -> Stage:
    """A step with the slopes of its scalar function, when it is one; ``total`` entries are live before it."""
    if slopes is None or step.kind != "slope":
        return Stage(step, step.matrix)
    low, high = slopes
    middle, radius = 0.5 * (low + high), 0.5 * (high - low)
    unsure = high > low
    rows = torch.zeros(len(step.new), total, dtype=torch.float64)
    rows[torch.arange(len(step.new)), step.entries] = middle
    radius = radius[unsure] + 4e-16 * torch.maximum(low.abs(), high.abs())[unsure]  # the rounding of the middle
    return Stage(step, torch.cat([_unit_rows(step.carried, total), rows]), step.entries[unsure], middle[unsure], radius, step.new[unsure])


def total_size(layout: Layout) -> int:
    """How many entries are stacked."""
    return sum(size for _, size in layout)


def _starts(layout: Layout) -> tuple[dict[str, int], int]:
    starts, total = {}, 0
    for name, size in layout:
        starts[name] = total
        total += size
    return starts, total


def _entries(part: Live, name: str, starts: Mapping[str, int]) -> Tensor:
    return torch.arange(starts[name], starts[name] + part.size(name))


def _unit_rows(entries: Tensor, total: int) -> Tensor:
    rows = torch.zeros(len(entries), total, dtype=torch.float64)
    rows[torch.arange(len(entries)), entries] = 1.0
    return rows


def operand_gains(part: Live, node: Node) -> dict[str, float]:
    """The Lipschitz constant of a call by each live operand; slots of one operand add."""
    gains: dict[str, float] = {}
    for operand, jac in zip(node.operands, part.facts.effects[node.name].jac, strict=True):
        if isinstance(operand, str) and operand in part.live and jac is not None:
            gains[operand] = gains.get(operand, 0.0) + (1.0 if node.op in TRANSPARENT else jac.lip)
    return gains


# running them -----------------------------------------------------------------------------------------------------------


def start_multipliers(stages: Sequence[Stage]) -> tuple[Multiplier | None, ...]:
    """Where the search starts: multipliers of one size, twice above the edge, which is never worse than the product of norms."""
    return tuple(
        Multiplier(torch.zeros(len(stage.units), dtype=torch.float64), torch.zeros((), dtype=torch.float64)) if len(stage.units) else None
        for stage in stages
    )


def advance(p: Tensor, stage: Stage, multiplier: Multiplier | None, arithmetic: Arithmetic) -> Tensor:
    """The certificate after one stage."""
    if stage.step.kind == "norm":
        return _beside(arithmetic, p, stage.step)
    if multiplier is None:
        return arithmetic.affine(p, stage.matrix)
    d = _diagonal(p[stage.units][:, stage.units], multiplier, stage.middle, stage.radius)
    k, d = arithmetic.schur(p, stage.units, d)
    after = arithmetic.affine(k, stage.matrix)
    noise = torch.zeros(len(after), dtype=after.dtype).index_add(0, stage.places, stage.radius.square() * d)
    return after + torch.diag(noise + 1e-15 * (noise + after.diagonal()))  # rounded up: both are positive


def _diagonal(block: Tensor, multiplier: Multiplier, middle: Tensor, radius: Tensor) -> Tensor:
    """``D`` above ``P[U, U]``: the search moves its shape and its distance from the edge, the edge is found by an eigenvalue."""
    shape = torch.exp(multiplier.log)
    scale = shape.rsqrt()
    edge: Tensor = torch.linalg.eigvalsh(block * scale[:, None] * scale)[-1]
    ratio = middle.abs().max() / radius.max()
    least = block.diagonal().max().detach() * 1e-12 + 1e-300  # an empty certificate: everything downstream is constant
    d: Tensor = shape * (edge * (1.0 + MARGIN + ratio * torch.exp(multiplier.distance)) + least)
    return d


def _beside(arithmetic: Arithmetic, p: Tensor, step: Step) -> Tensor:
    """A new tensor of which the norm is known, beside those that are kept; ``t`` makes a later sum of the two exact."""
    roots = [gain * arithmetic.top(p[entries][:, entries]).clamp_min(0.0).sqrt() for gain, entries in step.gains]
    square = torch.stack(roots).sum() ** 2 * (1.0 + 1e-14)
    new = torch.eye(len(step.new), dtype=p.dtype) * square
    if not len(step.carried):
        return new
    kept = p[step.carried][:, step.carried]
    t = (square / torch.linalg.eigvalsh(kept.detach())[-1].clamp_min(1e-300)).sqrt().clamp(1e-9, 1e9)
    parts = (kept * (1.0 + t) * (1.0 + 1e-15), new * (1.0 + 1.0 / t) * (1.0 + 1e-15))
    beside: Tensor = torch.block_diag(*parts)  # type: ignore[no-untyped-call]  # torch's own signature
    return beside
