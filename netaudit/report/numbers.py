"""Numbers as people read them: two digits, one way for each kind of knowledge."""

from __future__ import annotations

from netaudit.finding import Evidence, Magnitude

WORDS = {"unbounded": "inf", "unknown": "?"}


def short(log10: float | None) -> str:
    """``10^x`` with two digits; None is exactly zero."""
    if log10 is None or log10 == float("-inf"):
        return "0"
    if abs(log10) > 300:
        return f"10^{log10:.0f}"
    value = 10.0**log10
    return f"{value:.2g}" if -2 <= log10 < 4 else f"{value:.1e}"


def magnitude(size: Magnitude) -> str:
    """A magnitude as a number, with a word where there is none."""
    return WORDS.get(size.status) or short(size.log10)


def evidence(known: Evidence) -> str:
    """``proved <= 2.0e-07 · forecast 3.9e-11``: what is known, each labelled."""
    parts = []
    if known.proved is not None:
        parts.append(f"proved <= {short(known.proved)}")
    if known.forecast is not None:
        parts.append(f"forecast {short(known.forecast)}")
    if known.measured is not None:
        parts.append(f"measured {short(known.measured)}")
    return " · ".join(parts)
