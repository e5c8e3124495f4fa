"""The forecast against measurement on 86 models, and 60 more: how many parameters have a gradient within a factor of two.

usage: python tests/benchmarks/bench_forecast.py [--models held-out] [--cotangent unit|ce] [--truth DIR] [--only NAME ...] [--draws 3]
                                                 [--without PART ...]

The cotangent is random with unit RMS at the model's first output, or that of a mean cross-entropy over it against uniform labels
(``ce``); inputs are N(0, 1) or uniform tokens, train mode. Truth: RMS of each parameter's gradient over ``--draws`` seeds of
initialisation, input, dropout and cotangent, measured here, or read from ``DIR/NAME.COTANGENT.json`` (``{"par": {name: rms}, "fwd":
{node: rms}, "bwd": {node: rms}}``);
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from tabulate import tabulate
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

import netaudit.flow as flow_module
from netaudit.claims import FORECAST_ERROR, doubts_of, error_of
from netaudit.facts import derive
from netaudit.flow import flow
from netaudit.intake import functions
from netaudit.intake.heads import Head, with_head
from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.intake.weights import Assumed, leaves
from netaudit.moments import algebra, normalise, pointwise, products
from netaudit.pack import Catalog, installed
from netaudit.probe import measured_gradients

ZERO = 1e-4
ABLATIONS: Mapping[str, tuple[Any, str, Callable[..., Any]]] = {
    "law-of-sums": (algebra, "law_of_sum", lambda *_: None),
    "joint-masks": (algebra, "handed_back", lambda g, *_: g),
    "law-of-multiples": (products, "law_of_multiple", lambda *_: None),
    "law-of-normalised": (normalise, "law_of_normalised", lambda *_, **__: None),
    "orthogonal-to-activation": (pointwise, "without_direction", lambda _, back, *__: back),
    "tangential": (normalise, "tangential", lambda g, *_: g),
    "uses-in-series": (flow_module, "_coherence", lambda _: 0.0),
    "sampled-backward": (functions, "backward_is_derivative", lambda *_: False),
}
"""Parts of the theory that ``--without`` leaves out: the name it is looked up by, and what stands in for it."""
Maker: TypeAlias = Callable[[], tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]
ZOO = runpy.run_path(str(Path(__file__).with_name("zoo.py")))
SETS: Mapping[str, Mapping[str, Mapping[str, Maker]]] = {"development": ZOO["FAMILIES"], "held-out": ZOO["HELD_OUT"]}


@dataclass(frozen=True, slots=True)
class Guess:
    """What is forecast of a tensor: log10 RMS, None where unknown; decades of error; why the error is wide."""

    log: float | None
    error: float = FORECAST_ERROR
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Of one model: parameters' gradients by name, nodes' values and gradients (log10 RMS), seconds of the two sweeps."""

    params: Mapping[str, Guess]
    forward: Mapping[str, float | None]
    backward: Mapping[str, float | None]
    seconds: float


@dataclass(frozen=True, slots=True)
class Score:
    """One model: parameters that are not zero, and the absolute log2 error of each with its stated error and doubts.

    ``forward`` and ``backward``: the shares of nodes whose value and gradient lie within 2x, None where they were not measured.
    """

    name: str
    errors: tuple[float, ...]
    stated: tuple[float, ...]
    doubted: tuple[bool, ...]
    unknown: int
    seconds: float
    forward: float | None = None
    backward: float | None = None

    @property
    def count(self) -> int:
        """Parameters that are not zero."""
        return len(self.errors)

    def within(self, bits: float) -> int:
        """How many lie within so many factors of two."""
        return sum(e <= bits for e in self.errors)

    @property
    def share(self) -> float:
        """The share within 2x."""
        return self.within(1.0) / self.count if self.count else 1.0

    @property
    def median(self) -> float:
        """The median error."""
        return statistics.median(self.errors or (0.0,))


def made(maker: Maker, seed: int, cotangent: Head) -> Subject:
    """The model of one seed, with the loss that the cotangent asks for."""
    torch.manual_seed(seed)
    model, args, kwargs = maker()
    return with_head(Subject("model", model, args, kwargs, args, "the zoo"), cotangent)


def forecast_of(maker: Maker, catalog: Catalog, cotangent: Head) -> Forecasts:
    """Everything that is forecast of a model, and the seconds of the two sweeps."""
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
    params = {
        name: Guess(found.params[key].forecast, error_of(found, key), doubts_of(found, key))
        for key, info in lowered.graph.params.items()
        for name in info.names
    }
    moments = {name: found.facts.signals[name].moments for name in found.facts.effects}
    forward = {
        name: None if m is None else 0.5 * math.log10(m.mean_square) if m.mean_square > 0 else -math.inf for name, m in moments.items()
    }
    return Forecasts(params, forward, {name: found.nodes[name].forecast for name in moments}, spent)


def measured(maker: Maker, draws: int, cotangent: Head) -> Mapping[str, float]:
    """RMS over seeds of every parameter's gradient, first output only."""
    squares: dict[str, list[float]] = {}
    for seed in range(draws):
        subject = made(maker, seed, cotangent)
        mode = "train" if subject.model.training else "eval"
        for name, log in measured_gradients(subject, mode=mode, seed=100 + seed).items():
            squares.setdefault(name, []).append(10.0 ** (2.0 * log) if log > -math.inf else 0.0)
    return {name: math.sqrt(statistics.fmean(values)) for name, values in squares.items()}


def not_zero(found: Mapping[str, float | None], truth: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    """The tensors that are not zero by structure and forecast so, with the absolute log2 error of each."""
    real = {n: v for n, v in truth.items() if v is not None and n in found}
    known = {n: 10.0**log if log > -300 else 0.0 for n in real if (log := found[n]) is not None}
    middle = statistics.median([v for v in real.values() if v > 0] or [1.0])
    middle_found = statistics.median([v for v in known.values() if v > 0] or [1.0])
    for n, t in real.items():
        p = known.get(n)
        if t < ZERO * middle and p is not None and (p < ZERO * min(middle, middle_found) or p <= 1e-6 * middle_found):
            continue
        yield n, abs(math.log2(p) - math.log2(t)) if p is not None and p > 0 and t > 0 else 20.0


def share_of_nodes(found: Mapping[str, float | None], truth: Mapping[str, float | None] | None) -> float | None:
    """The share of nodes within 2x."""
    errors = [e for _, e in not_zero(found, truth or {})]
    return sum(e <= 1.0 for e in errors) / len(errors) if errors else None


def score(name: str, found: Forecasts, truth: Mapping[str, Mapping[str, float | None]]) -> Score:
    """The comparison, by the definitions of the head of this file."""
    errors = dict(not_zero({n: g.log for n, g in found.params.items()}, truth["par"]))
    unknown = sum(n in found.params and found.params[n].log is None for n in truth["par"])
    stated = tuple(found.params[n].error / math.log10(2.0) for n in errors)
    doubted = tuple(bool(found.params[n].doubts) or found.params[n].log is None for n in errors)
    nodes = (share_of_nodes(found.forward, truth.get("fwd")), share_of_nodes(found.backward, truth.get("bwd")))
    return Score(name, tuple(errors.values()), stated, doubted, unknown, found.seconds, *nodes)


def table(scores: Mapping[str, list[Score]]) -> Iterator[str]:
    """By family; how the errors that are stated hold; then every model below 95 %."""
    rows, bars = [], []
    for family, found in [*scores.items(), ("all", [s for every in scores.values() for s in every])]:
        count = max(sum(s.count for s in found), 1)
        large = [s for s in found if s.count >= 5]
        good = f"{sum(s.share >= 0.95 for s in large)}/{len(large)}"
        shares = [100 * sum(s.within(bits) for s in found) / count for bits in (1.0, 2.0)]
        nodes = [_mean([getattr(s, side) for s in found]) for side in ("forward", "backward")]
        seconds = [s.seconds for s in found]
        rows.append(
            (
                family,
                len(found),
                count,
                *shares,
                good,
                statistics.median(s.median for s in found),
                *nodes,
                sum(seconds),
                statistics.median(seconds),
            )
        )
        every = [item for s in found for item in zip(s.errors, s.stated, s.doubted, strict=True)]
        misses = [doubted for error, _, doubted in every if error > 1.0]
        inside = 100 * sum(error <= stated for error, stated, _ in every) / count
        flagged = 100 * sum(doubted for _, _, doubted in every) / count
        bars.append((family, inside, flagged, len(misses), 100 * sum(misses) / max(len(misses), 1)))
    headers = (
        "family", "models", "parameters", "in 2x %", "in 4x %", "models >= 95 %", "median abs log2",
        "nodes forward in 2x %", "nodes backward in 2x %", "forecast s", "median s",
    )  # fmt: skip
    yield tabulate(rows, headers=headers, tablefmt="github", floatfmt=".2f")
    yield ""
    yield tabulate(
        bars, headers=("family", "inside stated error %", "flagged %", "misses", "of them flagged %"), tablefmt="github", floatfmt=".1f"
    )
    yield ""
    low = [(s.name, s.count, 100 * s.share, s.median, s.unknown) for found in scores.values() for s in found if s.share < 0.95]
    yield tabulate(low, headers=("below 95 %", "parameters", "in 2x %", "median abs log2", "unknown"), tablefmt="github", floatfmt=".2f")


def _mean(shares: Sequence[float | None]) -> float:
    known = [100 * s for s in shares if s is not None]
    return statistics.fmean(known) if known else math.nan


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, help="folder of NAME.COTANGENT.json")
    parser.add_argument("--models", choices=tuple(SETS), default="development")
    parser.add_argument("--cotangent", choices=("unit", "ce"), default="unit")
    parser.add_argument("--without", choices=tuple(ABLATIONS), nargs="*", default=[], help="leave parts of the theory out")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    catalog = installed()
    for part in args.without:
        where, name, stand_in = ABLATIONS[part]
        setattr(where, name, stand_in)
    scores: dict[str, list[Score]] = {}
    for family, models in SETS[args.models].items():
        for name, maker in models.items():
            if args.only and name not in args.only:
                continue
            stored = args.truth / f"{name}.{args.cotangent}.json" if args.truth else None
            if stored and not stored.exists() and args.cotangent == "ce":
                continue
            found = forecast_of(maker, catalog, args.cotangent)
            known = json.loads(stored.read_text()) if stored and stored.exists() else {"par": measured(maker, args.draws, args.cotangent)}
            scores.setdefault(family, []).append(one := score(name, found, known))
            print(name, one.count, one.within(1.0), one.within(2.0), f"{one.median:.3f}", one.unknown, file=sys.stderr, flush=True)
    print("\n".join(table(scores)))


if __name__ == "__main__":
    main()
