"""The forecast of a model: sizes of activations and gradients, for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log10

from tabulate import tabulate

from netaudit.claims import EXPLODING, FORECAST_ERROR, VANISHING, best_sensitivity, doubts_of, error_of, error_with
from netaudit.facts import Facts
from netaudit.finding import Magnitude
from netaudit.flow import Flow
from netaudit.tables import forecast

from . import documents, gains, plain
from .numbers import dimensions, short, size_model
from .plain import abridged
from .plot import Series, plot

SHOWN = 30
"""Rows of the table of parameters without ``--full``."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """One target: facts, the flow now and once zero-initialised factors have moved, and what was measured (log10 RMS), if anything.

    ``variant``: the argument that a sweep varies and its value, ``depth=12``.
    """

    target: str
    facts: Facts
    flow: Flow
    later: Flow | None
    cotangent: str
    seconds: Mapping[str, float]
    measured: Mapping[str, float] | None = None
    seed: int = 0
    variant: str = ""
    notes: tuple[str, ...] = ()


def flags(found: Forecast, name: str) -> tuple[str, ...]:
    """What is remarkable of a parameter: no forecast, frozen, cut, zero for now or for ever, vanishing, exploding."""
    gradient, s = found.flow.params[name].forecast, found.flow.sensitivity(name)
    best = best_sensitivity(found.flow, found.later, name)
    marks = [] if found.facts.graph.params[name].trainable else ["frozen"]
    if gradient is None:
        marks.append("unknown")
    elif gradient == -inf:
        marks.append("transient-zero" if best is not None and best > -inf else "zero")
    elif best is not None and best < VANISHING - error_of(found.flow, name):
        marks.append("vanishing")
    elif s is not None and s > EXPLODING + error_of(found.flow, name):
        marks.append("exploding")
    if gradient is not None and gradient > -inf:
        marks += doubts_of(found.flow, name)
    return tuple(marks)


def text(found: Forecast, *, full: bool) -> str:
    """A row a parameter, then how the measurement compares and what was not forecast."""
    return "\n".join(_lines(found, full=full)) + "\n"


def _lines(found: Forecast, *, full: bool) -> Iterator[str]:
    graph = found.facts.graph
    yield f"{found.target}: forecast of the gradient of {len(graph.params)} parameters, cotangent: {found.cotangent}"
    yield ""
    rows = abridged([_row(found, name) for name in graph.params], SHOWN, full=full)
    headers = ["parameter", "shape", "weight rms", "gradient rms", "S", *(["measured"] if found.measured is not None else []), "flags"]
    align = ["left", "left", "right", "right", "right", *(["right"] if found.measured is not None else []), "left"]
    yield tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True, colalign=align)
    yield ""
    along = gains.text(found.flow, full=full)
    if along:
        yield along
    if found.measured is not None:
        yield _agreement(found)
    unknown = sum("unknown" in flags(found, name) for name in graph.params)
    if unknown:
        yield f"no forecast for {unknown} parameters: {_cause(found)}"
    within = f"within a factor of {10**FORECAST_ERROR:.0f} unless flagged"
    yield f"forecast: {within}; assumes random inputs of the example's statistics, and wide layers"
    yield from found.notes


def _row(found: Forecast, name: str) -> tuple[str, ...]:
    info = found.facts.graph.params[name]
    moments = found.facts.signals[info.node].moments
    gradient, s = found.flow.params[name].forecast, found.flow.sensitivity(name)
    measured = () if found.measured is None else (_column(_measured(found, name)),)
    return (
        name,
        dimensions(info.shape),
        "?" if moments is None else short(log10(moments.mean_square) / 2 if moments.mean_square else None),
        "?" if gradient is None else short(gradient),
        "?" if s is None else short(s),
        *measured,
        ", ".join(flags(found, name)),
    )


def _measured(found: Forecast, name: str) -> float | None:
    """What was measured of a parameter, under the first of its names that was: log10, None when it was not."""
    known = found.measured or {}
    return next((known[n] for n in found.facts.graph.params[name].names if n in known), None)


def _column(measured: float | None) -> str:
    return "" if measured is None else short(measured)


def _agreement(found: Forecast) -> str:
    """How many parameters whose gradient is not zero lie within a factor of two of one real pass."""
    near = total = 0
    for name in found.facts.graph.params:
        value, real = found.flow.params[name].forecast, _measured(found, name)
        if value is not None and real is not None and max(value, real) > -inf:
            total += 1
            near += abs(value - real) <= FORECAST_ERROR + 1e-9
    return f"measured (one pass, seed {found.seed}, cpu): {near} of {total} gradients within a factor of two of the forecast"


def _cause(found: Forecast) -> str:
    if found.facts.non_finite:
        return f"{', '.join(found.facts.non_finite[:3])} holds NaN or infinity"
    lost = [name for name, info in found.facts.graph.params.items() if found.facts.signals[info.node].moments is None]
    if lost:
        return f"the initial values of {lost[0]} are unknown" + (f", and of {len(lost) - 1} more" if len(lost) > 1 else "")
    unmodelled = _causes(found)
    return f"nothing is known of {', '.join(unmodelled)}" if unmodelled else "an op has no model, or the model overflows"


def _causes(found: Forecast) -> Sequence[str]:
    return sorted({found.facts.nodes[name].op for name in found.facts.unmodelled})


def comparison(results: Sequence[Forecast], argument: str) -> str:
    """For each target a row a value of the argument, and least and largest S against it where the values are numbers."""
    targets = dict.fromkeys(found.target for found in results)
    return "\n".join(_compared([found for found in results if found.target == target], argument) for target in targets)


def _compared(results: Sequence[Forecast], argument: str) -> str:
    sizes = [gains.least_and_largest(found.flow) for found in results]
    rows = [
        (_value(found), str(len(found.facts.graph.params)), _known(low), _known(high), _told(found))
        for found, (low, high) in zip(results, sizes, strict=True)
    ]
    headers = (argument, "parameters", "least S", "largest S", "flags")
    table = tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True, colalign=("left", "right", "right", "right", "left"))
    series = [Series("least S", [low for low, _ in sizes]), Series("largest S", [high for _, high in sizes])]
    numbers = _numbers([_value(found) for found in results])
    drawn = plot(numbers, series, {"vanishing": VANISHING, "exploding": EXPLODING}, label=argument) if numbers else ""
    return f"{results[0].target}: forecast for values of {argument}\n\n{table}\n" + (f"\n{drawn}" if drawn else "")


def _value(found: Forecast) -> str:
    return found.variant.partition("=")[2]


def _known(log: float | None) -> str:
    return "?" if log is None else short(log)


def _told(found: Forecast) -> str:
    marks = [mark for name in found.facts.graph.params for mark in flags(found, name)]
    return ", ".join(f"{marks.count(mark)} {mark}" for mark in ("vanishing", "exploding", "unknown") if mark in marks) or "-"


def _numbers(texts: Sequence[str]) -> list[float]:
    """The values as finite numbers; none when one is not, or when there is only one."""
    try:
        found = [float(text) for text in texts]
    except ValueError:
        return []
    return found if len(set(found)) > 1 and all(map(isfinite, found)) else []


# JSON -------------------------------------------------------------------------------------------------------------------


def document(results: Sequence[Forecast], *, timings: bool = False) -> str:
    """The forecasts of targets as JSON; times only when asked for."""
    return plain.document([_model(found, timings=timings) for found in results])


def _model(found: Forecast, *, timings: bool) -> documents.ForecastModel:
    graph = found.facts.graph
    return documents.ForecastModel(
        id=f"{found.target} {found.variant}".rstrip(),
        cotangent=found.cotangent,
        params={name: _parameter(found, name) for name in graph.params},
        paths=gains.path_models(found.flow),
        nodes={node.name: _node(found, node.name) for node in graph.nodes if node.name in found.facts.effects},
        unmodelled=list(_causes(found)),
        notes=list(found.notes),
        seconds={name: round(value, 3) for name, value in found.seconds.items()} if timings else {},
    )


def _parameter(found: Forecast, name: str) -> documents.ForecastParam:
    real, error = _measured(found, name), error_of(found.flow, name)
    return documents.ForecastParam(
        grad_rms=size_model(forecast(found.flow.params[name].forecast, error)),
        sensitivity=size_model(forecast(found.flow.sensitivity(name), error)),
        flags=list(flags(found, name)),
        measured=None if real is None else size_model(Magnitude(real, "measured")),
    )


def _node(found: Forecast, name: str) -> documents.ForecastNode:
    moments = found.facts.signals[name].moments
    rms = None if moments is None else 0.5 * log10(moments.mean_square) if moments.mean_square > 0 else -inf
    gradient = found.flow.nodes[name]
    return documents.ForecastNode(
        op=found.facts.nodes[name].op,
        rms=size_model(forecast(rms)),
        grad_rms=size_model(forecast(gradient.forecast, error_with(gradient.doubt))),
    )
