"""Which circulant contains a convolution, and how large is it there?

With zero padding a block circulant of suitable period contains the map as a compression, and so does each of its twists;
with circular padding the map is one. Other padding is done first and counted as a map of its own.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netaudit.norms.axis import Axis, circulant_period, has_full_window, padding_multiplicity, unpadded
from netaudit.norms.certificate import Squares, gamma
from netaudit.norms.convolution import stretch
from netaudit.norms.symbol import Grid, gram_symbol, grid, groups_above, symbol_level, symbol_size

STEPS = 32  # of the search for a lower bound: it shows the gap to 0.2 %
STEPS_TOLERANCE = 1e-4
GAP = 1.01  # a bound looser than this is worth another try
TWIST_GAIN = 0.999  # of the squared norm: a twist is resolved only if it is better by so much


@dataclass(frozen=True, slots=True)
class Embedding:
    """``axes`` lie in a circulant once padding that does not has been done; that repeats inputs up to ``repeats`` times.

    ``cost``: rows cubed at one frequency; ``plain``: frequencies of the circulant without a twist.
    """

    axes: tuple[Axis, ...]
    repeats: int
    cost: float
    plain: Grid


def embed(weight: Tensor, axes: Sequence[Axis]) -> Embedding:
    """For ``W``: (groups, out, in, *kernel); only shapes matter."""
    inner = tuple(axis if circulant_period(axis) else unpadded(axis) for axis in axes)
    repeats = math.prod(padding_multiplicity(axis) for axis, plain in zip(axes, inner, strict=True) if axis != plain)
    cost = float(len(weight) * symbol_size(weight, inner) ** 3)
    return Embedding(inner, repeats, cost, grid(inner, _periods(inner), [0] * len(inner), cost))


def _periods(axes: Sequence[Axis]) -> list[int]:
    return [circulant_period(axis) or 1 for axis in axes]


def plain_squares(weight: Tensor, axes: Sequence[Axis], embedding: Embedding) -> Squares:
    """From the circulant without a twist, and the longest row of ``W``: no search."""
    upper = embedding.repeats * symbol_level(gram_symbol(weight, embedding.axes), embedding.plain)
    return Squares(_row_square(weight, axes), upper, _method(embedding))


def twisted_squares(weight: Tensor, axes: Sequence[Axis], embedding: Embedding) -> Squares:
    """From the best of the twists, tried while the bound is loose, and a search for a lower bound."""
    symbol, repeats = gram_symbol(weight, embedding.axes), embedding.repeats
    lower = stretch(weight, axes, STEPS, STEPS_TOLERANCE).norm ** 2
    upper = repeats * symbol_level(symbol, embedding.plain, lower / repeats)
    for frequencies in _twists(embedding):
        if upper <= GAP**2 * lower:
            break
        if not bool(groups_above(symbol, frequencies, TWIST_GAIN * upper / repeats).any()):
            upper = repeats * symbol_level(symbol, frequencies, lower / repeats)
    return Squares(lower, upper, _method(embedding))


def _twists(embedding: Embedding) -> Iterator[Grid]:
    """Frequencies of the twisted circulants; none where the grid is coarser than theirs."""
    if embedding.plain.shrink == 1.0:
        axes = embedding.axes
        choices = [(0, 1) if axis.overlap > 1 and _is_zero_padded(axis) else (0,) for axis in axes]
        twists = (twist for twist in itertools.product(*choices) if any(twist))
        yield from (grid(axes, _periods(axes), twist, embedding.cost) for twist in twists)


def _is_zero_padded(axis: Axis) -> bool:
    return axis.mode == "zeros" or not axis.is_padded


def _method(embedding: Embedding) -> str:
    kind = "twisted circulant Gram symbol" if all(map(_is_zero_padded, embedding.axes)) else "circulant Gram symbol"
    off = 1.0 / math.sqrt(embedding.plain.shrink)
    where = "" if off == 1.0 else f" on a coarse grid, at most {off:.4f} off"
    return kind + where + (f", times sqrt({embedding.repeats}) for repeated inputs" if embedding.repeats > 1 else "")


def _row_square(weight: Tensor, axes: Sequence[Axis]) -> float:
    """A row of ``W`` as a matrix, fed with itself through a window that lies inside the input."""
    if not all(map(has_full_window, axes)):
        return 0.0
    return float(weight.flatten(2).square().sum(2).max()) * (1.0 - gamma(weight[0, 0].numel() + 2))


def survivors(weight: Tensor, axes: Sequence[Axis], level: float) -> Tensor:
    """Groups whose symbol does not prove ``||A||^2 <= level``, on any twist of the circulant."""
    left = torch.arange(len(weight), device=weight.device)
    embedding = embed(weight, axes)
    if len(weight) > 1 and embedding.repeats == 1:
        for frequencies in (embedding.plain, *_twists(embedding)):
            if not len(left):
                break
            left = left[groups_above(gram_symbol(weight[left], axes), frequencies, level)]
    return left
