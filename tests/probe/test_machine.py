"""A graph run call by call gives what torch's own backward pass gives, and changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from netaudit.graph import Node
from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.probe.calls import Local
from netaudit.probe.faults import faults
from netaudit.probe.heads import cotangents
from netaudit.probe.machine import Machine, forward, machine_of, sweep
from netaudit.probe.sizes import Gauge


class Mixed(nn.Module):
    """Batch statistics, dropout, a frozen weight, a detached branch, two results of one call, a weight used twice."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(8, 8)
        self.frozen = nn.Linear(8, 8)
        self.frozen.requires_grad_(False)
        self.drop = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x)).relu().mean((2, 3))
        a, b = torch.cat([y, y.detach() * 2], -1).chunk(2, -1)
        z = self.head(torch.cat([a.sin(), b], -1))
        out: Tensor = self.head(self.drop(self.frozen(z)))
        return out


def _subject(p: float = 0.3) -> Subject:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 6, 6)
    return Subject("mixed", Mixed(p), (x,), {}, x, "test")


def _machine(subject: Subject) -> Machine:
    return machine_of(lower(trace(subject), subject), torch.device("cpu"))


@dataclass
class Seen:
    values: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)

    def value(self, node: Node, value: Tensor) -> None:
        self.values[node.name] = value.clone()

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        self.gradients[node.name] = cotangent.clone()

    def pulled(self, local: Local, parts: object) -> None:
        del local, parts

    def left(self, local: Local) -> None:
        del local


def _by_autograd(machine: Machine) -> Iterator[tuple[str, Tensor]]:
    leaves = {n: t.clone().requires_grad_(n in machine.differentiated) for n, t in machine.leaves.items()}
    found = forward(machine, leaves, seed=0)
    torch.autograd.backward([found[h] for h in cotangents(machine, 0)], list(cotangents(machine, 0).values()))
    yield from ((name, leaf.grad) for name, leaf in leaves.items() if leaf.grad is not None)


@pytest.mark.parametrize("cuts", [(), (3, 7), tuple(range(100))], ids=["whole", "three", "every call"])
def test_every_gradient_is_that_of_one_backward_pass(cuts: tuple[int, ...]) -> None:
    """Dropout draws by segment, so that only one segment has the masks of a plain run."""
    machine, seen = _machine(_subject(0.0 if cuts else 0.3)), Seen()
    truth = dict(_by_autograd(machine))
    sweep(machine, cotangents(machine, 0), seen, cuts=cuts, seed=0)
    assert truth.keys() == {n for n in machine.differentiated if n in seen.gradients}
    for name, gradient in truth.items():
        assert torch.allclose(seen.gradients[name], gradient, rtol=1e-5, atol=1e-6), name


def test_segments_see_what_one_run_sees() -> None:
    machine, whole, parts = _machine(_subject(0.0)), Seen(), Seen()
    sweep(machine, cotangents(machine, 0), whole)
    sweep(machine, cotangents(machine, 0), parts, cuts=(2, 5, 9))
    assert whole.values.keys() == parts.values.keys()
    assert all(torch.equal(whole.gradients[n], parts.gradients[n]) for n in whole.gradients)


def test_a_node_behind_detach_and_a_frozen_weight_get_no_gradient() -> None:
    machine, seen = _machine(_subject()), Seen()
    sweep(machine, cotangents(machine, 0), seen)
    frozen = {info.node for info in machine.graph.params.values() if not info.trainable}
    detached = {node.name for node in machine.calls if node.op == "aten.detach"}
    assert frozen
    assert detached
    assert not (frozen | detached) & seen.gradients.keys()


def test_the_model_is_as_it_was() -> None:
    subject = _subject()
    before, state = copy.deepcopy(subject.model.state_dict()), torch.get_rng_state()
    machine = _machine(subject)
    sweep(machine, cotangents(machine, 0), Gauge(samples=2), seed=3)
    assert all(torch.equal(before[name], value) for name, value in subject.model.state_dict().items())
    assert all(parameter.grad is None for parameter in subject.model.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_the_same_seed_gives_the_same_numbers() -> None:
    machine = _machine(_subject())
    first, second, other = Seen(), Seen(), Seen()
    for seen, seed in ((first, 0), (second, 0), (other, 1)):
        sweep(machine, cotangents(machine, 0), seen, seed=seed)
    assert all(torch.equal(first.gradients[n], second.gradients[n]) for n in first.gradients)
    assert any(not torch.equal(first.gradients[n], other.gradients[n]) for n in first.gradients)  # another dropout mask


class Overflowing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 1e30 * 1e30).tanh() + x.abs().sqrt()


def test_the_first_place_that_is_not_finite_is_found_both_ways() -> None:
    x = torch.tensor([[0.0, 1.0]])
    subject = Subject("overflow", Overflowing(), (x,), {}, x, "test")
    machine, watch = _machine(subject), Gauge()
    sweep(machine, cotangents(machine, 0), watch)
    nodes = machine.nodes
    found = faults(machine, watch.read())
    assert [nodes[name].op for name in found.values] == ["aten.mul"]
    assert "aten.sqrt" in [nodes[name].op for name in found.gradients]
