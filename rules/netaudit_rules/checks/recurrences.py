"""What several checks read off a recurrent layer: its steps, its recurrent matrices and its biases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from netaudit import Audit, Node, ParamInfo

GATES = {"aten.lstm": 4, "aten.gru": 3, "aten.rnn_tanh": 1, "aten.rnn_relu": 1}


@dataclass(frozen=True, slots=True)
class Recurrence:
    """One layer in one direction of a recurrent call: ``matrix`` is the name of its recurrent weight, biases those of its gates.

    ``index`` is its place among the layers and directions of the call's states; ``feed`` the node of the weight of its input.
    """

    node: Node
    steps: int
    hidden: int
    matrix: str
    info: ParamInfo
    biases: tuple[str, ...]
    index: int
    feed: str = ""


def recurrences(audit: Audit) -> Iterator[Recurrence]:
    """Every recurrent layer that a gradient reaches."""
    owners = {info.node: (name, info) for name, info in audit.graph.params.items()}
    for node in audit.graph.nodes:
        if node.op in GATES and node.args.get("output", 0) == 0 and node.name in audit.flow.reached:
            own = [owners[o] for o in node.inputs if o in owners]
            shape = audit.facts.nodes[node.inputs[0]].shape
            steps = shape[1 if node.args.get("batch_first") is True else 0] if len(shape) == 3 else shape[0]
            yield from _layers(node, steps, own)


def _layers(node: Node, steps: int, own: list[tuple[str, ParamInfo]]) -> Iterator[Recurrence]:
    """Parameters stand in the order W_ih, W_hh and, if there are any, b_ih, b_hh."""
    matrices = [item for item in own if len(item[1].shape) == 2]
    vectors = [info.node for _, info in own if len(info.shape) == 1]
    each = 2 * len(vectors) // len(matrices) if matrices else 0
    for i, (name, info) in enumerate(matrices[1::2]):
        hidden = info.shape[1]
        if info.shape[0] == GATES[node.op] * hidden:
            yield Recurrence(node, steps, hidden, name, info, tuple(vectors[each * i : each * (i + 1)]), i, matrices[2 * i][1].node)


def values(audit: Audit, name: str) -> Any:
    """The entries of a node as an array of floats; None when they are not at hand."""
    value = audit.facts.signals[name].value
    return None if value is None else value.astype(float)
