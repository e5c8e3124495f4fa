"""What a primitive returns: the moments of its result, and how a cotangent is pulled back to its operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from netaudit.moments.cotangent import Cotangent
from netaudit.moments.state import Moments

Pull: TypeAlias = Callable[[Cotangent], tuple[Cotangent | None, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Modelled:
    """The moments of a result, and the pull-back of its cotangent to the operands."""

    out: Moments
    pull: Pull
