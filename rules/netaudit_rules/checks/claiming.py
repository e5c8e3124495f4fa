"""What findings claim of a measurement, in the forms that several checks share. See ``netaudit.Claim``."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, log10, prod
from typing import TYPE_CHECKING, Literal

from netaudit import Audit, Claim

if TYPE_CHECKING:
    from netaudit_rules.checks.chains import Link

ROUNDED = -4.0
"""log10 of a share that is taken for nothing but rounding: single precision leaves 1e-7 per operation, a sum of thousands 1e-5."""
FLAT = -2.0
"""log10 of what a call that passes no gradient may pass: 1 %, the share of its largest slope from which NA215 calls a function flat."""
RANDOM = -6.0
"""log10 of the relative difference of two passes from which it is no rounding."""
LEAST = -300.0
"""log10 of a gradient that is one at all: what is exactly zero has none."""
Side = Literal["above", "below"]


def breaks(*nodes: str, certain: bool) -> Claim:
    """Calls make something that is not finite, forward or backward, of what is."""
    return Claim("non-finite", nodes, 0.0, "above", certain=certain, aside=True)


def may_break(*nodes: str) -> Claim:
    """The same at some extreme input: what is found confirms it, what is not found refutes nothing."""
    return Claim("extreme", nodes, 0.0, "above", certain=True, aside=True)


def no_gradient(params: Iterable[str]) -> Claim:
    """The gradient of parameters is exactly zero."""
    return Claim("gradient", tuple(params), -inf, "below", certain=True)


def signal_grows(first: str, last: str, limit: float, side: Side) -> Claim:
    """The RMS of one value over that of another is on one side of a limit."""
    return Claim("value", (last,), limit, side, over=(first,))


def gradient_grows(audit: Audit, first: str, last: str, limit: float, side: Side) -> Claim:
    """The norm of the gradient at one value over that at a later one is on one side of a limit."""
    sizes = [max(prod(audit.facts.nodes[name].shape), 1) for name in (first, last)]
    return Claim("gradient", (first,), limit, side, over=(last,), shift=0.5 * log10(sizes[0] / sizes[1]))


def ends(run: tuple[Link, ...] | list[Link]) -> tuple[str, str]:
    """The outputs of the first and of the last layer of a stack."""
    return run[0].before.node.name, run[-1].after.node.name


def passes_nothing(operand: str, node: str) -> Claim:
    """What a call passes of a gradient to an operand is next to nothing, but for a few entries."""
    return Claim("passed", (f"{operand} > {node}",), FLAT, "below", certain=True, aside=True)


def is_within(node: str, low: float, high: float) -> Claim:
    """No entry of a value lies beyond two ends, which hold for every input."""
    room = 10.0**ROUNDED * max(abs(end) for end in (low, high) if abs(end) < inf)
    return Claim("outside", (node,), -inf, "below", between=(low - room, high + room), certain=True, aside=True)
