"""Optimisers, and all else that is known of how a model will be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from netaudit.graph import Site

from .schedule import Schedule

Setting: TypeAlias = float | bool | tuple[float | None, ...] | None
Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "mixed-fp16", "mixed-bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "mixed-fp16", "mixed-bf16")
"""``fp16`` and ``bf16``: parameters and the optimiser's state as well; ``mixed-``: autocast, the parameters stay as the model has them."""


@dataclass(frozen=True, slots=True)
class Group:
    """A parameter group of an optimiser: the names of its parameters, its settings, and its learning rate over time if known."""

    params: tuple[str, ...]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    schedule: Schedule | None = None

    def number(self, name: str) -> float | None:
        """A setting that is a number; None when the optimiser has none of this name, or it is not known."""
        value = self.settings.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    @property
    def betas(self) -> tuple[float, float] | None:
        """The two decay rates of the Adam family."""
        match self.settings.get("betas"):
            case (float() | int() as first, float() | int() as second):
                return float(first), float(second)
        return None

    @property
    def first_lr(self) -> float | None:
        """The learning rate of the first update; that of the group where no schedule is known."""
        return self.number("lr") if self.schedule is None else self.schedule.first

    @property
    def peak_lr(self) -> float | None:
        """The largest learning rate; that of the group where no schedule is known."""
        return self.number("lr") if self.schedule is None else self.schedule.peak


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimiser: its class name, its groups, the line that makes it.

    ``strangers`` counts tensors that belong to no parameter of the model.
    """

    kind: str
    groups: tuple[Group, ...]
    strangers: int = 0
    site: Site | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """All that is known of how the model will be trained; None and () where nothing was said.

    ``steps`` counts updates. ``scaler``: whether the loss is scaled for half precision. ``ema``: the decay of a running mean of the
    weights. ``source`` says where the optimisers come from, ``notes`` what of it could not be read.
    """

    optimizers: tuple[Optimizer, ...] = ()
    steps: int | None = None
    clip: float | None = None
    clip_value: float | None = None
    accumulation: int | None = None
    batch_size: int | None = None
    precision: Precision | None = None
    scaler: bool | None = None
    ema: float | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_given(self) -> bool:
        """Whether anything is known."""
        said = (self.steps, self.clip, self.clip_value, self.accumulation, self.precision, self.scaler, self.ema)
        return bool(self.optimizers) or any(value is not None for value in said)

    @property
    def title(self) -> str:
        """The optimisers in a few words, empty when none is known: ``AdamW, lr 0.0003 (optimizer())``."""
        named = [f"{o.kind}{_rates(o)}" for o in self.optimizers]
        return f"{' and '.join(named)} ({self.source})" if named else ""


def _rates(optimizer: Optimizer) -> str:
    rates = sorted({lr for group in optimizer.groups if (lr := group.peak_lr) is not None})
    return "" if not rates else f", lr {rates[0]:g}" if len(rates) == 1 else f", lr {rates[0]:g} to {rates[-1]:g}"
