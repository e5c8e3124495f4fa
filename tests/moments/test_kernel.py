"""Pair patterns of concrete tensors: an enumeration of all pairs is the oracle, and every exact identity of the algebra holds.

``from_array`` averages products over pairs of indices by pattern. For an operation that is linear in the tensor (a sum, a
permutation, a split, centring, a cut) the kernel of the result must be the result of the kernel, exactly, for *any* tensor. For
a product of independent tensors it must hold on average over their permutations, which is enumerated too.
"""

from __future__ import annotations

import itertools
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.moments import kernels
from netaudit.moments.along import joined, mapped, sliced
from netaudit.moments.kernels import Cut, Kernel
from netaudit.moments.normalise import centred
from netaudit.moments.views import merge, split

few = settings(max_examples=40, deadline=None, derandomize=True)
CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


@st.composite
def arrays(draw: st.DrawFn, *, rank: int = 3, least: int = 1) -> tuple[np.ndarray, tuple[Cut, ...]]:
    """A small array with a shared part on each axis (so that every pattern has its own value), and random cuts of its axes."""
    sizes = tuple(draw(st.integers(least, 4)) for _ in range(draw(st.integers(1, rank))))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    array = rng.standard_normal(sizes) + draw(st.sampled_from((0.0, 1.5)))
    for axis in range(len(sizes)):
        shape = [n if a == axis else 1 for a, n in enumerate(sizes)]
        array = array + rng.standard_normal(shape)
    cuts = tuple(draw(st.sampled_from(_cuts(n))) for n in sizes)
    return array, cuts


def _cuts(size: int) -> list[Cut]:
    return [(size,), *([(1, size - 1)] if size > 1 else []), *([(size - 2, 2)] if size > 2 else [])]


def enumerated(array: np.ndarray, cuts: tuple[Cut, ...]) -> Kernel:
    """The kernel by its definition: the average of ``X_i X_j`` over all pairs of each state."""
    owners = [np.repeat(np.arange(len(cut)), cut) for cut in cuts]
    states = [len(cut) + len(cut) ** 2 if n > 1 else 1 for cut, n in zip(cuts, array.shape, strict=True)]
    total, count = np.zeros(states), np.zeros(states)
    for i in np.ndindex(array.shape):
        for j in np.ndindex(array.shape):
            state = []
            for axis, (a, b) in enumerate(zip(i, j, strict=True)):
                s, t, n = int(owners[axis][a]), int(owners[axis][b]), len(cuts[axis])
                state.append(0 if array.shape[axis] == 1 else s if a == b else n + s * n + t)
            total[tuple(state)] += array[i] * array[j]
            count[tuple(state)] += 1
    mean = array
    for axis, cut in enumerate(cuts):
        mean = np.stack([part.mean(axis) for part in np.split(mean, np.cumsum(cut)[:-1], axis)], axis)
    return Kernel(array.shape, cuts, np.divide(total, count, out=np.full(states, np.nan), where=count > 0), mean)


def assert_same(found: Kernel, wanted: Kernel) -> None:
    """Equal where the pattern has pairs at all (NaN marks those that have none)."""
    found = kernels.Kernel(found.sizes, found.cuts, found.second, found.mean)
    assert found.sizes == wanted.sizes
    for axis in range(wanted.rank):
        found = kernels.explicit(found, axis)
        if len(found.cuts[axis]) == 1 and len(wanted.cuts[axis]) > 1:
            found = kernels.refined(found, axis, wanted.cuts[axis])
    known = ~np.isnan(wanted.second)
    assert np.allclose(np.broadcast_to(found.second, wanted.second.shape)[known], wanted.second[known], **CLOSE)
    assert np.allclose(np.broadcast_to(found.mean, wanted.mean.shape), wanted.mean, **CLOSE)


@few
@given(arrays())
def test_from_array_is_the_pair_average(drawn: tuple[np.ndarray, tuple[Cut, ...]]) -> None:
    array, cuts = drawn
    assert_same(kernels.from_array(array, cuts), enumerated(array, cuts))


@few
@given(arrays())
def test_mean_square_and_average_are_those_of_the_entries(drawn: tuple[np.ndarray, tuple[Cut, ...]]) -> None:
    array, cuts = drawn
    kernel = kernels.from_array(array, cuts)
    assert kernel.mean_square == pytest.approx(float((array**2).mean()))
    assert kernel.average == pytest.approx(float(array.mean()))


@few
@given(arrays(), st.data())
def test_a_sum_over_axes(drawn: tuple[np.ndarray, tuple[Cut, ...]], data: st.DataObject) -> None:
    array, cuts = drawn
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, array.ndim - 1), min_size=1))))
    average = data.draw(st.booleans())
    result = array.mean(axes, keepdims=True) if average else array.sum(axes, keepdims=True)
    left = tuple((1,) if a in axes else cut for a, cut in enumerate(cuts))
    assert_same(kernels.summed(kernels.from_array(array, cuts), axes, average=average), enumerated(result, left))


@few
@given(arrays(), st.randoms(use_true_random=False))
def test_a_permutation_of_axes(drawn: tuple[np.ndarray, tuple[Cut, ...]], random: object) -> None:
    array, cuts = drawn
    order = tuple(np.random.default_rng(array.size).permutation(array.ndim).tolist())
    del random
    wanted = enumerated(array.transpose(order), tuple(cuts[a] for a in order))
    assert_same(kernels.permuted(kernels.from_array(array, cuts), order), wanted)


@few
@given(arrays(), st.data())
def test_a_coarser_cut(drawn: tuple[np.ndarray, tuple[Cut, ...]], data: st.DataObject) -> None:
    array, cuts = drawn
    axis = data.draw(st.integers(0, array.ndim - 1))
    coarse = tuple((n,) if a == axis else cut for a, (cut, n) in enumerate(zip(cuts, array.shape, strict=True)))
    assert_same(kernels.collapsed(kernels.from_array(array, cuts), axis), enumerated(array, coarse))


@few
@given(arrays(), st.data())
def test_centring_over_axes(drawn: tuple[np.ndarray, tuple[Cut, ...]], data: st.DataObject) -> None:
    array, cuts = drawn
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, array.ndim - 1), min_size=1))))
    result = array - array.mean(axes, keepdims=True)
    whole = tuple((n,) if a in axes else cut for a, (cut, n) in enumerate(zip(cuts, array.shape, strict=True)))
    found, wanted = centred(kernels.from_array(array, cuts), axes), enumerated(result, whole)
    known = ~np.isnan(wanted.second)
    assert np.allclose(np.broadcast_to(found.second, wanted.second.shape)[known], wanted.second[known], atol=1e-9)


@few
@given(arrays(least=2), st.data())
def test_slices_joined_again(drawn: tuple[np.ndarray, tuple[Cut, ...]], data: st.DataObject) -> None:
    """A tensor cut in two and joined keeps what each part knows of itself; across the cut the parts share their means."""
    array, _ = drawn
    axis = data.draw(st.integers(0, array.ndim - 1))
    at = data.draw(st.integers(1, array.shape[axis] - 1))
    kernel = kernels.from_array(array, tuple((at, n - at) if a == axis else (n,) for a, n in enumerate(array.shape)))
    parts = [sliced(kernel, axis, 0, at), sliced(kernel, axis, at, array.shape[axis])]
    for part, piece in zip(parts, np.split(array, [at], axis), strict=True):
        assert part.mean_square == pytest.approx(float((piece**2).mean()))
    assert joined(parts, axis).mean_square == pytest.approx(float((array**2).mean()))


@few
@given(arrays(), st.data())
def test_a_known_matrix_along_an_axis_keeps_the_average_energy(drawn: tuple[np.ndarray, tuple[Cut, ...]], data: st.DataObject) -> None:
    """Averaged over permutations of the axis, which the kernel does not tell apart: enumerated."""
    array, _ = drawn
    axis = data.draw(st.integers(0, array.ndim - 1))
    n = array.shape[axis]
    matrix = np.random.default_rng(n).standard_normal((3, n))
    energies = []
    for order in itertools.permutations(range(n)):
        moved = np.moveaxis(np.tensordot(matrix, array.take(order, axis), axes=(1, axis)), 0, axis)
        energies.append(float((moved**2).mean()))
    found = mapped(kernels.from_array(array, kernels.whole(array.shape)), axis, matrix)
    assert found.mean_square == pytest.approx(float(np.mean(energies)))


@few
@given(st.integers(0, 999), st.sampled_from(((2, 3), (3, 3), (4, 2))))
def test_a_product_on_average_over_permutations(seed: int, sizes: tuple[int, int]) -> None:
    """``C_xy = C_x C_y``: exact when ``y`` meets ``x`` in every order of its rows and columns."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(sizes) + 1.0, rng.standard_normal(sizes) + rng.standard_normal((1, sizes[1]))
    rows, columns = itertools.permutations(range(sizes[0])), list(itertools.permutations(range(sizes[1])))
    made = [enumerated(x * y[list(r)][:, list(c)], kernels.whole(sizes)).second for r in rows for c in columns]
    found = kernels.product(kernels.from_array(x, kernels.whole(sizes)), kernels.from_array(y, kernels.whole(sizes)))
    assert np.allclose(found.second, np.mean(made, axis=0), **CLOSE)


@few
@given(st.integers(0, 999), st.sampled_from(((2, 3), (3, 2), (2, 2, 2), (4, 3))))
def test_a_split_undoes_a_merge(seed: int, sizes: tuple[int, ...]) -> None:
    """Merging averages patterns over the pairs they hold; the merged tensor's kernel is that of the flattened tensor."""
    array = np.random.default_rng(seed).standard_normal(sizes) + 0.5
    merged = merge(kernels.from_array(array, kernels.whole(sizes)), 0, len(sizes))
    assert_same(merged, enumerated(array.reshape(-1), ((prod(sizes),),)))
    assert split(merged, 0, sizes).mean_square == pytest.approx(float((array**2).mean()))


@few
@given(arrays())
def test_broadcasting_and_its_adjoint(drawn: tuple[np.ndarray, tuple[Cut, ...]]) -> None:
    array, _ = drawn
    kernel = kernels.from_array(array, kernels.whole(array.shape))
    wide = kernels.expanded(kernel, (3, *array.shape))
    assert wide.mean_square == pytest.approx(kernel.mean_square)
    assert kernels.unbroadcast(wide, array.shape).mean_square == pytest.approx(9.0 * kernel.mean_square)
