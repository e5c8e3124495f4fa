"""One call of a graph: run, and differentiated alone. Its autograd graph starts at its operands and ends at its output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from netaudit.graph import Node, Ref
from netaudit.intake.interpret import is_not_implemented, picked, results
from netaudit.probe.linear import Map, jacobian


def needed(node: Node) -> tuple[str, ...]:
    """The nodes whose values a call takes, each once, those of the calls that a composite was folded from included."""
    inner = {call.name for call in node.folded}
    folded = (name for call in node.folded for name in call.inputs if name not in inner)
    return tuple(dict.fromkeys((*node.inputs, *folded)))


def call_of(node: Node) -> str:
    """The name of a node's call: one call with several results is one node for each."""
    return node.name.rpartition(".")[0] if "output" in node.args else node.name


def mode_of(node: Node) -> AbstractContextManager[object]:
    """Without gradients where the model runs a call without."""
    return torch.no_grad() if "no_grad" in node.regions else nullcontext()


@contextmanager
def drawing(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from a seed, with the generators put back afterwards. Only the device's own generator is woken."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield


# at one point -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A call and the values of its operands; ``carrying`` are those of them that a gradient is taken for."""

    node: Node
    values: Mapping[str, Tensor]
    carrying: tuple[str, ...]
    device: torch.device

    def jacobian(self, operand: str, dtype: torch.dtype | None = None, seed: int = 0) -> Map:
        """The Jacobian for one operand at this point; in another ``dtype`` if asked, with random numbers of its own."""
        values = {name: _as(value.detach(), dtype) for name, value in self.values.items()}

        def function(x: Tensor) -> Tensor:
            with drawing(self.device, seed):
                return picked(self.node, results(self.node, {**values, operand: x}, self.device))

        return jacobian(function, values[operand])


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """One call with its own autograd graph, which holds what its derivative needs and nothing else: neither operands nor output.

    ``example`` has the shape, the precision and the device of the output, and no memory. ``point`` is there for calls whose
    operands were asked to be kept.
    """

    node: Node
    example: Tensor
    root: GradientEdge
    edges: Mapping[str, GradientEdge]
    point: Point | None = None

    def pulled(self, cotangent: Tensor) -> Mapping[str, Tensor]:
        """The cotangent of every operand that gets one. The call's graph is let go with the call, so more can be asked of it."""
        given = cotangent.to(self.example.dtype)
        try:
            found = torch.autograd.grad([self.root], list(self.edges.values()), [given], retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            if not is_not_implemented(error):
                raise
            return {}  # torch has no derivative of this op: a real backward pass would end here
        return {name: gradient for name, gradient in zip(self.edges, found, strict=True) if gradient is not None}


def _as(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    return value if dtype is None or not value.is_floating_point() else value.to(dtype)


# with a graph of its own ------------------------------------------------------------------------------------------------


class _Source(torch.autograd.Function):
    """A value that a gradient is taken for. A leaf of torch's would stay in memory as long as the graph that starts from it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, value: Tensor) -> Tensor:
        """The value itself; the anchor only makes torch follow what becomes of it."""
        del ctx, anchor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[None, Tensor]:
        """Never run: the gradient is taken off on its way here."""
        del ctx
        return None, cotangents[0]


def _source(value: Tensor) -> Tensor:
    found: Tensor = _Source.apply(torch.empty((), requires_grad=True), value)  # type: ignore[no-untyped-call]  # torch's stub
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """A call that was run: the operands that torch differentiates, the values of the others, and everything that it returned."""

    operands: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]
    result: Any


def applied(node: Node, values: Mapping[str, Tensor], carrying: Sequence[str] | None, device: torch.device) -> Applied:
    """A call at these values; with an autograd graph of its own that starts at the operands ``carrying``, or with none."""
    with torch.no_grad() if carrying is None else mode_of(node):
        operands = {name: _source(values[name]) for name in carrying or ()}
        fixed = {n: values[n] for n in needed(node) if n not in operands}
        try:
            return Applied(operands, fixed, results(node, {**fixed, **operands}, device))
        except RuntimeError as error:  # some losses refuse a target that asks for a gradient
            refused = re.search(r"not differentiable with respect to argument '(\w+)'", str(error))
            argument = node.args.get(refused[1]) if refused else None
            if not isinstance(argument, Ref):
                raise
            rest = {name: operand for name, operand in operands.items() if name != argument.name}
            fixed = {**fixed, argument.name: values[argument.name]}
            return Applied(rest, fixed, results(node, {**fixed, **rest}, device))


def local_of(node: Node, call: Applied, output: Tensor, device: torch.device, *, keep: bool) -> Local:
    """A call that was run with its graph, of which only the graph stays; ``keep``: its operands, too."""
    edges = {name: get_gradient_edge(operand) for name, operand in call.operands.items() if operand.requires_grad}
    values = {name: value.detach() for name, value in {**call.fixed, **call.operands}.items()} if keep else {}
    point = Point(node, values, tuple(edges), device) if keep else None
    return Local(node, output.detach().new_empty(()).expand(output.shape), get_gradient_edge(output), edges, point)
