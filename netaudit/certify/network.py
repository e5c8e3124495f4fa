"""The Lipschitz constant of a network: certificate matrices where they are affordable, composition of norms elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf, log10
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from netaudit.certify.arithmetic import InfeasibleError, Verified, root_up_log2
from netaudit.certify.ball import Ball
from netaudit.certify.plan import Kind, Live
from netaudit.certify.relax import local_slopes
from netaudit.certify.search import run, search
from netaudit.certify.stages import Layout, Slopes, Step, compile_steps, operand_gains, total_size, with_slopes
from netaudit.graph import Node

LARGEST = 1100
"""Live entries up to which a certificate matrix is carried: its eigenvalues take about a second at this size."""
NEVER = -inf
Method: TypeAlias = Literal["certificate", "composition"]


@dataclass(frozen=True, slots=True)
class NodeBound:
    """A call: log10 of its own Lipschitz constant, and PROVED of the map from the sources to it; ``by`` what gave the latter.

    ``known`` is false where nothing is known of the call (no transfer): that it has no bound is then no fact of it.
    """

    name: str
    kind: Kind
    own: float
    through: float
    by: Method
    known: bool = True


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive calls treated alike."""

    first: str
    last: str
    calls: int
    method: Method


@dataclass(frozen=True, slots=True)
class NetworkBound:
    """PROVED log10 of the Lipschitz constant from the (stacked, flattened) sources to the (stacked, flattened) outputs, in l2."""

    log10: float
    nodes: tuple[NodeBound, ...]
    segments: tuple[Segment, ...]
    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    composition: float
    notes: tuple[str, ...] = ()

    @property
    def unknown(self) -> tuple[str, ...]:
        """The calls of which nothing is known: without them there may be a bound."""
        return tuple(node.name for node in self.nodes if not node.known)


def certify(part: Live, *, ball: Ball | None = None, seconds: float = 10.0) -> NetworkBound:
    """The global bound, or the local one in a ball around the example, on which the facts of ``part`` must then hold.

    ``seconds`` is the time for the search of multipliers; the rest takes what it takes.
    """
    with torch.random.fork_rng(devices=[]):
        return _Walk(part, ball, seconds).result()


class _Walk:
    """One pass over the live calls. ``logs``: best bound of each tensor so far; ``composed``: by composition alone."""

    def __init__(self, part: Live, ball: Ball | None, seconds: float) -> None:
        self.part, self.ball, self.seconds = part, ball, seconds
        self.logs = dict.fromkeys(part.sources, 0.0)
        self.composed = dict.fromkeys(part.sources, 0.0)
        self.kinds = {node.name: part.kind(node) for node in part.nodes}
        self.own = {node.name: _own(part, node, self.kinds[node.name]) for node in part.nodes}
        self.by: dict[str, Method] = {}
        self.notes: list[str] = []
        self.final = inf

    def result(self) -> NetworkBound:
        """Walk all segments."""
        for node in self.part.nodes:
            self.composed[node.name] = _composed(self.part, node, self.kinds[node.name], self.composed)
        segments = []
        for positions, wanted in self._segments():
            nodes = [(i, self.part.nodes[i]) for i in positions]
            closed = wanted == "certificate" and self._by_certificate(nodes)
            self._by_composition([node for _, node in nodes])
            segments.append(Segment(nodes[0][1].name, nodes[-1][1].name, len(nodes), "certificate" if closed else "composition"))
        total = min(self.final, _root_sum([self.logs[name] for name in self.part.outputs])) if self.part.outputs else NEVER
        jumps = [node.name for node in self.part.nodes if self.kinds[node.name] == "jump"]
        if jumps:
            self.notes.append(f"not continuous: {', '.join(jumps[:3])}{' ...' if len(jumps) > 3 else ''} may jump")
        rows = tuple(
            NodeBound(
                node.name, self.kinds[node.name], self.own[node.name], self.logs[node.name], self.by[node.name], self.part.is_known(node)
            )
            for node in self.part.nodes
        )
        composed = _root_sum([self.composed[name] for name in self.part.outputs])
        return NetworkBound(total, rows, tuple(segments), self.part.sources, self.part.outputs, composed, tuple(self.notes))

    # where matrices are affordable --------------------------------------------------------------------------------------

    def _segments(self) -> list[tuple[list[int], Method]]:
        """Positions of consecutive calls that are alike; a bound that is infinite is not worth a matrix."""
        found: list[tuple[list[int], Method]] = []
        for position, node in enumerate(self.part.nodes):
            entries = max(total_size(self._alive(position - 1)), total_size(self._alive(position)))
            affordable = entries <= LARGEST and not isinf(self.own[node.name])
            method: Method = "certificate" if affordable else "composition"
            if found and found[-1][1] == method:
                found[-1][0].append(position)
            else:
                found.append(([position], method))
        return [(p, m if self._gains_by_matrix(p) else "composition") for p, m in found]

    def _gains_by_matrix(self, positions: Sequence[int]) -> bool:
        """Whether there is something for a certificate to see: two maps in a row, of which the norms alone would multiply."""
        return sum(self.kinds[self.part.nodes[i].name] in ("slope", "linear") for i in positions) > 1

    def _alive(self, position: int) -> Layout:
        """The live tensors after the call at a position, in the order in which they came to be."""
        names = (*self.part.sources, *(node.name for node in self.part.nodes[: position + 1]))
        return tuple((name, self.part.size(name)) for name in names if self.part.last_use.get(name, -1) > position)

    def _by_certificate(self, nodes: Sequence[tuple[int, Node]]) -> bool:
        """Bounds by a certificate matrix over one segment; False when there is none to start from."""
        layout = self._alive(nodes[0][0] - 1)
        start = self._start(layout, is_first=nodes[0][0] == 0)
        if start is None:
            return False
        p, base = start
        steps = compile_steps(self.part, nodes, layout)
        local: Mapping[str, Slopes] = {}
        if self.ball is not None and nodes[0][0] == 0:
            local = local_slopes(self.part.facts, steps, self.part.centre, self.ball)
        sizes = [total_size(layout), *(total_size(step.layout) for step in steps)]
        stages = [
            with_slopes(step, size, local.get(step.node.name) or self._slopes(step)) for step, size in zip(steps, sizes, strict=False)
        ]
        multipliers = search(p, stages, self.seconds)
        try:
            with torch.no_grad():
                found = run(p, stages, multipliers, Verified())
        except InfeasibleError:
            self.notes.append(f"the certificate of {nodes[0][1].name} .. {nodes[-1][1].name} did not close")
            return False
        for step, (after, exponent) in zip(steps, found, strict=True):
            block = after[step.new][:, step.new]
            self.logs[step.node.name], self.by[step.node.name] = base + root_up_log2(Verified().top(block), exponent), "certificate"
        last, exponent = found[-1]
        if nodes[-1][0] == len(self.part.nodes) - 1:
            self.final = base + root_up_log2(Verified().top(last), exponent)
        return True

    def _start(self, layout: Layout, *, is_first: bool) -> tuple[Tensor, float] | None:
        """``diag(k L_i^2)`` for k live tensors, over the largest L (log10); the identity where the network begins."""
        if is_first:
            return torch.eye(total_size(layout), dtype=torch.float64), 0.0
        logs = [self.logs[name] for name, _ in layout]
        top = max(logs, default=NEVER)
        if isinf(top):
            return None
        diagonal = [torch.full((size,), len(layout) * 10.0 ** (2.0 * (log - top)) * (1 + 1e-12), dtype=torch.float64)
                    for (_, size), log in zip(layout, logs, strict=True)]  # fmt: skip
        return torch.diag(torch.cat(diagonal)), top

    def _slopes(self, step: Step) -> Slopes | None:
        """The proved range of slopes, the same for every entry."""
        jac = next((j for j in self.part.facts.effects[step.node.name].jac if j is not None and j.slope is not None), None)
        if jac is None or jac.slope is None:
            return None
        ones = torch.ones(len(step.new), dtype=torch.float64)
        return ones * jac.slope[0], ones * jac.slope[1]

    # elsewhere ----------------------------------------------------------------------------------------------------------

    def _by_composition(self, nodes: Sequence[Node]) -> None:
        """Bounds by composition; where a certificate gave a smaller one it stays."""
        for node in nodes:
            log = _composed(self.part, node, self.kinds[node.name], self.logs)
            if node.name not in self.logs or log < self.logs[node.name]:
                self.logs[node.name], self.by[node.name] = log, "composition"


def _own(part: Live, node: Node, kind: Kind) -> float:
    """log10 of a call's Lipschitz constant: the largest over its live operands; inf where it may jump."""
    if kind == "jump":
        return inf
    return max((_log(gain) for gain in operand_gains(part, node).values()), default=NEVER)


def _composed(part: Live, node: Node, kind: Kind, logs: Mapping[str, float]) -> float:
    """PROVED log10 by composition: operands add, joined tensors add in squares."""
    if kind == "jump":
        return inf
    terms = [_through(logs[name], gain) for name, gain in operand_gains(part, node).items()]
    joins = node.op in ("aten.cat", "aten.concat", "aten.concatenate", "aten.stack")
    return _root_sum(terms) if joins else _sum(terms)


def _log(value: float) -> float:
    return log10(value) if 0.0 < value < inf else (NEVER if value == 0.0 else inf)


def _through(log: float, gain: float) -> float:
    """log10 of a bound times a gain, rounded up; what is multiplied by exactly 1 stays as it is."""
    if gain == 0.0 or log == NEVER:
        return NEVER
    return log if gain == 1.0 else _up(log + _log(gain))


def _sum(logs: Sequence[float], power: float = 1.0) -> float:
    """log10 of ``(sum (10^l)^p)^(1/p)``, rounded up."""
    known = [log for log in logs if log > NEVER]
    top = max(known, default=NEVER)
    if isinf(top) or len(known) == 1:
        return top
    return _up(top + log10(sum(10.0 ** (power * (value - top)) for value in known)) / power)


def _up(log: float) -> float:
    """Above what a handful of operations on logarithms may have lost."""
    return log + 1e-12 * (1.0 + abs(log))


def _root_sum(logs: Sequence[float]) -> float:
    return _sum(logs, 2.0)
