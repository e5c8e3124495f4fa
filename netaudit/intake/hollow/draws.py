"""Draws without noise: the quantiles of a distribution in random order, whose mean is exact and whose mean square nearly so."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

FEWEST = 16
"""Below this many, quantiles stand for nothing: numbers are drawn."""


def uniform(count: int, rng: np.random.Generator) -> Tensor:
    """``count`` quantiles of the uniform distribution on [0, 1], symmetric about 1/2, in random order."""
    if count < FEWEST:
        return torch.from_numpy(rng.random(count))
    return torch.from_numpy((rng.permutation(count) + 0.5) / count)


def normal(count: int, rng: np.random.Generator) -> Tensor:
    """``count`` quantiles of N(0, 1), symmetric, in random order."""
    if count < FEWEST:
        return torch.from_numpy(rng.standard_normal(count))
    return _normal_quantiles(count)[torch.from_numpy(rng.permutation(count))]


def signs(count: int, rng: np.random.Generator) -> Tensor:
    """Fair signs."""
    return torch.from_numpy(np.where(rng.permutation(count) % 2, 1.0, -1.0))


@lru_cache(maxsize=256)
def _normal_quantiles(count: int) -> Tensor:
    """Scaled to a mean square of 1, since the tails beyond the last quantiles are missing."""
    values: Tensor = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    size = float(values.square().mean()) ** 0.5
    return values.div(size)
