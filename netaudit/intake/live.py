"""From a model that exists already, with its present weights, to a subject."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from netaudit.errors import TargetError
from netaudit.intake.build import uncompiled
from netaudit.intake.inputs import choose, given, refuse_misfit
from netaudit.intake.signatures import misfit, required, shown_signature, signature_of
from netaudit.intake.subject import Built, Inputs, Loss, Options, Scheduler, Subject
from netaudit.intake.twin import Twin, on_cpu, twin
from netaudit.intake.usercode import kind_of, user_code

Optimizers: TypeAlias = Optimizer | Sequence[Optimizer] | Callable[[nn.Module], Any] | None
Schedulers: TypeAlias = LRScheduler | Sequence[LRScheduler] | Callable[[Optimizer], Any] | None
_CALLED = "loss=lambda model, batch: criterion(model(batch[0]), batch[1])"


@dataclass(frozen=True, slots=True)
class Live:
    """A model in hand and what is said of it. ``apart``: objects that it refers to without owning them, such as its trainer."""

    model: nn.Module
    inputs: object = None
    loss: Loss | None = None
    optimizer: Optimizers = None
    scheduler: Schedulers = None
    name: str = ""
    seed: int = 0
    apart: tuple[object, ...] = ()


def subject_of(live: Live) -> Subject:
    """A subject on a copy of the model: values on the CPU, every module in the mode it is in, no gradients.

    Raises:
        TargetError: it is no model, cannot be copied, or what is given beside it does not fit.
    """
    model = _bare(live.model)
    name = live.name or type(model).__name__
    copied = twin(name, model, live.apart)
    loss = _loss(live.loss, copied)
    found = _inputs(Built(name, copied.model), live, has_loss=loss is not None)
    return Subject(
        id=name,
        model=copied.model,
        args=found.args,
        kwargs=found.kwargs,
        inputs=found.given,
        inputs_from=found.source,
        guess=found.guess,
        loss=loss,
        optimizers=_optimizers(live.optimizer, copied),
        scheduler=_scheduler(live.scheduler, copied),
    )


def _bare(model: object) -> nn.Module:
    """The model inside the wrappers of torch that change nothing of what it computes."""
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise TargetError(f"{model.__name__} is a class, not a model", f"give an instance: {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise TargetError(f"the model is {kind_of(model)}, not a torch.nn.Module", "give the model itself")
    inner = uncompiled(model)
    return inner.module if isinstance(inner, DataParallel | DistributedDataParallel) else inner


# inputs -----------------------------------------------------------------------------------------------------------------


def _inputs(built: Built, live: Live, *, has_loss: bool) -> Inputs:
    """The batch that is given, a specification (``x=f32[8,32]``), or what the model itself or a guess offers."""
    if live.inputs is None:
        return choose(built, Options(seed=live.seed))
    specs = (live.inputs,) if isinstance(live.inputs, str) else live.inputs
    if isinstance(specs, list | tuple) and specs and all(isinstance(one, str) for one in specs):
        return choose(built, Options(inputs=tuple(specs), seed=live.seed, inputs_from="inputs"))
    found = given(built, on_cpu(live.inputs), "inputs")
    if has_loss:
        return _for_forward(built, found)
    refuse_misfit(built, found)
    return found


def _for_forward(built: Built, found: Inputs) -> Inputs:
    """A loss takes the batch as it is, labels and all; ``forward`` gets as much of it as it needs, should it be traced alone."""
    signature = signature_of(built.model.forward)
    if signature is None or not misfit(signature, found.args, found.kwargs):
        return found
    needed = required(signature)
    args = found.args[: len(needed)]
    kwargs = {p.name: found.kwargs[p.name] for p in needed if p.name in found.kwargs}
    return Inputs(args, kwargs, found.given, found.source)


# what else is given -----------------------------------------------------------------------------------------------------


def _loss(loss: object, copied: Twin) -> Loss | None:
    if loss is None:
        return None
    if not callable(loss):
        raise TargetError(f"loss is {kind_of(loss)}", f"give a function of model and inputs: {_CALLED}")
    if isinstance(loss, nn.modules.loss._Loss):
        raise TargetError(f"loss is called as loss(model, inputs), and {kind_of(loss)} takes an output and a target", _CALLED)
    signature = signature_of(loss)
    if signature is not None and misfit(signature, (None, None), {}):
        raise TargetError(f"{shown_signature('loss', signature)} cannot be called as loss(model, inputs)", _CALLED)
    bound: Loss = copied.of(loss)
    return bound


def _optimizers(given: object, copied: Twin) -> tuple[Optimizer, ...]:
    if given is None:
        return ()
    if callable(given) and not isinstance(given, Optimizer | list | tuple):
        with user_code("optimizer(model)"):
            made: object = given(copied.model)
    else:
        made = given
    several = made if isinstance(made, list | tuple) else (made,)
    for one in several:
        if not isinstance(one, Optimizer):
            raise TargetError(f"optimizer is {kind_of(one)}", "give a torch.optim.Optimizer, a list of them, or a function of the model")
    return tuple(made_of(one, copied) for one in several)


def made_of(optimizer: Optimizer, copied: Twin) -> Optimizer:
    """An optimiser of the same kind over the copy's parameters, without a state; a scheduled learning rate is that before the schedule."""
    shadow = object.__new__(type(optimizer))
    groups = []
    for group in optimizer.param_groups:
        settings = {key: value.item() if isinstance(value, Tensor) and value.numel() == 1 else value for key, value in group.items()}
        lr = settings.get("initial_lr", settings.get("lr"))
        groups.append({**settings, "lr": lr, "params": [copied.tensors.get(id(p), p) for p in group["params"]]})
    shadow.__setstate__({"defaults": dict(optimizer.defaults), "state": {}, "param_groups": groups})
    return shadow


def _scheduler(given: object, copied: Twin) -> Scheduler | None:
    if given is None:
        return None
    several = given if isinstance(given, list | tuple) else (given,)
    if all(isinstance(one, LRScheduler) for one in several):
        return _following([one for one in several if isinstance(one, LRScheduler)], copied)
    if not callable(given):
        hint = "give a torch.optim.lr_scheduler, a list of them, or a function of the optimiser"
        raise TargetError(f"scheduler is {kind_of(next(one for one in several if not isinstance(one, LRScheduler)))}", hint)
    made: Scheduler = given
    return made


def _following(schedulers: Sequence[LRScheduler], copied: Twin) -> Scheduler:
    """Copies of schedulers that act on whatever optimiser they are given, if theirs has the same parameters.

    Raises:
        TargetError: one has been stepped already: what it made of the learning rate so far cannot be seen.
    """
    for one in schedulers:
        if one.last_epoch > 0:
            hint = "give a function that makes it, lambda optimizer: ..., or leave it out"
            raise TargetError(f"the scheduler has been stepped already ({one.last_epoch} times), and it is replayed from its start", hint)

    def follow(optimizer: Optimizer) -> list[LRScheduler]:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        made = []
        for one in schedulers:
            groups = one.optimizer.param_groups
            if {id(copied.tensors.get(id(p), p)) for group in groups for p in group["params"]} == own:
                for mine, theirs in zip(optimizer.param_groups, groups, strict=True):
                    mine["lr"] = float(theirs["lr"])  # a tensor would be written into
                made.append(copy.deepcopy(one, {id(one.optimizer): optimizer}))
        return made

    return follow
