"""The largest local gain that can be found: special points, random ones, then hill climbing. A lower bound to hold proofs against."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf, isinf, isnan

import torch
from torch import Tensor

from netaudit.intake.interpret import is_not_implemented
from netaudit.testing.case import Applied
from netaudit.testing.points import points

SLACK = 1e-9
"""Relative rounding of a local gain in float64: a Jacobian from autograd and its largest singular value."""
DUST = 1e-6
"""What rounding may leave of a derivative that is zero: differences of entries far from 1, over the root of a small eps."""


def jacobians(function: Callable[..., Tensor], *xs: Tensor) -> tuple[Tensor, ...]:
    """The Jacobian matrix (outputs, entries of ``x``) of a function for each of its arguments; complex numbers count as pairs."""
    return value_and_jacobians(function, *xs)[1]


def value_and_jacobians(function: Callable[..., Tensor], *xs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same, with the value that the function has. NaN where the value is."""
    leaves = [torch.view_as_real(x).clone().requires_grad_() if x.is_complex() else x.detach().clone().requires_grad_() for x in xs]
    made = function(*(torch.view_as_complex(leaf) if x.is_complex() else leaf for leaf, x in zip(leaves, xs, strict=True)))
    out = (torch.view_as_real(made) if made.is_complex() else made).reshape(-1)
    if bool(out.isnan().any()):  # outside the function's own domain
        found = tuple(torch.full((1, leaf.numel()), torch.nan, dtype=leaf.dtype) for leaf in leaves)
    elif not out.requires_grad or not out.numel():
        found = tuple(torch.zeros(out.numel(), leaf.numel(), dtype=leaf.dtype) for leaf in leaves)
    else:
        found = tuple(rows.reshape(out.numel(), -1) for rows in _rows(out, leaves))
    return made.detach(), found


def _rows(out: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of all entries of the output, at once where torch can, else one by one."""
    basis = torch.eye(out.numel(), dtype=out.dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an op without a batching rule is looped over, which is all we want
            grads = torch.autograd.grad(out, leaves, basis, is_grads_batched=True, retain_graph=True, allow_unused=True)
        return [torch.zeros(len(basis), *x.shape, dtype=x.dtype) if g is None else g for g, x in zip(grads, leaves, strict=True)]
    except RuntimeError:
        rows = [gradients(out, leaves, one) for one in basis]
        return [torch.stack([row[i] for row in rows]) for i in range(len(leaves))]


def gradients(out: Tensor, leaves: Sequence[Tensor], cotangent: Tensor) -> list[Tensor]:
    """The cotangent pulled back to every leaf, as autograd does it: zero where it has no path, or no derivative at all."""
    grads: Sequence[Tensor | None] = (None,) * len(leaves)
    try:
        grads = torch.autograd.grad(out, leaves, cotangent, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if not is_not_implemented(error):
            raise
    return [torch.zeros_like(x) if grad is None else grad for grad, x in zip(grads, leaves, strict=True)]


def local_gain(function: Callable[..., Tensor], *xs: Tensor, wrt: int = 0) -> float:
    """The largest singular value of the Jacobian of a function at a point; NaN where it is not defined."""
    return _norm(jacobians(function, *xs)[wrt])


def _norm(jacobian: Tensor) -> float:
    if not bool(torch.isfinite(jacobian).all()):
        return float("nan")
    return float(torch.linalg.matrix_norm(jacobian.double(), 2)) if jacobian.numel() else 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has seen: the largest gain for each operand and where, and the extremes of the output and of its rows."""

    gains: Mapping[str, float]
    at: Mapping[str, Mapping[str, Tensor]]
    low: float
    high: float
    longest: float


class _Record:
    """The largest of everything seen so far, during one search."""

    def __init__(self, op: Applied) -> None:
        self.op = op
        self.gains: dict[str, float] = {}
        self.at: dict[str, Mapping[str, Tensor]] = {}
        self.low, self.high, self.longest = inf, -inf, 0.0

    def visit(self, values: Mapping[str, Tensor]) -> None:
        y, gains = look(self.op, values)
        if not y.numel() or bool(y.isnan().any()):  # outside the op's own domain
            return
        if y.is_floating_point():
            self.low, self.high = min(self.low, float(y.min())), max(self.high, float(y.max()))
        rows = self.op.effect.out.rows
        if rows is not None:
            self.longest = max(self.longest, float(torch.linalg.vector_norm(y, dim=rows.axes).max()))
        for name, gain in gains.items():
            if gain > self.gains.get(name, -1.0):
                self.gains[name], self.at[name] = gain, values


def search(op: Applied, *, tries: int = 32, climbs: int = 12, seed: int = 0) -> Found:
    """The largest local gain of an op for each floating operand, over the domain that is proved of its operands."""
    record = _Record(op)
    with torch.random.fork_rng(devices=[]):
        for values in candidates(op, tries=tries, seed=seed):
            record.visit(values)
        generator = torch.Generator().manual_seed(seed)
        for name in list(record.gains) if op.free else []:
            step = 0.3
            for _ in range(climbs):
                before = record.gains[name]
                record.visit({n: op.allowed(n, _moved(v, step, generator)) for n, v in record.at[name].items()})
                step *= 1.3 if record.gains[name] > before else 0.75
    return Found(record.gains, record.at, record.low, record.high, record.longest)


def _moved(value: Tensor, step: float, generator: torch.Generator) -> Tensor:
    if not value.is_floating_point():
        return value
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
    return value + step * noise * value.abs().mean().clamp_min(1e-12)


def candidates(op: Applied, *, tries: int, seed: int) -> Iterator[Mapping[str, Tensor]]:
    """Values of the free operands: the case's own starts, then points of one kind, then mixed ones."""
    for start in op.case.starts:
        yield {str(op.node.operands[slot]): value for slot, value in enumerate(start) if value is not None}
    if not op.free:
        yield {}
        return
    for offset in (0, 1) if len(op.free) > 1 else (0,):  # points of one kind for all operands, then of mixed kinds
        each = [points(op.example[n], tries=(1 + offset) * tries, seed=seed + offset * (1 + i)) for i, n in enumerate(op.free)]
        for values in islice(zip(*each, strict=True), offset * tries // 2, None):
            yield {name: op.allowed(name, value) for name, value in zip(op.free, values, strict=True)}


def look(op: Applied, values: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, float]]:
    """The op's value at a point, and its local gain for each operand that carries a gradient; undefined gains are left out."""
    full = {**op.example, **values}
    names = op.differentiable
    y, found = value_and_jacobians(lambda *xs: op.output({**full, **dict(zip(names, xs, strict=True))}), *(full[n] for n in names))
    return y, {name: gain for name, j in zip(names, found, strict=True) if not isnan(gain := _norm(j))}


def unsound(op: Applied, found: Found) -> Iterator[str]:
    """Proved facts that the search has refuted: a gain above its bound, values outside the range. The worst that can be said."""
    for name, gain in found.gains.items():
        lip = op.lip(name)
        if gain > (lip * (1.0 + SLACK) if lip else DUST):
            at = {n: v.flatten()[:8].tolist() for n, v in found.at[name].items()}
            yield f"{op.case.id}: the gain for operand {op.slots(name)} is {gain:.12g}, its bound says {lip:.12g}; at {at}"
    out = op.effect.out
    if found.low < out.range.lo - SLACK * abs(out.range.lo) or found.high > out.range.hi + SLACK * abs(out.range.hi):
        yield f"{op.case.id}: values in [{found.low:.12g}, {found.high:.12g}], the range says [{out.range.lo:.12g}, {out.range.hi:.12g}]"
    if out.rows is not None and found.longest > out.rows.bound * (1.0 + SLACK):
        yield f"{op.case.id}: a row of length {found.longest:.12g}, the row norm says {out.rows.bound:.12g}"


def loose(op: Applied, found: Found) -> Iterator[str]:
    """Operands whose bound is further above the largest gain found than is claimed."""
    for name, gain in found.gains.items():
        lip, slots = op.lip(name), op.slots(name)
        kinds = {jac.kind for jac in (op.effect.jac[slot] for slot in slots) if jac is not None}
        claimed = kinds == {"exact"} and len(slots) == 1  # bounds of parallel slots add, their gains need not
        wanted = op.case.tight.get(slots[0], 0.999 if claimed else 0.0)
        if not isinf(lip) and gain < wanted * lip:
            yield f"{op.case.id}: the largest gain found for operand {slots} is {gain:.6g}, {gain / lip:.4g} of its bound {lip:.6g}"
