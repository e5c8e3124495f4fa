"""What is known before the sweep: signals of parameters, constants and inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite, isinf, isnan, prod
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from netaudit.errors import TargetError, did_you_mean
from netaudit.facts import Leaves
from netaudit.graph import Graph, Node
from netaudit.moments import Moments, from_array, from_blocks, independent, known_array, of
from netaudit.progress import silent
from netaudit.signal import Interval, Signal, WeightNorms

from .hollow import Absent, Law, is_hollow
from .interpret import call as run
from .lower import Lowered
from .uses import Certifying, weight_norms

Origin: TypeAlias = Literal["constant", "static", "sample", "live"]
"""What a value depends on: nothing; parameters; the example input; both, or an input that was guessed."""

SMALL = 1 << 16
"""Parameters up to this size keep their values (a LayerNorm's gamma); constants up to ``LARGE`` do (masks, tables)."""
LARGE = 1 << 22
BLOCK = 1 << 18
"""Entries of a stored parameter that are looked at together."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """How inputs are taken: their own statistics, N(0, 1) when they were guessed, or independent with given ``stats`` (mean, std).

    ``ranges`` are proved by the user's word. ``absent``: what is known of parameters that hold no values.
    """

    guessed: bool = False
    ranges: Mapping[str, Interval] | None = None
    stats: tuple[float, float] | None = None
    absent: Absent = field(default_factory=Absent)


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


def leaves(lowered: Lowered, assumed: Assumed = Assumed(), how: Certifying = Certifying()) -> Leaves:
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
    fixed = frozenset(name for name, origin in origins.items() if origin in ("static", "constant"))
    norms = weight_norms(graph.by_name(), graph.nodes, values, fixed, how)
    broken = [name for name, info in graph.params.items() if _is_broken(values.get(info.node), signals.get(info.node))]
    for name, signal, own, is_broken in _without_values(lowered, assumed.absent, how):
        signals[graph.params[name].node] = signal
        norms |= own
        broken += [name] * is_broken
    how.proofs.prune()
    return Leaves(signals, norms, tuple(broken), _samples(graph, values, origins), _never_known(lowered, assumed.absent))


def _samples(graph: Graph, values: Mapping[str, Tensor], origins: Mapping[str, Origin]) -> dict[str, np.ndarray]:
    """The given (not guessed) float inputs that are not too large."""
    given = (n for n in graph.nodes if n.op == "input" and n.is_float and origins[n.name] == "sample")
    return {n.name: _array(values[n.name]) for n in given if values[n.name].numel() <= LARGE and not values[n.name].is_complex()}


def _is_broken(value: Tensor | None, signal: Signal | None) -> bool:
    """Whether a parameter holds NaN or inf: the range of its signal, already read off its entries, says so."""
    if value is None or signal is None or is_hollow(value) or value.is_complex():
        return False
    return not signal.range.is_bounded


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or not value.numel() or all(map(isfinite, _extremes(value)))


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
            result[node.name] = "live" if is_hollow(tensors[node.name]) else "static"
        elif node.op == "constant":
            result[node.name] = "live" if is_hollow(tensors[node.name]) else "constant"
        elif node.op == "input":
            known = not ((assumed.guessed or assumed.stats is not None) and node.is_float) and not is_hollow(tensors[node.name])
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


# parameters without values ----------------------------------------------------------------------------------------------


def _without_values(
    lowered: Lowered, absent: Absent, how: Certifying
) -> Iterator[tuple[str, Signal, Mapping[tuple[str, int], WeightNorms], bool]]:
    """The signal of each parameter that holds no values, its norms at every use where a file has it, and whether it is NaN.

    One tensor of the file is held at a time.
    """
    graph, nodes = lowered.graph, lowered.graph.by_name()
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for operand in node.inputs:
            users.setdefault(operand, []).append(node)
    hollow = [(name, info) for name, info in graph.params.items() if is_hollow(lowered.tensors[info.node])]
    for done, (name, info) in enumerate(hollow):
        how.tell("parameters without values", done, len(hollow))
        stored = next((own for own in info.names if own in absent.stored), None)
        if stored is None:
            law = absent.laws.get(name, Law())
            yield name, _drawn(info.shape, law), {}, law.broken
        else:
            dtype = lowered.tensors[info.node].dtype
            signal, norms = _read(
                absent.stored[stored], nodes[info.node], dtype, nodes, users.get(info.node, ()), replace(how, tell=silent)
            )
            yield name, signal, norms, not signal.range.is_bounded
    how.tell("parameters without values", len(hollow), len(hollow))


def _read(
    stored: Tensor, node: Node, dtype: torch.dtype, nodes: Mapping[str, Node], users: Iterable[Node], how: Certifying
) -> tuple[Signal, Mapping[tuple[str, int], WeightNorms]]:
    """The signal of a stored parameter and its norms, in the dtype that the model computes in."""
    is_wider = stored.is_floating_point() and torch.promote_types(stored.dtype, dtype) == dtype  # converting changes no value
    values = {node.name: stored if is_wider else stored.to(dtype)}
    return _streamed(node, stored, dtype), weight_norms(nodes, users, values, frozenset(values), how)


def _never_known(lowered: Lowered, absent: Absent) -> frozenset[str]:
    """The nodes of the parameters whose values are nowhere."""
    hollow = [info for info in lowered.graph.params.values() if is_hollow(lowered.tensors[info.node])]
    return frozenset(info.node for info in hollow if not any(name in absent.stored for name in info.names))


def _streamed(node: Node, stored: Tensor, dtype: torch.dtype) -> Signal:
    """The signal of a parameter that is read in blocks of rows, each converted to the dtype that the model computes in."""
    if stored.numel() <= BLOCK or stored.ndim == 0:
        return _signal(node, stored.to(dtype), "static")
    blocks = stored.split(max(BLOCK * len(stored) // stored.numel(), 1))  # type: ignore[no-untyped-call]  # torch's stub
    ranges = [_range(block.to(dtype)) for block in blocks]
    values = Interval(min(one.lo for one in ranges), max(one.hi for one in ranges))
    if not values.is_bounded:
        return Signal(node.shape, values)
    kernel = from_blocks((_array(block.to(dtype)) for block in blocks), node.shape)
    return Signal(node.shape, values, None, of(kernel, positive=values.lo > 0.0))


def _drawn(shape: tuple[int, ...], law: Law) -> Signal:
    """The signal of a parameter of which the law is known: its values too if they are all the same."""
    is_constant = law.range.lo == law.range.hi and prod(shape) <= SMALL
    value = np.broadcast_to(np.float32(law.range.lo), shape) if is_constant else None
    return Signal(shape, law.range, None, law.moments, value)


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
    if is_hollow(value):
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
    if is_hollow(value) or (assumed.guessed and node.is_float):
        return Signal(node.shape, given, None, of(independent(node.shape)) if node.is_float else None)
    if assumed.stats is not None and node.is_float:
        mean, std = assumed.stats
        return Signal(node.shape, given, None, of(independent(node.shape, mean * mean + std * std, mean)))
    array = _array(value)
    moments = of(from_array(array)) if node.is_float and _is_finite(value) else None
    return Signal(node.shape, given, None, moments, array if array.size <= LARGE or not node.is_float else None)
