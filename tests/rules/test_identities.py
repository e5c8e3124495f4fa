"""Entries that are zero whatever the weights: what the arithmetic modulo a prime says, against the model run on many draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from netaudit_rules.ops.identities import Identities
from netaudit_rules.ops.identities.field import P, inverse, matmul, of_values, root
from torch import Tensor, nn
from torch.nn import functional as F

from netaudit.testing import Applied, facts_of, normal

Function = Callable[[Tensor], Tensor]
X = normal(6, 5)
ROUNDING = 1e-6
"""What rounding leaves of a zero (a root of 1e-13 is 3e-7); other entries of these functions are far larger."""


def distances(x: Tensor) -> Tensor:
    squares: Tensor = (x[:, None] - x[None]).square()
    return squares.sum(-1)


def expanded_distances(x: Tensor) -> Tensor:
    square = (x * x).sum(1)
    return square[:, None] + square[None] - 2 * x @ x.T


class Shared(nn.Module):
    """The distance of a batch to a part of itself under one encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.GELU(), nn.Linear(7, 3)).double()

    def forward(self, x: Tensor) -> Tensor:
        other: Tensor = self.encode(torch.cat([x[:2], x[2:] + 1]))
        own: Tensor = self.encode(x)
        return own - other


class Padded(nn.Module):
    """A padded map behind a convolution, without or with a bias."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=bias).double()

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.gelu(self.conv(F.pad(x[None, None], (4, 4, 4, 4)))), 2)


class Tables(nn.Module):
    """Rows of an embedding table, one of which is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 5, padding_idx=2).double()

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.table(torch.tensor([0, 2, 1, 2]))
        return rows * x[:4]


ZEROS: dict[str, Function] = {
    "pairwise differences": distances,
    "pairwise distances by the binomial formula": expanded_distances,
    "cdist": lambda x: torch.cdist(x, x),
    "a tensor less itself": lambda x: torch.tanh(x) - torch.tanh(x.flip(0).flip(0)),
    "in another order": lambda x: (x + 1) * (x - 1) - (x * x - 1),
    "a mean over one entry": lambda x: x[:, :1] - x[:, :1].mean(1, keepdim=True),
    "the variance of copies": lambda x: x[:, :1].expand(6, 4).var(1),
    "a lower triangle": lambda x: (x @ x.T).tril(-1),
    "masked rows": lambda x: x * (torch.arange(6) > 2)[:, None].double(),
    "filled where it is known": lambda x: x.masked_fill((torch.arange(5) > 2)[None], 0.0).abs().sqrt(),
    "one less a cosine with itself": lambda x: 1 - F.cosine_similarity(x, x, dim=1).pow(2),
    "rows of a table": Tables(),
    "shared weights": Shared(),
    "padding behind a convolution": Padded(bias=False),
    "padding behind a bias": Padded(bias=True),
    "log of one": lambda x: torch.log(torch.exp(x - x)),
    "different rows": lambda x: x[:3] - x[3:],
    "a rounded copy": lambda x: x - x.float().double(),
    "dropped twice": lambda x: F.dropout(x, 0.3) - F.dropout(x, 0.3),
    "another power": lambda x: x.pow(3) - x.abs().pow(3) * x.sign(),
}
UNSEEN = {"dropped twice", "another power"}
"""Zeros that are a matter of chance, or of a case distinction: what is not arithmetic is a random function."""


def _measured(function: Function) -> np.ndarray:
    """Entries that are zero for ten draws of the input and of the weights (those that are not zero at first)."""
    result = np.ones((), dtype=bool)
    for seed in range(10):
        torch.manual_seed(seed)
        if isinstance(function, nn.Module):
            for p in function.parameters():
                p.data = torch.where(p == 0, 0.0, torch.randn_like(p))
        with torch.no_grad():
            value = function(torch.randn(6, 5, dtype=torch.float64)).numpy()
        small = np.abs(value) < ROUNDING * (1.0 if np.abs(value).max() > 1e-3 else 1e-4)
        result = result & small
    return np.asarray(result)


@pytest.mark.parametrize("name", ZEROS)
def test_entries_are_zero_where_the_model_is(name: str) -> None:
    facts = facts_of(ZEROS[name], X)
    found = Identities(facts).zeros(facts.graph.outputs[0], on_example=False)
    assert found is not None
    measured = _measured(ZEROS[name])
    assert not (found & ~measured).any()
    if name not in UNSEEN:
        assert (found == measured).all()


def test_a_row_has_cosine_one_with_itself() -> None:
    def cosines(x: Tensor) -> Tensor:
        unit = F.normalize(x, dim=1)
        return unit @ unit.T

    facts = facts_of(cosines, X)
    found = Identities(facts).ones(facts.graph.outputs[0], on_example=False)
    assert found is not None
    assert (found == np.eye(6, dtype=bool)).all()


def test_floats_are_mapped_with_their_arithmetic() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-1000, 1000, (2, 50)) / 64.0
    residues = of_values(a), of_values(b)
    assert (of_values(a + b) == (residues[0] + residues[1]) % np.uint64(P)).all()
    assert (of_values(a * b) == residues[0] * residues[1] % np.uint64(P)).all()
    assert (of_values(np.array([0.0, np.inf, -np.inf, np.nan])) == 0).tolist() == [True, False, False, False]


def test_products_inverses_and_roots_are_those_of_the_field() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, P, shape, dtype=np.uint64) for shape in ((7, 300), (300, 5)))
    exact = [[sum(int(x) * int(y) for x, y in zip(row, column, strict=True)) % P for column in b.T] for row in a]
    assert matmul(a, b).tolist() == exact
    nonzero = a[a > 0]
    assert ((inverse(nonzero) * nonzero % np.uint64(P)) == 1).all()
    square = root(nonzero) * root(nonzero) % np.uint64(P)
    assert ((square == nonzero) | (square == np.uint64(P) - nonzero)).all()


def test_entries_said_to_be_zero_are_zero_for_every_op(every_op: Applied) -> None:
    """On inputs whose first rows are zero, and on ones without zeros: whatever the op, nothing crashes and nothing false is said."""
    op = every_op
    floats = [name for name in op.facts.graph.inputs if op.tensors[name].is_floating_point()]
    for zeroed in (False, True):
        drawn = {name: op.allowed(name, torch.randn_like(op.tensors[name])) if name in op.names else op.tensors[name] for name in floats}
        if zeroed:
            drawn = {name: torch.cat([0 * v[:1], v[1:]]) if v.ndim and 0.0 in op.signal(name).range else v for name, v in drawn.items()}
        known = {name: replace(op.facts.signals[name], value=v.numpy()) for name, v in drawn.items()}
        facts = replace(op.facts, signals={**op.facts.signals, **known})
        found = Identities(facts).zeros(op.node.name, on_example=True)
        value = op.run(drawn)[op.node.name]
        assert found is None or found.shape == value.shape
        if found is not None and found.any() and value.is_floating_point():
            assert float(value[torch.from_numpy(found.copy())].abs().nan_to_num(0.0).max()) < ROUNDING
