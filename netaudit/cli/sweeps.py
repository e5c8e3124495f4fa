"""``--sweep NAME=V1,V2,...``: a target once for every value of one argument of its factory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from netaudit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Sweep:
    """The argument, and its values as they were written."""

    name: str
    values: tuple[str, ...]

    def arguments(self, given: Sequence[str] | None) -> Iterator[tuple[str, list[str]]]:
        """``NAME=VALUE``, and the factory's arguments with it, for every value."""
        for value in self.values:
            yield f"{self.name}={value}", [*(given or []), f"{self.name}={value}"]

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values as positive numbers that differ, of which there are at least two: what an exponent is fitted to.

        Raises:
            ConfigError: they are something else.
        """
        numbers = [_number(self.name, value) for value in self.values]
        twice = next((value for value, number in zip(self.values, numbers, strict=True) if numbers.count(number) > 1), None)
        if twice is not None:
            raise ConfigError(f"--sweep {self.name} has the value {twice} twice", "give each value once; --seeds repeats a measurement")
        if len(numbers) < 2:
            raise ConfigError(f"--sweep {self.name}={self.values[0]} is one value, and nothing grows", f"add others: {_more(self)}")
        return tuple(numbers)


def parsed(text: str) -> Sweep:
    """Read a sweep.

    Raises:
        ConfigError: it names no values.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    found = tuple(value.strip() for value in values.split(","))
    if not equals or not name or not all(found):
        raise ConfigError(f"--sweep {text!r} names no values", "write it as depth=12,24,48")
    return Sweep(name, found)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -inf
    if not 0.0 < number < inf:
        raise ConfigError(f"--sweep {name}: {text!r} is no positive number", "how sizes grow is fitted to numbers: width=64,128,256")
    return number


def _more(sweep: Sweep) -> str:
    first = _number(sweep.name, sweep.values[0])
    return f"{sweep.name}={first:g},{2 * first:g},{4 * first:g}"
