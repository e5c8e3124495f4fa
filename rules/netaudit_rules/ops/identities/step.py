"""One call on the numbers of its operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from netaudit import Node

from . import field
from .field import Numbers

ZERO = np.uint64(0)


@dataclass(frozen=True, slots=True)
class Step:
    """A call on the numbers of its operands (None in an empty slot). ``seed`` names the function: equal calls are equal functions."""

    node: Node
    xs: tuple[Numbers | None, ...]
    seed: int

    @property
    def x(self) -> Numbers:
        """The first operand."""
        return self.at(0)

    def at(self, slot: int) -> Numbers:
        """The operand in a slot that is filled."""
        found = self.xs[slot]
        assert found is not None
        return found

    @property
    def given(self) -> tuple[Numbers, ...]:
        """The operands that are there."""
        return tuple(x for x in self.xs if x is not None)


Rule = Callable[[Step], Numbers | None]


def seed_of(node: Node, run: int) -> int:
    """The name of the function that a call is: its op and its settings, and the call itself where it draws numbers."""
    settings = sorted((k, repr(v)) for k, v in node.args.items() if "Ref(" not in repr(v))
    return field.salt(run, node.op, settings, node.name if node.is_random else "")
