"""A few real optimiser steps on a machine's own copies of the parameters: the model and its optimiser stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from netaudit.errors import ProbeError
from netaudit.intake.subject import Subject
from netaudit.intake.training import OWN, made, parameter_names
from netaudit.intake.usercode import one_line
from netaudit.probe.machine import Machine, forward
from netaudit.probe.run import Plan
from netaudit.training import SETTINGS, Optimizer, Training

_DEFINE = "define optimizer(model) in the target file"


def stepped(machine: Machine, subject: Subject, training: Training, steps: int, plan: Plan) -> Machine:
    """The machine after so many steps on the one batch, each with random numbers of its own.

    The learning rates are those of their peak: in a warm-up from zero nothing would move. The gradient is clipped as in training.

    Raises:
        ProbeError: there is no loss, or the optimiser cannot be made or fails.
    """
    loss = machine.graph.loss
    if loss is None:
        raise ProbeError("the target has no loss to train on", "define loss(model, inputs) in the target file, or give --cotangent ce")
    leaves = {
        info.node: machine.leaves[info.node].clone().requires_grad_()
        for info in machine.graph.params.values()
        if info.trainable and info.node in machine.leaves
    }
    optimizers = _optimizers(machine, subject, training, leaves)
    for step in range(steps):
        plan.progress("optimiser steps", step, steps)
        for leaf in leaves.values():
            leaf.grad = None
        forward(machine, leaves, seed=plan.seed + step)[loss].backward()  # type: ignore[no-untyped-call]  # torch's stub
        _clip(leaves, training)
        for optimizer in optimizers:
            _step(optimizer)
    plan.progress("optimiser steps", steps, steps)
    return replace(machine, leaves={**machine.leaves, **{name: leaf.detach() for name, leaf in leaves.items()}})


def _optimizers(machine: Machine, subject: Subject, training: Training, leaves: Mapping[str, Tensor]) -> list[torch.optim.Optimizer]:
    """Torch's own optimisers over the leaves.

    Raises:
        ProbeError: one has no learning rate, or is none of torch's.
    """
    by_name = {name: leaves[info.node] for name, info in machine.graph.params.items() if info.node in leaves}
    found = []
    for place, described in enumerate(training.optimizers):
        if any(group.peak_lr is None for group in described.groups):
            raise ProbeError(f"nothing says the learning rate of {described.kind}", "give --lr")
        own = subject.optimizers[place] if training.source == OWN else None
        real = _made(described, by_name) if own is None else _twin(own, machine, subject, by_name)
        _set(real, described)
        found.append(real)
    return found


def _made(described: Optimizer, leaves: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    groups = [[leaves[name] for name in group.params if name in leaves] for group in described.groups]
    try:
        found = made(described, groups)
    except (TypeError, ValueError) as error:
        raise ProbeError(f"torch makes no {described.kind} of it: {one_line(str(error))}", _DEFINE) from error
    if found is None:
        raise ProbeError(f"torch has no {described.kind}", _DEFINE)
    return found


def _twin(own: torch.optim.Optimizer, machine: Machine, subject: Subject, leaves: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    """A copy of the target's optimiser that holds the leaves in place of the model's parameters, and its state beside them."""
    names = parameter_names(subject, machine.graph)
    held = [parameter for group in own.param_groups for parameter in group["params"]]
    places = {id(parameter): leaves.get(names.get(id(parameter), ""), parameter) for parameter in held}
    twin = copy.deepcopy(own, places)  # torch copies groups and state; the tensors in ``places`` stand for themselves
    for name, value in vars(own).items():
        if name not in vars(twin) and name != "step":  # a scheduler hangs a ``step`` of the original's on it
            setattr(twin, name, value)
    for leaf, state in twin.state.items():
        state.update({k: v.to(leaf) for k, v in state.items() if isinstance(v, Tensor) and v.shape == leaf.shape})
    return twin


def _set(real: torch.optim.Optimizer, described: Optimizer) -> None:
    """What is said of the settings, into the groups of an optimiser."""
    for group, said in zip(real.param_groups, described.groups, strict=True):
        group.update({name: said.settings[name] for name in SETTINGS if name in group and said.settings.get(name) is not None})
        group["lr"] = said.peak_lr


def _clip(leaves: Mapping[str, Tensor], training: Training) -> None:
    if training.clip is not None:
        torch.nn.utils.clip_grad_norm_(leaves.values(), training.clip)
    if training.clip_value is not None:
        torch.nn.utils.clip_grad_value_(leaves.values(), training.clip_value)


def _step(optimizer: torch.optim.Optimizer) -> None:
    try:
        optimizer.step()
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:  # the user's own code, too
        why = f"{type(error).__name__}: {one_line(str(error))}"
        raise ProbeError(f"a step of {type(optimizer).__name__} failed: {why}", "it may need a closure, or more than gradients") from error
