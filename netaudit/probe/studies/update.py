"""How far the first step of the optimiser moves every parameter."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from netaudit.errors import ProbeError
from netaudit.graph import Node
from netaudit.measured import Study
from netaudit.probe.calls import Local
from netaudit.probe.heads import cotangents
from netaudit.probe.machine import Machine, sweep
from netaudit.probe.recut import given
from netaudit.probe.run import cut_for
from netaudit.probe.sizes import log, norm
from netaudit.training import Group, Optimizer, Training, kind_of

from .bench import Bench, Studied

NAME, TITLE = "update", "the first step of the optimiser beside the weights"
SHOWN = 5
"""Rows for the largest ratios, and as many for the smallest."""


@dataclass(frozen=True, slots=True)
class _Moved:
    """A parameter: ``||W||_F``, and ``||dW||_F`` of the first step; the ``kind`` of optimiser and the ``lr`` that made it."""

    name: str
    kind: str
    lr: float
    weight: float
    step: float

    @property
    def ratio(self) -> float | None:
        """None for a weight that is zero."""
        return self.step / self.weight if self.weight > 0.0 else None


def update(bench: Bench) -> Studied:
    """``||dW||_F / ||W||_F`` of every parameter that an optimiser moves, by one real step of ``torch.optim`` on copies of the weights.

    The gradients are those of this batch, clipped as the training clips them (``clip``: all of them by their norm; ``clip_value``), in
    the model's own precision: a step that rounding loses is zero. The learning rate is that of the first update; of optimisers
    that move every entry by about lr (Adam and its kin) the largest, since a warm-up only puts that off (as NA615 has it).
    A parameter without a gradient is not moved, one that is zero has no ratio.

    MEASURED; no unit. Source: You et al. 2017 (LARS), section 4.

    Raises:
        ProbeError: no optimiser is known, or nothing can be made of it.
    """
    if not bench.training.optimizers:
        raise ProbeError("no optimiser is known", "give --optimizer and --lr, or optimizer(model) in the target file")
    gradients = _gradients(bench)
    _clip(list(gradients.values()), bench.training)
    found, notes = list[_Moved](), list[str]()
    for optimizer in bench.training.optimizers:
        try:
            found += _stepped(bench.machine, optimizer, gradients)
        except ProbeError as error:
            notes.append(error.message)
    if not found:
        raise ProbeError("; ".join(notes) or "the optimisers hold no parameter that has a gradient")
    return _studied(found, notes)


# gradients --------------------------------------------------------------------------------------------------------------


class _Kept:
    """Keeps the cotangents of some leaves."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self.wanted, self.found = wanted, dict[str, Tensor]()

    def value(self, node: Node, value: Tensor) -> None:
        """Nothing is kept of values."""

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        """Keep what belongs to a wanted leaf."""
        if node.name in self.wanted:
            self.found[node.name] = cotangent.clone()

    def pulled(self, local: Local, parts: Mapping[str, Tensor]) -> None:
        """Nothing is kept of parts."""

    def left(self, local: Local) -> None:
        """Nothing is asked of a call."""


def _gradients(bench: Bench) -> Mapping[str, Tensor]:
    """The gradient of every trained parameter that gets one, by the parameter's name."""
    machine = given(bench.machine, {})
    nodes = {info.node: name for name, info in machine.graph.params.items() if info.trainable}
    kept = _Kept(frozenset(nodes))
    bench.plan.progress("first step", 0, 1)
    sweep(machine, cotangents(machine, bench.plan.seed), kept, cuts=cut_for(machine, bench.plan)[0], seed=bench.plan.seed)
    return {nodes[name]: gradient for name, gradient in kept.found.items()}


def _clip(gradients: Sequence[Tensor], training: Training) -> None:
    """Clip in place, by torch's own functions."""
    holders = [nn.Parameter(one, requires_grad=False) for one in gradients]
    for holder, one in zip(holders, gradients, strict=True):
        holder.grad = one
    if training.clip_value is not None:
        nn.utils.clip_grad_value_(holders, training.clip_value)
    if training.clip is not None:
        nn.utils.clip_grad_norm_(holders, training.clip)


# the step ---------------------------------------------------------------------------------------------------------------


def _stepped(machine: Machine, optimizer: Optimizer, gradients: Mapping[str, Tensor]) -> Sequence[_Moved]:
    """What the first step of an optimiser does to copies of its parameters.

    Raises:
        ProbeError: it cannot be made, or does not step.
    """
    make = getattr(torch.optim, optimizer.kind, None)
    if make is None:
        raise ProbeError(f"{optimizer.kind} is not in torch.optim: its step was not made")
    rates = {name: _lr(optimizer, group) for group in optimizer.groups for name in group.params if name in gradients}
    if None in rates.values():
        raise ProbeError(f"the learning rate of {optimizer.kind} is not known: give --lr")
    starts = {name: machine.leaves[machine.graph.params[name].node] for name in rates}
    copies = {name: nn.Parameter(start.clone()) for name, start in starts.items()}
    for name, copy in copies.items():
        copy.grad = gradients[name].clone()
    members = [(group, [name for name in group.params if name in copies]) for group in optimizer.groups]
    groups = [{**_settings(make, g), "params": [copies[n] for n in names], "lr": rates[names[0]]} for g, names in members if names]
    try:
        if groups:
            make(groups).step()
    except (TypeError, ValueError, RuntimeError) as error:  # LBFGS wants a closure, Muon matrices, SparseAdam sparse gradients
        raise ProbeError(f"torch's {optimizer.kind} did not step: {str(error).splitlines()[0][:100]}") from error
    return [
        _Moved(name, optimizer.kind, rates[name] or 0.0, norm(start), norm(copies[name].detach().double() - start.double()))
        for name, start in starts.items()
    ]


def _lr(optimizer: Optimizer, group: Group) -> float | None:
    kind = kind_of(optimizer.kind)
    return group.peak_lr if kind is not None and kind.step == "sign" else group.first_lr


def _settings(make: type[torch.optim.Optimizer], group: Group) -> Mapping[str, object]:
    """What the class takes of a group's settings; how it is computed (foreach, fused) is left to torch."""
    taken = set(inspect.signature(make).parameters) - {"params", "foreach", "fused", "capturable", "differentiable"}
    return {name: value for name, value in group.settings.items() if name in taken and value is not None}


# what is said -----------------------------------------------------------------------------------------------------------


def _studied(found: Sequence[_Moved], notes: Sequence[str]) -> Studied:
    ratios = sorted(((one, ratio) for one in found if (ratio := one.ratio) is not None), key=lambda item: (-item[1], item[0].name))
    shown = ratios if len(ratios) <= 2 * SHOWN else [*ratios[:SHOWN], *ratios[-SHOWN:]]
    rows = tuple((one.name, one.kind, one.lr, one.weight, one.step, ratio) for one, ratio in shown)
    columns = ("parameter", "optimiser", "lr", "||W||", "||dW||", "||dW|| / ||W||")
    says = [_range([ratio for _, ratio in ratios])]
    says += [f"without a ratio, since they start at zero: {len(found) - len(ratios)}"] if len(ratios) < len(found) else []
    says += [f"{len(shown)} of {len(ratios)} are shown"] if len(shown) < len(ratios) else []
    updates = {one.name: log(ratio) for one, ratio in ratios}
    return Studied(Study(NAME, TITLE, columns, rows, "; ".join((*says, *notes))), updates=updates)


def _range(ratios: Sequence[float]) -> str:
    known = [ratio for ratio in ratios if isfinite(ratio)]
    if not known:
        return "no ratio is finite"
    ends = f"{min(known):.2g} to {max(known):.2g}" if len(known) > 1 else f"{known[0]:.2g}"
    lost = f"; steps that are not finite: {len(ratios) - len(known)}" if len(known) < len(ratios) else ""
    return f"the first step moves weights by {ends} of their size{lost}"
