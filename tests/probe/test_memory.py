"""What a sweep holds in memory: as predicted, as little as the derivatives need, and within a limit where it can be."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from netaudit.cli.app import app
from netaudit.graph import Node
from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.probe.calls import Local
from netaudit.probe.heads import cotangents
from netaudit.probe.linear import signs
from netaudit.probe.machine import Machine, machine_of, segments, sweep
from netaudit.probe.memory import Costs, costs_of, fitting, peak
from netaudit.probe.run import Plan, cut_for, in_words
from netaudit.probe.sizes import Gauge

EXAMPLES = Path(__file__).parents[2] / "examples"


def _machine(model: nn.Module, x: Tensor) -> Machine:
    subject = Subject("one", model, (x,), {}, x, "test")
    return machine_of(lower(trace(subject), subject), torch.device("cpu"))


def mlp() -> Machine:
    return _machine(nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(16)]), torch.randn(512, 64))


class Convolutions(nn.Module):
    """Blocks whose sum passes by, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stem(x)
        for block in self.blocks:
            y = y + block(y)
        return y.mean((2, 3))


def convolutions() -> Machine:
    return _machine(Convolutions(), torch.randn(4, 3, 32, 32))


def transformer() -> Machine:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
    return _machine(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).train(), torch.randn(8, 32, 32))


MODELS = {"mlp": mlp, "convolutions": convolutions, "transformer": transformer}


@cache
def built(name: str) -> tuple[Machine, Costs]:
    torch.manual_seed(0)
    machine = MODELS[name]()
    return machine, costs_of(machine, samples=2)


class Weak:
    """The memory of a tensor, which it does not keep."""

    def __init__(self, tensor: Tensor) -> None:
        self.ref = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]  # torch's stub

    @property
    def alive(self) -> bool:
        return not self.ref.expired()  # type: ignore[no-untyped-call]  # torch's stub


class Allocated(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's stub
    """The most bytes that tensors made meanwhile take at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's stub
        self.alive: dict[int, tuple[Weak, int]] = {}
        self.most: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {one.untyped_storage()._cdata for one in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        result = func(*args, **(kwargs or {}))
        for one in torch.utils._pytree.tree_leaves(result):
            if isinstance(one, Tensor) and (key := one.untyped_storage()._cdata) not in given:
                self.alive[key] = (Weak(one), one.untyped_storage().nbytes())
        self.alive = {key: pair for key, pair in self.alive.items() if pair[0].alive}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return result


def _taken(machine: Machine, cuts: Sequence[int]) -> int:
    """Bytes of one measured sweep, its first cotangents included."""
    signs(torch.empty(1), 0, 0)  # the tile of signs is made once for all
    with Allocated() as seen:
        sweep(machine, cotangents(machine, 0), Gauge(2), cuts=cuts)
    return int(seen.most)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3])
@pytest.mark.parametrize("name", MODELS)
def test_the_peak_is_as_predicted(name: str, share: float) -> None:
    """Tensors that live inside one kernel or one formula are not foreseen: up to a fifth, as for half of a small graph."""
    machine, costs = built(name)
    cut = fitting(costs, int(share * fitting(costs, sys.maxsize).most))
    assert cut.peak == pytest.approx(_taken(machine, cut.places), rel=0.2)


@pytest.mark.parametrize("share", [0.8, 0.6, 0.45])
def test_no_fewer_segments_fit_nor_do_other_cuts_hold_less(share: float) -> None:
    """Against all ways to cut in up to three."""
    _, costs = built("mlp")
    limit = int(share * peak(costs, ()))
    found = fitting(costs, limit + costs.kernel)
    ways = [min(peak(costs, cuts) for cuts in combinations(range(1, len(costs.calls)), n)) for n in (1, 2)]
    fewest = next((n for n, least in enumerate(ways, 1) if least <= limit), 3)
    assert len(found.places) >= fewest
    assert found.peak <= limit
    assert fewest == 3 or (len(found.places), found.peak) == (fewest, ways[fewest - 1])


@pytest.mark.parametrize("name", MODELS)
def test_a_larger_limit_takes_no_more_segments(name: str) -> None:
    _, costs = built(name)
    whole = fitting(costs, sys.maxsize).most
    counts = [len(fitting(costs, int(share * whole)).places) for share in (1.0, 0.8, 0.6, 0.4)]
    assert counts[0] == 0
    assert counts == sorted(counts)


@pytest.mark.parametrize("name", MODELS)
def test_what_cannot_fit_takes_as_little_as_was_found(name: str) -> None:
    _, costs = built(name)
    least = fitting(costs, 1)
    assert 1 < least.peak < peak(costs, ())
    assert fitting(costs, least.most).peak == least.peak


def test_counting_what_is_held_changes_nothing() -> None:
    machine, _ = built("convolutions")
    before = {name: leaf.clone() for name, leaf in machine.leaves.items()}
    state = torch.get_rng_state()
    costs_of(machine)
    assert all(torch.equal(leaf, machine.leaves[name]) for name, leaf in before.items())
    assert torch.equal(state, torch.get_rng_state())


# what a graph holds -----------------------------------------------------------------------------------------------------


class Alive:
    """Which values are still in memory when the way back begins."""

    def __init__(self) -> None:
        self.seen: dict[str, Weak] = {}
        self.left_over: list[str] | None = None

    def value(self, node: Node, value: Tensor) -> None:
        if node.op not in ("param", "input"):
            self.seen[node.op] = Weak(value)

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        del node, cotangent
        if self.left_over is None:
            self.left_over = [op for op, one in self.seen.items() if one.alive]

    def pulled(self, local: Local, parts: object) -> None:
        pass

    def left(self, local: Local) -> None:
        pass


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (lambda x: (x.neg() + 1.0).cumsum(0), []),  # no derivative needs a value
        (lambda x: x.neg().tanh().cumsum(0), ["aten.tanh"]),  # its own
        (lambda x: x.neg().sin().cumsum(0), ["aten.neg"]),  # its operand's
    ],
    ids=["linear", "tanh", "sin"],
)
def test_only_what_a_derivative_needs_stays_until_the_way_back(function: Callable[[Tensor], Tensor], kept: list[str]) -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    watch = Alive()
    machine = _machine(Model(), torch.randn(8, 3))
    sweep(machine, cotangents(machine, 0), watch)
    assert watch.left_over == kept


def test_the_gradient_of_a_weight_is_seen_when_nothing_more_comes_for_it() -> None:
    """All weights but the first are behind calls of others, and a tied one waits for its last part."""
    shared = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(shared, nn.Tanh(), nn.Linear(4, 4, bias=False), nn.Tanh(), shared, nn.Linear(4, 4, bias=False))
    order: list[str] = []

    class Order(Alive):
        def cotangent(self, node: Node, cotangent: Tensor) -> None:
            del cotangent
            order.append(node.name)

    machine = _machine(model, torch.randn(2, 4))
    sweep(machine, cotangents(machine, 0), Order())
    weights = [machine.graph.params[name].node for name in ("5.weight", "2.weight", "0.weight")]
    assert [name for name in order if name in weights] == weights
    calls = [node.name for node in machine.calls]
    assert order.index(weights[0]) < order.index(calls[-2])
    assert order.index(weights[1]) < order.index(calls[1])


def test_results_of_one_call_are_never_cut_apart() -> None:
    class Chunks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b, c = x.sin().chunk(3, -1)
            return a * b + c

    machine = _machine(Chunks(), torch.randn(2, 6))
    for place in range(len(machine.calls) + 1):
        for part in segments(machine.calls, (place,)):
            assert len({"chunk" in node.op for node in part if "output" in node.args} | {True}) == 1
            assert sum("output" in node.args for node in part) in (0, 3)


# what is said -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (2.0, r""),
        (0.7, r"run in 2 segments, which take about .* MiB, to stay within --probe-memory"),
        (0.01, r".* is too little: the best .*"),
    ],
)
def test_what_a_limit_made_of_a_run_is_said_with_what_it_takes(share: float, said: str) -> None:
    machine, costs = built("transformer")
    limit = int(share * fitting(costs, sys.maxsize).most)
    places, notes = cut_for(machine, Plan(samples=2, memory=limit))
    assert re.fullmatch(said, "; ".join(notes))
    assert bool(places) == bool(notes)
    assert (peak(costs, places) + costs.kernel > limit) == ("too little" in said)


def test_a_probe_that_does_not_fit_says_so() -> None:
    arguments = ["probe", str(EXAMPLES / "deep_sigmoid.py"), "--device", "cpu", "--gains", "none", "--probe-memory", "1KiB"]
    done = CliRunner().invoke(app, [*arguments, "-o", "json"], standalone_mode=False)
    (target,) = json.loads(done.stdout)["targets"]
    assert any(note.startswith("--probe-memory 1 KiB is too little") for note in target["probe"]["notes"])
    assert target["probe"]["bounds"] > 0


@pytest.mark.parametrize(
    ("size", "words"), [(3 << 29, "1.5 GiB"), (1 << 20, "1 MiB"), (5000, "4.88 KiB"), (12, "12 bytes"), (1023 << 20, "1020 MiB")]
)
def test_bytes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", MODELS)
def test_the_peak_of_a_gpu_is_as_predicted(name: str) -> None:
    """Kernels take memory of their own there, and blocks are rounded up."""
    torch.manual_seed(0)
    machine = MODELS[name]()
    there = replace(machine, leaves={n: leaf.cuda() for n, leaf in machine.leaves.items()}, device=torch.device("cuda"))
    costs = costs_of(there, samples=2)
    cut = fitting(costs, fitting(costs, sys.maxsize).most // 2)
    sweep(there, cotangents(there, 0), Gauge(2), cuts=cut.places)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    sweep(there, cotangents(there, 0), Gauge(2), cuts=cut.places)
    taken = torch.cuda.max_memory_allocated() - before
    assert 0.7 * cut.peak <= taken <= 1.3 * cut.most
