"""The probe of one target: runs of its graph on a device, summed up as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan, log10, sqrt
from statistics import median

from torch import Tensor

from netaudit.errors import ProbeError
from netaudit.flow import fan_in
from netaudit.graph import Node
from netaudit.measured import Gain, NodeMeasured, ParamMeasured, Spread
from netaudit.probe.calls import Local
from netaudit.probe.heads import cotangents, reference
from netaudit.probe.linear import typical_gain
from netaudit.probe.machine import Machine, Watch, sweep
from netaudit.probe.memory import costs_of, fitting
from netaudit.probe.sizes import Gauge, Size, Sizes, log
from netaudit.progress import Progress, silent

CALLS = "values, gradients, gains"
"""What a run is called, call by call."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a probe does.

    ``samples`` random cotangents go through every call for its typical gain; the calls of ``climbed`` have their largest gain
    sought in at most ``pairs`` products; ``draws`` runs with other random numbers are summed up. ``memory``: bytes that values,
    graphs and cotangents may take beside the weights; as many segments are made of the model as that takes.
    """

    samples: int = 3
    climbed: frozenset[str] = frozenset()
    pairs: int = 20
    draws: int = 1
    seed: int = 0
    memory: int | None = None
    progress: Progress = field(default=silent)


@dataclass(slots=True)
class Told:
    """Hands on to a watch what it sees, and tells how many of the ``total`` values and calls have gone by."""

    watch: Watch
    progress: Progress
    total: int
    done: int = 0

    def value(self, node: Node, value: Tensor) -> None:
        """A value, on the way forward."""
        self.watch.value(node, value)
        self._tell()

    def cotangent(self, node: Node, cotangent: Tensor) -> None:
        """A cotangent; the call that it is of is still to be pulled through."""
        self.watch.cotangent(node, cotangent)

    def pulled(self, local: Local, parts: Mapping[str, Tensor]) -> None:
        """What a call made of its cotangent."""
        self.watch.pulled(local, parts)

    def left(self, local: Local) -> None:
        """A call, on the way back: by far the most where its largest gain is sought."""
        self.watch.left(local)
        self._tell()

    def over(self) -> None:
        """All has gone by; what no gradient reaches never does."""
        self.progress(CALLS, self.total, self.total)

    def _tell(self) -> None:
        self.done += 1
        self.progress(CALLS, min(self.done, self.total - 1), self.total)


def runs(machine: Machine, plan: Plan) -> tuple[list[Sizes], tuple[str, ...], bool]:
    """One sweep for every draw of dropout, cotangents and test vectors; notes; whether it was interrupted, and what there is is a part.

    Raises:
        ProbeError: the graph cannot be run.
    """
    found: list[Sizes] = []
    notes: tuple[str, ...] = ()
    watch = Gauge()
    try:
        cut, notes = cut_for(machine, plan)
        for draw in range(plan.draws):
            if plan.draws > 1:
                plan.progress("draws", draw, plan.draws)
            seed = plan.seed + draw
            watch = Gauge(plan.samples, plan.climbed if draw == 0 else frozenset(), plan.pairs, seed)
            told = Told(watch, plan.progress, len(machine.leaves) + 2 * len(machine.calls))
            sweep(machine, cotangents(machine, seed), told, cuts=cut, seed=seed, points=watch.climbed)
            told.over()
            found.append(watch.read())
    except NotImplementedError as error:
        raise ProbeError(f"the graph cannot be run: {error}", "the forecast and the bounds stand without it") from error
    except KeyboardInterrupt:
        return (found or [watch.read()]), notes, True
    return found, notes, False


def sized(machine: Machine, plan: Plan) -> Sizes:
    """The sizes of values and gradients in one sweep with the plan's seed and memory, without gains."""
    watch = Gauge()
    sweep(machine, cotangents(machine, plan.seed), watch, cuts=cut_for(machine, plan)[0], seed=plan.seed)
    return watch.read()


def cut_for(machine: Machine, plan: Plan) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Where the graph is cut to stay within the plan's memory, and what is to be said of it."""
    if plan.memory is None:
        return (), ()
    cut = fitting(costs_of(machine, samples=plan.samples, seed=plan.seed), plan.memory)
    segments, most = len(cut.places) + 1, in_words(cut.most)
    if cut.most > plan.memory:
        way = f"the best way to run it, in {segments} segments," if cut.places else "the run"
        return cut.places, (f"--probe-memory {in_words(plan.memory)} is too little: {way} takes about {most}",)
    return cut.places, (f"run in {segments} segments, which take about {most}, to stay within --probe-memory",) if cut.places else ()


def in_words(size: int) -> str:
    """Bytes in the largest unit that leaves one before the point."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{float(f'{size / (1 << shift):.3g}'):g} {unit}"
    return f"{size} bytes"


# summing up -------------------------------------------------------------------------------------------------------------


def spread(logs: Sequence[float]) -> Spread:
    """The middle and the ends of several log10 sizes; NaN, which is not finite, wins."""
    if any(map(isnan, logs)):
        return Spread(float("nan"), float("nan"), float("nan"))
    return Spread(median(logs), min(logs), max(logs))


def node_measured(found: Sequence[Sizes]) -> Mapping[str, NodeMeasured]:
    """What was measured of every node that holds floating numbers."""
    result = {}
    for name in found[0].values:
        sizes = [run.values[name] for run in found]
        extents = [run.extents[name] for run in found]
        gradients = [run.gradients[name].rms for run in found if name in run.gradients]
        result[name] = NodeMeasured(
            rms=spread([one.rms for one in sizes]),
            largest=log(max(max(abs(one.least), abs(one.most)) for one in extents)),
            zeros=sum(one.zeros for one in extents) / len(extents),
            gradient=spread(gradients) if gradients else None,
            gains=_gains(name, found),
        )
    return result


def _gains(name: str, found: Sequence[Sizes]) -> Mapping[str, Gain]:
    result = {}
    for operand in {o: None for run in found for o in run.pulls.get(name, {})}:
        pulls = [run.pulls[name][operand] for run in found if operand in run.pulls.get(name, {})]
        typical = typical_gain([square for pull in pulls for square in pull.squares], pulls[0].outputs)
        best = max(
            (run.largest[name][operand] for run in found if operand in run.largest.get(name, {})), key=lambda one: one.gain, default=None
        )
        result[operand] = Gain(
            log(typical.gain),
            typical.error,
            None if best is None else log(best.gain),
            0 if best is None else best.pairs,
            best is not None and best.converged,
        )
    return result


def param_measured(machine: Machine, found: Sequence[Sizes], *, partial: bool = False) -> Mapping[str, ParamMeasured]:
    """The gradient and the sensitivity of every trained parameter; one without a path has exactly zero."""
    result = {}
    for name, info in machine.graph.params.items():
        if not info.trainable or info.node not in machine.leaves:
            continue
        if partial and any(info.node not in run.gradients for run in found):
            continue  # it was not reached yet, which is not the same as zero
        gradients = [run.gradients[info.node].rms if info.node in run.gradients else -inf for run in found]
        weights = [run.values[info.node] for run in found]
        logs = [
            gradient + log10(_scale(weight, info.shape)) + log10(max(weight.count, 1)) - reference(machine, run.values)
            for gradient, weight, run in zip(gradients, weights, found, strict=True)
        ]
        result[name] = ParamMeasured(spread(gradients), spread(logs))
    return result


def _scale(weight: Size, shape: tuple[int, ...]) -> float:
    """The RMS of a weight; of one that is zero its fan-in scale, as in a forecast."""
    return weight.norm / sqrt(max(weight.count, 1)) or 1.0 / sqrt(fan_in(shape))
