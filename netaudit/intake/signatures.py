"""Whether a call would fit a signature, and what to say when it would not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature

from netaudit.errors import did_you_mean

_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_PLACED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def signature_of(call: Callable[..., object]) -> Signature | None:
    """The signature of a callable, or None where Python knows none (builtins, scripted modules)."""
    try:
        return inspect.signature(call)
    except (TypeError, ValueError):
        return None


def shown_signature(name: str, signature: Signature) -> str:
    """``forward(x, mask=None)``: names and defaults, without annotations."""
    bare = [parameter.replace(annotation=Parameter.empty) for parameter in signature.parameters.values()]
    return f"{name}{Signature(bare)}"


def required(signature: Signature) -> tuple[Parameter, ...]:
    """The parameters that a call must give."""
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return tuple(p for p in signature.parameters.values() if p.default is Parameter.empty and p.kind not in variadic)


def positional(signature: Signature) -> tuple[str, ...]:
    """The names of the parameters that may be given by position, in order."""
    return tuple(p.name for p in signature.parameters.values() if p.kind in _PLACED)


def misfit(signature: Signature, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    """Why ``(*args, **kwargs)`` does not fit, to follow the name of the callable; empty when it fits."""
    named = [p.name for p in signature.parameters.values() if p.kind in _NAMED]
    open_ended = any(p.kind is Parameter.VAR_KEYWORD for p in signature.parameters.values())
    for name in kwargs:
        if name not in named and not open_ended:
            close = did_you_mean(name, named)
            return f"has no argument {name!r}" + (f": {close}" if close else "")
    slots = positional(signature)
    if len(args) > len(slots) and not any(p.kind is Parameter.VAR_POSITIONAL for p in signature.parameters.values()):
        return f"takes {_count(len(slots))}, and {len(args)} were given"
    given = {*slots[: len(args)], *kwargs}
    missing = [p.name for p in required(signature) if p.name not in given]
    if missing:
        return f"needs {'argument' if len(missing) == 1 else 'arguments'} ({', '.join(missing)})"
    twice = [name for name in slots[: len(args)] if name in kwargs]
    return f"is given {twice[0]!r} twice: by name and by position" if twice else ""


def _count(number: int) -> str:
    return "one positional argument" if number == 1 else f"{number or 'no'} positional arguments"
