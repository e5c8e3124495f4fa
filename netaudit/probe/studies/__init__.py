"""Measurements of the model as a whole: each is a function of a bench that gives a table, and readings for verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from netaudit.errors import NetauditError

from . import curvature, extremes, gain, modes, scale, update
from .bench import Bench, Studied, unmeasured

__all__ = ["STUDIES", "Bench", "Studied", "studied"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A study: its title, and the function that makes it."""

    title: str
    make: Callable[[Bench], Studied]


STUDIES: Mapping[str, Kind] = {
    "modes": Kind(modes.TITLE, modes.modes),
    "gain": Kind(gain.TITLE, gain.gain),
    "scale": Kind(scale.TITLE, scale.scale),
    "extremes": Kind(extremes.TITLE, extremes.extremes),
    "curvature": Kind(curvature.TITLE, curvature.curvature),
    "update": Kind(update.TITLE, update.update),
}


def studied(name: str, bench: Bench) -> Studied:
    """A study by its name; where it cannot be made, a table that says why."""
    try:
        return STUDIES[name].make(bench)
    except NetauditError as error:
        why = error.message
    except MemoryError:
        why = "out of memory"
    except (RuntimeError, IndexError, ValueError) as error:  # what torch says of an op that has no second derivative, or of a shape
        why = _reason(error)
    if bench.machine.device.type == "cuda":  # outside of the handlers, which hold the tensors that did not fit
        torch.cuda.empty_cache()
    return unmeasured(name, STUDIES[name].title, why)


def _reason(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return "out of memory" if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in line else line[:160]
