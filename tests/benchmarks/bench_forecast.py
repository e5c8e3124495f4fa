"""The forecast against measurement on 86 models, and 60 more: how many parameters have a gradient within a factor of two.

usage: python tests/benchmarks/bench_forecast.py [--models held-out] [--cotangent unit|ce] [--truth DIR] [--only NAME ...] [--draws 3]

The cotangent is random with unit RMS at the model's first output, or that of a mean cross-entropy over it against uniform labels
(``ce``); inputs are N(0, 1) or uniform tokens, train mode. Truth: RMS of each parameter's gradient over ``--draws`` seeds of
initialisation, input, dropout and cotangent, measured here, or read from ``DIR/NAME.COTANGENT.json`` (``{"par": {name: rms}}``);
a model with no such file is left out of a ``ce`` run that names a DIR. A parameter counts as zero, and is left out, when truth
and forecast both are below 1e-4 of the median. The forecast sees the weights of seed 0 and no input.
"""

from __future__ import annotations

import argparse
import json
import math
import runpy
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from tabulate import tabulate
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

from netaudit.facts import derive
from netaudit.flow import flow
from netaudit.intake.heads import Head, with_head
from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.intake.weights import Assumed, leaves
from netaudit.pack import Catalog, installed
from netaudit.probe import measured_gradients

ZERO = 1e-4
Maker: TypeAlias = Callable[[], tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]
ZOO = runpy.run_path(str(Path(__file__).with_name("zoo.py")))
SETS: Mapping[str, Mapping[str, Mapping[str, Maker]]] = {"development": ZOO["FAMILIES"], "held-out": ZOO["HELD_OUT"]}


@dataclass(frozen=True, slots=True)
class Score:
    """One model: parameters that are not zero, how many lie within 2x and 4x, median |log2|, parameters without forecast, seconds."""

    name: str
    count: int
    within2: int
    within4: int
    median: float
    unknown: int
    seconds: float

    @property
    def share(self) -> float:
        """The share within 2x."""
        return self.within2 / self.count if self.count else 1.0


def made(maker: Maker, seed: int, cotangent: Head) -> Subject:
    """The model of one seed, with the loss that the cotangent asks for."""
    torch.manual_seed(seed)
    model, args, kwargs = maker()
    return with_head(Subject("model", model, args, kwargs, args, "the zoo"), cotangent)


def forecast_of(maker: Maker, catalog: Catalog, cotangent: Head) -> tuple[Mapping[str, float | None], float]:
    """log10 RMS of every parameter's gradient by name, None where unknown, and the seconds of the two sweeps."""
    subject = made(maker, 0, cotangent)
    lowered = lower(trace(subject, mode="train" if subject.model.training else "eval"), subject)
    if cotangent == "unit":
        nodes = lowered.graph.by_name()
        first = next(name for name in lowered.graph.outputs if nodes[name].is_float)
        lowered = replace(lowered, graph=replace(lowered.graph, outputs=(first,)))
    known = leaves(lowered, Assumed(guessed=True))
    began = time.perf_counter()
    found = flow(derive(lowered.graph, known, catalog))
    spent = time.perf_counter() - began
    return {name: found.params[key].forecast for key, info in lowered.graph.params.items() for name in info.names}, spent


def measured(maker: Maker, draws: int, cotangent: Head) -> Mapping[str, float]:
    """RMS over seeds of every parameter's gradient, first output only."""
    squares: dict[str, list[float]] = {}
    for seed in range(draws):
        subject = made(maker, seed, cotangent)
        mode = "train" if subject.model.training else "eval"
        for name, log in measured_gradients(subject, mode=mode, seed=100 + seed).items():
            squares.setdefault(name, []).append(10.0 ** (2.0 * log) if log > -math.inf else 0.0)
    return {name: math.sqrt(statistics.fmean(values)) for name, values in squares.items()}


def score(name: str, found: Mapping[str, float | None], truth: Mapping[str, float | None], seconds: float) -> Score:
    """The comparison, by the definitions of the head of this file."""
    real = {n: v for n, v in truth.items() if v is not None and n in found}
    known = {n: 10.0**log if log > -300 else 0.0 for n in real if (log := found[n]) is not None}
    middle = statistics.median([v for v in real.values() if v > 0] or [1.0])
    middle_found = statistics.median([v for v in known.values() if v > 0] or [1.0])
    errors = []
    for n, t in real.items():
        p = known.get(n)
        if t < ZERO * middle and p is not None and (p < ZERO * min(middle, middle_found) or p <= 1e-6 * middle_found):
            continue
        errors.append(abs(math.log2(p / t)) if p is not None and p > 0 and t > 0 else 20.0)
    return Score(
        name, len(errors), sum(e <= 1 for e in errors), sum(e <= 2 for e in errors),
        statistics.median(errors or [0.0]), sum(found[n] is None for n in real), seconds,
    )  # fmt: skip


def table(scores: Mapping[str, list[Score]]) -> Iterator[str]:
    """By family, then every model below 95 %."""
    rows = []
    for family, found in [*scores.items(), ("all", [s for every in scores.values() for s in every])]:
        count = max(sum(s.count for s in found), 1)
        large = [s for s in found if s.count >= 5]
        shares = [100 * sum(values) / count for values in ((s.within2 for s in found), (s.within4 for s in found))]
        good = f"{sum(s.share >= 0.95 for s in large)}/{len(large)}"
        rows.append((family, len(found), count, *shares, good, statistics.median([s.median for s in found]), sum(s.seconds for s in found)))
    headers = ("family", "models", "parameters", "in 2x %", "in 4x %", "models >= 95 %", "median abs log2", "forecast s")
    yield tabulate(rows, headers=headers, tablefmt="github", floatfmt=".2f")
    yield ""
    low = [(s.name, s.count, 100 * s.share, s.median, s.unknown) for found in scores.values() for s in found if s.share < 0.95]
    yield tabulate(low, headers=("below 95 %", "parameters", "in 2x %", "median abs log2", "unknown"), tablefmt="github", floatfmt=".2f")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, help="folder of NAME.COTANGENT.json")
    parser.add_argument("--models", choices=tuple(SETS), default="development")
    parser.add_argument("--cotangent", choices=("unit", "ce"), default="unit")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    catalog = installed()
    scores: dict[str, list[Score]] = {}
    for family, models in SETS[args.models].items():
        for name, maker in models.items():
            if args.only and name not in args.only:
                continue
            stored = args.truth / f"{name}.{args.cotangent}.json" if args.truth else None
            if stored and not stored.exists() and args.cotangent == "ce":
                continue
            found, seconds = forecast_of(maker, catalog, args.cotangent)
            truth = json.loads(stored.read_text())["par"] if stored and stored.exists() else measured(maker, args.draws, args.cotangent)
            scores.setdefault(family, []).append(score(name, found, truth, seconds))
            print(scores[family][-1], file=sys.stderr, flush=True)
    print("\n".join(table(scores)))


if __name__ == "__main__":
    main()
