"""The same batch in training mode and twice in evaluation mode: how far the outputs are apart."""

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

    The same of two passes in evaluation mode with other random numbers: what stays random.
    MEASURED on the model itself, on the CPU, without a gradient; its buffers and its mode are put back.
    """
    seed = bench.plan.seed
    train, evaluated, again = _outputs(bench, "train", seed), _outputs(bench, "eval", seed), _outputs(bench, "eval", seed + 1)
    floats = [(i, *ys) for i, ys in enumerate(zip(train, evaluated, again, strict=False)) if ys[0].is_floating_point()]
    rows = tuple(_row(i, a, b) for i, a, b, _ in floats)
    random = max((apart for _, _, b, c in floats if (apart := _apart(c, b)) is not None), default=0.0)
    columns = ("output", "log10 RMS, train", "log10 RMS, eval", "log10 relative difference")
    says = _says([row[3] for row in rows if isinstance(row[3], float)])
    if random > CLOSE:
        says += f"; two passes in evaluation mode differ by up to {random:.2g}"
    return Studied(Study("modes", TITLE, columns, rows, says), noise=log(random))


def _says(apart: Sequence[float]) -> str:
    if any(map(isnan, apart)):
        return "an output is not finite"
    most = max((10.0**one for one in apart), default=0.0)
    return "the two modes agree" if most < CLOSE else f"outputs of the two modes differ by up to {most:.2g} of their size"


def _outputs(bench: Bench, mode: str, seed: int) -> Sequence[Tensor]:
    subject = bench.subject
    with undisturbed(subject.model, mode), user_code(f"running {subject.id} in {mode} mode"), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        return [y.clone() for y in Alone(subject)(*leaves_of((subject.args, dict(subject.kwargs))))]


def _apart(y: Tensor, evaluated: Tensor) -> float | None:
    """The relative difference of two outputs; None where they have not one shape."""
    return norm(y - evaluated) / max(norm(evaluated), 1e-300) if y.shape == evaluated.shape else None


def _row(index: int, train: Tensor, evaluated: Tensor) -> tuple[str | float | None, ...]:
    root, apart = sqrt(max(train.numel(), 1)), _apart(train, evaluated)
    return (f"{index}", log(norm(train) / root), log(norm(evaluated) / root), None if apart is None else log(apart))
