"""What one run of a machine holds in memory, and where to cut it so that it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
    """What a run holds, call by call; ``sizes``: bytes of storages; ``live``: storages of values that are needed at each call.

    ``kernel``: bytes that a kernel may take for itself. No tensor tells of them: those of convolutions lay out what they are given and
    what they make in another order, so that it is the most that any call is given and makes, but for its smaller operands.
    """

    calls: Sequence[Cost]
    sizes: Mapping[str, int]
    live: Sequence[frozenset[str]]
    kernel: int = 0

    def bytes_of(self, names: frozenset[str]) -> int:
        """Their bytes together."""
        return sum(self.sizes[name] for name in names)


@dataclass(frozen=True, slots=True)
class Cut:
    """Places between calls, and the most bytes that are held at once when a machine is swept with them: by tensors, and by a kernel."""

    places: tuple[int, ...]
    peak: int
    kernel: int

    @property
    def most(self) -> int:
        """Both."""
        return self.peak + self.kernel


def fitting(costs: Costs, limit: int) -> Cut:
    """The fewest segments that stay below a limit, and of those the ones that hold least; where none do, those that hold least of all.

    Exact for the places that are considered: all, or in a long graph the best of every window.
    """
    whole = peak(costs, ())
    limit -= costs.kernel
    if whole <= limit or len(costs.calls) < 2:
        return Cut((), whole, costs.kernel)
    ways = _ways(costs)
    fewest = ways.within(limit, len(ways.places))
    most = len(ways.places) if fewest is None else len(fewest) + 1
    low, high = 0, whole
    while low < high:
        middle = (low + high) // 2
        if ways.within(middle, most) is None:
            low = middle + 1
        else:
            high = middle
    places = ways.within(low, most) or ()
    return Cut(places, peak(costs, places), costs.kernel)


@dataclass(frozen=True, slots=True, eq=False)
class _Ways:
    """All ways to cut at some places, the first and the last of which are the ends.

    ``segment[i, j]``: bytes that the calls from one place to another hold, beside what lives at the first; ``added[i, j]``: bytes that
    live at the second and not at the first. What lives at a place and lived at an earlier cut lives at all cuts between: what all
    cuts hold is the sum of what each adds to the one before it.
    """

    places: Sequence[int]
    segment: NDArray[np.float64]
    added: NDArray[np.float64]

    def within(self, limit: int, count: int) -> tuple[int, ...] | None:
        """Cuts into the fewest segments, at most so many, none of which holds more than a limit; None if there are none.

        By the number of segments and by the place where the last of them ends, the way to it whose cuts hold least.
        """
        held = np.full(len(self.places), np.inf)
        held[0] = 0.0
        froms: list[NDArray[np.intp]] = []
        while not isfinite(held[-1]):
            if len(froms) == count or not np.isfinite(held).any():
                return None
            reached = np.where(held[:, None] + self.segment <= limit, held[:, None] + self.added, np.inf)
            froms.append(reached.argmin(axis=0))
            held = reached.min(axis=0)
        way = [len(self.places) - 1]
        for step in reversed(froms):
            way.append(int(step[way[-1]]))
        return tuple(self.places[i] for i in reversed(way[1:-1]))


def _ways(costs: Costs) -> _Ways:
    ends = [costs.bytes_of(live) for live in costs.live]
    windows = np.array_split(np.arange(1, len(costs.calls)), min(len(costs.calls) - 1, PLACES))
    places = [0, *(min(map(int, window), key=ends.__getitem__) for window in windows), len(costs.calls)]
    segment, added = np.full((len(places),) * 2, np.inf), np.full((len(places),) * 2, np.inf)
    for i, start in enumerate(places[:-1]):
        walk = [max(here.forward, here.backward) for here in _walk(costs, costs.live[start], start, len(costs.calls))]
        highest = np.maximum.accumulate(walk)
        for j, end in enumerate(places[i + 1 :], i + 1):
            segment[i, j] = highest[end - start - 1]
            added[i, j] = costs.bytes_of(costs.live[end] - costs.live[start])
    return _Ways(places, segment, added)


PLACES = 256
"""Places between calls that are considered: their pairs are gone through."""


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
    """Bytes at one call of a segment, beyond those at its start: on the way forward and on the way back."""

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
        yield _Here(graphs + values, graphs + call.back)
        values -= costs.bytes_of(call.over - base - seen)


# what is held -----------------------------------------------------------------------------------------------------------


def costs_of(machine: Machine, *, samples: int = 0, seed: int = 0) -> Costs:
    """What a sweep holds, seen on one forward pass of which no graph is kept.

    Torch alone knows what the derivative of an op needs: what it saves is counted by storage as it is saved.
    """
    ledger = _Ledger(machine, samples)
    with torch.autograd.graph.saved_tensors_hooks(ledger.saved, lambda token: token):
        trial(machine, ledger, seed=seed)
    return Costs(ledger.calls, ledger.sizes, ledger.live, _kernel(machine))


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
    sizes = _bytes(machine)
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


def _kernel(machine: Machine) -> int:
    sizes = _bytes(machine)
    return max((sizes[node.name] + max((sizes[name] for name in machine.carrying(node)), default=0) for node in machine.calls), default=0)


def _bytes(machine: Machine) -> Mapping[str, int]:
    """By node, the bytes of its floating value."""
    return {name: prod(node.shape) * dtype_of(node.dtype).itemsize if node.is_float else 0 for name, node in machine.nodes.items()}
