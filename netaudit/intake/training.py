"""The training set-up of a subject as values: what the target file makes, and what is said of it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from netaudit.errors import ConfigError
from netaudit.graph import Graph, Site
from netaudit.training import Described, Group, Optimizer, Setting, Training, evaluated
from netaudit.training.described import described_optimizer, with_settings

from .replay import replayed
from .subject import Subject

OWN = "optimizer()"
"""The source of a training whose optimisers the target itself makes."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of training outside the target file: on the command line, which goes before the file, and in the configuration."""

    flags: Described = Described()
    config: Described = Described()

    @property
    def merged(self) -> Described:
        """Both, the command line first."""
        return self.flags.over(self.config)


def training_of(subject: Subject, graph: Graph, said: Said = Said()) -> Training:
    """The optimisers and all else that is known of the training; parameters by the names that the graph gives them.

    An optimiser comes from the command line, else from ``optimizer()`` of the target, else from its ``training_setup()``, else from
    the configuration; a schedule likewise, with ``scheduler()``. What nobody says is None.

    Raises:
        ConfigError: what is said does not fit together.
        TargetError: ``scheduler()`` raises.
    """
    said = Said(said.flags, subject.said.over(said.config))
    merged = said.merged
    optimizers, source = _optimizers(subject, graph, said)
    optimizers, notes = _scheduled(optimizers, subject, said)
    return Training(
        optimizers=optimizers,
        steps=merged.steps,
        clip=merged.clip,
        clip_value=merged.clip_value,
        accumulation=merged.accumulation,
        batch_size=merged.batch_size,
        precision=merged.precision,
        scaler=merged.scaler,
        ema=merged.ema,
        source=source,
        notes=notes,
    )


def _optimizers(subject: Subject, graph: Graph, said: Said) -> tuple[tuple[Optimizer, ...], str]:
    if subject.optimizers and said.flags.optimizer is None:
        names = parameter_names(subject, graph)
        sites = (*subject.optimizer_sites, *(None for _ in subject.optimizers))
        own = (with_settings(_plain(o, names, site), said.flags.settings) for o, site in zip(subject.optimizers, sites, strict=False))
        return tuple(own), OWN
    trained = (name for name, info in graph.params.items() if info.trainable)
    found = described_optimizer(said.merged, trained)
    if found is None:
        return (), ""
    sources = ((said.flags, "--optimizer"), (subject.said, "training_setup()"))
    return (found,), next((source for one, source in sources if one.optimizer is not None), "configuration")


def parameter_names(subject: Subject, graph: Graph) -> Mapping[int, str]:
    """The graph's name of every parameter, by identity: tied weights have one."""
    keys = {name: key for key, info in graph.params.items() for name in info.names}
    names: dict[int, str] = {}
    for name, tensor in subject.model.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), keys.get(name, name))
    return names


def _plain(optimizer: torch.optim.Optimizer, names: Mapping[int, str], site: Site | None) -> Optimizer:
    groups = []
    strangers = 0
    for group in optimizer.param_groups:
        members = [names.get(id(p)) for p in group["params"]]
        strangers += members.count(None)
        settings = {k: _setting(v) for k, v in group.items() if k != "params"}
        groups.append(Group(tuple(m for m in members if m is not None), settings))
    return Optimizer(type(optimizer).__name__, tuple(groups), strangers, site)


def _setting(value: object) -> Setting:
    if isinstance(value, torch.Tensor):
        return float(value)
    if isinstance(value, (tuple, list)):
        return tuple(float(v) if isinstance(v, (int, float, torch.Tensor)) else None for v in value)
    return value if isinstance(value, (bool, int, float)) else None


# schedules --------------------------------------------------------------------------------------------------------------


def _scheduled(optimizers: tuple[Optimizer, ...], subject: Subject, said: Said) -> tuple[tuple[Optimizer, ...], tuple[str, ...]]:
    """The optimisers with the learning rate of every group over time, where it is known, and why it is not."""
    if _says_schedule(said.flags) or (subject.scheduler is None and _says_schedule(said.merged)):
        return tuple(_described(o, said.merged) for o in optimizers), ()
    if subject.scheduler is None:
        return optimizers, ()
    found = [_replayed(optimizer, position, subject, said) for position, optimizer in enumerate(optimizers)]
    return tuple(optimizer for optimizer, _ in found), tuple(note for _, note in found if note)


def _says_schedule(said: Described) -> bool:
    return said.schedule is not None or said.warmup is not None


def _described(optimizer: Optimizer, said: Described) -> Optimizer:
    if said.schedule in ("linear", "cosine") and said.steps is None:
        raise ConfigError(f"a {said.schedule} schedule ends at the last update, and nothing says which that is", "add --steps 100000")
    groups = []
    for group in optimizer.groups:
        lr = group.number("lr")
        schedule = None if lr is None else evaluated(lr, said.schedule, said.warmup, said.steps)
        groups.append(replace(group, schedule=schedule))
    return replace(optimizer, groups=tuple(groups))


def _replayed(optimizer: Optimizer, position: int, subject: Subject, said: Said) -> tuple[Optimizer, str]:
    """The optimiser with what ``scheduler()`` makes of it, and why nothing is known of that."""
    lrs = [group.number("lr") for group in optimizer.groups]
    own = said.flags.optimizer is None and bool(subject.optimizers)
    real = subject.optimizers[position] if own else made(replace(optimizer, groups=optimizer.groups[:1]), [[torch.zeros(1, 1)]])
    if real is None or None in lrs:
        return optimizer, f"scheduler() was not replayed: {optimizer.kind} cannot be made from what is said of it"
    schedules, note = replayed(real, [lr for lr in lrs if lr is not None], subject, said.merged)
    groups = (replace(group, schedule=schedule) for group, schedule in zip(optimizer.groups, schedules, strict=False))
    return (replace(optimizer, groups=tuple(groups)) if schedules else optimizer), note


def made(optimizer: Optimizer, groups: Sequence[Sequence[torch.Tensor]]) -> torch.optim.Optimizer | None:
    """Torch's optimiser of the described kind over the tensors of every group; None where torch has none, or a learning rate is missing.

    Raises:
        ValueError: torch does not take the settings, or these tensors (Muon takes matrices only).
    """
    make = getattr(torch.optim, optimizer.kind, None)
    known = [{name: value for name, value in group.settings.items() if value is not None} for group in optimizer.groups]
    if make is None or not known or any("lr" not in settings for settings in known):
        return None
    found: torch.optim.Optimizer = make([{"params": list(held), **settings} for held, settings in zip(groups, known, strict=True)])
    return found
