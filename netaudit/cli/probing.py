"""The options of `netaudit check --probe` and `netaudit probe`: what is measured, and where."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from netaudit.errors import ConfigError
from netaudit.progress import Progress

from .common import one_of

if TYPE_CHECKING:
    from netaudit.audit import Settings
    from netaudit.intake.subject import Options, Subject
    from netaudit.probe import Probing
    from netaudit.probe.processes import Measure, World
    from netaudit.probe.several import Seeded

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps: where the probe runs.", metavar="WORD")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float64, float32, bf16 or fp16; the model's own without it.", metavar="WORD")]
Samples = Annotated[int, typer.Option("--samples", min=0, help="Random cotangents pulled through every call for its typical gain.")]
Gains = Annotated[
    str, typer.Option("--gains", help="Of which calls the largest gain is sought: findings (their paths), all or none.", metavar="WORD")
]
Pairs = Annotated[int, typer.Option("--pairs", min=1, help="Products with a Jacobian and its transpose that a largest gain may take.")]
Draws = Annotated[int, typer.Option("--draws", min=1, help="Runs with other dropout masks and cotangents.")]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds",
        min=1,
        help="Initialisations and input draws, from --seed on; processes of torchrun share them.",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--probe-memory",
        help="What the run may take beside the weights: 8GiB. The model is run in the fewest segments that fit.",
        metavar="SIZE",
    ),
]
Studies = Annotated[
    list[str] | None,
    typer.Option(
        "--study", help="Of the model as a whole: modes, gain, scale, extremes, curvature, update, or all; comma-separated.", metavar="NAME"
    ),
]
Node = Annotated[
    str, typer.Option("--node", help="One call, as `netaudit nodes` and the JSON name it: its row, its largest gain.", metavar="NAME")
]
Downgrade = Annotated[
    bool, typer.Option("--downgrade/--no-downgrade", help="A forecast that the probe does not reproduce becomes an info.")
]

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def probing(
    tell: Progress,
    seed: int,
    here: World | None = None,
    *,
    device: str,
    dtype: str | None,
    memory: str | None,
    downgrade: bool,
    samples: int = 3,
    gains: str = "findings",
    pairs: int = 20,
    draws: int = 1,
    studies: tuple[str, ...] = (),
    node: str = "",
) -> Probing:
    """The options as settings of a probe.

    Raises:
        ConfigError: a word is not known.
        ProbeError: there is no such device.
    """
    from netaudit.probe import Plan, Probing
    from netaudit.probe.batch import DTYPES
    from netaudit.probe.devices import device_of
    from netaudit.probe.processes import World
    from netaudit.probe.studies import STUDIES

    device = (here or World()).device(device)
    device_of(device)  # what is not there is said before anything is built
    if dtype is not None:
        one_of("--dtype", dtype, tuple(DTYPES))
    chosen = tuple(STUDIES) if "all" in studies else tuple(one_of("--study", word, (*STUDIES, "all")) for word in studies)
    plan = Plan(samples, pairs=pairs, draws=draws, seed=seed, memory=_bytes(memory), progress=tell)
    return Probing(device, dtype, one_of("--gains", gains, ("findings", "all", "none")), chosen, plan, downgrade, node=node)


def command(target: str, **options: Sequence[str] | str | float | None) -> tuple[str, ...]:
    """The words that ask for a probe; an option for every value that is given, so often as there are values."""
    words = ["netaudit", "probe", target]
    for name, value in options.items():
        given = () if value is None else (value,) if isinstance(value, str | int | float) else value
        words += [word for one in given for word in (f"--{name.replace('_', '-')}", str(one))]
    return tuple(words)


def others(target: str, options: Options, settings: Settings, seeds: int, here: World) -> Measure:
    """What the target measures with the seeds after the first one, here and in other processes."""
    from netaudit.intake.heads import with_head
    from netaudit.intake.target import load
    from netaudit.probe.devices import device_of
    from netaudit.probe.fitted import Manner
    from netaudit.probe.processes import everywhere
    from netaudit.probe.several import seeded

    asked = settings.probe
    assert asked is not None, "nothing is measured"
    share = here.share(range(options.seed, options.seed + seeds))

    def built(seed: int) -> Sequence[Subject]:
        return [with_head(one, settings.head) for one in load(target, replace(options, seed=seed))]

    def measure() -> Sequence[Seeded]:
        manner = Manner(device_of(asked.device), asked.dtype, settings.mode, asked.plan)
        return seeded(built, share, manner)

    return everywhere(here, measure, lambda one: one.seed)


def silenced() -> None:
    """This process says nothing from here on, nor does anything that it runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _bytes(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.strip().rstrip("BbKkMmGgi ")
    unit = text.strip()[len(digits) :].strip().lower()
    try:
        size = float(digits) * _UNITS[unit]
    except (ValueError, KeyError) as error:
        raise ConfigError(f"--probe-memory {text!r} is no size", "write it as 8GiB or 500MB") from error
    if not size > 0:
        raise ConfigError(f"--probe-memory {text!r} is no size", "write it as 8GiB or 500MB")
    return int(size)
