"""The pieces behind convolutions: grids, twists, bands, periods."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from netaudit.norms import PaddingMode
from netaudit.norms.axis import (
    Axis,
    circulant_period,
    conv_axes,
    padding_multiplicity,
    sources,
    window_multiplicity,
)
from netaudit.norms.banded import are_below, band_ranges
from netaudit.norms.symbol import gram_symbol, grid, groups_above, symbol_level

CONVOLVE: tuple[Callable[..., Tensor], ...] = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)
MODES: tuple[PaddingMode, ...] = ("zeros", "circular", "reflect", "replicate")


class Case(NamedTuple):
    in_: int
    out: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int | tuple[int, ...]
    padding: int | tuple[int, ...]
    dilation: int | tuple[int, ...]


CASES = (
    Case(2, 3, (6,), (3,), 1, 1, 1),
    Case(3, 2, (9,), (4,), 2, 2, 1),
    Case(1, 5, (11,), (3,), 3, 0, 2),
    Case(2, 2, (12,), (3,), 2, 4, 4),
    Case(2, 2, (13,), (4,), 6, 5, 4),
    Case(2, 2, (5, 6), (3, 3), 1, 1, 1),
    Case(2, 3, (7, 4), (2, 3), (2, 1), (0, 1), (1, 2)),
    Case(2, 2, (3, 3), (3, 5), 1, 2, 1),
    Case(1, 1, (3, 4, 3), (2, 3, 2), 1, 1, 1),
)


def random_weight(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def axes_of(case: Case, mode: PaddingMode) -> tuple[Axis, ...]:
    return conv_axes(case.size, case.kernel, case.stride, case.padding, case.dilation, mode)


def square_norm(weight: Tensor, case: Case, mode: PaddingMode) -> float:
    """Largest eigenvalue of ``A^T A``, the operator ``A`` written down by torch."""
    pads = [pad for axis in reversed(axes_of(case, mode)) for pad in (axis.left, axis.right)]
    entries = case.in_ * math.prod(case.size)
    inputs = torch.eye(entries, dtype=torch.float64).reshape(entries, case.in_, *case.size)
    padded = nn.functional.pad(inputs, pads, mode="constant" if mode == "zeros" else mode)
    matrix = CONVOLVE[len(case.size) - 1](padded, weight, None, case.stride, 0, case.dilation).flatten(1)
    return float(torch.linalg.matrix_norm(matrix, ord=2)) ** 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_twist_of_the_circulant_bounds_the_convolution(case: Case) -> None:
    weight = random_weight(case.out, case.in_, *case.kernel)
    truth = square_norm(weight, case, "zeros")
    axes = axes_of(case, "zeros")
    periods = [circulant_period(axis) or 1 for axis in axes]
    symbol = gram_symbol(weight[None], axes)
    for twist in itertools.product((0, 1), repeat=len(axes)):
        frequencies = grid(axes, periods, twist, cost=1.0)
        level = symbol_level(symbol, frequencies)
        assert level >= truth * (1.0 - 1e-12)
        assert not bool(groups_above(symbol, frequencies, level * (1.0 + 1e-9)).any())
        assert bool(groups_above(symbol, frequencies, truth * (1.0 - 1e-9)).any())


@pytest.mark.parametrize("cost", [1.0, 3e8, 1e12])
def test_a_coarser_grid_bounds_a_finer_one_within_what_it_claims(cost: float) -> None:
    axes = conv_axes((300, 200), (3, 5), 1, 2, 1, "zeros")
    periods = [circulant_period(axis) or 1 for axis in axes]
    symbol = gram_symbol(random_weight(1, 2, 2, 3, 5), axes)
    dense_grid = grid(axes, periods, (0, 0), cost=1.0)
    frequencies = grid(axes, periods, (0, 0), cost)
    fine, level = symbol_level(symbol, dense_grid), symbol_level(symbol, frequencies)
    assert frequencies.shrink <= dense_grid.shrink < 1.0
    assert fine * dense_grid.shrink * (1.0 - 1e-3) <= level <= fine / frequencies.shrink * (1.0 + 1e-3)


@pytest.mark.parametrize(("size", "twist"), itertools.product((5, 6), (0, 1)))
def test_half_a_grid_and_its_mirror_image_are_the_whole(size: int, twist: int) -> None:
    axes = conv_axes((size, size + 1), (3, 3), 1, 1, 1, "circular")
    points = {tuple(point) for point in grid(axes, (size, size + 1), (twist, 0), cost=1.0).numerators.tolist()}
    periods = (2 * size, 2 * (size + 1))
    mirrored = {tuple(-a % n for a, n in zip(point, periods, strict=True)) for point in points}
    whole = set(itertools.product(range(twist, 2 * size, 2), range(0, 2 * (size + 1), 2)))
    assert points | mirrored == whole
    assert len(points) <= len(whole) // 2 + 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_band_is_below_a_level_exactly_if_the_norm_is(case: Case, mode: PaddingMode) -> None:
    widest = case.padding if isinstance(case.padding, int) else max(case.padding)
    if mode != "zeros" and widest >= min(case.size):
        pytest.skip("torch repeats no input twice on one side")
    weight = torch.stack([random_weight(case.out, case.in_, *case.kernel), torch.zeros(case.out, case.in_, *case.kernel)])
    square = square_norm(weight[0], case, mode)
    axes = axes_of(case, mode)
    assert are_below(weight, axes, square * (1.0 + 1e-10)).tolist() == [True, True]
    assert are_below(weight, axes, square * (1.0 - 1e-10)).tolist() == [False, True]


def test_a_band_has_several_blocks_where_the_axis_is_long() -> None:
    axes = conv_axes((40, 10), (3, 3), 1, 1, 1, "zeros")
    ranges = band_ranges(random_weight(1, 4, 2, 3, 3), axes)
    assert len(ranges) > 5
    assert [output for outputs in ranges for output in outputs] == list(range(40))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("size", "width"), [(7, 1), (7, 3), (7, 6), (4, 3)])
def test_the_norm_of_padding_is_the_root_of_its_multiplicity(size: int, width: int, mode: PaddingMode) -> None:
    (axis,) = conv_axes((size,), (1,), 1, width, 1, mode)
    index = sources(axis)
    matrix = (index[:, None] == torch.arange(size)).double()
    assert float(torch.linalg.matrix_norm(matrix, ord=2)) ** 2 == pytest.approx(padding_multiplicity(axis))


@pytest.mark.parametrize("case", [case for case in CASES if len(case.size) == 1], ids=str)
def test_windows_are_counted_at_most_as_often_as_their_overlap(case: Case) -> None:
    (axis,) = axes_of(case, "zeros")
    assert 1 <= window_multiplicity(axis) <= axis.overlap
