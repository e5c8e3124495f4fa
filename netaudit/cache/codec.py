"""Reports as JSON and back, without loss: plain values as they are, every dataclass as its name and the values of its fields.

An entry is read by the very code that wrote it (its hash is in the key), so fields need no names.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import cache
from numbers import Integral, Real
from typing import Any

from netaudit import change, finding, graph
from netaudit.finding import TargetReport
from netaudit.training import schedule, values

_TAGS: Mapping[str, Callable[[Any], object]] = {
    "float": float,
    "set": lambda items: frozenset(map(_decoded, items)),
    "map": lambda items: {_decoded(key): _decoded(value) for key, value in items},
}


class NotKeptError(ValueError):
    """A value that the cache cannot keep, or one that it did not write."""


def encode(report: TargetReport) -> object:
    """A report as JSON without NaN and infinity.

    Raises:
        NotKeptError: it holds something that is no plain value.
    """
    return _encoded(report)


def decode(value: object) -> TargetReport:
    """The report that was encoded.

    Raises:
        NotKeptError: it is no such thing.
    """
    try:
        report = _decoded(value)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise NotKeptError(str(error)) from error
    if not isinstance(report, TargetReport):
        raise NotKeptError(f"expected a report, found {type(report).__name__}")
    return report


def _encoded(value: object) -> object:
    match value:
        case None | bool() | str():
            return value
        case Integral():
            return int(value)
        case Real():
            number = float(value)
            return number if math.isfinite(number) else {"float": repr(number)}
        case tuple() | list():
            return [_encoded(item) for item in value]
        case frozenset() | set():
            return {"set": sorted((_encoded(item) for item in value), key=repr)}
        case Mapping():
            return {"map": [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    name = type(value).__name__
    if _classes().get(name) is not type(value):
        raise NotKeptError(f"no place in the cache for {name}")
    return {name: [_encoded(getattr(value, field)) for field in _fields(name)]}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_decoded, value))
    if not isinstance(value, dict):
        return value
    ((name, inner),) = value.items()
    if name in _TAGS:
        return _TAGS[name](inner)
    fields = dict(zip(_fields(name), map(_decoded, inner), strict=True))
    return _classes()[name](**fields)


@cache
def _classes() -> Mapping[str, type[Any]]:
    """The dataclasses that a report is made of, by name."""
    found: dict[str, type[Any]] = {}
    for room in (change, finding, graph, schedule, values):
        for name, kind in vars(room).items():
            if dataclasses.is_dataclass(kind) and isinstance(kind, type):
                assert found.setdefault(name, kind) is kind, f"two classes of a report are called {name}"
    return found


@cache
def _fields(name: str) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(_classes()[name]))
