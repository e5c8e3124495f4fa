"""From a built model to a subject: its weights, its batch, its loss and its optimisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch.nn.parameter import UninitializedParameter

from netaudit.config import said
from netaudit.errors import ConfigError, TargetError
from netaudit.graph import Site
from netaudit.intake.checkpoint import load_weights
from netaudit.intake.files import hook, origin_file
from netaudit.intake.inputs import choose
from netaudit.intake.signatures import misfit, shown_signature, signature_of
from netaudit.intake.sites import created, noting_optimizers
from netaudit.intake.subject import Built, Loss, Options, Scheduler, Subject
from netaudit.intake.usercode import kind_of, user_code
from netaudit.training import Described

_CALLS = {
    "loss": "loss(model, inputs)",
    "optimizer": "optimizer(model)",
    "scheduler": "scheduler(optimizer)",
    "training_setup": "training_setup()",
}


def completed(built: Built, options: Options) -> Subject:
    """Load the weights, choose the inputs, and take over what the file offers beside its model.

    Raises:
        TargetError: any of it fails or does not fit.
    """
    absent = built.absent
    if options.weights is not None:
        absent = replace(absent, stored=load_weights(built.model, Path(options.weights)))
    inputs = choose(built, options)
    _refuse_unfinished(built)
    optimizers, sites = _optimizers(built)
    return Subject(
        id=built.id,
        model=built.model,
        args=inputs.args,
        kwargs=inputs.kwargs,
        inputs=inputs.given,
        inputs_from=inputs.source,
        guess=inputs.guess,
        loss=cast(Loss | None, _offered(built, "loss", 2)),
        optimizers=optimizers,
        optimizer_sites=sites,
        scheduler=cast(Scheduler | None, _offered(built, "scheduler", 1)),
        said=_said(built),
        created=created(built.model),
        file=origin_file(built.origin) if built.origin is not None else None,
        program=built.program,
        absent=absent,
    )


def _refuse_unfinished(built: Built) -> None:
    """A lazy layer has no weights yet; a module inside itself has no end of them.

    Raises:
        TargetError: the model has one.
    """
    lazy = [name for name, parameter in built.model.named_parameters() if isinstance(parameter, UninitializedParameter)]
    if lazy:
        hint = "call the model once in build(), on a batch like example_inputs(), or give its layers their sizes"
        raise TargetError(f"{built.id} has lazy parameters, whose shape is not known yet: {lazy[0]}", hint)
    try:
        for _ in built.model.named_modules(remove_duplicate=False):
            pass
    except RecursionError as error:
        raise TargetError(f"{built.id} has a module that contains itself", "hold a reference to a parent in a list or a weakref") from error


def _offered(built: Built, name: str, count: int) -> Callable[..., object] | None:
    """A function of the file's protocol, if it has it; its signature must take what it will be called with."""
    function = hook(built.origin, name) if built.origin is not None else None
    signature = signature_of(function) if function is not None else None
    if signature is not None and misfit(signature, (None,) * count, {}):
        call = shown_signature(name, signature)
        hint = "rename it if it is meant for something else"
        raise TargetError(f"{call} of {built.id} cannot be called as {_CALLS[name]}", hint)
    return function


def _optimizers(built: Built) -> tuple[tuple[torch.optim.Optimizer, ...], tuple[Site | None, ...]]:
    """The optimisers of the file, and the lines that construct them."""
    function = _offered(built, "optimizer", 1)
    if function is None:
        return (), ()
    what = f"optimizer() of {built.id}"
    with user_code(what), noting_optimizers() as sites:
        made = function(built.model)
    several = made if isinstance(made, list | tuple) else (made,)
    for one in several:
        if not isinstance(one, torch.optim.Optimizer):
            held = f"{kind_of(made)} with {kind_of(one)}" if several is made else kind_of(made)
            raise TargetError(f"{what} returned {held}", "return a torch.optim.Optimizer, or a list of them")
    return tuple(several), tuple(sites.get(id(one)) for one in several)


def _said(built: Built) -> Described:
    """What the file says of the training, by the keys of the configuration."""
    function = _offered(built, "training_setup", 0)
    if function is None:
        return Described()
    what = f"training_setup() of {built.id}"
    with user_code(what):
        values = function()
    if not isinstance(values, dict):
        raise TargetError(f"{what} returned {kind_of(values)}", "return a dict: {'steps': 10_000, 'clip': 1.0}")
    try:
        return said({str(key): value for key, value in values.items()}, "")
    except ConfigError as error:
        raise TargetError(f"{what}: {error.message}", error.hint) from error
