"""Slopes in a ball: how far each pre-activation can go, by linear relaxation backwards through the stacked live tensors.

Every scalar function lies between two lines on its interval; put in for the function from the last call to the first, they
leave an affine bound on the input, whose extreme over the ball is a dual norm (CROWN, Zhang et al. 2018, section 3; for any
piecewise convex or concave f, with the chord on one side and a tangent on the other). Rounding is bounded along the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, nextafter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netaudit.certify.ball import Ball
from netaudit.certify.stages import Slopes, Step
from netaudit.effect import Curve
from netaudit.facts import Facts
from netaudit.graph import Node
from netaudit.norms.certificate import gamma
from netaudit.verbs import call

Array = NDArray[np.float64]
SLACK = 1e-12
ROUNDED = 4e-8
"""Rows give autograd's derivative, in which torch rounds constants to float32 (hardsigmoid's 1 / 6): relative to the slope."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """``low_slope v + low <= f(v) <= high_slope v + high`` on each entry's interval, and the range of f' and of f there."""

    low_slope: Tensor
    low: Tensor
    high_slope: Tensor
    high: Tensor
    slopes: Slopes
    values: tuple[Tensor, Tensor]


def local_slopes(facts: Facts, steps: Sequence[Step], centre: Tensor, ball: Ball) -> Mapping[str, Slopes]:
    """The range of slopes of every scalar function, as far as intervals stay finite; what is missing has its global range."""
    boxes = [(centre - ball.radius * (1 + SLACK), centre + ball.radius * (1 + SLACK))]
    found: dict[str, Slopes] = {}
    lines: dict[str, Lines] = {}
    for position, step in enumerate(steps):
        box = boxes[-1]
        if step.kind == "slope":
            curve = facts.transfers[step.node.op].curve if step.node.op in facts.transfers else None
            tight = _met(
                _backward(steps[:position], lines, boxes, step.entries, centre, ball), (box[0][step.entries], box[1][step.entries])
            )
            if curve is None or not bool(torch.isfinite(torch.stack(tight)).all()):
                return found
            box = _with(box, step.entries, tight)
            boxes[-1] = box
            made = lines_of(step.node, curve, tight[0].numpy(), tight[1].numpy())
            if made is None:
                return found
            lines[step.node.name], found[step.node.name] = made, made.slopes
        after = _box_after(facts, step, box, lines.get(step.node.name))
        if not bool(torch.isfinite(torch.stack(after)).all()):
            return found
        boxes.append(after)
    return found


def _met(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.maximum(a[0], b[0]), torch.minimum(a[1], b[1])


def _with(box: tuple[Tensor, Tensor], entries: Tensor, part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    low, high = box[0].clone(), box[1].clone()
    low[entries], high[entries] = part
    return low, high


def _box_after(facts: Facts, step: Step, box: tuple[Tensor, Tensor], lines: Lines | None) -> tuple[Tensor, Tensor]:
    """Interval arithmetic over one step."""
    low, high = box
    if step.kind == "move":
        return low[step.matrix], high[step.matrix]
    if step.kind == "linear":
        middle, radius = 0.5 * (low + high), 0.5 * (high - low)
        size = step.matrix.abs() @ torch.maximum(low.abs(), high.abs()) + _padded(step).abs()
        centre = step.matrix @ middle + _padded(step)
        spread = step.matrix.abs() @ radius + gamma(step.matrix.shape[1] + 16) * size
        return centre - spread, centre + spread
    if lines is not None:
        new = lines.values
    else:
        known = facts.signals[step.node.name].range
        new = (torch.full((len(step.new),), known.lo, dtype=torch.float64), torch.full((len(step.new),), known.hi, dtype=torch.float64))
    return torch.cat([low[step.carried], new[0]]), torch.cat([high[step.carried], new[1]])


def _padded(step: Step) -> Tensor:
    """The constant of a linear step on all entries after it."""
    return torch.cat([torch.zeros(len(step.carried), dtype=torch.float64), step.offset])


def _backward(
    steps: Sequence[Step], lines: Mapping[str, Lines], boxes: Sequence[tuple[Tensor, Tensor]], entries: Tensor, centre: Tensor, ball: Ball
) -> tuple[Tensor, Tensor]:
    """Bounds of entries after ``steps``: rows for the upper bound of z and of -z, pulled back to the input.

    ``error`` gathers, by row, what each product may have been rounded by: gamma |A| (|T| |z| + |c|).
    """
    total = len(boxes[-1][0])
    rows = torch.zeros(2 * len(entries), total, dtype=torch.float64)
    count = torch.arange(len(entries))
    rows[count, entries] = 1.0
    rows[count + len(entries), entries] = -1.0
    constant, error = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64)
    for step, before, after in zip(reversed(steps), reversed(boxes[:-1]), reversed(boxes[1:]), strict=True):
        size = torch.maximum(before[0].abs(), before[1].abs())
        if step.kind == "move":
            rows = torch.zeros(len(rows), len(size), dtype=torch.float64).index_add_(1, step.matrix, rows)
            continue
        if step.kind == "linear":
            offset = _padded(step)
            error += gamma(2 * len(size) + 32) * (rows.abs() @ (step.matrix.abs() @ size + offset.abs()))
            constant += rows @ offset
            rows = rows @ step.matrix
            continue
        kept, new = rows[:, : len(step.carried)], rows[:, len(step.carried) :]
        before_rows = torch.zeros(len(rows), len(size), dtype=torch.float64).index_add_(1, step.carried, kept)
        if step.node.name not in lines:  # known by its norm only: its interval ends the way back for it
            up, down = new.clamp_min(0.0), new.clamp_max(0.0)
            constant += up @ after[1][step.new] + down @ after[0][step.new]
            error += gamma(len(size) + 32) * (new.abs() @ torch.maximum(after[0].abs(), after[1].abs())[step.new])
            rows = before_rows
            continue
        line = lines[step.node.name]
        up, down = new.clamp_min(0.0), new.clamp_max(0.0)
        constant += up @ line.high + down @ line.low
        reach = torch.maximum(line.high_slope.abs(), line.low_slope.abs()) * size[step.entries] + torch.maximum(
            line.high.abs(), line.low.abs()
        )
        error += gamma(2 * len(size) + 32) * (new.abs() @ reach)
        rows = before_rows.index_add_(1, step.entries, up * line.high_slope + down * line.low_slope)
    size = torch.maximum(boxes[0][0].abs(), boxes[0][1].abs())
    spread = ball.spread(rows) * (1.0 + gamma(len(size) + 16))
    error += gamma(len(size) + 32) * (rows.abs() @ size + constant.abs())
    bound = rows @ centre + constant + spread + error * (1.0 + 1e-9)
    return -bound[len(entries) :], bound[: len(entries)]


# lines ------------------------------------------------------------------------------------------------------------------


def lines_of(node: Node, curve: Curve, low: Array, high: Array) -> Lines | None:
    """Lines under and over ``f`` on ``[low, high]`` entry by entry; None where a formula is not defined or f jumps.

    With f' monotone between its turns, f' at the ends and on both sides of every turn inside orders tells whether f is convex
    there (chord above, tangent below), concave (the other way round), or neither: then the chord, moved by
    ``(b - s)(s - a) / (b - a) (high - low)`` for slopes in [a, b], the most that two lines of those slopes can stray from it.
    """
    turns = call(curve.turns, node)
    if turns is None or (call(curve.jump, node) and any(((low <= t) & (t <= high)).any() for t in turns)):
        return None
    with np.errstate(all="ignore"):
        slopes = _slopes(node, curve, low, high, sorted(turns))
        value_low, value_high = call(curve.f, node, low), call(curve.f, node, high)
        middle = 0.5 * (low + high)
        value_middle, slope_middle = call(curve.f, node, middle), call(curve.df, node, middle)
    if not all(np.isfinite(a).all() for a in (slopes, value_low, value_high, value_middle, slope_middle)):
        return None
    width = high - low
    a, b = slopes.min(0), slopes.max(0)
    chord = np.where(width > 0, (value_high - value_low) / np.where(width > 0, width, 1.0), slope_middle)
    if _is_piecewise_linear(node, curve, sorted(turns)):  # exact, unless a row repeats torch's own rounding of its slope
        slack = np.where((a == b) & (np.abs(chord - a) > SLACK * np.abs(a)), ROUNDED * np.abs(a), 0.0)
    else:
        slack = SLACK * np.maximum(np.abs(a), np.abs(b)) + SLACK
    a, b = a - slack, b + slack
    chord = np.clip(chord, a, b)
    rises, falls = (np.diff(slopes, axis=0) >= 0).all(0), (np.diff(slopes, axis=0) <= 0).all(0)
    stray = (b - chord) * (chord - a) / np.where(b > a, b - a, 1.0) * width
    over = np.maximum(value_low - chord * low, value_high - chord * high)
    under = np.minimum(value_low - chord * low, value_high - chord * high)
    tangent = value_middle - slope_middle * middle
    size = np.abs(value_low) + np.abs(value_high) + np.maximum(np.abs(a), np.abs(b)) * (np.abs(low) + np.abs(high)) + 1e-300
    slack = SLACK * size + ROUNDED * np.maximum(np.abs(a), np.abs(b)) * width
    high_slope, high_line = np.where(falls & ~rises, slope_middle, chord), np.where(rises, over, np.where(falls, tangent, over + stray))
    low_slope, low_line = np.where(rises & ~falls, slope_middle, chord), np.where(falls, under, np.where(rises, tangent, under - stray))
    values = (np.minimum(value_low, value_high), np.maximum(value_low, value_high))
    bend = np.where((a < 0) & (b > 0), stray, 0.0)  # not monotone: it strays from the chord between its ends
    made = (low_slope, low_line - slack, high_slope, high_line + slack, a, b, values[0] - bend - slack, values[1] + bend + slack)
    t = [torch.from_numpy(np.ascontiguousarray(m, dtype=np.float64)) for m in made]
    return Lines(t[0], t[1], t[2], t[3], (t[4], t[5]), (t[6], t[7]))


def _slopes(node: Node, curve: Curve, low: Array, high: Array, turns: Sequence[float]) -> Array:
    """The derivative at the lower end, on both sides of each turn (of one at an end, on the inner), at the upper end.

    (2 turns + 2, n); what is outside repeats.
    """
    rows = [np.asarray(call(curve.df, node, low), dtype=np.float64)]
    for turn in turns:
        sides = ((nextafter(turn, -inf), (low < turn) & (turn <= high)), (nextafter(turn, inf), (low <= turn) & (turn < high)))
        for side, is_met in sides:
            slope = float(np.asarray(call(curve.df, node, np.array([side])))[0])
            rows.append(np.where(is_met, slope, rows[-1]))
    end = np.asarray(call(curve.df, node, high), dtype=np.float64)
    return np.stack([*rows, end])


def _is_piecewise_linear(node: Node, curve: Curve, turns: Sequence[float]) -> bool:
    """Whether f' takes one value on each side of its turns: its slopes are then exact, not rounded."""
    ends = [-64.0, *turns, 64.0]
    for start, stop in pairwise(ends):
        if stop > start:
            grid = np.linspace(start, stop, 67)[1:-1]
            if np.ptp(np.asarray(call(curve.df, node, grid), dtype=np.float64)) > 0.0:
                return False
    return True
