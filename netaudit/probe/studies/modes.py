"""The same batch in training and in evaluation mode: how far the outputs are apart."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, sqrt

import torch
from torch import Tensor

from netaudit.intake.trace import undisturbed
from netaudit.intake.usercode import user_code
from netaudit.intake.wrap import Alone, leaves_of
from netaudit.measured import Study
from netaudit.probe.sizes import log, norm

from .bench import Bench, Studied

TITLE = "training and evaluation mode"
CLOSE = 1e-6
"""Relative difference below which two outputs are the same but for rounding."""


def modes(bench: Bench) -> Studied:
    """RMS of every output in either mode, and ``||y_train - y_eval|| / ||y_eval||``: what dropout and batch statistics change.

    MEASURED on the model itself, on the CPU, without a gradient; its buffers and its mode are put back.
    """
    train, evaluated = (_outputs(bench, mode) for mode in ("train", "eval"))
    rows = tuple(_row(i, a, b) for i, (a, b) in enumerate(zip(train, evaluated, strict=False)) if a.is_floating_point())
    columns = ("output", "log10 RMS, train", "log10 RMS, eval", "log10 relative difference")
    return Studied(Study("modes", TITLE, columns, rows, _says([row[3] for row in rows if isinstance(row[3], float)])))


def _says(apart: Sequence[float]) -> str:
    if any(map(isnan, apart)):
        return "an output is not finite"
    most = max((10.0**one for one in apart), default=0.0)
    return "the two modes agree" if most < CLOSE else f"outputs of the two modes differ by up to {most:.2g} of their size"


def _outputs(bench: Bench, mode: str) -> Sequence[Tensor]:
    subject = bench.subject
    with undisturbed(subject.model, mode), user_code(f"running {subject.id} in {mode} mode"), torch.no_grad():
        torch.default_generator.manual_seed(bench.plan.seed)
        return [y.clone() for y in Alone(subject)(*leaves_of((subject.args, dict(subject.kwargs))))]


def _row(index: int, train: Tensor, evaluated: Tensor) -> tuple[str | float | None, ...]:
    root = sqrt(max(train.numel(), 1))
    apart = norm(train - evaluated) / max(norm(evaluated), 1e-300) if train.shape == evaluated.shape else None
    return (f"{index}", log(norm(train) / root), log(norm(evaluated) / root), None if apart is None else log(apart))
