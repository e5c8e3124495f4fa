"""What is known before the sweep: signals of parameters, constants and inputs, and the certified norms of weights at their uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, isinf, isnan
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from netaudit import norms
from netaudit.errors import TargetError, did_you_mean
from netaudit.facts import Leaves
from netaudit.graph import Arg, Graph, Node
from netaudit.moments import Moments, from_array, independent, known_array, of
from netaudit.signal import Interval, Signal, WeightNorms, up

from .interpret import call as run
from .lower import Lowered

Effort: TypeAlias = Literal["quick", "tight"]
Origin: TypeAlias = Literal["constant", "static", "sample", "live"]
"""What a value depends on: nothing; parameters; the example input; both, or an input that was guessed."""

SMALL = 1 << 16
"""Parameters up to this size keep their values (a LayerNorm's gamma); constants up to ``LARGE`` do (masks, tables)."""
LARGE = 1 << 22


@dataclass(frozen=True, slots=True)
class Assumed:
    """How inputs are taken: their own statistics, or N(0, 1) when they were guessed; ``ranges`` are proved by the user's word."""

    guessed: bool = False
    ranges: Mapping[str, Interval] | None = None


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
    return Leaves(signals, weight_norms(graph, values, origins, effort), broken)


def _is_broken(value: Tensor | None, signal: Signal | None) -> bool:
    """Whether a parameter holds NaN or inf: the range of its signal, already read off its entries, says so."""
    if value is None or signal is None or value.is_meta or value.is_complex():
        return False
    return not signal.range.is_bounded


def _is_finite(value: Tensor) -> bool:
    return value.is_meta or not value.is_floating_point() or not value.numel() or all(map(isfinite, _extremes(value)))


def _extremes(value: Tensor) -> tuple[float, float]:
    """Smallest and largest entry; NaN when there is one."""
    low, high = torch.aminmax(value.detach())
    return float(low), float(high)


# what depends on what ---------------------------------------------------------------------------------------------------


def _origins(graph: Graph, tensors: Mapping[str, Tensor], assumed: Assumed) -> dict[str, Origin]:
    result: dict[str, Origin] = {}
    for node in graph.nodes:
        if node.op == "parameter":
            result[node.name] = "live" if tensors[node.name].is_meta else "static"
        elif node.op == "constant":
            result[node.name] = "live" if tensors[node.name].is_meta else "constant"
        elif node.op == "input":
            known = not (assumed.guessed and node.is_float) and not tensors[node.name].is_meta
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
            except (NotImplementedError, RuntimeError, TypeError, AttributeError, ValueError, IndexError):
                continue  # it stays a call: its transfer says what is known
    return values


# signals ----------------------------------------------------------------------------------------------------------------


def _array(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()
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
    if value.is_meta or (assumed.guessed and node.is_float):
        return Signal(node.shape, given, None, of(independent(node.shape)) if node.is_float else None)
    array = _array(value)
    moments = of(from_array(array)) if node.is_float and _is_finite(value) else None
    return Signal(node.shape, given, None, moments, None if node.is_float else array)


# norms ------------------------------------------------------------------------------------------------------------------


def weight_norms(
    graph: Graph, values: Mapping[str, Tensor], origins: Mapping[str, Origin], effort: Effort
) -> dict[tuple[str, int], WeightNorms]:
    """The certified norm of every weight at every use, computed once per distinct use."""
    made: dict[tuple[object, ...], WeightNorms] = {}
    result = {}
    for node in graph.nodes:
        for slot, measure in _uses(node, graph).items():
            name = node.operands[slot] if slot < len(node.operands) else None
            if not isinstance(name, str) or origins[name] not in ("static", "constant") or name not in values:
                continue
            key = (name, node.op, slot, _geometry(node, graph))
            if key not in made:
                found = measure(node, values[name], _sizes(node, graph), effort)
                if found is None:
                    continue
                made[key] = found
            result[(node.name, slot)] = made[key]
    return result


def _uses(node: Node, graph: Graph) -> Mapping[int, Measure]:
    """The slots of a call that hold weights, and how each is measured: all matrices of a recurrence."""
    if node.op in _RECURRENT:
        matrices = {n.name for n in graph.nodes if n.op == "parameter" and len(n.shape) == 2}
        return {slot: _dense for slot, operand in enumerate(node.operands) if operand in matrices}
    return _USES.get(node.op, {})


def _geometry(node: Node, graph: Graph) -> tuple[object, ...]:
    names = ("stride", "padding", "dilation", "groups", "output_padding", "transposed")
    return (*(node.args.get(name) for name in names), _sizes(node, graph)) if "conv" in node.op else ()


def _sizes(node: Node, graph: Graph) -> tuple[int, ...]:
    """The shape of the first operand."""
    first = node.operands[0] if node.operands else None
    return next((n.shape for n in graph.nodes if n.name == first), ()) if "conv" in node.op else ()


Measure: TypeAlias = Callable[[Node, Tensor, tuple[int, ...], Effort], WeightNorms | None]


def _rows(matrix: Tensor) -> tuple[float, float]:
    """Largest l2 and l1 norm of the rows of a matrix, rounded up."""
    if matrix.numel() == 0:
        return 0.0, 0.0
    wide = matrix.double() if matrix.numel() <= LARGE else matrix.float()
    slack = 1.0 + matrix.shape[1] * (2.3e-16 if wide.dtype == torch.float64 else 1.2e-7)
    l2 = float(torch.linalg.vector_norm(wide, dim=1).max()) * slack
    l1 = float(wide.abs().sum(1).max()) * slack
    return (up(l2), up(l1)) if np.isfinite(l2 + l1) else (inf, inf)


def _dense(_node: Node, weight: Tensor, _sizes: tuple[int, ...], effort: Effort) -> WeightNorms | None:
    if weight.ndim != 2:
        return None
    proof = norms.dense(weight, effort=effort)
    return WeightNorms(proof.upper, *_rows(weight), how=proof.method)


def _right_factor(_node: Node, weight: Tensor, _sizes: tuple[int, ...], effort: Effort) -> WeightNorms | None:
    """A matrix multiplied from the right: its columns make the output entries."""
    if weight.ndim != 2:
        return None
    proof = norms.dense(weight, effort=effort)
    return WeightNorms(proof.upper, *_rows(weight.t()), how=proof.method)


def _table(_node: Node, weight: Tensor, _sizes: tuple[int, ...], _effort: Effort) -> WeightNorms:
    return WeightNorms(inf, *_rows(weight), how="largest row")


def _ints(value: Arg, count: int) -> tuple[int, ...]:
    values = tuple(int(v) for v in value if isinstance(v, (int, float))) if isinstance(value, tuple) else (int(value or 0),)  # type: ignore[arg-type]  # a number
    return values * count if len(values) == 1 else values


def _conv(node: Node, weight: Tensor, sizes: tuple[int, ...], effort: Effort) -> WeightNorms:
    dims = weight.ndim - 2
    padding = node.args.get("padding", 0)
    proof = norms.conv(
        weight,
        sizes[-dims:],
        stride=_ints(node.args.get("stride", 1), dims),
        padding=padding if isinstance(padding, str) else _ints(padding, dims),
        dilation=_ints(node.args.get("dilation", 1), dims),
        groups=int(node.args.get("groups", 1) or 1),  # type: ignore[arg-type]  # an int by schema
        effort=effort,
    )
    return WeightNorms(proof.upper, *_rows(weight.flatten(1)), how=proof.method)


def _conv_transpose(node: Node, weight: Tensor, sizes: tuple[int, ...], effort: Effort) -> WeightNorms:
    dims = weight.ndim - 2
    groups = int(node.args.get("groups", 1) or 1)  # type: ignore[arg-type]  # an int by schema
    proof = norms.conv_transpose(
        weight,
        sizes[-dims:],
        stride=_ints(node.args.get("stride", 1), dims),
        padding=_ints(node.args.get("padding", 0), dims),
        output_padding=_ints(node.args.get("output_padding", 0), dims),
        dilation=_ints(node.args.get("dilation", 1), dims),
        groups=groups,
        effort=effort,
    )
    by_output = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).reshape(groups * weight.shape[1], -1)
    return WeightNorms(proof.upper, *_rows(by_output), how=proof.method)


def _convolution(node: Node, weight: Tensor, sizes: tuple[int, ...], effort: Effort) -> WeightNorms:
    return (_conv_transpose if node.args.get("transposed") is True else _conv)(node, weight, sizes, effort)


def _bilinear(_node: Node, weight: Tensor, _sizes: tuple[int, ...], effort: Effort) -> WeightNorms:
    """``||A|| <= min`` over the three unfoldings."""
    unfoldings = (weight.flatten(1), weight.transpose(0, 1).flatten(1), weight.permute(2, 0, 1).flatten(1))
    proofs = [norms.dense(u, effort=effort) for u in unfoldings]
    return WeightNorms(min(p.upper for p in proofs), how="the smallest of three unfoldings")


_RECURRENT = frozenset(f"aten.{kind}{cell}" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu") for cell in ("", "_cell"))
_USES: Mapping[str, Mapping[int, Measure]] = {
    "aten.linear": {1: _dense},
    "aten.mm": {0: _dense, 1: _right_factor},
    "aten.matmul": {0: _dense, 1: _right_factor},
    "aten.addmm": {1: _dense, 2: _right_factor},
    "aten.embedding": {0: _table},
    "aten.conv1d": {1: _conv},
    "aten.conv2d": {1: _conv},
    "aten.conv3d": {1: _conv},
    "aten.conv_transpose1d": {1: _conv_transpose},
    "aten.conv_transpose2d": {1: _conv_transpose},
    "aten.conv_transpose3d": {1: _conv_transpose},
    "aten.convolution": {1: _convolution},
    "aten.bilinear": {2: _bilinear},
}
