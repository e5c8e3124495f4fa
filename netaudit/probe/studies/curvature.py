"""The sharpness of the loss where training starts, and the learning rate that it allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, log10, sqrt

import torch
from torch import Tensor

from netaudit.errors import ProbeError
from netaudit.measured import Study
from netaudit.probe.linear import differentiable
from netaudit.probe.machine import Machine, forward
from netaudit.probe.recut import answering, at_least
from netaudit.probe.spectrum import Ends, ends
from netaudit.training import Group, Optimizer, Training

from .bench import Bench, Studied

NAME, TITLE = "curvature", "largest eigenvalues of the Hessian of the loss"
EPS = 1e-8
"""Adam's eps where no optimiser is known: torch's default."""
DIAGONAL = frozenset({"Adam", "AdamW", "Adamax", "Adagrad"})
"""Optimisers that divide the gradient by ``|g| + eps`` in their first step, entry by entry."""
PLAIN = frozenset({"SGD"})


def curvature(bench: Bench) -> Studied:
    """The extreme eigenvalues of ``H``, plain and preconditioned, and the largest learning rate that a quadratic with them allows.

    ``H`` is the Hessian of the loss by the trained parameters, known by its products ``H v`` (two backward passes), its ends
    found by Lanczos (``spectrum.ends``): the top one is a lower bound of the largest eigenvalue. Adam's is that of
    ``P^-1/2 H P^-1/2`` with ``P = diag(|g| + eps)``: the preconditioner of step 0, at which it is harshest. Both are stable for
    ``lr < 2 / lambda``, heavy-ball momentum m multiplies that by ``1 + m``, Nesterov's by ``(1 + m) / (1 + 2 m)``, an averaged gradient
    (Adam, beta1) by ``(1 + beta1) / (1 - beta1)``, P held fixed.

    Assumes this batch and these dropout masks; no decay, no clipping. Plain in the model's precision, at least float32, Adam's in
    float64. Where groups have several learning rates,
    parameter i counts with ``sqrt(lr_i / lr)``, lr the largest: ``H`` becomes ``D H D``. Units: loss over parameter squared
    (plain), loss over parameter (Adam).
    Source: Pearlmutter 1994; Cohen et al. 2021, sections 2 and B; Cohen et al. 2022 (adaptive methods), section 3.

    Raises:
        ProbeError: there is no loss, or nothing that is trained reaches it.
    """
    machine = bench.machine
    if machine.graph.loss is None:
        raise ProbeError("the target has no loss that was traced", "give it loss(model, inputs)")
    moved = _moved(machine, bench.training)
    lossy = answering(machine, (machine.graph.loss,))
    plain = _plain(bench, lossy, moved, max(bench.plan.pairs // 2, 1))
    adam = _adam(bench, lossy, moved, max(bench.plan.pairs - plain.products, 1))
    only = bench.training.optimizers[0] if len(bench.training.optimizers) == 1 else None
    rows = tuple(_row(name, found) for name, found in (("plain", plain), ("Adam, step 0", adam)))
    columns = ("Hessian", "lambda max >=", "lambda min <=", "products", "converged", "2 / lambda")
    says, edge = _edge(only, plain, adam)
    return Studied(Study(NAME, TITLE, columns, rows, says), edge=edge)


# the Hessian ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Hessian:
    """``v -> H v`` on the joined entries of some parameters; ``parts`` are their gradients, flattened."""

    product: Callable[[Tensor], Tensor]
    parts: Mapping[str, Tensor]


def _hessian(machine: Machine, moved: Mapping[str, float], seed: int) -> _Hessian:
    nodes = {name: info.node for name, info in machine.graph.params.items() if name in moved and info.node in machine.leaves}
    leaves = {name: machine.leaves[node].detach().requires_grad_() for name, node in nodes.items()}
    if not leaves:
        raise ProbeError("no trained parameter reaches the loss", "there is nothing to curve")
    with differentiable():
        loss = forward(machine, {nodes[name]: leaf for name, leaf in leaves.items()}, seed=seed)[machine.graph.heads[0]]
        found = torch.autograd.grad(loss.sum(), list(leaves.values()), create_graph=True, materialize_grads=True)
    gradient = torch.cat([one.flatten() for one in found])

    def product(v: Tensor) -> Tensor:
        if not gradient.requires_grad:
            return torch.zeros_like(v)
        with differentiable():
            second = torch.autograd.grad(gradient, list(leaves.values()), v, retain_graph=True, materialize_grads=True)
        return torch.cat([one.flatten() for one in second])

    return _Hessian(product, {name: one.detach().flatten() for name, one in zip(leaves, found, strict=True)})


def _plain(bench: Bench, machine: Machine, moved: Mapping[str, float], products: int) -> Ends:
    hessian = _hessian(at_least(machine, "float32"), moved, bench.plan.seed)
    return _ends(bench, "curvature", hessian, _speed(hessian, moved), products)


def _adam(bench: Bench, machine: Machine, moved: Mapping[str, float], products: int) -> Ends:
    """In float64: what is rounded where a gradient is next to zero, P is not far from eps and ``P^-1`` from 1e8, would show."""
    hessian = _hessian(at_least(machine, "float64"), moved, bench.plan.seed)
    divisor = torch.cat([one.abs() + _eps(bench.training, name) for name, one in hessian.parts.items()])
    return _ends(bench, "curvature, Adam's", hessian, _speed(hessian, moved) / divisor.sqrt(), products)


def _speed(hessian: _Hessian, moved: Mapping[str, float]) -> Tensor:
    return torch.cat([torch.full_like(one, sqrt(moved[name])) for name, one in hessian.parts.items()])


def _ends(bench: Bench, what: str, hessian: _Hessian, scale: Tensor, products: int) -> Ends:
    """The ends of ``S H S``, ``S`` diagonal."""

    def scaled(v: Tensor) -> Tensor:
        return scale * hessian.product(scale * v)

    return ends(bench.counted(what, scaled, products), scale, products=products, seed=bench.plan.seed)


# the optimiser ----------------------------------------------------------------------------------------------------------


def _moved(machine: Machine, training: Training) -> Mapping[str, float]:
    """The parameters that are moved, each with its share of the largest learning rate: all that are trained where no one says."""
    floats = (n for n, info in machine.graph.params.items() if info.trainable and info.dtype.startswith(("float", "bfloat")))
    rates = {name: _lr(group) for o in training.optimizers for group in o.groups for name in group.params}
    most = max((lr for lr in rates.values() if lr is not None), default=0.0)
    if not most:
        return {name: 1.0 for name in floats if name in rates or not rates}
    return {name: (most if (lr := rates[name]) is None else lr) / most for name in floats if name in rates}


def _lr(group: Group) -> float | None:
    """The learning rate of the first update; where a warm-up starts at nothing, the largest."""
    return group.first_lr or group.peak_lr


def _eps(training: Training, param: str) -> float:
    own = (group.number("eps") for o in training.optimizers for group in o.groups if param in group.params)
    return next((eps for eps in own if eps is not None), EPS)


def _factor(kind: str, group: Group) -> float:
    """The largest stable ``lr lambda / 2``."""
    m = group.number("momentum") or 0.0
    if kind in PLAIN:
        return (1.0 + m) / (1.0 + 2.0 * m if group.settings.get("nesterov") else 1.0 - (group.number("dampening") or 0.0))
    beta = group.betas[0] if group.betas is not None else 0.0
    return (1.0 + beta) / (1.0 - beta) if beta < 1.0 else 1.0


def _edge(optimizer: Optimizer | None, plain: Ends, adam: Ends) -> tuple[str, float | None]:
    """What the learning rate of the target is beside the largest stable one, in words, and as log10 of their ratio."""
    if optimizer is None:
        return "the learning rate is compared where one optimiser is known (--optimizer, --lr)", None
    found = plain if optimizer.kind in PLAIN else adam if optimizer.kind in DIAGONAL else None
    lrs = [(lr, group) for group in optimizer.groups if (lr := _lr(group))]
    if found is None or not lrs:
        return f"the learning rate of {optimizer.kind} is not compared: its edge of stability is not known here", None
    if not isfinite(found.top) or found.top <= 0.0:
        return "no positive curvature was found: there is no edge" if isfinite(found.top) else "the curvature is not finite", None
    lr, group = max(lrs, key=lambda one: one[0])
    stable = 2.0 * _factor(optimizer.kind, group) / found.top
    sure = "" if found.converged else " (or less: lambda had not converged)"
    text = f"lr = {lr:g} of {optimizer.kind} is {lr / stable:.2g} times the largest stable one, {stable:.2g}{sure}"
    return text, log10(lr / stable)


def _row(name: str, found: Ends) -> tuple[str | float | None, ...]:
    limit = 2.0 / found.top if found.top > 0.0 else "none"
    return (name, found.top, found.bottom, f"{found.products}", "yes" if found.converged else "no", limit)
