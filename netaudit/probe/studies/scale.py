"""The same inputs, smaller and larger: how outputs and gradients grow with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan, log10, nan

from netaudit.measured import Study
from netaudit.probe.recut import Entrance, entrance, given, outputs
from netaudit.probe.run import sized
from netaudit.probe.sizes import Size, log

from .bench import Bench, Studied

NAME, TITLE = "scale", "RMS of outputs and gradients, inputs from 1/1000 to 1000 times their size"
SCALES = range(-3, 4)
"""Powers of ten that the inputs are multiplied by."""


@dataclass(frozen=True, slots=True)
class _Sizes:
    """log10 RMS at one scale: of all outputs, of the gradient of all trained parameters, of that of the inputs."""

    scale: int
    outputs: float
    params: float
    inputs: float


def scale(bench: Bench) -> Studied:
    """log10 RMS of outputs and gradients for inputs ``10^k x``, and the degree of growth at either end.

    The degree is ``d log ||y|| / d log ||x||`` over the outermost decade that is finite and not zero: 1 for what is linear there, 0
    for what is bounded or normalised, ``n`` for a polynomial of degree ``n``. Gradients start at the loss where there is one, else
    with unit RMS at the outputs. Where no input is floating the first embedding is scaled; masks and targets stay.

    MEASURED in the model's own precision: where it overflows is part of the answer. Seven passes forward and backward.
    """
    came = entrance(bench.machine, seed=bench.plan.seed)
    found = []
    for index, power in enumerate(SCALES):
        bench.plan.progress("scales of the inputs", index, len(SCALES))
        found.append(_sizes(bench, came, power))
    rows = tuple((f"1e{one.scale:+d}", one.outputs, one.params, one.inputs) for one in found)
    columns = ("inputs times", "log10 outputs", "log10 gradient of parameters", f"of {came.word} (log10)")
    return Studied(Study(NAME, TITLE, columns, rows, _says(found)))


def _sizes(bench: Bench, came: Entrance, power: int) -> _Sizes:
    machine = given(came.machine, {name: came.machine.leaves[name] * 10.0**power for name in came.names})
    seen = sized(machine, bench.plan)
    params = [info.node for info in machine.graph.params.values() if info.trainable]
    return _Sizes(
        power,
        _pooled([seen.values[name] for name in outputs(machine)]),
        _pooled([seen.gradients[name] for name in params if name in seen.gradients]),
        _pooled([seen.gradients[name] for name in came.names if name in seen.gradients]),
    )


def _pooled(sizes: Sequence[Size]) -> float:
    """log10 RMS of several tensors taken as one."""
    count = sum(one.count for one in sizes)
    largest = max((one.norm for one in sizes), default=0.0)
    if not all(one.is_finite for one in sizes):
        return nan
    return log(largest) + 0.5 * log10(sum((one.norm / largest) ** 2 for one in sizes) / count) if largest > 0.0 else log(0.0)


def degree(points: Sequence[tuple[int, float]]) -> float | None:
    """The slope between the last two of the points that are finite and not zero; None where fewer are."""
    known = [(power, size) for power, size in points if isfinite(size)]
    if len(known) < 2:
        return None
    (a, low), (b, high) = known[-2:]
    return (high - low) / (b - a)


def _says(found: Sequence[_Sizes]) -> str:
    parts = []
    for what, sizes in (("outputs", [one.outputs for one in found]), ("gradients of parameters", [one.params for one in found])):
        points = [(one.scale, size) for one, size in zip(found, sizes, strict=True)]
        small, large = degree(points[::-1]), degree(points)
        if small is not None and large is not None:
            parts.append(f"{what} grow with degree {_rounded(small)} at the small end, {_rounded(large)} at the large one")
        broken = [f"1e{power:+d}" for power, size in points if isnan(size)]
        parts += [f"{what} are not finite at {', '.join(broken) if len(broken) < len(found) else 'any scale'}"] if broken else []
    return "; ".join(parts) or "no output and no gradient depends on the inputs"


def _rounded(number: float) -> str:
    return f"{round(number, 2) + 0.0:g}"
