"""Numbers as people read them: two digits, one way for each kind of knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, inf, isfinite, isinf, isnan
from math import log10 as _log10

from netaudit.finding import Evidence, Magnitude, Status

from .schema import Size

WORDS = {"unbounded": "inf", "unknown": "?"}


def short(log10: float | None) -> str:
    """``10^x`` with two digits; None is exactly zero."""
    if log10 is None or log10 == float("-inf"):
        return "0"
    if abs(log10) > 300:
        return f"10^{log10:.0f}"
    value = 10.0**log10
    return f"{value:.2g}" if -2 <= log10 < 4 else f"{value:.1e}"


def size(log10: float | None) -> str:
    """``short``, with a word for NaN and infinity: a measured size that is not finite."""
    return "not finite" if log10 is not None and (isnan(log10) or log10 == inf) else short(log10)


def cell(column: str, value: str | float | None, digits: int = 6) -> str | float | None:
    """A cell of a study: a number with the digits that matter, a word where it is none.

    Below ``>=`` it is rounded down and below ``<=`` up, so that a bound stays one. A -inf below a ``log10`` is exactly zero.
    """
    if not isinstance(value, float):
        return value
    if isfinite(value):
        return _towards(value, -inf if column.endswith(">=") else inf if column.endswith("<=") else None, digits)
    if isnan(value):
        return "not finite"
    return "infinite" if value > 0 else "zero" if "log10" in column else "-infinite"


def _towards(value: float, end: float | None, digits: int) -> float:
    """The number with so many digits: the nearest such, or the next one towards an end."""
    nearest = float(f"{value:.{digits}g}")
    if end is None or nearest == value or (nearest > value) == (end > 0):
        return nearest
    step = 10.0 ** (floor(_log10(abs(value))) - digits + 1)
    return float(f"{nearest + (step if end > 0 else -step):.{digits}g}")


def at_most(log10: float | None) -> str:
    """``10^x`` with two digits, rounded up: a bound stays one when it is printed. None is exactly zero."""
    if log10 is None or isinf(log10):
        return "inf" if log10 == inf else "0"
    if abs(log10) > 300:
        return f"10^{ceil(log10)}"
    digit = 10.0 ** (floor(log10) - 1)
    printed = short(log10)
    return printed if float(printed) >= 10.0**log10 else short(_log10(float(printed) + digit))


def outward(log10: float | None, status: Status) -> float | None:
    """A log10 with the digits that matter, rounded up where it is proved, so that the last bits do not show; None for none."""
    if log10 is None or not isfinite(log10):
        return None
    return (ceil(log10 * 1e6) / 1e6 if status == "proved" else round(log10, 4)) + 0.0


def size_model(size: Magnitude) -> Size:
    """A magnitude as JSON has it."""
    error = None if size.error is None else round(size.error, 4)
    return Size(log10=outward(size.log10, size.status), status=size.status, error=error)


def magnitude(size: Magnitude) -> str:
    """A magnitude as a number, with a word where there is none."""
    return WORDS.get(size.status) or (at_most(size.log10) if size.status == "proved" else short(size.log10))


def dimensions(shape: Sequence[int]) -> str:
    """``8x3x224x224``."""
    return "x".join(map(str, shape)) or "scalar"


def evidence(known: Evidence) -> str:
    """``proved <= 2.0e-07 · forecast 3.9e-11``: what is known, each labelled."""
    parts = []
    if known.proved is not None:
        parts.append(f"proved <= {at_most(known.proved)}")
    if known.forecast is not None:
        parts.append(f"forecast {short(known.forecast)}")
    if known.measured is not None:
        parts.append(f"measured {short(known.measured)}")
    return " · ".join(parts)
