"""A divisor that is positive by construction is known to be: against samples."""

from __future__ import annotations

import numpy as np
import pytest

from netaudit.moments import Moments, Var, independent, joined, known_array, of, record

BATCH, TOKENS, KEYS = 1000, 20, 32


def relu(v: Var) -> Var:
    return v.apply(lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64))


def ones(*sizes: int) -> Moments:
    return known_array(np.ones(sizes))


def attended(q: Var, k: Var, v: Var, one: Var) -> Var:
    """``relu(q) relu(k)' (v, 1)``: its last column is what linear attention divides by."""
    context = relu(k).permute(0, 2, 1).einsum("bdt,bte->bde", joined([v, one], 2))
    return relu(q).einsum("btd,bde->bte", context)


def operands() -> tuple[Moments, ...]:
    normal = of(independent((BATCH, TOKENS, KEYS)))
    return normal, normal, normal, ones(BATCH, TOKENS, 1)


def test_a_column_of_ones_beside_values_gives_a_positive_divisor() -> None:
    out = record(attended, *operands()).out
    assert not out.positive
    assert out.positive_at is not None
    assert out.positive_at.ravel().tolist() == [False, True]
    inverse = record(lambda *a: attended(*a).slice(2, KEYS, KEYS + 1).apply(lambda z: 1.0 / z, lambda z: -1.0 / z**2), *operands()).out
    rng = np.random.default_rng(0)
    q, k = np.maximum(rng.standard_normal((2, BATCH, TOKENS, KEYS)), 0.0)
    divisor = np.einsum("btd,bd->bt", q, k.sum(1))
    spread = float(divisor.std() / divisor.mean())
    assert inverse.mean == pytest.approx(float((1.0 / divisor).mean()), rel=3 * spread**3)  # a log-normal closure: third order


def test_the_values_beside_it_are_not_called_positive() -> None:
    out = record(lambda *a: attended(*a).slice(2, 0, KEYS), *operands()).out
    assert not out.positive
    assert out.positive_at is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_column_of_either_sign(sign: float) -> None:
    v, column = of(independent((BATCH, TOKENS, KEYS))), known_array(np.full((BATCH, TOKENS, 1), sign))
    out = record(lambda a, b: joined([a, b], 2).reshape(BATCH, 1, TOKENS, KEYS + 1).permute(3, 0, 1, 2).sum(3), v, column).out
    last = record(lambda a: a.slice(0, KEYS, KEYS + 1), out).out
    assert last.positive is (sign > 0)
