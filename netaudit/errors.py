"""What netaudit raises when it cannot do what it was asked: what, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class NetauditError(Exception):
    """The root of all errors meant for people. ``hint`` says what to do; ``exit_code`` is the command's."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TargetError(NetauditError):
    """The target could not be found, built or fed."""


class ConfigError(NetauditError):
    """A setting, a flag or a rule name is not known or not valid."""


class PackError(NetauditError):
    """A pack contradicts itself or another one."""


class TraceError(NetauditError):
    """The model could not be traced, so nothing about it was checked."""

    exit_code = 3


class ProbeError(NetauditError):
    """Something cannot be measured on this model, or on this machine."""


class DeadlineError(BaseException):
    """The time given to a target is over. No ``except Exception`` on the way, the user's or ours, may take it for a failed attempt."""


class EditError(NetauditError):
    """A change cannot be made in a graph."""


def complaint(message: str, hint: str) -> str:
    """An error as people read it."""
    return f"netaudit: {message}\n" + (f"  hint: {hint}\n" if hint else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the closest other word that is known, or an empty string when none is close."""
    close = get_close_matches(word, [other for other in known if other != word], n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
