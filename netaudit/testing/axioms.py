"""What holds for every transfer: shapes, kinds, tags, finite moments, a linear pull-back. Ranges are checked by the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import isfinite, isinf, isnan

import torch
from torch import Tensor

from netaudit.effect import Jacobian
from netaudit.moments import Cotangent, cotangent, independent
from netaudit.testing.case import Applied, normal
from netaudit.testing.search import DUST, jacobians


def broken_axioms(op: Applied, *, seed: int = 0) -> Iterator[str]:
    """Every axiom that a transfer breaks on a case, in a sentence."""
    yield from (f"{op.case.id}: {text}" for text in _structure(op))
    yield from (f"{op.case.id}: {text}" for text in _tags(op, seed))
    yield from (f"{op.case.id}: {text}" for text in _pull(op))


# structure --------------------------------------------------------------------------------------------------------------


def _structure(op: Applied) -> Iterator[str]:
    effect, node = op.effect, op.node
    if effect.out.shape != node.shape:
        yield f"the output's signal has shape {effect.out.shape}, the node {node.shape}"
    if tuple(op.output({}).shape) != node.shape:
        yield f"the op gives shape {tuple(op.output({}).shape)}, the node says {node.shape}"
    if len(effect.jac) != len(node.operands):
        yield f"{len(effect.jac)} Jacobians for {len(node.operands)} operands"
    for slot, jac in enumerate(effect.jac):
        if jac is None and node.operands[slot] in op.differentiable:
            yield f"slot {slot} holds a floating tensor and has no Jacobian"
        if jac is not None:
            yield from (f"slot {slot}: {text}" for text in _kind(jac))


def _kind(jac: Jacobian) -> Iterator[str]:
    if isnan(jac.lip) or jac.lip < 0:
        yield f"a bound of {jac.lip}"
    if isinf(jac.lip) != (jac.kind in ("infinite", "unknown")):
        yield f"kind {jac.kind} with a bound of {jac.lip}"
    if ("zero" in jac.tags) != (jac.lip == 0.0):
        yield f"a bound of {jac.lip} {'with' if 'zero' in jac.tags else 'without'} the tag zero"
    if not jac.why:
        yield "no reason is given"


# tags -------------------------------------------------------------------------------------------------------------------


def _tags(op: Applied, seed: int) -> Iterator[str]:
    """The tags of every slot, on the explicit Jacobians at a generic point and at one that differs in that operand alone."""
    point = _generic(op, seed)
    for name in op.differentiable:
        slots = op.slots(name)
        jac = op.effect.jac[slots[0]]
        if len(slots) > 1 or jac is None:
            continue
        here, there = (_jacobian(op, name, {**point, **other}) for other in ({}, _generic(op, seed + 1, only=name)))
        if not bool(torch.isfinite(here).all() and torch.isfinite(there).all()):
            continue
        for tag in sorted(jac.tags):
            if tag in _HOLDS and not _HOLDS[tag](here, there):
                yield f"slot {slots[0]} is not {tag}"


def _generic(op: Applied, seed: int, only: str = "") -> Mapping[str, Tensor]:
    """Normal values for the free floating operands, none equal to another's."""
    names = [name for name in op.free if name == only or (not only and name in op.differentiable)]
    drawn = {name: normal(*op.example[name].shape, seed=100 * seed + i + 1) for i, name in enumerate(names)}
    return {name: op.allowed(name, value.to(op.example[name].dtype)) for name, value in drawn.items()}


def _jacobian(op: Applied, name: str, point: Mapping[str, Tensor]) -> Tensor:
    full = {**op.example, **point}
    return jacobians(lambda x: op.output({**full, name: x}), full[name])[0]


def _equal(a: Tensor, b: Tensor) -> bool:
    size = max(float(a.abs().max()), float(b.abs().max()), 1.0) if a.numel() and b.numel() else 1.0
    return a.shape == b.shape and bool(((a - b).abs() <= 1e-7 * size).all())


def _is_projection(j: Tensor, _: Tensor) -> bool:
    """``J^2 = J`` for a square Jacobian; one that drops entries is a projection up to coordinates: ``J J' J = J``."""
    return _equal(j @ j, j) if j.shape[0] == j.shape[1] and _equal(j @ j, j) else _equal(j @ j.T @ j, j)


def _is_psd(j: Tensor, _: Tensor) -> bool:
    return _equal(j, j.T) and float(torch.linalg.eigvalsh(j).min()) >= -1e-7 * max(float(j.abs().max()), 1.0) if j.numel() else True


_HOLDS: Mapping[str, Callable[[Tensor, Tensor], bool]] = {
    "diagonal": lambda j, _: j.shape[0] == j.shape[1] and _equal(j, torch.diag(torch.diagonal(j))),
    "linear": _equal,
    "isometry": lambda j, _: _equal(j.T @ j, torch.eye(j.shape[1], dtype=j.dtype)),
    "selection": lambda j, _: bool(((j == 0) | (j == 1)).all()) and bool((j.sum(1) <= 1).all()),
    "projection": _is_projection,
    "symmetric": lambda j, _: _equal(j, j.T),
    "psd": _is_psd,
    "zero": lambda j, k: bool((j.abs() <= DUST).all() and (k.abs() <= DUST).all()),
    "rank-deficient": lambda j, _: int(torch.linalg.matrix_rank(j)) < j.shape[1],
}


# the pull-back ----------------------------------------------------------------------------------------------------------


def _pull(op: Applied) -> Iterator[str]:
    """Cotangents have the operands' shapes, empty slots get none, and thrice the cotangent is pulled to thrice the gradient."""
    effect, node = op.effect, op.node
    if effect.out.moments is not None:
        if effect.out.moments.sizes != node.shape:
            yield f"moments of shape {effect.out.moments.sizes} for a node of {node.shape}"
        if not isfinite(effect.out.moments.mean_square) or not isfinite(effect.out.moments.mean):
            yield "moments that are not finite"
    if effect.pull is None:
        return
    g = cotangent(independent(node.shape))
    once, thrice = effect.pull(g), effect.pull(g.scaled(3.0))
    if len(once) != len(node.operands):
        yield f"{len(once)} cotangents for {len(node.operands)} operands"
        return
    for slot, (part, larger) in enumerate(zip(once, thrice, strict=True)):
        if part is not None and larger is not None:
            yield from (f"slot {slot} {text}" for text in _part(op, slot, part, larger))


def _part(op: Applied, slot: int, part: Cotangent, thrice: Cotangent) -> Iterator[str]:
    operand = op.node.operands[slot]
    shape = op.signal(operand).shape if isinstance(operand, str) else ()
    if part.sizes != shape:
        yield f"of shape {shape} gets a cotangent of {part.sizes}"
    if op.effect.jac[slot] is None:
        yield "has no Jacobian but gets a cotangent"
    if abs(thrice.mean_square - 9.0 * part.mean_square) > 1e-6 * thrice.mean_square:
        yield f"has a pull-back that is not linear: {thrice.mean_square:.6g} for 9 times {part.mean_square:.6g}"
