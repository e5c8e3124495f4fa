"""What a user says, on a command line or in python: words, one of a few words, a share."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ConfigError, did_you_mean


def words(given: Sequence[str] | str | None) -> tuple[str, ...]:
    """Comma-separated words, of which several texts or one may be given."""
    several = (given,) if isinstance(given, str) else given or ()
    return tuple(word.strip() for text in several for word in text.split(",") if word.strip())


def one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    """A word of a closed set. ``name``: of the flag (``--mode``) or the parameter (``mode``).

    Raises:
        ConfigError: it is another word.
    """
    if value not in allowed:
        raise ConfigError(f"{_named(name, repr(value))} is not one of {', '.join(allowed)}", did_you_mean(str(value), allowed))
    return value


def share(name: str, value: float) -> float:
    """A number from 0 to 1.

    Raises:
        ConfigError: it is another one, or none.
    """
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{_named(name, f'{value:g}')} is not a share", "give a number from 0 to 1")
    return value


def _named(name: str, value: str) -> str:
    """A setting as its user wrote it: ``mode='x'`` in python, ``--mode 'x'`` elsewhere."""
    return f"{name}={value}" if name.isidentifier() else f"{name} {value}"
