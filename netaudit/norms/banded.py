"""How large is a convolution of few channels? Its Gram matrix is banded, and a banded Cholesky settles it.

Outputs far apart along the first axis read no common input. Ordered by that axis, ``G = A A^T`` is block tridiagonal,
and so is the factorisation of ``level I - G``: exact, at a cost linear in the length of the axis.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netaudit.norms.axis import Axis, padding_multiplicity, tap_matrices
from netaudit.norms.certificate import Squares, gamma
from netaudit.norms.convolution import stretch
from netaudit.norms.definite import cholesky_slack, factorise
from netaudit.norms.embedding import survivors
from netaudit.norms.gram import add_lower_product

COST_LIMIT = 5e9  # rows cubed over the blocks of the groups that need it: about 0.3 s of one core
TOLERANCE = 2.5e-7  # of the squared norm
LEADER_STEPS = 8  # of the search for the group that stretches most; a wrong guess costs time only
STEPS = 400  # of the search in one group
ATTEMPTS = 16  # levels tried, each growing four times as far
MOST_TAP_ENTRIES = 2**22  # of the tap matrices of one axis; longer axes are left to their frequencies
LEAST_ROWS = 64  # of the Gram matrix that one step takes at once
HELD_ENTRIES = 2**23  # of one block of all groups taken together


@dataclass(frozen=True, slots=True)
class _Segment:
    """A few outputs along the first axis: ``taps`` (k, outputs, inputs) from input ``first`` on; ``key`` names them."""

    taps: Tensor
    first: int
    key: bytes


@dataclass(frozen=True, slots=True)
class _Bands:
    """Diagonal blocks (groups, r, r), lower triangles, and for each but the first the block left of it.

    Equal blocks, as all are between the borders of a map, are one tensor.
    """

    diagonal: tuple[Tensor, ...]
    left: tuple[Tensor, ...]


def banded_squares(weight: Tensor, axes: Sequence[Axis]) -> Squares | None:
    """Each group settled by its own matrix, except those proved smaller by their symbol; None: too costly."""
    cost = _cost(weight, axes)
    if cost > COST_LIMIT:
        return None
    leader = stretch(weight, axes, LEADER_STEPS, TOLERANCE).group if len(weight) > 1 else 0
    lower = _group_square(weight, axes, leader, TOLERANCE)
    level = lower * (1.0 + 2.0 * TOLERANCE)
    left = survivors(weight, axes, level)
    if len(left) * cost > COST_LIMIT:
        return None
    part = "" if len(left) == len(weight) else f" of {len(left)} of {len(weight)} groups, the others by their symbols"
    left = left[~are_below(weight[left], axes, level)]
    # What is left has a larger norm, or nearly equal ones that the search mistook for one: it goes on to its end.
    lower = max([lower, *(_group_square(weight, axes, group, 0.0) for group in left.tolist())])
    level = lower * (1.0 + 2.0 * TOLERANCE)
    for attempt in range(ATTEMPTS):
        left = left[~are_below(weight[left], axes, level)]
        if not len(left):
            return Squares(lower, level, f"banded Cholesky{part}")
        level *= 1.0 + 2.0 * TOLERANCE * 4.0**attempt
    return None


def _group_square(weight: Tensor, axes: Sequence[Axis], group: int, tolerance: float) -> float:
    return stretch(weight[group : group + 1], axes, STEPS, tolerance).norm ** 2


def band_ranges(weight: Tensor, axes: Sequence[Axis]) -> tuple[range, ...]:
    """Outputs along the first axis taken together, so that only neighbours read common inputs; none: axes too long."""
    if max(axis.kernel * axis.outputs * axis.size for axis in axes) > MOST_TAP_ENTRIES:
        return ()
    reads = tap_matrices(axes[0]).amax(0)
    pairs = (reads @ reads.T).nonzero()
    width = max(1, -(-LEAST_ROWS // _rows_per_output(weight, axes)), int((pairs[:, 0] - pairs[:, 1]).max()))
    count = max(1, axes[0].outputs // width)
    edges = [axes[0].outputs * index // count for index in range(count + 1)]
    return tuple(range(start, stop) for start, stop in itertools.pairwise(edges))


def _cost(weight: Tensor, axes: Sequence[Axis]) -> float:
    """Rows cubed over the blocks of one group; inf where the axes are too long."""
    ranges = band_ranges(weight, axes)
    rows = _rows_per_output(weight, axes)
    return math.fsum(float(len(outputs) * rows) ** 3 for outputs in ranges) if ranges else math.inf


def are_below(weight: Tensor, axes: Sequence[Axis], level: float) -> Tensor:
    """Which groups are proved to have ``||A||_2^2 <= level``: (groups,) bool; ``W``: (groups, out, in, *kernel).

    Error of ``G``: entrywise ``gamma |A| |A|^T``, at most ``gamma B`` with ``B = multiplicity taps ||W||_F^2``, which
    bounds as well what is lost where padding makes entries of ``A`` sums of taps.
    """
    ranges = band_ranges(weight, axes)
    terms = weight.shape[2] * math.prod(axis.size for axis in axes) + 3 * math.prod(axis.kernel for axis in axes)
    bound = math.prod(axis.kernel * padding_multiplicity(axis) for axis in axes) * weight.flatten(1).square().sum(1)
    total = axes[0].outputs * _rows_per_output(weight, axes)
    margin = (level - 2.0 * gamma(terms) * bound) / (1.0 + cholesky_slack(total))
    held = max(1, HELD_ENTRIES // (max(map(len, ranges)) * _rows_per_output(weight, axes)) ** 2)
    below = torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    for start in range(0, len(weight), held):
        part = slice(start, start + held)
        below[part] = _finish(_bands(weight[part], axes, ranges), margin[part])
    return below


def _rows_per_output(weight: Tensor, axes: Sequence[Axis]) -> int:
    return weight.shape[1] * math.prod(axis.outputs for axis in axes[1:])


def _bands(weight: Tensor, axes: Sequence[Axis], ranges: Sequence[range]) -> _Bands:
    first, *others = (tap_matrices(axis).to(weight) for axis in axes)
    segments = [_segment(first, outputs) for outputs in ranges]
    distinct = {segment.key: segment.taps for segment in segments}
    matrices = {key: _matrix(weight, [taps, *others]) for key, taps in distinct.items()}
    diagonal = {key: _product(matrix, matrix, 0) for key, matrix in matrices.items()}
    pairs = [(a.key, b.key, b.first - a.first) for a, b in itertools.pairwise(segments)]
    left = {(a, b, shift): _product(matrices[b], matrices[a], shift) for a, b, shift in set(pairs)}
    return _Bands(tuple(diagonal[segment.key] for segment in segments), tuple(left[pair] for pair in pairs))


def _segment(taps: Tensor, outputs: range) -> _Segment:
    own = taps[:, outputs.start : outputs.stop]
    read = own.amax((0, 1)).nonzero().flatten()
    first, last = (int(read[0]), int(read[-1])) if len(read) else (0, 0)
    own = own[:, :, first : last + 1]
    return _Segment(own, first, repr(tuple(own.shape)).encode() + own.bool().cpu().numpy().tobytes())


def _matrix(weight: Tensor, taps: Sequence[Tensor]) -> Tensor:
    """``sum_t W_t (x) P_t1 (x) P_t2 ...``: (groups, rows, inputs along the first axis, other inputs)."""
    product = weight
    for matrices in taps:
        product = torch.tensordot(product, matrices, dims=([3], [0]))
    outputs, inputs = range(3, product.ndim, 2), range(4, product.ndim, 2)
    ordered = product.permute(0, 1, *outputs, inputs[0], 2, *inputs[1:])
    rows, columns = weight.shape[1] * math.prod(product.shape[dim] for dim in outputs), product.shape[4]
    return ordered.reshape(len(weight), rows, columns, -1)


def _product(below: Tensor, above: Tensor, shift: int) -> Tensor:
    """``A_b A_a^T`` where ``A_b`` reads from ``shift`` inputs further on."""
    ours, theirs = below[:, :, max(0, -shift) :], above[:, :, max(0, shift) :]
    common = min(ours.shape[2], theirs.shape[2])
    return ours[:, :, :common].flatten(2) @ theirs[:, :, :common].flatten(2).mT


def _finish(bands: _Bands, level: Tensor) -> Tensor:
    """Block Cholesky of ``level I - G``; which groups' factorisations finished."""
    finished = torch.ones(len(level), dtype=torch.bool, device=level.device)
    coupling: Tensor | None = None
    for index, block in enumerate(bands.diagonal):
        shifted = -block
        shifted.diagonal(dim1=1, dim2=2).add_(level[:, None])
        if coupling is not None:
            add_lower_product(shifted, coupling, sign=-1)
        finished &= factorise(shifted)
        if index < len(bands.left):
            coupling = torch.linalg.solve_triangular(shifted, -bands.left[index].mT, upper=False).mT
    return finished
