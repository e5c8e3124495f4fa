"""A model ready to be traced, and the options it is loaded with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol, TypeAlias

import torch
from torch import nn

from netaudit.graph import Site
from netaudit.intake.hollow import Absent
from netaudit.training import Described

Loss: TypeAlias = Callable[[nn.Module, object], torch.Tensor]
Scheduler: TypeAlias = Callable[[torch.optim.Optimizer], object]


class Entry(Protocol):
    """A named target of the configuration: what to load and what to give it."""

    @property
    def target(self) -> str:
        """The target, as it would be typed."""

    @property
    def inputs(self) -> Sequence[str]:
        """Input specifications, as ``--input`` takes them."""

    @property
    def args(self) -> Mapping[str, object]:
        """Arguments of the factory."""

    @property
    def weights(self) -> str | None:
        """A checkpoint, or None."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a target is to be loaded.

    ``args`` go to the factory, ``inputs`` are input specifications (``x=f32[8,32]``), ``data`` is a file of
    real ones, which goes before them, ``config`` is the table of named
    targets. ``inputs_from`` says who gave ``inputs``, ``config_name`` which file ``config`` was read from. ``meta``: large
    parameters hold no values.
    """

    args: Mapping[str, object] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    data: str | None = None
    weights: str | None = None
    seed: int = 0
    config: Mapping[str, Entry] = field(default_factory=dict)
    meta: bool = False
    inputs_from: str = "--input"
    config_name: str = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Built:
    """A model and where it is from: a python module, whose ``loss`` and ``example_inputs`` go with it, or a program."""

    id: str
    model: nn.Module
    origin: ModuleType | None = None
    program: torch.export.ExportedProgram | None = None
    absent: Absent = field(default_factory=Absent)


@dataclass(frozen=True, slots=True)
class Inputs:
    """A batch: what ``forward`` is called with, and the same as ``loss(model, inputs)`` wants it (``given``)."""

    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    given: object
    source: str
    guess: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model ready to be traced.

    ``id`` is stable and relative, as printed. ``inputs`` is what ``example_inputs()`` returned, or the same batch
    from another source, named by ``inputs_from``; ``guess`` is empty, or the sentence that says what was guessed and
    from where. ``created`` maps the path of a module to the line that constructed it: a module is left out when no
    line is known. ``optimizer_sites``: the line that constructed each optimiser. ``said``: what the file says
    of the training beside them. ``absent``: what is known of the parameters that hold no values.
    """

    id: str
    model: nn.Module
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    inputs: object
    inputs_from: str
    guess: str = ""
    loss: Loss | None = None
    optimizers: tuple[torch.optim.Optimizer, ...] = ()
    optimizer_sites: tuple[Site | None, ...] = ()
    scheduler: Scheduler | None = None
    said: Described = Described()
    created: Mapping[str, Site] = field(default_factory=dict)
    file: str | None = None
    program: torch.export.ExportedProgram | None = None
    absent: Absent = field(default_factory=Absent)
