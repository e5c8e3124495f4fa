"""What is known before the sweep: signals of parameters, constants and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isinf, isnan
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from netaudit.errors import TargetError, did_you_mean
from netaudit.facts import Leaves
from netaudit.graph import Graph, Node
from netaudit.moments import Moments, from_array, independent, known_array, of
from netaudit.norms import Effort
from netaudit.signal import Interval, Signal

from .interpret import call as run
from .lower import Lowered
from .uses import weight_norms

Origin: TypeAlias = Literal["constant", "static", "sample", "live"]
"""What a value depends on: nothing; parameters; the example input; both, or an input that was guessed."""

SMALL = 1 << 16
"""Parameters up to this size keep their values (a LayerNorm's gamma); constants up to ``LARGE`` do (masks, tables)."""
LARGE = 1 << 22


@dataclass(frozen=True, slots=True)
class Assumed:
    """How inputs are taken: their own statistics, N(0, 1) when they were guessed, or independent with given ``stats`` (mean, std).

    ``ranges`` are proved by the user's word.
    """

    guessed: bool = False
    ranges: Mapping[str, Interval] | None = None
    stats: tuple[float, float] | None = None


def named_ranges(graph: Graph, given: Mapping[str, Interval]) -> dict[str, Interval]:
    """The user's ranges by input; the empty name stands for every float input.

    Raises:
        TargetError: there is no input of that name.
    """
    floats = {node.name for node in graph.nodes if node.op == "input" and node.is_float}
    unknown = next((name for name in given if name and name not in floats), None)
    if unknown is not None:
        raise TargetError(
            f"--input-range: there is no float input {unknown!r}", did_you_mean(unknown, floats) or f"inputs: {', '.join(sorted(floats))}"
        )
    return {name: given[name if name in given else ""] for name in sorted(floats) if name in given or "" in given}


def leaves(lowered: Lowered, assumed: Assumed = Assumed(), effort: Effort = "quick") -> Leaves:
    """Signals of everything that does not depend on both weights and inputs, and norms of weights where they are used."""
    graph = lowered.graph
    origins = _origins(graph, lowered.tensors, assumed)
    values = _evaluated(graph, origins, lowered.tensors)
    signals = {}
    for node in graph.nodes:
        if node.op == "input":
            signals[node.name] = _input(node, values[node.name], assumed)
        elif node.name in values:
            signals[node.name] = _signal(node, values[node.name], origins[node.name])
    broken = tuple(name for name, info in graph.params.items() if _is_broken(values.get(info.node), signals.get(info.node)))
    fixed = frozenset(name for name, origin in origins.items() if origin in ("static", "constant"))
    return Leaves(signals, weight_norms(graph, values, fixed, effort), broken, _samples(graph, values, origins))


def _samples(graph: Graph, values: Mapping[str, Tensor], origins: Mapping[str, Origin]) -> dict[str, np.ndarray]:
    """The given (not guessed) float inputs that are not too large."""
    given = (n for n in graph.nodes if n.op == "input" and n.is_float and origins[n.name] == "sample")
    return {n.name: _array(values[n.name]) for n in given if values[n.name].numel() <= LARGE and not values[n.name].is_complex()}


def _is_broken(value: Tensor | None, signal: Signal | None) -> bool:
    """Whether a parameter holds NaN or inf: the range of its signal, already read off its entries, says so."""
    if value is None or signal is None or value.is_meta or value.is_complex():
        return False
    return not signal.range.is_bounded


def _is_finite(value: Tensor) -> bool:
    return value.is_meta or not value.is_floating_point() or not value.numel() or all(map(isfinite, _extremes(value)))


def _extremes(value: Tensor) -> tuple[float, float]:
    """Smallest and largest entry; NaN when there is one."""
    low, high = torch.aminmax(_readable(value))
    return float(low), float(high)


# what depends on what ---------------------------------------------------------------------------------------------------


def _origins(graph: Graph, tensors: Mapping[str, Tensor], assumed: Assumed) -> dict[str, Origin]:
    result: dict[str, Origin] = {}
    strays = {stray.node for stray in graph.unregistered}
    for node in graph.nodes:
        if node.op == "parameter" or node.name in strays:
            result[node.name] = "live" if tensors[node.name].is_meta else "static"
        elif node.op == "constant":
            result[node.name] = "live" if tensors[node.name].is_meta else "constant"
        elif node.op == "input":
            known = not ((assumed.guessed or assumed.stats is not None) and node.is_float) and not tensors[node.name].is_meta
            result[node.name] = "sample" if known else "live"
        else:
            result[node.name] = _joint({result[name] for name in node.inputs}, node)
    return result


def _joint(origins: set[Origin], node: Node) -> Origin:
    if "live" in origins or {"static", "sample"} <= origins or node.is_random:
        return "live"
    return "static" if "static" in origins else "sample" if "sample" in origins else "constant"


def _evaluated(graph: Graph, origins: Mapping[str, Origin], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values of all nodes that are not live, run once."""
    values = {name: tensor.detach() for name, tensor in tensors.items()}
    with torch.no_grad():
        for node in graph.nodes:
            if node.name in values or origins[node.name] == "live" or any(name not in values for name in node.inputs):
                continue
            try:
                values[node.name] = run(node, values)
            except (NotImplementedError, RuntimeError, TypeError, AttributeError, ValueError, LookupError):
                continue  # it stays a call: its transfer says what is known
    return values


# signals ----------------------------------------------------------------------------------------------------------------


def _readable(value: Tensor) -> Tensor:
    """The values in a type that numpy has, and in which every op works: there is little for half and less for float8."""
    value = value.detach()
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value


def _array(value: Tensor) -> np.ndarray:
    value = _readable(value).cpu()
    return value.numpy() if not value.is_complex() else torch.view_as_real(value).numpy()


def _range(value: Tensor) -> Interval:
    if value.numel() == 0:
        return Interval(0.0, 0.0)
    if value.dtype == torch.bool:
        return Interval(0.0, 1.0)
    low, high = _extremes(value)
    return Interval() if isnan(low) else Interval(low, high)


def _moments(array: np.ndarray, values: Interval) -> Moments | None:
    """Moments of a float array; None when it holds NaN or an infinity that is not a mask."""
    if not np.issubdtype(array.dtype, np.floating) or isinf(values.hi) or (array.size and values == Interval()):
        return None
    return known_array(array)


def _signal(node: Node, value: Tensor, origin: Origin) -> Signal:
    if value.is_meta:
        return Signal(node.shape)
    array = _array(value)
    if value.is_complex():
        return Signal(node.shape)
    fixed = origin in ("constant", "static")
    keep = array.size <= (SMALL if origin == "static" else LARGE)
    values = _range(value)
    return Signal(node.shape, values if fixed else Interval(), None, _moments(array, values), array if keep else None, origin == "constant")


def _input(node: Node, value: Tensor, assumed: Assumed) -> Signal:
    given = (assumed.ranges or {}).get(node.name, Interval())
    if value.is_complex():  # no model of complex numbers
        return Signal(node.shape)
    if value.is_meta or (assumed.guessed and node.is_float):
        return Signal(node.shape, given, None, of(independent(node.shape)) if node.is_float else None)
    if assumed.stats is not None and node.is_float:
        mean, std = assumed.stats
        return Signal(node.shape, given, None, of(independent(node.shape, mean * mean + std * std, mean)))
    array = _array(value)
    moments = of(from_array(array)) if node.is_float and _is_finite(value) else None
    return Signal(node.shape, given, None, moments, array if array.size <= LARGE or not node.is_float else None)
