"""What is claimed of a forecast: its error, the limits of S, and what zero-initialised factors hide for the moment only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .doubt import NARROW

if TYPE_CHECKING:  # rules load this, and are to load fast
    from .doubt import Doubt
    from .flow import Flow

FORECAST_ERROR = 0.3
"""Decades: a forecast is good to a factor of two, and what passes a limit by less is not claimed."""
VANISHING = -5.0
"""log10 of S below which a weight practically does not learn: on 300 models healthy ones stay above 1e-4, vanishing below 2e-6."""
EXPLODING = 2.0
"""log10 of S above which a weight's gradient is too large: on 300 models healthy ones stay below 99, faults above 280."""


def error_of(flow: Flow, param: str) -> float:
    """Decades by which the forecast of a parameter's gradient may be wrong: what passes a limit by less is not claimed."""
    return error_with(flow.params[param].doubt)


def error_with(doubt: Doubt) -> float:
    """Decades by which the forecast of a gradient may be wrong.

    A factor of two, of four where an assumption is thin on the way of the gradient, more where narrow layers multiply.
    """
    return max(FORECAST_ERROR * (2.0 if doubt.causes else 1.0), doubt.spread)


def doubts_of(flow: Flow, param: str) -> tuple[str, ...]:
    """Why the forecast of a parameter's gradient has a wider error than a factor of two, in words."""
    doubt = flow.params[param].doubt
    return tuple(sorted(doubt.causes | ({NARROW} if doubt.spread > FORECAST_ERROR else set())))


def ever_reached(now: Flow, later: Flow | None) -> frozenset[str]:
    """The nodes that a gradient reaches now, or once zero-initialised factors have moved."""
    return now.reached if later is None else now.reached | later.reached


def best_sensitivity(now: Flow, later: Flow | None, param: str) -> float | None:
    """log10 of S now, or once zero-initialised factors have moved if that is more; None when it is not known now."""
    first = now.sensitivity(param)
    moved = None if later is None else later.sensitivity(param)
    return first if first is None or moved is None else max(first, moved)
