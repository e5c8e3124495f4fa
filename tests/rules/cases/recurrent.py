"""Recurrent layers, each with its first state at zero and moving, in one layer and in two, one direction and both."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, normal

A = torch.ops.aten
X = normal(3, 2, 4)
SMALL = 4.0
"""Three hidden units are far from the wide limit: mean squares to a factor of four. With ReLU one dead unit is a third of them."""
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
HIDDEN = 3


def _params(gates: int, layers: int, directions: int, scale: float) -> tuple[Tensor, ...]:
    made = []
    for layer in range(layers):
        for direction in range(directions):
            inputs = X.shape[-1] if layer == 0 else directions * HIDDEN
            seed = 10 * layer + direction
            made += [scale * normal(gates * HIDDEN, inputs, seed=seed), scale * normal(gates * HIDDEN, HIDDEN, seed=seed + 1)]
            made += [0.1 * normal(gates * HIDDEN, seed=seed + 2), 0.1 * normal(gates * HIDDEN, seed=seed + 3)]
    return tuple(made)


def _layer(name: str, states: int, layers: int, directions: int, output: int) -> Callable[..., Tensor]:
    def run(x: Tensor, *rest: Tensor) -> Tensor:
        hx, params = list(rest[:states]), list(rest[states:])
        first = hx if states == 2 else hx[0]
        value: Tensor = getattr(A, name).input(x, first, params, True, layers, 0.0, False, directions == 2, False)[output]
        return value

    return run


def _cases() -> Iterator[Case]:
    for name, gates in GATES.items():
        states = 2 if name == "lstm" else 1
        for layers, directions, output, scale in ((1, 1, 0, 0.3), (1, 1, 1, 0.3), (2, 1, 0, 0.2), (1, 2, 0, 0.5), (2, 2, 1, 0.2)):
            shape = (layers * directions, X.shape[1], HIDDEN)
            yield Case(
                op=f"aten.{name}",
                name=f"{layers}-{directions}-{output}",
                function=_layer(name, states, layers, directions, output),
                inputs=(X, *(normal(*shape, seed=s).tanh() for s in range(states))),
                weights=_params(gates, layers, directions, scale),
                ranges=dict.fromkeys(range(1, states + 1), Interval(-1.0, 1.0)),
                largest=10.0,
                factor=None if name == "rnn_relu" else SMALL,
            )


def _cell(name: str, output: int) -> Callable[..., Tensor]:
    def run(x: Tensor, *rest: Tensor) -> Tensor:
        if name != "lstm":
            single: Tensor = getattr(A, f"{name}_cell")(x, *rest)
            return single
        value: Tensor = A.lstm_cell(x, list(rest[:2]), *rest[2:])[output]
        return value

    return run


def _cells() -> Iterator[Case]:
    for name, gates in GATES.items():
        states = 2 if name == "lstm" else 1
        for output in range(states):
            yield Case(
                op=f"aten.{name}_cell",
                name=str(output),
                function=_cell(name, output),
                inputs=(X[0], *(normal(2, HIDDEN, seed=s).tanh() for s in range(states))),
                weights=_params(gates, 1, 1, 0.3),
                ranges=dict.fromkeys(range(1, states + 1), Interval(-1.0, 1.0)),
                largest=10.0,
                factor=None if name == "rnn_relu" else SMALL,
            )


CASES = (*_cases(), *_cells())
