"""Cases: one call of an op in torch, traced as a model is, and that op at work on its operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import log, sqrt

import torch
from torch import Tensor, nn

from netaudit.effect import Effect
from netaudit.facts import LEAVES, Facts, derive
from netaudit.graph import Arg, Graph, Node
from netaudit.intake.interpret import call
from netaudit.intake.lower import Lowered, lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.intake.weights import Assumed, leaves
from netaudit.moments import Moments, independent, of
from netaudit.pack import Catalog, installed
from netaudit.signal import Interval, Signal
from netaudit.testing.points import inside


@dataclass(frozen=True, slots=True)
class Law:
    """How the entries of an input are drawn: independently, normal, or log-normal when they are ``positive``."""

    mean: float = 0.0
    sd: float = 1.0
    positive: bool = False

    def moments(self, shape: tuple[int, ...]) -> Moments:
        """What the analysis is told of such an input."""
        return of(independent(shape, self.mean**2 + self.sd**2, self.mean), positive=self.positive)

    def draw(self, example: Tensor) -> Tensor:
        """A tensor like the example, from torch's generator."""
        if not self.positive:
            return self.mean + self.sd * torch.randn_like(example)
        spread = log(1.0 + (self.sd / self.mean) ** 2)
        return torch.exp(sqrt(spread) * torch.randn_like(example) + log(self.mean) - spread / 2)


NORMAL = Law()


def normal(*shape: int, seed: int = 0) -> Tensor:
    """A standard normal tensor, the same every time, in the precision that bounds are tested in."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Case:
    """One call of ``op``: ``function`` is called with ``inputs``, then ``weights`` (which become parameters).

    ``ranges`` are the proved ranges of inputs and ``laws`` how they are drawn, by position; standard normal if not given.
    ``starts`` are points where the supremum is met, by operand slot (None keeps the example): the search tries them first.
    ``tight`` is the share of ``lip`` that the search must reach, by slot; exact bounds are held to 0.999 without it.
    ``domain`` maps the value of an operand to one that the op is meant for (rows that sum to one), by slot; ``largest`` is the
    size beyond which float64 fails the op, not its bound.
    ``composite`` holds the arguments of an op that no pattern makes: the calls of ``function`` are then folded into one, whose
    operands are the inputs, the weights and the constants, in this order.
    ``factor`` is how far the modelled mean squares may be from sampled ones: 1 is sampling error only, None asserts nothing.
    """

    op: str
    function: Callable[..., object]
    inputs: tuple[Tensor, ...] = ()
    weights: tuple[Tensor, ...] = ()
    name: str = ""
    ranges: Mapping[int, Interval] = field(default_factory=dict)
    laws: Mapping[int, Law] = field(default_factory=dict)
    starts: tuple[tuple[Tensor | None, ...], ...] = ()
    tight: Mapping[int, float] = field(default_factory=dict)
    domain: Mapping[int, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    largest: float = 1e9
    composite: Mapping[str, Arg] | None = None
    factor: float | None = 1.0

    @property
    def id(self) -> str:
        """The op, and what tells its cases apart."""
        return f"{self.op}-{self.name}" if self.name else self.op


class _Called(nn.Module):
    """A function as a model whose parameters are its last arguments."""

    def __init__(self, function: Callable[..., object], weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(w) for w in weights])

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs, *self.weights)


def facts_of(
    function: Callable[..., object] | nn.Module,
    *inputs: Tensor,
    weights: Sequence[Tensor] = (),
    ranges: Mapping[int, Interval] | None = None,
    laws: Mapping[int, Law] | None = None,
    catalog: Catalog | None = None,
) -> Facts:
    """The facts of a small function or module, traced as any model is; see ``Case`` for the arguments.

    Raises:
        TraceError: it could not be traced.
    """
    model = function if isinstance(function, nn.Module) else _Called(function, weights)
    return _derived(_lowered(model, inputs), ranges or {}, laws or {}, catalog or installed())


def _lowered(model: nn.Module, inputs: tuple[Tensor, ...]) -> Lowered:
    subject = Subject("case", model, inputs, {}, inputs, "the case")
    return lower(trace(subject), subject)


def _derived(lowered: Lowered, ranges: Mapping[int, Interval], laws: Mapping[int, Law], catalog: Catalog) -> Facts:
    names = lowered.graph.inputs
    known = leaves(lowered, Assumed(guessed=True, ranges={names[i]: r for i, r in ranges.items()}))
    drawn = {names[i]: replace(known.signals[names[i]], moments=law.moments(known.signals[names[i]].shape)) for i, law in laws.items()}
    return derive(lowered.graph, replace(known, signals={**known.signals, **drawn}), catalog)


@dataclass(frozen=True, eq=False)
class Applied:
    """An op at work: its node in the facts of a traced case, and the tensors of the leaves."""

    case: Case
    facts: Facts
    node: Node
    tensors: Mapping[str, Tensor]

    @property
    def effect(self) -> Effect:
        """What the transfer says."""
        return self.facts.effects[self.node.name]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The operands that are nodes, each once: the same tensor in two slots is one variable."""
        return tuple(dict.fromkeys(self.node.inputs))

    @cached_property
    def example(self) -> Mapping[str, Tensor]:
        """The operands on the example inputs."""
        values = self.run({})
        return {name: values[name] for name in self.names}

    @cached_property
    def free(self) -> tuple[str, ...]:
        """The operands that depend on an input: a bound holds for all their values. The others are what they are."""
        moving = set(self.facts.graph.inputs)
        for node in self.facts.graph.nodes:
            if moving & set(node.inputs):
                moving.add(node.name)
        return tuple(name for name in self.names if name in moving)

    @cached_property
    def differentiable(self) -> tuple[str, ...]:
        """The operands that carry a gradient: floating tensors that are not constants, and that torch does not refuse."""
        floats = (n for n in self.names if self.facts.nodes[n].is_float and not self.signal(n).constant)
        return tuple(n for n in floats if self._takes_gradient(n))

    def _takes_gradient(self, name: str) -> bool:
        try:
            self.output({name: self.example[name].clone().requires_grad_()})
        except RuntimeError as error:
            if "not differentiable with respect to" in str(error):
                return False
            raise
        return True

    def signal(self, name: str) -> Signal:
        """What is known of an operand."""
        return self.facts.signals[name]

    def slots(self, name: str) -> tuple[int, ...]:
        """Where an operand stands."""
        return tuple(i for i, operand in enumerate(self.node.operands) if operand == name)

    def lip(self, name: str) -> float:
        """PROVED bound for an operand: parallel slots add."""
        return sum(jac.lip for jac in (self.effect.jac[slot] for slot in self.slots(name)) if jac is not None)

    def allowed(self, name: str, value: Tensor) -> Tensor:
        """The nearest value of an operand that is proved possible and that the op is meant for."""
        if not value.is_floating_point():
            return value
        value = inside(self.signal(name), value.clamp(-self.case.largest, self.case.largest))
        for slot in self.slots(name):
            value = self.case.domain[slot](value) if slot in self.case.domain else value
        return value

    def output(self, values: Mapping[str, Tensor]) -> Tensor:
        """The op on given operands, random numbers as ever."""
        torch.default_generator.manual_seed(0)  # not torch.manual_seed, which wakes every accelerator
        return call(self.node, {**self.example, **values})

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Every node's value up to the op, for new values of inputs."""
        values = {**self.tensors, **inputs}
        with torch.no_grad():
            for node in self.facts.graph.nodes:
                if node.name not in values:
                    values[node.name] = call(node, values)
                if node.name == self.node.name:
                    break
        return values


def _as_one(graph: Graph, op: str, args: Mapping[str, Arg]) -> Graph:
    leaves = [node for node in graph.nodes if node.op in LEAVES]
    calls = tuple(node for node in graph.nodes if node.op not in LEAVES)
    operands = tuple(node.name for kind in ("input", "parameter", "constant") for node in leaves if node.op == kind)
    one = replace(calls[-1], op=op, operands=operands, args=args, target="", folded=calls)
    return replace(graph, nodes=(*leaves, one))


def applied(case: Case, catalog: Catalog | None = None) -> Applied:
    """Trace a case and find its op.

    Raises:
        TraceError: the case could not be traced.
        LookupError: no call of the op is left in the graph.
    """
    lowered = _lowered(_Called(case.function, case.weights), case.inputs)
    if case.composite is not None:
        lowered = replace(lowered, graph=_as_one(lowered.graph, case.op, case.composite))
    facts = _derived(lowered, case.ranges, case.laws, catalog or installed())
    found = [node for node in facts.graph.nodes if node.op == case.op]
    if not found:
        raise LookupError(f"{case.id}: traced to {sorted({n.op for n in facts.graph.nodes} - {'input', 'parameter', 'constant'})}")
    return Applied(case, facts, found[-1], {name: t.detach() for name, t in lowered.tensors.items()})
