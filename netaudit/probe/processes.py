"""One process a device, started by ``torchrun``: seeds are shared out by rank, what was measured is gathered by the first.

What is sent are plain values of a few bytes a node, so it goes over gloo whatever the devices are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
import torch.distributed

from netaudit.errors import NetauditError, ProbeError
from netaudit.probe.several import Seeded

T = TypeVar("T")
Measure = Callable[[], Sequence[Seeded]]
PATIENCE = timedelta(days=1)
"""How long a process waits for the others: a large model takes its time, and ``torchrun`` ends all when one has died."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run: this one's rank, how many there are, and its rank on this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    def device(self, word: str) -> str:
        """The device of this process: one each.

        Raises:
            ProbeError: one device was named for several processes.
        """
        kind, _, index = word.partition(":")
        if self.size == 1 or kind not in ("auto", "cuda"):
            return word
        if index:
            raise ProbeError(f"--device {word} is one device for {self.size} processes", "give --device cuda: every process takes its own")
        return f"cuda:{self.local}" if kind == "cuda" or torch.cuda.is_available() else word

    def share(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """This process's part of the seeds; the first seed is the first process's and is measured with the analysis."""
        return tuple(seed for index, seed in enumerate(seeds) if index and index % self.size == self.rank)


def world() -> World:
    """The world that ``torchrun`` tells of, or one process alone."""
    told = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")}
    if not all(told.values()) or told["WORLD_SIZE"] == "1":
        return World()
    return World(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["LOCAL_RANK"]))


@contextmanager
def connected(here: World) -> Iterator[None]:
    """The processes can send each other values."""
    if here.size == 1:
        yield
        return
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    yield
    torch.distributed.destroy_process_group()  # not after an error: the others may still wait


@dataclass(frozen=True, slots=True)
class Failure:
    """What a process sends that could not measure."""

    rank: int
    message: str
    hint: str


def everywhere(here: World, measure: Callable[[], Sequence[T]], order: Callable[[T], float]) -> Callable[[], Sequence[T]]:
    """What all processes measured, in order, asked for once; every process must ask. Only the first is told.

    Raises:
        ProbeError: a process failed, said by the first one.
    """
    if here.size == 1:
        return cache(measure)
    return cache(lambda: _gathered(here, measure() if not here.rank else _attempted(here, measure), order))


def _attempted(here: World, measure: Callable[[], Sequence[T]]) -> Sequence[T] | Failure:
    """An error is sent, not raised: ``torchrun`` ends the first process, which is to say it, as soon as another one has failed."""
    try:
        return measure()
    except NetauditError as error:
        return Failure(here.rank, error.message, error.hint)
    except Exception as error:
        lines = str(error).splitlines()
        return Failure(here.rank, f"{type(error).__name__}: {lines[0][:160] if lines else ''}", "run its seeds alone: --seed N")


def _gathered(here: World, own: Sequence[T] | Failure, order: Callable[[T], float]) -> Sequence[T]:
    parts: list[Sequence[T] | Failure] | None = [()] * here.size if not here.rank else None
    torch.distributed.gather_object(own, parts, dst=0)
    for part in parts or ():
        if isinstance(part, Failure):
            raise ProbeError(f"process {part.rank} of {here.size} failed: {part.message}", part.hint)
    found = [one for part in parts or () if not isinstance(part, Failure) for one in part]
    return sorted(found, key=order)
