"""The learning rates that a scheduler makes, found by stepping it on a copy of the optimiser; nothing is trained."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from math import isfinite
from typing import TypeAlias

import torch

from netaudit.errors import TargetError
from netaudit.training import Described, Schedule, compressed

from .signatures import misfit, signature_of
from .subject import Subject
from .usercode import kind_of, one_line, user_code

CAP = 100_000
"""Steps that are replayed at most: a second or so."""
UNTOLD = 10_000
"""Steps that are replayed when nobody says how many there will be: a warm-up is over by then."""
Stepper: TypeAlias = Callable[[], object]


def replayed(optimizer: torch.optim.Optimizer, lrs: Sequence[float], subject: Subject, said: Described) -> tuple[tuple[Schedule, ...], str]:
    """The schedule of every group, in updates; none, and why, when it follows a measurement.

    ``lrs`` are the learning rates that the groups start from. A scheduler is stepped once an update, unless ``said`` gives
    ``schedule_steps``: then so often over the whole training.

    Raises:
        TargetError: ``scheduler()`` raises, or returns something that cannot be stepped.
    """
    twin = _twin(optimizer, lrs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that the optimiser was not stepped before
        steppers = _steppers(subject, twin)
        if not all(map(_is_blind, steppers)):
            return (), "the learning rate follows a measurement (ReduceLROnPlateau or the like), so that it was not replayed"
        with redirect_stdout(sys.stderr):
            rows, broken = _rows(twin, steppers, min(said.schedule_steps or said.steps or UNTOLD, CAP))
    factor = said.steps / said.schedule_steps if said.steps and said.schedule_steps else 1.0
    return tuple(compressed(column, broken).stretched(factor) for column in zip(*rows, strict=True)), ""


def _twin(optimizer: torch.optim.Optimizer, lrs: Sequence[float]) -> torch.optim.Optimizer:
    """A copy over the same parameters, which no one steps: schedulers write into the optimiser that they are given."""
    twin = copy.deepcopy(optimizer, {id(p): p for group in optimizer.param_groups for p in group["params"]})
    for group, lr in zip(twin.param_groups, lrs, strict=True):
        group["lr"] = lr
    return twin


def _steppers(subject: Subject, twin: torch.optim.Optimizer) -> Sequence[Stepper]:
    assert subject.scheduler is not None
    what = f"scheduler() of {subject.id}"
    with user_code(what):
        made = subject.scheduler(twin)
    several = made if isinstance(made, list | tuple) else (made,)
    steps = [getattr(one, "step", None) for one in several]
    for one, step in zip(several, steps, strict=True):
        if not callable(step):
            raise TargetError(f"{what} returned {kind_of(one)}", "return a torch.optim.lr_scheduler, or a list of them")
    return [step for step in steps if callable(step)]


def _is_blind(step: Stepper) -> bool:
    """Whether it can be called without a measured value."""
    signature = signature_of(step)
    return signature is None or not misfit(signature, (), {})


def _rows(twin: torch.optim.Optimizer, steppers: Sequence[Stepper], count: int) -> tuple[list[list[float]], str]:
    """The learning rates of all groups before each step and after the last, and why there are fewer than asked for."""
    rows = [_rates(twin)]
    for _ in range(count):
        try:
            for step in steppers:
                step()
        except Exception as error:  # OneCycleLR raises behind its last step: that is how it behaves in training, too
            return rows, f"{type(error).__name__}: {one_line(str(error))}"
        row = _rates(twin)
        if not all(map(isfinite, row)):
            return rows, f"the learning rate becomes {next(lr for lr in row if not isfinite(lr))}"
        rows.append(row)
    return rows, ""


def _rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]
