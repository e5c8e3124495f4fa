"""The facts and the flow as rows of a report: what was covered, a row a call, a row a parameter."""

from __future__ import annotations

from collections import Counter
from math import inf, isinf, log10

from .claims import FORECAST_ERROR, error_of, error_with, ever_reached
from .facts import Facts
from .finding import Coverage, Magnitude, NodeRow, ParamRow
from .flow import NEVER, Flow
from .graph import Graph


def coverage(facts: Facts, flow: Flow, later: Flow | None) -> Coverage:
    """How much of what carries a gradient has a transfer, and how many parameters have a forecast."""
    reached = ever_reached(flow, later)
    calls = [name for name in facts.effects if name in reached]
    unknown = [name for name in facts.unmodelled if name in reached or facts.nodes[name].is_float]
    counts = Counter(facts.nodes[name].op for name in unknown)
    total = len(set(calls) | set(unknown))
    trained = [name for name, info in facts.graph.params.items() if info.trainable]
    forecast = sum(flow.params[name].forecast is not None for name in trained)
    return Coverage(total, total - len(unknown), dict(sorted(counts.items())), len(trained), forecast, bool(facts.non_finite))


def input_rows(graph: Graph) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    """Name, dtype and shape of each input."""
    nodes = graph.by_name()
    return tuple((name, nodes[name].dtype, nodes[name].shape) for name in graph.inputs)


def proved(log: float) -> Magnitude:
    """A proved size from its log10."""
    if log == inf:
        return Magnitude(None, "unbounded")
    return Magnitude(None if isinf(log) else log, "proved")


def forecast(log: float | None, error: float = FORECAST_ERROR) -> Magnitude:
    """A forecast size from its log10; None is unknown, -inf is a forecast of exactly zero, which has no error in decades."""
    if log is None or log == inf:
        return Magnitude(None, "unknown")
    return Magnitude(None, "forecast") if isinf(log) else Magnitude(log, "forecast", error)


def _log(value: float) -> float:
    return log10(value) if 0 < value < inf else (NEVER if value == 0 else inf)


def node_rows(facts: Facts, flow: Flow) -> tuple[NodeRow, ...]:
    """One row a call, in execution order."""
    graph = facts.graph
    rows = []
    for node in graph.nodes:
        effect = facts.effects.get(node.name)
        if effect is None:
            continue
        first = next((j for j in effect.jac if j is not None), None)
        moments = facts.signals[node.name].moments
        gradient = flow.nodes[node.name]
        rows.append(
            NodeRow(
                id=node.name,
                op=node.op,
                module=node.where.module,
                where=node.where,
                shape=node.shape,
                dtype=node.dtype,
                lipschitz=Magnitude(None, "unknown") if first is None or first.kind == "unknown" else proved(_log(first.lip)),
                tags=tuple(sorted(first.tags)) if first is not None else (),
                rms=forecast(None if moments is None else 0.5 * _log(moments.mean_square)),
                gradient_bound=proved(gradient.bound),
                gradient=forecast(gradient.forecast, error_with(gradient.doubt)),
                via=gradient.via or "",
                share=gradient.share,
                operands=tuple(dict.fromkeys(name for name in node.inputs if name in facts.effects)),
            )
        )
    return tuple(rows)


def param_rows(facts: Facts, flow: Flow) -> tuple[ParamRow, ...]:
    """One row a parameter, in the model's order."""
    rows = []
    for name, info in facts.graph.params.items():
        gradient = flow.params[name]
        rows.append(
            ParamRow(
                name,
                info.shape,
                info.trainable,
                proved(gradient.bound),
                forecast(gradient.forecast, error_of(flow, name)),
                forecast(flow.sensitivity(name), error_of(flow, name)),
            )
        )
    return tuple(rows)
