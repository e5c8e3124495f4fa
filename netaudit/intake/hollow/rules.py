"""What an operator does to entries of tensors: the operator itself run on them, or the law of what it draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf, isnan, sqrt
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netaudit.intake.hollow import draws
from netaudit.intake.hollow.operation import NOISY, OVERWRITING, Operation
from netaudit.intake.hollow.sample import Entries
from netaudit.signal import Interval

Rng: TypeAlias = np.random.Generator
Read: TypeAlias = Callable[[Tensor], Entries]
"""The entries of an operand at the indices that are evaluated."""
UNINITIALISED = "it is never initialised"


def evaluated(call: Operation, count: int, read: Read, rng: Rng) -> Entries:
    """``count`` entries of the result of an entrywise operator."""
    if call.is_mutable and call.name in ("normal", "uniform"):
        return _drawn(call, count, call.args[0].dtype, rng)
    operands: list[Entries] = []

    def entry(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if call.is_mutable and value is call.args[0] and call.name in OVERWRITING:
            return torch.zeros(count, dtype=value.dtype)
        operands.append(read(value))
        return operands[-1].values

    args, kwargs = pytree.tree_map(entry, (tuple(call.args), dict(call.kwargs)))
    by_sign = _known_by_sign(call, operands, count, rng)
    if by_sign is not None:
        return by_sign
    values = args[0].copy_(args[1]) if call.name == "fill" else call.func(*args, **kwargs)  # fill_ takes one number, not a sample of it
    values = values if values.ndim else values.expand(count)
    known = np.logical_and.reduce([np.ones(count, dtype=np.bool_), *(one.known for one in operands)])
    random = [one for one in operands if not one.is_constant]
    noisy = call.name in NOISY or len(random) > 1 or any(one.noisy for one in operands)
    reason = next((one.reason for one in operands if one.reason), "")
    return Entries(values, known, _range(call, operands, values), noisy, reason)


def _known_by_sign(call: Operation, operands: Sequence[Entries], count: int, rng: Rng) -> Entries | None:
    """The result where of an operand only the sign is known to be fair; None where that does not tell."""
    if call.name in ("sign", "sgn") and operands[0].signs:
        return Entries.drawn(draws.signs(count, rng).to(operands[0].values.dtype), Interval(-1.0, 1.0))
    return operands[-1] if call.name in ("clone", "copy", "_to_copy") and operands[-1].signs else None


def _range(call: Operation, operands: Sequence[Entries], values: Tensor) -> Interval:
    """PROVED range of all entries of a result, where it follows from the operator and its operands."""
    if call.name in NOISY or not values.is_floating_point():
        return Interval()
    if len(values) and all(one.is_constant for one in operands):
        only = float(values[0])  # a function of constants, the operator itself computed it
        return Interval() if isnan(only) else Interval(only, only)
    if call.name == "clamp" and len(operands) == 1:
        low, high = call.argument("min"), call.argument("max")
        given = Interval(-inf if low is None else float(low), inf if high is None else float(high))
        return _rounded(operands[0].range.meet(given), values.dtype)
    return _rounded(operands[-1].range, values.dtype) if call.name in ("copy", "clone", "_to_copy") else Interval()


def _rounded(interval: Interval, dtype: torch.dtype) -> Interval:
    """The interval after its ends were rounded to a dtype, in whichever direction."""
    slack = torch.finfo(dtype).eps
    return Interval(interval.lo - slack * abs(interval.lo), interval.hi + slack * abs(interval.hi))


def _drawn(call: Operation, count: int, dtype: torch.dtype, rng: Rng) -> Entries:
    """Entries of a normal or uniform draw."""
    if call.name == "normal":
        mean, std = float(call.argument("mean")), float(call.argument("std"))
        return Entries.drawn((draws.normal(count, rng) * std + mean).to(dtype))
    low, high = float(call.argument("from")), float(call.argument("to"))
    return Entries.drawn((draws.uniform(count, rng) * (high - low) + low).to(dtype), _rounded(Interval(low, high), dtype))


# new tensors --------------------------------------------------------------------------------------------------------------


def born(call: Operation, count: int, dtype: torch.dtype, rng: Rng) -> Entries:
    """Entries of a new tensor."""
    match call.factory:
        case "zeros" | "ones" | "full":
            return _filled(float({"zeros": 0.0, "ones": 1.0}.get(call.factory, call.argument("fill_value"))), count, dtype)
        case "rand":
            return Entries.drawn(draws.uniform(count, rng).to(dtype), Interval(0.0, 1.0))
        case "randn":
            return Entries.drawn(draws.normal(count, rng).to(dtype))
        case "normal" if all(isinstance(call.argument(part), float | int) for part in ("mean", "std")):
            return _drawn(call, count, dtype, rng)
        case _ if call.is_uninitialised:
            return Entries.unknown(count, dtype, UNINITIALISED)
        case _:
            return Entries.unknown(count, dtype, f"{call} is not followed")


def _filled(value: float, count: int, dtype: torch.dtype) -> Entries:
    values = torch.full((count,), value, dtype=dtype)
    only = float(values[0]) if count else value
    return Entries.drawn(values, Interval(only, only))


# what is no function of single entries ------------------------------------------------------------------------------------

REDUCTIONS = frozenset({"sum", "mean", "var", "std", "norm", "linalg_vector_norm"})
MANY = 64
"""Entries that a reduction must join for its value to be taken as that of the law (within 1 / sqrt(MANY) of its spread)."""


def reduced(call: Operation, operand: Entries, joined: int, count: int, rng: Rng) -> Entries:
    """``count`` entries of a reduction, each over ``joined`` entries of one distribution: the central limit theorem."""
    dtype = operand.values.dtype
    order = next((p for name in ("p", "ord") if (p := call.argument(name)) is not None), 2)
    if not operand.known.all() or joined < MANY or (call.name in ("norm", "linalg_vector_norm") and order != 2):
        return Entries.unknown(count, dtype, operand.reason or f"{call} is not followed")
    values = operand.values.double()
    mean, mean_square = float(values.mean()), float(values.square().mean())
    variance = max(mean_square - mean * mean, 0.0)
    centre, spread = {
        "mean": (mean, sqrt(variance / joined)),
        "sum": (mean * joined, sqrt(variance * joined)),
        "var": (variance, 0.0),
        "std": (sqrt(variance), 0.0),
    }.get(call.name, (sqrt(mean_square * joined), 0.0))
    return replace(Entries.drawn((draws.normal(count, rng) * spread + centre).to(dtype)), noisy=True)


def orthogonal_factor(rows: int, matrix: Entries, count: int, rng: Rng) -> Entries:
    """``Q`` of a QR decomposition: its columns are unit vectors of ``rows`` entries, so that their mean square is 1 / rows.

    Assumes a mean of 0, as for a matrix with independent symmetric entries.
    """
    if not matrix.known.all():
        return matrix
    return Entries.drawn((draws.normal(count, rng) / sqrt(rows)).to(matrix.values.dtype))
