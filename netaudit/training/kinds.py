"""The optimisers that netaudit knows: what their first step is made of, and the settings they start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .values import Group, Setting

Step: TypeAlias = Literal["gradient", "sign", "relative", "orthogonal", "unknown"]
"""What an update is made of: the gradient itself; an entry of fixed size for every entry of it; a share of the weight; an orthogonal
matrix; or nothing that is known before the step is made."""


@dataclass(frozen=True, slots=True)
class OptimizerKind:
    """An optimiser by its class name.

    ``decoupled``: weight decay is not part of the gradient. ``adaptive``: it divides by a running second moment.
    """

    name: str
    step: Step
    defaults: Mapping[str, Setting] = field(default_factory=dict)
    decoupled: bool = False
    adaptive: bool = False


def _adam(name: str, step: Step = "sign", weight_decay: float = 0.0, **more: Setting) -> OptimizerKind:
    """A member of Adam's family."""
    defaults: dict[str, Setting] = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay}
    return OptimizerKind(name, step, {**defaults, **more}, decoupled=name == "AdamW", adaptive=True)


_LISTED = (
    OptimizerKind("SGD", "gradient", {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}),
    OptimizerKind("ASGD", "gradient", {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0}),
    OptimizerKind(
        "Adagrad",
        "sign",
        {"lr": 1e-2, "lr_decay": 0.0, "eps": 1e-10, "weight_decay": 0.0, "initial_accumulator_value": 0.0},
        adaptive=True,
    ),
    OptimizerKind("Adadelta", "unknown", {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0}, adaptive=True),
    OptimizerKind(
        "RMSprop",
        "sign",
        {"lr": 1e-2, "momentum": 0.0, "alpha": 0.99, "eps": 1e-8, "centered": False, "weight_decay": 0.0},
        adaptive=True,
    ),
    OptimizerKind("Rprop", "sign", {"lr": 1e-2}),
    _adam("Adam", amsgrad=False),
    _adam("AdamW", weight_decay=1e-2, amsgrad=False),
    OptimizerKind("Adamax", "sign", {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}, adaptive=True),
    _adam("NAdam", lr=2e-3, momentum_decay=4e-3, decoupled_weight_decay=False),
    _adam("RAdam", "gradient", decoupled_weight_decay=False),  # its first steps are not divided by anything
    OptimizerKind("SparseAdam", "sign", {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}, adaptive=True),
    OptimizerKind("Adafactor", "relative", {"lr": 1e-2, "beta2_decay": -0.8, "d": 1.0, "weight_decay": 0.0}, decoupled=True, adaptive=True),
    OptimizerKind("Lion", "sign", {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0}, decoupled=True),
    OptimizerKind("Muon", "orthogonal", {"lr": 1e-3, "weight_decay": 0.1, "momentum": 0.95, "nesterov": True, "eps": 1e-7}, decoupled=True),
    OptimizerKind("LBFGS", "unknown", {"lr": 1.0}),
)
KINDS: Mapping[str, OptimizerKind] = {kind.name: kind for kind in _LISTED}


def kind_of(name: str) -> OptimizerKind | None:
    """The kind of a class, None when it is not known: no class is taken for another by the look of its name."""
    return KINDS.get(name)


def is_coupled(kind: OptimizerKind, group: Group) -> bool:
    """Whether the group's weight decay is added to the gradient, as an L2 penalty is, before the optimiser sees it."""
    return not (kind.decoupled or group.settings.get("decoupled_weight_decay") is True)
