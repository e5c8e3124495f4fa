"""The training set-up of a subject as values."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from netaudit.graph import Graph
from netaudit.training import Group, Optimizer, Training

from .subject import Subject


def training_of(subject: Subject, graph: Graph) -> Training:
    """The optimisers that the target file made, their parameters by the model's names."""
    names: dict[int, str] = {}
    for name, tensor in subject.model.named_parameters(remove_duplicate=False):
        key = next((k for k, info in graph.params.items() if name in info.names), name)
        names.setdefault(id(tensor), key)
    return Training(tuple(_optimizer(o, names) for o in subject.optimizers), "optimizer()" if subject.optimizers else "")


def _optimizer(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> Optimizer:
    groups = []
    strangers = 0
    for group in optimizer.param_groups:
        members = [names.get(id(p)) for p in group["params"]]
        strangers += members.count(None)
        settings = {k: _plain(v) for k, v in group.items() if k != "params"}
        groups.append(Group(tuple(m for m in members if m is not None), settings))
    return Optimizer(type(optimizer).__name__, tuple(groups), strangers)


def _plain(value: object) -> float | bool | tuple[float, ...] | None:
    if isinstance(value, torch.Tensor):
        return float(value)
    if isinstance(value, (tuple, list)):
        return tuple(float(v) for v in value)
    return value if isinstance(value, (bool, int, float)) or value is None else None
