"""What a study is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netaudit.intake.subject import Subject
from netaudit.measured import Study
from netaudit.probe.machine import Machine
from netaudit.probe.run import Plan
from netaudit.training import Training


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """The model as it is, its graph on a device, how it will be trained, and what was asked."""

    subject: Subject
    machine: Machine
    training: Training
    plan: Plan


@dataclass(frozen=True, slots=True)
class Studied:
    """A table, and what verdicts can read off it: see ``netaudit.probe.verdicts.Readings``."""

    study: Study
    updates: Mapping[str, float] = field(default_factory=dict)
    edge: float | None = None
    broken: frozenset[str] = frozenset()
    noise: float | None = None
