"""The moments of recurrent layers: their steps written out, layer by layer and direction by direction.

The weights of a step are one operand used T times, so their gradient is the sum over the steps; the steps' parts are taken as
uncorrelated, which a random ``W_hh`` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from netaudit import Var, joined

from .activations import sigmoid, sigmoid_slope, tanh_slope
from .activations import step as step_of

MOST_STEPS = 64
"""The cost grows with the square of the steps, for each keeps moments of its own: a longer recurrence has no forecast."""

State: TypeAlias = tuple[Var, ...]
"""``(h,)``, of an LSTM ``(h, c)``; shapes ``(batch, hidden)``."""
Step: TypeAlias = Callable[[Var, State, Sequence[Var]], State]
"""The next state from the input, the state and the parameters ``W_ih, W_hh[, b_ih, b_hh]``."""


@dataclass(frozen=True, slots=True)
class Stack:
    """How a recurrent call is built: layers, directions, where time stands, whether there are biases, dropout between layers."""

    layers: int
    directions: int
    time: int
    biases: bool
    dropout: Callable[[Var], Var]


def _sigmoid(v: Var) -> Var:
    return v.apply(sigmoid, sigmoid_slope)


def _tanh(v: Var) -> Var:
    return v.apply(np.tanh, tanh_slope)


def _relu(v: Var) -> Var:
    return v.apply(lambda z: np.maximum(z, 0.0), step_of)


def _affine(x: Var, weight: Var, bias: Var | None) -> Var:
    y = x.einsum("...i,oi->...o", weight)
    return y if bias is None else y + bias


def _maps(x: Var, h: Var, params: Sequence[Var]) -> tuple[Var, Var]:
    """``W_ih x + b_ih`` and ``W_hh h + b_hh``."""
    ih, hh, *biases = params
    first, second = biases if biases else (None, None)
    return _affine(x, ih, first), _affine(h, hh, second)


def _gates(v: Var, count: int) -> list[Var]:
    size = v.sizes[-1] // count
    return [v.slice(-1, k * size, (k + 1) * size) for k in range(count)]


def _plain(act: Callable[[Var], Var]) -> Step:
    def step(x: Var, state: State, params: Sequence[Var]) -> State:
        a, b = _maps(x, state[0], params)
        return (act(a + b),)

    return step


def _gru(x: Var, state: State, params: Sequence[Var]) -> State:
    """``n = tanh(W x + b + r (U h + c))``, ``h' = (1 - z) n + z h``."""
    a, b = _maps(x, state[0], params)
    (ra, za, na), (rb, zb, nb) = _gates(a, 3), _gates(b, 3)
    r, z = _sigmoid(ra + rb), _sigmoid(za + zb)
    n = _tanh(na + r * nb)
    return (z.scale(-1.0).shift(1.0) * n + z * state[0],)


def _lstm(x: Var, state: State, params: Sequence[Var]) -> State:
    """``c' = f c + i g``, ``h' = o tanh(c')``."""
    a, b = _maps(x, state[0], params)
    i, f, g, o = _gates(a + b, 4)
    c = _sigmoid(f) * state[1] + _sigmoid(i) * _tanh(g)
    return (_sigmoid(o) * _tanh(c), c)


STEPS: Mapping[str, Step] = {
    "aten.rnn_tanh": _plain(_tanh),
    "aten.rnn_relu": _plain(_relu),
    "aten.gru": _gru,
    "aten.lstm": _lstm,
}


def outputs(step: Step, stack: Stack, x: Var, first: State, params: Sequence[Var]) -> tuple[Var, ...]:
    """The sequence, and the last states (and cells) of every layer and direction, stacked along a first axis."""
    each = 4 if stack.biases else 2
    sequence, lasts = x, []
    for layer in range(stack.layers):
        directions = []
        for direction in range(stack.directions):
            row = layer * stack.directions + direction
            state = tuple(_row(s, row) for s in first)
            states = _run(step, sequence, state, params[each * row : each * (row + 1)], stack.time, backward=direction == 1)
            lasts.append(states[0 if direction else -1])
            directions.append(joined([_in_time(s[0], stack.time) for s in states], stack.time))
        sequence = directions[0] if len(directions) == 1 else joined(directions, -1 + len(x.sizes))
        if layer + 1 < stack.layers:
            sequence = stack.dropout(sequence)
    ends = tuple(joined([_in_time(last[k], 0) for last in lasts], 0) for k in range(len(first)))
    return (sequence, *ends)


def _run(step: Step, x: Var, state: State, params: Sequence[Var], time: int, *, backward: bool) -> list[State]:
    """The states by time."""
    steps = range(x.sizes[time])
    result: list[State] = []
    for t in reversed(steps) if backward else steps:
        state = step(_drop(x.slice(time, t, t + 1), time), state, params)
        result.append(state)
    return result[::-1] if backward else result


def _row(states: Var, row: int) -> Var:
    return _drop(states.slice(0, row, row + 1), 0)


def _drop(v: Var, axis: int) -> Var:
    return v.reshape(*(n for a, n in enumerate(v.sizes) if a != axis))


def _in_time(v: Var, axis: int) -> Var:
    return v.reshape(*v.sizes[:axis], 1, *v.sizes[axis:])
