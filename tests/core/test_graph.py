"""Which calls draw numbers: torch's own tag is the oracle."""

from __future__ import annotations

import pytest
import torch

from netaudit.graph import Node

PACKETS = sorted({name[6:].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")})
DROPS = ("attention", "rnn", "lstm", "gru", "_sdp_", "nested_tensor_softmax")
"""Ops that draw only when they are told to drop entries (and forks of them for one device)."""


def is_tagged(packet: str) -> bool:
    """Whether torch says that an overload draws from a generator."""
    op = getattr(torch.ops.aten, packet)
    return any(torch.Tag.nondeterministic_seeded in getattr(op, overload).tags for overload in op.overloads())


def call(op: str, **args: float | bool) -> Node:
    return Node("x", op, (), args, (), "float32")


def test_every_op_that_torch_says_draws_numbers_is_random() -> None:
    missed = [p for p in PACKETS if hasattr(torch.ops.aten, p) and is_tagged(p) and not call(f"aten.{p}").is_random]
    assert [p for p in missed if not any(word in p for word in DROPS)] == []


def test_no_other_op_is_random_but_what_is_left_uninitialised() -> None:
    extra = [p for p in PACKETS if hasattr(torch.ops.aten, p) and call(f"aten.{p}").is_random and not is_tagged(p)]
    assert [p for p in extra if "empty" not in p and "backward" not in p and not p.endswith("_grad") and "philox" not in p] == []


@pytest.mark.parametrize(
    "op", ["netaudit.l2_normalize", "netaudit.layer_norm", "aten.poisson_nll_loss", "aten.scaled_dot_product_attention"]
)
def test_names_that_only_look_like_it(op: str) -> None:
    assert not call(op).is_random


def test_dropping_entries_is_random_in_training_only() -> None:
    assert call("aten.dropout", p=0.5, train=True).is_random
    assert not call("aten.dropout", p=0.5, train=False).is_random
    assert call("aten.scaled_dot_product_attention", dropout_p=0.1).is_random
    assert call("aten.lstm", dropout=0.1, train=True).is_random
    assert not call("aten.lstm", dropout=0.1, train=False).is_random
