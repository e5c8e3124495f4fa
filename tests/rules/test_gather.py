"""Picking by index inside a model: relative position scores are picked more often than there are buckets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit.flow import flow
from netaudit.testing import facts_of, normal

BUCKETS = torch.arange(12).expand(8, 12) % 4


def scores(x: Tensor, w: Tensor) -> Tensor:
    return F.softmax(F.linear(x, w).gather(1, BUCKETS), -1)


def test_scores_that_are_picked_over_again_get_a_gradient() -> None:
    """The rows of softmax's gradient sum to zero; picks of one bucket add up, but not all picks are of one."""
    x, w = normal(8, 16), 0.25 * normal(4, 16, seed=1)
    forecast = flow(facts_of(scores, x, weights=(w,))).params["weights.0"].forecast
    assert forecast is not None
    squares = []
    for seed in range(40):
        leaf = w.clone().requires_grad_()
        (grad,) = torch.autograd.grad(scores(normal(8, 16, seed=2 + seed), leaf), leaf, normal(8, 12, seed=100 + seed))
        squares.append(float(grad.square().mean()))
    measured = (sum(squares) / len(squares)) ** 0.5
    assert 0.5 < 10.0**forecast / measured < 2.0
