"""What several checks say of normalisations: which calls are one, over which entries, and whether the mean is taken off."""

from __future__ import annotations

from math import prod

from netaudit import Arg, Node

BATCH = frozenset(f"aten.{name}" for name in ("batch_norm", "native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm"))
LAYER = frozenset({"aten.layer_norm", "aten.native_layer_norm", "netaudit.layer_norm"})
RMS = frozenset({"aten.rms_norm", "aten._fused_rms_norm", "netaudit.rms_norm"})
GROUP = frozenset({"aten.group_norm", "aten.native_group_norm"})
INSTANCE = frozenset({"aten.instance_norm"})
DIRECTION = frozenset({"netaudit.l2_normalize"})
CENTRED = BATCH | LAYER | GROUP | INSTANCE
"""Normalisations that subtract the mean."""
NORMS = CENTRED | RMS
"""Normalisations with (or without) an affine part; ``DIRECTION`` only divides by the length."""

SPOKEN = {
    **dict.fromkeys(BATCH, "BatchNorm"),
    **dict.fromkeys(LAYER, "LayerNorm"),
    **dict.fromkeys(RMS, "RMSNorm"),
    **dict.fromkeys(GROUP, "GroupNorm"),
    **dict.fromkeys(INSTANCE, "InstanceNorm"),
    **dict.fromkeys(DIRECTION, "normalize"),
}


def is_on_batch(node: Node) -> bool:
    """Whether a BatchNorm uses the statistics of the batch."""
    return node.op in BATCH and node.args.get("training", node.args.get("train", True)) is not False


def group_size(node: Node, shape: tuple[int, ...]) -> int | None:
    """How many entries of an operand of this shape share one mean and variance; None for what is no normalisation of entries."""
    if node.op in BATCH:
        return shape[0] * prod(shape[2:]) if is_on_batch(node) else None
    if node.op in INSTANCE:
        return prod(shape[2:]) if node.args.get("use_input_stats") is not False else None
    if node.op in GROUP:
        groups = node.args.get("num_groups", node.args.get("group", 1))
        return prod(shape[1:]) // int(groups) if isinstance(groups, (int, float)) and groups else None
    if node.op in LAYER | RMS | DIRECTION:
        return _over_axes(node, shape)
    return None


def _over_axes(node: Node, shape: tuple[int, ...]) -> int:
    normalized = node.args.get("normalized_shape")
    if isinstance(normalized, tuple):
        return prod(shape[len(shape) - len(normalized) :])
    return prod(shape[axis] for axis in _axes(node.args.get("dim"), len(shape)))


def _axes(dim: Arg, rank: int) -> tuple[int, ...]:
    given = dim if isinstance(dim, tuple) else (dim,)
    axes = tuple(int(a) % max(rank, 1) for a in given if isinstance(a, (int, float)))
    return axes or tuple(range(rank))
