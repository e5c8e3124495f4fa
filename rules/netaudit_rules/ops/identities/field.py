"""Arithmetic modulo the prime ``P = 2^31 - 1``, and hashes into it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]
"""Entries as residues modulo P."""

P = (1 << 31) - 1
_P = np.uint64(P)
_HALF = np.uint64(16)
_LOW = np.uint64((1 << 16) - 1)
_ORDER = 31
"""``2^31 = 1`` modulo P: a power of two depends on its exponent modulo 31 alone."""


def salt(*parts: object) -> int:
    """A 64-bit number for what is told apart by its text."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def of_values(values: NDArray[np.generic]) -> Numbers:
    """The residues of numbers: exact, floats being ``m 2^e``; sums and products of floats map to those of residues.

    What is no number, and the rare number other than 0 that P divides, get a hash: 0 stands for 0 alone.
    """
    given = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(given)
    mantissa, exponent = np.frexp(np.where(finite, given, 0.0))
    whole = np.rint(mantissa * 2.0**53).astype(np.int64) % P
    power = np.left_shift(np.uint64(1), ((exponent - 53) % _ORDER).astype(np.uint64))
    result = whole.astype(np.uint64) * power % _P
    odd = ~finite | ((result == 0) & (given != 0))
    return np.where(odd, mix(np.nan_to_num(given).view(np.uint64), salt("no number")), result)


def mix(numbers: Numbers, seed: int) -> Numbers:
    """A random function into 1 .. P - 1 (the finaliser of splitmix64; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = numbers * np.uint64(0xD6E8FEB86659FD93) + np.uint64(seed & (2**64 - 1))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z % np.uint64(P - 1) + np.uint64(1)


def mix_to_zero(numbers: Numbers, seed: int) -> Numbers:
    """The same for a function with ``f(0) = 0``."""
    return np.where(numbers == 0, np.uint64(0), mix(numbers, seed))


def mix_all(parts: Sequence[Numbers], seed: int) -> Numbers:
    """A random function of several numbers, entry by entry with broadcasting."""
    total = mix(parts[0], seed)
    for position, part in enumerate(parts[1:]):
        total = mix(total * np.uint64(2) + part, salt(seed, position))
    return total


def fresh(shape: tuple[int, ...], seed: int) -> Numbers:
    """Numbers that nothing else equals."""
    count = int(np.prod(shape, dtype=np.int64))
    return mix(np.arange(count, dtype=np.uint64), seed).reshape(shape)


def add(a: Numbers, b: Numbers) -> Numbers:
    """``a + b``."""
    return (a + b) % _P


def sub(a: Numbers, b: Numbers) -> Numbers:
    """``a - b``."""
    return (a + (_P - b)) % _P


def mul(a: Numbers, b: Numbers) -> Numbers:
    """``a b``: below 2^62, no overflow."""
    return a * b % _P


def power(a: Numbers, exponent: int) -> Numbers:
    """``a^k`` for k >= 0, by squaring."""
    result, square = np.ones_like(a), a
    while exponent:
        if exponent & 1:
            result = mul(result, square)
        square, exponent = mul(square, square), exponent >> 1
    return result


def inverse(a: Numbers) -> Numbers:
    """``1 / a`` (Fermat); of 0 some number that is not 0, as inf is not."""
    return np.where(a == 0, np.uint64(salt("1 / 0") % (P - 1) + 1), power(a, P - 2))


def root(a: Numbers) -> Numbers:
    """A number whose square is ``a`` or ``-a``: P is 3 modulo 4, and one of the two is a square."""
    return power(a, (P + 1) // 4)


def total(a: Numbers, axes: tuple[int, ...], *, keep: bool) -> Numbers:
    """The sum over axes: below 2^31 entries of 31 bits, no overflow."""
    return np.asarray(a.sum(axes, dtype=np.uint64, keepdims=keep) % _P)


def digest(a: Numbers, axes: tuple[int, ...], seed: int = 0) -> Numbers:
    """A random linear function of the entries along axes, kept with size 1: 0 where all of them are, and almost only there."""
    over = tuple(n if axis in axes else 1 for axis, n in enumerate(a.shape))
    return total(mul(a, fresh(over, salt("digest", seed))), axes, keep=True)


def matmul(a: Numbers, b: Numbers) -> Numbers:
    """The product of matrices, exact: halves of 16 bits, whose sums of products stay below 2^53."""
    (a1, a0), (b1, b0) = ((x >> _HALF, x & _LOW) for x in (a, b))
    high, low = _product(a1, b1), _product(a0, b0)
    middle = add(_product(a1, b0), _product(a0, b1))
    return (high * np.uint64((1 << 32) % P) + middle * np.uint64(1 << 16) + low) % _P  # below 2^33 + 2^47 + 2^31


def _product(a: Numbers, b: Numbers) -> Numbers:
    return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64)) % float(P)).astype(np.uint64)
