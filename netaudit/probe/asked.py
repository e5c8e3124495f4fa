"""Quantities that are read only where a finding claims them: they need the entries of a value, or a call differentiated once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, nan, sqrt

import torch
from torch import Tensor

from netaudit.graph import Node, Ref
from netaudit.intake.interpret import call, picked, results
from netaudit.measured import Claim, Quantity
from netaudit.probe.calls import Local, drawing, needed
from netaudit.probe.linear import noise
from netaudit.probe.sizes import log, norm

ATTENTION = frozenset({"aten.scaled_dot_product_attention", "netaudit.attention"})
SOFTMAX = frozenset({"aten.softmax", "aten._softmax"})
ALWAYS = 0.99
"""A unit that is outside for this share of its entries is off: the share that NA211 asks for."""
DRAWS = 8
"""Random cotangents of which the gain of a recurrence is the mean: its relative error is about ``1 / sqrt(2 x 8 x outputs)``."""
STATES: Mapping[str, int] = {"aten.rnn_tanh": 1, "aten.rnn_relu": 1, "aten.gru": 1, "aten.lstm": 2}
"""The output of a recurrent call that is its last state; of an LSTM the cell."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One reading that is claimed: see ``netaudit.measured.Claim``."""

    quantity: Quantity
    subject: str
    axis: int | None = None
    between: tuple[float, float] | None = None

    @property
    def node(self) -> str:
        """The call or value that it is read of; ``operand > call`` is read of the call."""
        return self.subject.rpartition(" > ")[2]

    @property
    def operand(self) -> str:
        """The operand that it is about, if there is one."""
        return self.subject.rpartition(" > ")[0]


def asks(claims: Iterable[Claim]) -> frozenset[Ask]:
    """What has to be read for some claims beyond what every run reads."""
    return frozenset(
        Ask(one.quantity, subject, one.axis, one.between)
        for one in claims
        if one.quantity in READ
        for subject in (*one.subjects, *one.over)
    )


def keeping(wanted: Iterable[Ask]) -> frozenset[str]:
    """The calls that are run once more for a reading, whose operands a sweep must keep."""
    return frozenset(ask.node for ask in wanted if ask.quantity == "memory")


@dataclass(slots=True)
class Asked:
    """Watches a sweep for some readings, and keeps the operands of calls that are run once more for them."""

    asks: frozenset[Ask]
    nodes: Mapping[str, Node]
    seed: int = 0
    answers: dict[Ask, float] = field(default_factory=dict)
    _values: dict[str, Tensor] = field(default_factory=dict)

    def value(self, node: Node, value: Tensor) -> None:
        """Read what is asked of a value, or of the weights of an attention."""
        if node.name in self._operands():
            self._values[node.name] = value
        for ask in self._of(node):
            if ask.quantity in VALUES:
                self._answer(ask, partial(VALUES[ask.quantity], value, ask))
            elif ask.quantity == "peak":
                self._answer(ask, partial(_peak, node, value, self._values))

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        """Read what is asked of a gradient."""
        for ask in self._of(node):
            if ask.quantity == "gradient difference":
                self._answer(ask, partial(difference, cotangent, ask))

    def pulled(self, local: Local, parts: Mapping[str, Tensor]) -> None:
        """Nothing is asked of what a call makes of the real gradient."""

    def left(self, local: Local) -> None:
        """Read what is asked of a call's Jacobian."""
        for ask in self._of(local.node):
            if ask.quantity in LOCALS:
                self._answer(ask, partial(LOCALS[ask.quantity], local, ask, self.seed))

    def _answer(self, ask: Ask, read: Callable[[], float | None]) -> None:
        """Keep what is read; what torch refuses (a shape, a missing derivative) stays without an answer, and the sweep goes on."""
        try:
            found = read()
        except (RuntimeError, IndexError, KeyError):
            return
        if found is not None:
            self.answers[ask] = log(found)

    def _of(self, node: Node) -> tuple[Ask, ...]:
        return tuple(ask for ask in self.asks if ask.node == node.name)

    def _operands(self) -> frozenset[str]:
        """The operands of the attentions whose weights are asked for."""
        wanted = (self.nodes[ask.node] for ask in self.asks if ask.quantity == "peak" and ask.node in self.nodes)
        return frozenset(name for node in wanted if node.op in ATTENTION for name in needed(node))


# of a value -------------------------------------------------------------------------------------------------------------


def _is_outside(x: Tensor, ask: Ask) -> Tensor:
    low, high = ask.between or (-inf, inf)
    return (x <= low) | (x >= high)


def outside(x: Tensor, ask: Ask) -> float:
    """The share of entries that do not lie between two numbers."""
    return float(_is_outside(x, ask).double().mean())


def off(x: Tensor, ask: Ask) -> float:
    """The share of units that are outside for (nearly) every entry; a unit is what stands at one place of the axis."""
    units = _is_outside(x, ask).double().movedim(ask.axis or 0, 0).flatten(1) if x.ndim > 1 else _is_outside(x, ask).double()[:, None]
    return float((units.mean(1) >= ALWAYS).double().mean())


def span(x: Tensor, ask: Ask) -> float:
    """The largest difference of two entries of a row."""
    axis = -1 if ask.axis is None else ask.axis
    return float((x.amax(axis) - x.amin(axis)).max())


def deviation(x: Tensor, ask: Ask) -> float:
    """The RMS of what is left of a value when its mean along an axis is taken off."""
    wide = x.double()
    return norm(wide - wide.mean(ask.axis or 0, keepdim=True)) / sqrt(max(x.numel(), 1))


def difference(x: Tensor, ask: Ask) -> float:
    """The same as a share of the whole RMS; NaN of what is zero."""
    whole = norm(x.double()) / sqrt(max(x.numel(), 1))
    return deviation(x, ask) / whole if whole else nan


VALUES: Mapping[Quantity, Callable[[Tensor, Ask], float]] = {
    "outside": outside,
    "off": off,
    "span": span,
    "deviation": deviation,
    "difference": difference,
}


# of attention weights ---------------------------------------------------------------------------------------------------


def _peak(node: Node, value: Tensor, operands: Mapping[str, Tensor]) -> float:
    """The mean over rows of the largest weight."""
    weights, axis = (value, node.args.get("dim")) if node.op in SOFTMAX else (_weights(node, operands), -1)
    return float(weights.amax(axis if isinstance(axis, int) else -1).double().mean())


def _weights(node: Node, operands: Mapping[str, Tensor]) -> Tensor:
    """What an attention multiplies its values with: its result for values that are the unit matrix, or that of its softmax."""
    if node.folded:
        local = dict(operands)
        for inner in node.folded:
            local[inner.name] = call(inner, local)
            if inner.op in SOFTMAX:
                return local[inner.name]
    key = node.args["key"]
    keys = operands[key.name] if isinstance(key, Ref) else next(iter(operands.values()))
    unit = torch.eye(keys.shape[-2], dtype=keys.dtype, device=keys.device).expand(*keys.shape[:-1], keys.shape[-2])
    plain = replace(node, args={**node.args, "value": Ref("unit matrix"), "dropout_p": 0.0})
    return call(plain, {**operands, "unit matrix": unit})


# of a call's Jacobian ---------------------------------------------------------------------------------------------------


def passed(local: Local, ask: Ask, seed: int) -> float | None:
    """The median size of what a call makes of a random gradient over that of the gradient: a few entries do not count."""
    u = noise(local.example, seed)
    part = local.pulled(u).get(ask.operand)
    return None if part is None else float(part.abs().median() / u.abs().median())


def mixed(local: Local, ask: Ask, seed: int) -> float | None:
    """The share of the gradient of the last entry along an axis (a recurrence has seen all of them) that goes to the other entries."""
    axis = ask.axis or 0
    u = torch.zeros_like(local.example)
    u.select(axis, -1).copy_(noise(local.example, seed).select(axis, -1))
    part = local.pulled(u).get(ask.operand)
    whole = 0.0 if part is None else norm(part)
    return norm(part.narrow(axis, 0, part.shape[axis] - 1)) / whole if part is not None and whole else None


def memory(local: Local, ask: Ask, seed: int) -> float | None:
    """``||J' u|| / ||u||`` of the last state for the first one, for random u; ``axis`` is the layer and direction.

    Of an LSTM the cell, by every way that it acts, not by its forget gates alone.
    """
    node, device = local.node, local.example.device
    if local.point is None:  # a sweep keeps the operands of what is asked of (``keeping``)
        return None
    given = node.args.get("hx")
    states = [ref for ref in (given if isinstance(given, tuple) else (given,)) if isinstance(ref, Ref)]
    if node.op not in STATES or not states:
        return None
    values = local.point.values
    first = values[states[-1].name].clone().requires_grad_()
    last_state = replace(node, args={**node.args, "output": STATES[node.op]})
    with torch.enable_grad(), drawing(device, seed):
        last = picked(last_state, results(node, {**values, states[-1].name: first}, device))[ask.axis or 0]
    total = 0.0
    for draw in range(DRAWS):
        u = noise(last, seed + draw)
        (part,) = torch.autograd.grad(last, first, u, retain_graph=True)
        total += (norm(part[ask.axis or 0]) / norm(u)) ** 2
    return sqrt(total / DRAWS)


LOCALS: Mapping[Quantity, Callable[[Local, Ask, int], float | None]] = {"passed": passed, "mixed": mixed, "memory": memory}
READ: frozenset[Quantity] = frozenset({*VALUES, *LOCALS, "peak", "gradient difference"})
"""The quantities of this file."""
