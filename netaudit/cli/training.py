"""The options of `netaudit check` that say how a model is going to be trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netaudit.errors import ConfigError
from netaudit.training.described import described_kind

if TYPE_CHECKING:
    from netaudit.config import Config
    from netaudit.intake.training import Said

OptimizerName = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        help="adamw, sgd, lion, ...: goes before what the target file makes. What is not said of training is not judged.",
        metavar="NAME",
    ),
]
Lr = Annotated[float | None, typer.Option("--lr", help="Learning rate, at its peak.")]
Momentum = Annotated[float | None, typer.Option("--momentum", help="Momentum.")]
WeightDecay = Annotated[float | None, typer.Option("--weight-decay", help="Weight decay.")]
Betas = Annotated[str | None, typer.Option("--betas", help="Decay rates of the Adam family: .9,.95", metavar="B1,B2")]
Eps = Annotated[float | None, typer.Option("--eps", help="The optimiser's eps.")]
ScheduleShape = Annotated[str | None, typer.Option("--schedule", help="constant, linear or cosine, after the warm-up.", metavar="SHAPE")]
Warmup = Annotated[int | None, typer.Option("--warmup", help="Updates of linear warm-up; 0: none.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Updates in all.")]
ScheduleSteps = Annotated[
    int | None, typer.Option("--schedule-steps", help="How often the target's scheduler is stepped in all, if not once an update.")
]
Clip = Annotated[float | None, typer.Option("--clip", help="Largest norm of the gradient.")]
ClipValue = Annotated[float | None, typer.Option("--clip-value", help="Largest entry of the gradient.")]
Accumulation = Annotated[int | None, typer.Option("--accumulation", help="Batches whose gradients are added before an update.")]
PrecisionName = Annotated[
    str | None,
    typer.Option("--precision", help="fp32, fp16, bf16 (parameters too), mixed-fp16 or mixed-bf16 (autocast).", metavar="WORD"),
]
Scaler = Annotated[bool | None, typer.Option("--scaler/--no-scaler", help="Whether the loss is scaled.")]
Ema = Annotated[float | None, typer.Option("--ema", help="Decay of a running mean of the weights.")]


def said(config: Config, betas: str | None, **flags: float | int | bool | str | None) -> Said:
    """What the options and the configuration say.

    Raises:
        ConfigError: a value is not possible, or a word is not known.
    """
    from netaudit.config import said as said_elsewhere
    from netaudit.intake.training import Said

    options = said_elsewhere({**flags, "betas": None if betas is None else _betas(betas)}, "--")
    found = Said(options, config.training.described)
    if found.merged.optimizer is not None:
        described_kind(found.merged.optimizer)  # a wrong name is said before anything is built
    return found


def _betas(text: str) -> list[float]:
    try:
        first, second = (float(part) for part in text.split(","))
        return [first, second]
    except ValueError as error:
        raise ConfigError(f"--betas {text!r} is not two numbers", "write --betas .9,.95") from error
