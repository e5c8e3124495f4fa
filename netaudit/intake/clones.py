"""Distinct parameters that start with the same values: layers that were copied rather than made anew."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from netaudit.graph import ParamInfo
from netaudit.intake.hollow import is_hollow

PROBES = 64
"""Entries that are compared before whole tensors are."""


def clones(params: Mapping[str, ParamInfo], tensors: Mapping[str, Tensor]) -> tuple[tuple[str, ...], ...]:
    """Groups of matrices with equal entries, in the model's order; constant ones (zeros, ones) say nothing and are left out."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, info in params.items():
        tensor = tensors[info.node].detach()
        if sum(n > 1 for n in info.shape) < 2 or is_hollow(tensor):
            continue
        flat = tensor.reshape(-1)
        probe = tuple(flat[:: max(flat.numel() // PROBES, 1)][:PROBES].tolist())
        if len(set(probe)) > 1:
            groups.setdefault((info.shape, info.dtype, probe), []).append(name)
    return tuple(tuple(same) for group in groups.values() for same in _equal(group, params, tensors))


def _equal(group: list[str], params: Mapping[str, ParamInfo], tensors: Mapping[str, Tensor]) -> list[list[str]]:
    found: list[list[str]] = []
    for name in group if len(group) > 1 else ():
        own = tensors[params[name].node]
        home = next((same for same in found if torch.equal(tensors[params[same[0]].node], own)), None)
        if home is None:
            found.append([name])
        else:
            home.append(name)
    return [same for same in found if len(same) > 1]
