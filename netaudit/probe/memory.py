"""What one run of a machine holds in memory, and where to cut it so that it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt, prod
from typing import Any

import torch
from torch import Tensor

from netaudit.graph import Node
from netaudit.intake.interpret import dtype_of
from netaudit.probe.linear import TILE
from netaudit.probe.machine import Machine, trial


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call holds: bytes, and names of storages, which are those of the first value in each.

    ``made``: the storage of its output, if it is a new one; ``saved``: those that its derivative needs; ``extra``: bytes that its
    derivative needs and that belong to no value; ``over``: storages that nobody needs after it but derivatives.
    ``back``: bytes beside all that while cotangents are pulled through it.
    """

    made: str | None
    saved: frozenset[str]
    extra: int
    over: frozenset[str]
    back: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run holds, call by call; ``sizes``: bytes of storages; ``live``: storages of values that are needed at each call."""

    calls: Sequence[Cost]
    sizes: Mapping[str, int]
    live: Sequence[frozenset[str]]

    def bytes_of(self, names: frozenset[str]) -> int:
        """Their bytes together."""
        return sum(self.sizes[name] for name in names)


@dataclass(frozen=True, slots=True)
class Cut:
    """Places between calls, and the most bytes that are held at once when a machine is swept with them."""

    places: tuple[int, ...]
    peak: int


def fitting(costs: Costs, limit: int) -> Cut:
    """The fewest segments that stay below a limit; where none do, those that hold least."""
    best = Cut((), peak(costs, ()))
    whole = sum(costs.bytes_of(call.saved) + call.extra for call in costs.calls)
    for count in range(2, 4 * isqrt(len(costs.calls)) + 4):
        if best.peak <= limit:
            break
        places = _filled(costs, whole / count)
        found = Cut(places, peak(costs, places))
        best = min(best, found, key=lambda cut: cut.peak)
    return best


def peak(costs: Costs, places: Sequence[int]) -> int:
    """Bytes of a sweep that is cut at these places, at most: values where it is cut, one segment's graph, cotangents.

    The parts before a segment are there as the values at their starts while it runs, both forward and backward.
    """
    base: frozenset[str] = frozenset()
    most = 0
    for start, end in pairwise((0, *places, len(costs.calls))):
        base |= costs.live[start]
        held = costs.bytes_of(base)
        most = max(most, held + max((max(here.forward, here.backward) for here in _walk(costs, base, start, end)), default=0))
    return most


@dataclass(frozen=True, slots=True)
class _Here:
    """Bytes at one call of a segment, beyond those at its start: of graphs so far, on the way forward and on the way back."""

    graphs: int
    forward: int
    backward: int


def _walk(costs: Costs, base: frozenset[str], start: int, end: int) -> Iterator[_Here]:
    """A segment, call by call; ``base`` are the storages that are there anyway."""
    seen: set[str] = set()
    graphs = values = 0
    for call in costs.calls[start:end]:
        if call.made is not None:
            values += costs.sizes[call.made]
        for name in call.saved - base - seen:
            seen.add(name)
            graphs += costs.sizes[name]
            values -= costs.sizes[name]
        graphs += call.extra
        yield _Here(graphs, graphs + values, graphs + call.back)
        values -= costs.bytes_of(call.over - base - seen)


def _filled(costs: Costs, budget: float) -> tuple[int, ...]:
    """Cuts such that the graph of no segment is larger than a budget, if a call is not: each where least is alive."""
    places: list[int] = []
    base, start, count = costs.live[0], 0, len(costs.calls)
    while start < count:
        graphs = [here.graphs for here in _walk(costs, base, start, count)]
        end = next((i for i, size in enumerate(graphs) if size > budget), None)
        if end is None:
            break
        # the later half of what fits: a cut is worth moving to where little is alive, a short segment is not
        first = next(i for i, size in enumerate(graphs) if size > budget / 2)
        choices = range(start + max(first, 1), start + max(end, 1) + 1)
        start = min((place for place in choices if place < count), key=lambda p: (costs.bytes_of(costs.live[p] - base), -p), default=count)
        if start < count:
            places.append(start)
            base |= costs.live[start]
    return tuple(places)


# what is held -----------------------------------------------------------------------------------------------------------


def costs_of(machine: Machine, *, samples: int = 0, seed: int = 0) -> Costs:
    """What a sweep holds, seen on one forward pass of which no graph is kept.

    Torch alone knows what the derivative of an op needs: what it saves is counted by storage as it is saved.
    """
    ledger = _Ledger(machine, samples)
    with torch.autograd.graph.saved_tensors_hooks(ledger.saved, lambda token: token):
        trial(machine, ledger, seed=seed)
    return Costs(ledger.calls, ledger.sizes, ledger.live)


class _Ledger:
    """Sees the values of a run go by and, between two of them, what is saved."""

    def __init__(self, machine: Machine, samples: int) -> None:
        self.machine = machine
        self.calls: list[Cost] = []
        self.sizes: dict[str, int] = {}
        self.live: list[frozenset[str]] = [frozenset()]
        self._back = _back(machine, samples)
        self._owner: dict[str, str] = {}  # by value, the name of its storage
        self._names: dict[int, str] = {}  # by storage in memory, and the other way round
        self._keys: dict[str, int] = {}
        self._users: dict[str, int] = {}  # by storage, how many values that are still needed lie in it
        self._fresh: dict[int, Any] = {}  # storages saved by the call at hand; held, lest another be made in the same place

    def saved(self, tensor: Tensor) -> None:
        """Torch saves a tensor; it is not kept."""
        storage = tensor.untyped_storage()
        self._fresh[storage._cdata] = storage

    def value(self, node: Node, value: Tensor) -> None:
        """A call is done."""
        storage = value.untyped_storage()
        made = storage._cdata not in self._names
        owner = self._names.setdefault(storage._cdata, node.name)
        self._keys[owner] = storage._cdata
        self._owner[node.name] = owner
        self._users[owner] = self._users.get(owner, 0) + 1
        leaf = node.name in self.machine.leaves
        if made:
            self.sizes[owner] = 0 if leaf else storage.nbytes()  # leaves are there in any case
        if leaf:
            return
        saved = frozenset(self._names[key] for key in self._fresh if key in self._names)
        extra = sum(one.nbytes() for key, one in self._fresh.items() if key not in self._names)
        self._fresh = {}
        over = self._let_go(self.machine.ends.get(node.name, ()))
        self.calls.append(Cost(owner if made else None, saved, extra, over, self._back[node.name]))
        self.live.append(frozenset(name for name in self._users if self.sizes[name]))

    def _let_go(self, names: Sequence[str]) -> frozenset[str]:
        over = set()
        for name in names:
            owner = self._owner[name]
            self._users[owner] -= 1
            if not self._users[owner]:
                del self._users[owner], self._names[self._keys.pop(owner)]
                over.add(owner)
        return frozenset(over)


def _back(machine: Machine, samples: int) -> Mapping[str, int]:
    """By call, the bytes of cotangents while one is pulled through it: those that wait, its own, and what becomes of it."""
    sizes = {name: prod(node.shape) * dtype_of(node.dtype).itemsize if node.is_float else 0 for name, node in machine.nodes.items()}
    begun = set(machine.graph.heads)
    waiting = sum(sizes[head] for head in begun)
    found = {}
    for node in reversed(machine.calls):
        carrying = machine.carrying(node)
        parts = sum(sizes[name] for name in carrying)
        pulled = waiting + parts
        waiting += sum(sizes[name] for name in carrying if name not in begun)
        begun.update(carrying)
        waiting -= sum(sizes[name] for name in (node.name, *machine.begins.get(node.name, ())) if name in begun)
        random = sizes[node.name] if prod(node.shape) > TILE else 0
        found[node.name] = max(pulled, waiting + random + parts if samples else 0)
    return found
