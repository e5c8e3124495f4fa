"""What findings claim of a measurement, in the forms that several checks share. See ``netaudit.Claim``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, log10, prod
from typing import TYPE_CHECKING, Literal

from netaudit import Audit, Claim, Node

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


def ends(run: Sequence[Link]) -> tuple[str, str]:
    """The outputs of the first and of the last layer of a stack."""
    return run[0].before.node.name, run[-1].after.node.name


def passes_nothing(node: Node, variance: float | None) -> Claim | None:
    """A normalisation whose groups have this forecast variance passes next to nothing of a gradient, but for a few groups.

    What is left of the ``1 / s`` that others pass is ``eps / (s^2 + eps)``: None where eps is not small against the variance.
    """
    eps = node.args.get("eps")
    if variance is None or not isinstance(eps, (int, float)) or variance <= 10.0**-FLAT * eps:
        return None
    return _passed(node, FLAT - 0.5 * log10(variance), certain=False)


def blocks(node: Node) -> Claim:
    """A normalisation passes nothing of a gradient, whatever its input is."""
    return _passed(node, FLAT, certain=True)


def _passed(node: Node, limit: float, *, certain: bool) -> Claim:
    return Claim("passed", (f"{node.inputs[0]} > {node.name}",), limit, "below", certain=certain, aside=True)


def is_within(low: float, high: float, *nodes: str) -> Claim:
    """No entry of values lies beyond two ends, which hold for every input."""
    room = 10.0**ROUNDED * (max(abs(end) for end in (low, high) if abs(end) < inf) or 1.0)
    return Claim("outside", nodes, -inf, "below", between=(low - room, high + room), certain=True, aside=True)
