"""What a study is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from netaudit.facts import Facts
from netaudit.intake.subject import Subject
from netaudit.measured import Study
from netaudit.probe.machine import Machine
from netaudit.probe.run import Plan
from netaudit.training import Training


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """The model as it is, its graph on a device, how it will be trained, and what was asked.

    ``facts``: what is proved of the graph, None where it is not the one that was analysed.
    """

    subject: Subject
    machine: Machine
    training: Training
    plan: Plan
    facts: Facts | None = None

    def counted(self, what: str, product: Callable[[Tensor], Tensor], total: int) -> Callable[[Tensor], Tensor]:
        """The product, told to whoever shows progress."""
        done = 0

        def told(x: Tensor) -> Tensor:
            nonlocal done
            self.plan.progress(what, done, total)
            done += 1
            return product(x)

        return told


@dataclass(frozen=True, slots=True)
class Studied:
    """A table, and what verdicts can read off it: see ``netaudit.probe.verdicts.Readings``."""

    study: Study
    updates: Mapping[str, float] = field(default_factory=dict)
    edge: float | None = None
    broken: frozenset[str] = frozenset()
    noise: float | None = None


def unmeasured(name: str, title: str, why: str) -> Studied:
    """A study that could not be made, and why."""
    return Studied(Study(name, title, ("not measured",), ((why,),)))
