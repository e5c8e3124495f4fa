"""The certified norms of weights where they are used: they depend on the weight and on stride, padding and input size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from math import inf
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from netaudit import norms
from netaudit.cache.proofs import Proofs
from netaudit.graph import Arg, Node
from netaudit.norms import Effort
from netaudit.progress import Progress, silent
from netaudit.signal import WeightNorms, up

AT_ONCE = 1 << 18
"""Entries of a weight that are widened to float64, or hashed, at a time: what a core's cache holds."""


@dataclass(frozen=True, slots=True)
class Certifying:
    """How norms are certified: with what effort, what earlier runs have proved, and who is told how far it is."""

    effort: Effort = "quick"
    proofs: Proofs = Proofs()
    tell: Progress = silent


def weight_norms(
    nodes: Mapping[str, Node], users: Iterable[Node], values: Mapping[str, Tensor], fixed: frozenset[str], how: Certifying
) -> dict[tuple[str, int], WeightNorms]:
    """The certified norm of every weight at every use by one of ``users``, computed once per distinct use."""
    made: dict[tuple[object, ...], WeightNorms | None] = {}
    digest = cache(lambda name: content(values[name]))
    result = {}
    wanted = list(_weights(nodes, users, values, fixed))
    for done, (node, slot, name, measure) in enumerate(wanted):
        how.tell("norms of weights", done, len(wanted))
        sizes, weight = _sizes(node, nodes), values[name]
        use = (node.op, slot, _geometry(node, sizes), str(weight.dtype), weight.shape, weight.stride(), how.effort)
        if (name, use) not in made:
            prove = partial(measure, node, weight, sizes, how.effort)
            # a hash reads every entry once, and so does what bounds a table: there would be nothing to gain
            made[name, use] = prove() if measure is _table else how.proofs.of((*use, torch.__version__), partial(digest, name), prove)
        found = made[name, use]
        if found is not None:
            result[(node.name, slot)] = found
    how.tell("norms of weights", len(wanted), len(wanted))
    return result


def content(weight: Tensor) -> str:
    """The hash of a tensor's bytes, in the order of its indices; some rows at a time where they do not lie in this order."""
    total = hashlib.sha256()
    for block in _blocks(weight.detach().resolve_neg()):
        total.update(block.contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return total.hexdigest()


def _blocks(weight: Tensor) -> Iterable[Tensor]:
    """A tensor cut along its first axis into parts that a core's cache holds."""
    if weight.numel() <= AT_ONCE or weight.ndim == 0:
        return (weight,)
    blocks: tuple[Tensor, ...] = weight.split(max(AT_ONCE * len(weight) // weight.numel(), 1))  # type: ignore[no-untyped-call]  # torch's stub
    return blocks


def _weights(
    nodes: Mapping[str, Node], users: Iterable[Node], values: Mapping[str, Tensor], fixed: frozenset[str]
) -> Iterator[tuple[Node, int, str, Measure]]:
    """The slots of calls that hold weights with known values, with the names of the weights."""
    for node in users:
        for slot, measure in _uses(node, nodes).items():
            name = node.operands[slot] if slot < len(node.operands) else None
            if isinstance(name, str) and name in fixed and name in values and values[name].is_floating_point():
                yield node, slot, name, measure


def _uses(node: Node, nodes: Mapping[str, Node]) -> Mapping[int, Measure]:
    """The slots of a call that hold weights, and how each is measured: all matrices of a recurrence."""
    if node.op in _RECURRENT:
        return {slot: _dense for slot, operand in enumerate(node.operands) if isinstance(operand, str) and _is_matrix(nodes[operand])}
    return _USES.get(node.op, {})


def _is_matrix(node: Node) -> bool:
    return node.op == "parameter" and len(node.shape) == 2


def _geometry(node: Node, sizes: tuple[int, ...]) -> tuple[object, ...]:
    names = ("stride", "padding", "dilation", "groups", "output_padding", "transposed")
    return (*(node.args.get(name) for name in names), sizes) if "conv" in node.op else ()


def _sizes(node: Node, nodes: Mapping[str, Node]) -> tuple[int, ...]:
    """The shape of the first operand, on which the norm of a convolution depends."""
    first = node.operands[0] if node.operands and "conv" in node.op else None
    return nodes[first].shape if isinstance(first, str) else ()


Measure: TypeAlias = Callable[[Node, Tensor, tuple[int, ...], Effort], WeightNorms | None]


def _rows(matrix: Tensor) -> tuple[float, float]:
    """Largest l2 and l1 norm of the rows of a matrix, rounded up."""
    if matrix.numel() == 0:
        return 0.0, 0.0
    parts = (part.double() for part in _blocks(matrix))
    by_part = [
        (float(torch.linalg.vector_norm(part, dim=1).max()), float(torch.linalg.vector_norm(part, 1, dim=1).max())) for part in parts
    ]
    l2, l1 = np.max(by_part, axis=0) * (1.0 + matrix.shape[1] * 2.3e-16)  # unlike max, this keeps NaN
    return (up(float(l2)), up(float(l1))) if np.isfinite(l2 + l1) else (inf, inf)


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


def _experts(_node: Node, weight: Tensor, _sizes: tuple[int, ...], effort: Effort) -> WeightNorms | None:
    """Matrices of which every row is multiplied by one, from the right."""
    if weight.ndim != 3 or not len(weight):
        return None
    proofs = norms.dense_batch(tuple(weight), effort=effort)
    rows = [_rows(matrix.t()) for matrix in weight]
    largest = max(proofs, key=lambda proof: proof.upper)
    return WeightNorms(largest.upper, max(l2 for l2, _ in rows), max(l1 for _, l1 in rows), f"largest of {len(weight)}: {largest.method}")


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
    "aten._grouped_mm": {1: _experts},
    "transformers.grouped_mm_fallback": {1: _experts},
}
