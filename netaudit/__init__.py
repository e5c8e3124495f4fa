"""netaudit: a linter for the trainability of PyTorch models.

``audit``, ``certify`` and ``forecast`` take a model in hand. Everything a pack needs is here, too. Names that bring numpy or torch are
loaded on first use: a rule can be explained without them.
"""

from __future__ import annotations

import random
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .change import Change, Normalised, Removed, Replaced, Rescaled, Residual, ScaledBranch, WithArg
from .check import Audit, Check, Drop, Remark, check
from .claims import EXPLODING, FORECAST_ERROR, VANISHING, best_sensitivity, doubts_of, error_of, ever_reached
from .errors import NetauditError
from .finding import Evidence, Finding, Remedy, Severity, Step
from .graph import Arg, Graph, Node, Operand, ParamInfo, Ref, Site, Unregistered, Where
from .measured import Claim
from .paths import Run, against_usual, backward_run, blocks, entry, forward_path, forward_run, rms
from .training import Group, Optimizer, OptimizerKind, Schedule, Training, is_coupled, kind_of

if TYPE_CHECKING:
    from .effect import UNKNOWN, ZERO, Effect, Jacobian, Kind, Pull, Tag, Transfer, modelled, primitive, transfer
    from .facts import Facts
    from .flow import Flow, Gradient
    from .live import audit, certify, forecast
    from .moments import (
        MASKED,
        Cotangent,
        Kernel,
        Moments,
        Var,
        constant,
        cotangent,
        from_array,
        independent,
        joined,
        random_numbers,
        record,
        shared,
        unknown_cotangent,
    )  # fmt: skip
    from .moments import of as moments_of
    from .results import Certified, FindingsError, Forecast, ParameterForecast, Report
    from .signal import Interval, RowNorm, Signal, WeightNorms, above, below, down, number, up
    from .verbs import elementwise, elementwise_on, isometry, selection, zero

__version__ = "0.1.0"

_FUNCTIONS = ("audit", "certify", "forecast")
"""Functions of ``live``; rooms have the same names, and a room that is imported does not take the place of the function."""
_ROOMS: dict[str, tuple[str, ...]] = {
    "facts": ("Facts",),
    "flow": (
        "Flow",
        "Gradient",
    ),
    "moments": (
        "MASKED",
        "Cotangent",
        "Kernel",
        "Moments",
        "Var",
        "constant",
        "cotangent",
        "from_array",
        "independent",
        "joined",
        "random_numbers",
        "record",
        "shared",
        "unknown_cotangent",
    ),
    "signal": (
        "Interval",
        "RowNorm",
        "Signal",
        "WeightNorms",
        "above",
        "below",
        "down",
        "number",
        "up",
    ),
    "effect": ("UNKNOWN", "ZERO", "Effect", "Jacobian", "Kind", "Pull", "Tag", "Transfer", "modelled", "primitive", "transfer"),
    "results": ("Certified", "FindingsError", "Forecast", "ParameterForecast", "Report"),
    "live": _FUNCTIONS,
    "verbs": ("elementwise", "elementwise_on", "isometry", "selection", "zero"),
}
_ALIASES = {"moments_of": ("moments", "of")}
_HOMES = {name: (room, name) for room, names in _ROOMS.items() for name in names} | _ALIASES

__all__ = [
    "EXPLODING",
    "FORECAST_ERROR",
    "MASKED",
    "UNKNOWN",
    "VANISHING",
    "ZERO",
    "Arg",
    "Audit",
    "Certified",
    "Change",
    "Check",
    "Claim",
    "Cotangent",
    "Drop",
    "Effect",
    "Evidence",
    "Facts",
    "Finding",
    "FindingsError",
    "Flow",
    "Forecast",
    "Gradient",
    "Graph",
    "Group",
    "Interval",
    "Jacobian",
    "Kernel",
    "Kind",
    "Moments",
    "NetauditError",
    "Node",
    "Normalised",
    "Operand",
    "Optimizer",
    "OptimizerKind",
    "ParamInfo",
    "ParameterForecast",
    "Pull",
    "Ref",
    "Remark",
    "Remedy",
    "Removed",
    "Replaced",
    "Report",
    "Rescaled",
    "Residual",
    "RowNorm",
    "Run",
    "ScaledBranch",
    "Schedule",
    "Severity",
    "Signal",
    "Site",
    "Step",
    "Tag",
    "Training",
    "Transfer",
    "Unregistered",
    "Var",
    "WeightNorms",
    "Where",
    "WithArg",
    "above",
    "against_usual",
    "audit",
    "backward_run",
    "below",
    "best_sensitivity",
    "blocks",
    "certify",
    "check",
    "constant",
    "cotangent",
    "doubts_of",
    "down",
    "elementwise",
    "elementwise_on",
    "entry",
    "error_of",
    "ever_reached",
    "forecast",
    "forward_path",
    "forward_run",
    "from_array",
    "independent",
    "is_coupled",
    "isometry",
    "joined",
    "kind_of",
    "modelled",
    "moments_of",
    "number",
    "primitive",
    "random_numbers",
    "record",
    "rms",
    "selection",
    "shared",
    "transfer",
    "unknown_cotangent",
    "up",
    "zero",
]


def __getattr__(name: str) -> Any:
    """Import the room that holds a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'netaudit' has no attribute {name!r}")
    room, own = _HOMES[name]
    state = random.getstate()
    value = getattr(import_module(f".{room}", __name__), own)
    random.setstate(state)  # rich draws numbers while it is imported, and a program that trains must not see it
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Importing ``netaudit.audit`` binds the room to its name here, where the function of this name is; that is left undone."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _FUNCTIONS or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return [*globals(), *__all__]
