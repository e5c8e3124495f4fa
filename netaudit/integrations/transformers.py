"""A callback for the Trainer of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from netaudit.finding import Severity
from netaudit.integrations.watch import Watch, scalars
from netaudit.results import Report


class NetauditCallback(TrainerCallback):  # type: ignore[misc,unused-ignore]  # transformers may have no types
    """Audits the model before the first step, and every so many steps from the live weights.

    ``inputs``: a batch by name, labels included; without it the first one of the training data. A batch with ``labels`` is audited with
    the loss that the model computes from them. Findings and sizes of S go to ``state.log_history``. ``reports`` are all reports so far.
    For the rest see ``netaudit.integrations.watch.Watch``.
    """

    def __init__(
        self, inputs: Mapping[str, Tensor] | None = None, *, every: int = 0, fail_level: Severity | None = "error", **options: Any
    ) -> None:
        self.inputs = inputs
        self.watch = Watch(every, fail_level, options)
        self.reports: list[Report] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first step."""
        del args, control
        if self.inputs is None:
            self.inputs = _first(kwargs["train_dataloader"])
        self._look(state, **kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After every step; not often is it time."""
        del args, control
        if self.watch.is_due(state.global_step):
            self._look(state, **kwargs)

    def _look(self, state: Any, *, model: nn.Module, optimizer: Any = None, **rest: Any) -> None:
        del rest
        batch = dict(self.inputs or {})
        loss = _own_loss if "labels" in batch else None
        report = self.watch.look(model, inputs=batch, loss=loss, optimizer=_inner(optimizer))
        self.reports.append(report)
        state.log_history.append({**scalars(report), "step": state.global_step})


def _own_loss(model: nn.Module, batch: Any) -> Tensor:
    loss: Tensor = model(**batch).loss
    return loss


def _first(loader: Any) -> Mapping[str, Tensor]:
    """The first batch, without moving the random generator that shuffles the data."""
    with torch.random.fork_rng(devices=[]):
        batch: Mapping[str, Tensor] = next(iter(loader))
    return batch


def _inner(optimizer: Any) -> Any:
    """The optimiser that accelerate wraps; None where the trainer has not made one yet."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, torch.optim.Optimizer) else None
