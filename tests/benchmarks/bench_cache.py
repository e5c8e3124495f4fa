"""Certified norms kept per tensor: how long an audit needs for them cold, warm, and when one layer was changed.

usage: python tests/benchmarks/bench_cache.py [--only resnet50|gpt2] [--repeats N]

One thread, wall seconds, the median of the repeats; fresh weights. ``norms`` is the time for the norms of all weights, ``hash`` the
part of it that hashing takes, ``stage`` what `netaudit check -v` calls norms: it also reads the values of every parameter. Every
state is held against the numbers proved without a cache: one bit of difference ends the benchmark.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

from netaudit.cache import store_at
from netaudit.cache.proofs import KIND, Proofs, proofs_in
from netaudit.facts import Leaves
from netaudit.intake import uses
from netaudit.intake.hollow import is_hollow
from netaudit.intake.libraries import library
from netaudit.intake.lower import Lowered, lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.intake.uses import Certifying
from netaudit.intake.weights import leaves
from netaudit.norms import Effort


def resnet50() -> tuple[nn.Module, tuple[torch.Tensor, ...], str]:
    return library("torchvision").models.resnet50(), (torch.randn(8, 3, 224, 224),), "layer3.2.conv2.weight"


def gpt2() -> tuple[nn.Module, tuple[torch.Tensor, ...], str]:
    transformers = library("transformers")
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(use_cache=False))
    return model, (torch.arange(128).reshape(2, 64),), "transformer.h.5.mlp.c_fc.weight"


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...], str]]] = {"resnet50": resnet50, "gpt2": gpt2}


@dataclass
class Timed:
    """Seconds of one stage, and of the norms in it; whom it is told."""

    norms: float = 0.0
    begun: float = 0.0
    hashes: float = 0.0
    found: Leaves | None = None
    stage: float = field(default=0.0)

    def tell(self, what: str, done: int, total: int) -> None:
        if what == "norms of weights":
            now = time.perf_counter()
            self.begun = now if done == 0 else self.begun
            self.norms = now - self.begun if done == total else self.norms


def measured(lowered: Lowered, effort: Effort, proofs: Proofs) -> Timed:
    timed, hashed = Timed(), uses.content

    def content(weight: torch.Tensor) -> str:
        begun = time.perf_counter()
        found = hashed(weight)
        timed.hashes += time.perf_counter() - begun
        return found

    uses.content = content
    begun = time.perf_counter()
    timed.found = leaves(lowered, how=Certifying(effort, proofs, timed.tell))
    timed.stage = time.perf_counter() - begun
    uses.content = hashed
    return timed


def rows(name: str, effort: Effort, repeats: int) -> Iterator[tuple[object, ...]]:
    torch.manual_seed(0)
    model, args, edited = MODELS[name]()
    subject = Subject(name, model, args, {}, args, "drawn")
    lowered = lower(trace(subject), subject)
    assert not any(is_hollow(tensor) for tensor in lowered.tensors.values())
    times: dict[str, list[Timed]] = {"no cache": [], "cold": [], "warm": [], "one layer changed": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            store = store_at(Path(folder) / "cache")
            for state, all_of in times.items():
                if state == "one layer changed":
                    with torch.no_grad():
                        model.get_parameter(edited).mul_(1.0 + 2.0**-12)
                timed = measured(lowered, effort, Proofs() if state == "no cache" else proofs_in(store))
                known = timed if state in ("no cache", "one layer changed") else times["no cache"][-1]
                again = known if known is not timed or state == "no cache" else measured(lowered, effort, Proofs())
                assert timed.found is not None
                assert again.found is not None
                assert timed.found.norms == again.found.norms, state
                all_of.append(timed)
            count = len(list((store.folder / KIND).iterdir()))
    for state, all_of in times.items():
        medians = [statistics.median(getattr(one, part) for one in all_of) for part in ("norms", "hashes", "stage")]
        yield name, effort, count, state, *(f"{seconds:.3f}" for seconds in medians)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = [
        row
        for name in MODELS
        if options.only in (None, name)
        for effort in ("quick", "tight")
        for row in rows(name, effort, options.repeats)
    ]
    headers = ("model", "effort", "entries", "state", "norms s", "hash s", "stage s")
    sys.stdout.write(tabulate(table, headers, tablefmt="github", disable_numparse=True) + "\n")


if __name__ == "__main__":
    main()
