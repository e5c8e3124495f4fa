"""What a command line or a configuration says of training, and the optimiser that it describes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from netaudit.errors import ConfigError, did_you_mean

from .kinds import KINDS, OptimizerKind
from .schedule import Shape
from .values import Group, Optimizer, Precision, Setting

SETTINGS = ("lr", "momentum", "weight_decay", "betas", "eps")
"""What is said of the optimiser; the rest is said of the training around it."""
_WORDS = {kind.name.lower(): kind for kind in KINDS.values()} | {"nesterov": KINDS["SGD"]}


@dataclass(frozen=True, slots=True)
class Described:
    """How a model is said to be trained; None where nothing is said.

    ``steps`` and ``warmup`` count updates; ``schedule_steps`` is how often the target's scheduler is stepped in all, when that is not
    once an update.
    """

    optimizer: str | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    betas: tuple[float, float] | None = None
    eps: float | None = None
    schedule: Shape | None = None
    warmup: int | None = None
    steps: int | None = None
    schedule_steps: int | None = None
    clip: float | None = None
    clip_value: float | None = None
    accumulation: int | None = None
    batch_size: int | None = None
    precision: Precision | None = None
    scaler: bool | None = None
    ema: float | None = None

    def over(self, other: Described) -> Described:
        """The two together; this one goes first."""
        mine = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(other, **mine)

    @property
    def settings(self) -> dict[str, Setting]:
        """What is said of the optimiser's settings."""
        return {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}


def described_kind(word: str) -> OptimizerKind:
    """The optimiser that a word names, in any case.

    Raises:
        ConfigError: none has this name.
    """
    found = _WORDS.get(word.lower())
    if found is None:
        known = f"known: {', '.join(sorted(_WORDS))}; any other can be made by optimizer(model) in the target file"
        raise ConfigError(f"there is no optimiser {word!r}", did_you_mean(word.lower(), _WORDS) or known)
    return found


def described_optimizer(said: Described, params: Iterable[str]) -> Optimizer | None:
    """The optimiser that is described, over the given parameters; None when none is named.

    A setting that is not said is the class's own default; not so the learning rate, which nobody leaves to it: it stays unknown.

    Raises:
        ConfigError: the optimiser is not known, has no such setting, or nothing says which optimiser a setting is of.
    """
    if said.optimizer is None:
        unowned = next(iter(said.settings), None)
        if unowned is not None:
            raise ConfigError(
                f"{_flag(unowned)} is said of no optimiser", "name one with --optimizer, or define optimizer(model) in the target file"
            )
        return None
    kind = described_kind(said.optimizer)
    given = dict(said.settings)
    if said.optimizer.lower() == "nesterov":
        if not said.momentum:
            raise ConfigError("nesterov is a kind of momentum, and none is said", "add --momentum 0.9")
        given["nesterov"] = True
    return with_settings(Optimizer(kind.name, (Group(tuple(params), {**kind.defaults, "lr": None}),)), given)


def with_settings(optimizer: Optimizer, given: dict[str, Setting]) -> Optimizer:
    """The optimiser with some settings of every group replaced.

    Raises:
        ConfigError: it has no such setting.
    """
    for name in given:
        if not any(name in group.settings for group in optimizer.groups):
            known = sorted(set(SETTINGS) & {key for group in optimizer.groups for key in group.settings})
            raise ConfigError(
                f"{optimizer.kind} has no {_flag(name)}", f"it has {', '.join(map(_flag, known)) or 'no setting to be given'}"
            )
    groups = (
        replace(group, settings={**group.settings, **{k: v for k, v in given.items() if k in group.settings}}) for group in optimizer.groups
    )
    return replace(optimizer, groups=tuple(groups))


def _flag(name: str) -> str:
    return name.replace("_", "-")
