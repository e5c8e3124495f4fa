"""What several checks share of weights: where they are used, how many inputs a unit has, and which initialisation they look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose, prod, sqrt
from typing import TYPE_CHECKING, Any

from netaudit import Audit, Graph, Node, ParamInfo
from netaudit_rules.checks.losses import WEIGHTED

if TYPE_CHECKING:
    from netaudit import Facts, Signal

PRODUCTS = frozenset({"aten.matmul", "aten.mm"})


@dataclass(frozen=True, slots=True)
class Use:
    """A layer at work: a call that multiplies data with a trained or frozen weight.

    ``weight`` is the operand, ``param`` the parameter's name behind it; ``by_row``: whether the rows of the weight are the
    units, as in linear and conv, or its columns, as in ``x @ W``.
    """

    node: Node
    data: str
    weight: str
    bias: str | None
    param: str
    info: ParamInfo
    by_row: bool

    @property
    def units(self) -> int:
        """The number of outputs (channels, features)."""
        return self.info.shape[0] if self.by_row else self.info.shape[-1]


TURNS = frozenset({"aten.t", "aten.transpose", "aten.numpy_T", "aten.permute"})
"""Calls that turn a matrix."""


def uses(graph: Graph) -> tuple[Use, ...]:
    """Every layer in execution order. Weights that are computed (weight norm) are left out."""
    owners = {info.node: (name, info, False) for name, info in graph.params.items()}
    for node in graph.nodes:
        if node.op in TURNS and node.inputs[0] in owners and len(node.shape) == 2:
            name, info, turned = owners[node.inputs[0]]
            owners[node.name] = (name, info, not turned)
    found = (_use(node, owners) for node in graph.nodes)
    return tuple(use for use in found if use is not None)


def _use(node: Node, owners: Mapping[str, tuple[str, ParamInfo, bool]]) -> Use | None:
    operands = node.operands
    if len(operands) < 2 or not isinstance(operands[0], str) or operands[1] not in owners:
        return None
    name, info, turned = owners[str(operands[1])]
    if node.op in WEIGHTED - {"aten.addmm"}:
        bias = operands[2] if len(operands) > 2 and isinstance(operands[2], str) else None
        by_row = turned == ("transpose" in node.op or node.args.get("transposed") is True)
        return Use(node, operands[0], info.node, bias, name, info, by_row)
    if node.op in PRODUCTS and len(info.shape) == 2:
        return Use(node, operands[0], info.node, None, name, info, turned)
    return None


def fan_in(use: Use) -> int:
    """The number of inputs of a unit."""
    shape = use.info.shape
    if use.by_row:
        return prod(shape[1:])
    return shape[0] * prod(shape[2:]) if len(shape) > 2 else shape[0]


def fan_out(use: Use) -> int:
    """The number of outputs that an input reaches."""
    shape = use.info.shape
    return use.units * prod(shape[2:])


# initialisations --------------------------------------------------------------------------------------------------------

FEWEST = 32
"""Entries below which nothing is said of a distribution."""


def drawn_as(facts: Facts, use: Use) -> str:
    """The common initialisation that a weight's entries are statistically equal to; empty when it is none of them.

    A uniform draw is known by its end and its mean square (3 ``E w^2`` is the end squared, to within five standard errors), a
    normal one by its mean square and its fourth moment. Trained weights are neither.
    """
    signal = facts.signals[use.weight]
    moments = signal.moments
    if moments is None or signal.count < FEWEST or moments.mean_square <= 0.0:
        return ""
    size, n_in, n_out = float(moments.mean_square), fan_in(use), fan_out(use)
    slack = 5.0 * sqrt(0.8 / signal.count)  # five standard errors of the mean square of uniform draws
    end = signal.range.magnitude
    ends = {"the default of torch": 1 / sqrt(n_in), "xavier_uniform": sqrt(6 / (n_in + n_out)), "kaiming_uniform": sqrt(6 / n_in)}
    for name, bound in ends.items():
        if bound * (1 - 20.0 / signal.count) <= end <= bound * (1 + 1e-5) and isclose(3 * size, bound**2, rel_tol=slack):
            return name
    return _normal(signal, size, n_in, n_out)


def _normal(signal: Signal, size: float, n_in: int, n_out: int) -> str:
    if signal.value is None:
        return ""
    value = signal.value.astype(float)
    if _is_orthogonal(value.reshape(value.shape[0], -1)):
        return ""
    kurtosis = float((value**4).mean()) / size**2
    if abs(kurtosis - 3.0) > 5.0 * sqrt(24.0 / signal.count):
        return ""
    slack = 5.0 * sqrt(2.0 / signal.count)
    squares = {
        "normal(std=0.02)": 4e-4,
        "normal(std=0.01)": 1e-4,
        "xavier_normal": 2 / (n_in + n_out),
        "kaiming_normal": 2 / n_in,
        "kaiming_normal (fan_out)": 2 / n_out,
        "normal of variance 1 / fan_in": 1 / n_in,
    }
    return next((name for name, square in squares.items() if isclose(size, square, rel_tol=slack)), "")


def _is_orthogonal(matrix: Any) -> bool:
    """Whether the rows, or the columns, are orthogonal: their entries look normal, and are no independent draw."""
    thin = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = thin @ thin.T
    lengths = gram.diagonal().copy()
    gram[range(len(gram)), range(len(gram))] = 0.0
    return len(gram) > 1 and bool(abs(gram).max() < 1e-3 * lengths.min())


def is_constant(signal: Signal) -> bool:
    """Whether every entry is the same number."""
    return signal.range.lo == signal.range.hi


def ancestors(audit: Audit, name: str) -> frozenset[str]:
    """The nodes that a value depends on."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for operand in audit.facts.nodes[waiting.pop()].inputs:
            if operand not in found:
                found.add(operand)
                waiting.append(operand)
    return frozenset(found)
