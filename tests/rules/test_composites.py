"""Forms that look like a composite and are not: recognising them would prove what is false."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, applied, facts_of, normal, search, unsound

X = normal(3, 4)
SHOWN = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=torch.bool)

DECOYS: dict[str, Callable[[Tensor], object]] = {
    "an l1 norm divides": lambda x: F.normalize(x, p=1.0, dim=-1),
    "mean and variance over different axes": lambda x: (x - x.mean(-1, True)) / torch.sqrt(x.var(0, unbiased=False, keepdim=True) + 1e-5),
    "the mean is subtracted twice": lambda x: torch.sub(x, x.mean(-1, keepdim=True), alpha=2),
    "a ceiling on the norm, not a floor": lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(max=5.0),
    "softplus with another beta": lambda x: x * torch.tanh(F.softplus(x, 4.0)),
    "the gate of another tensor": lambda x: x * torch.sigmoid(2.0 * x.flip(0)),
    "a factor of one third": lambda x: x / (x.abs() + 3.0),
    "an unbiased variance": lambda x: (x - x.mean(-1, True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-5),
    "rounded quotients": lambda x: torch.div(x, x.abs() + 1.0, rounding_mode="floor"),
}


@pytest.mark.parametrize("name", DECOYS)
def test_a_decoy_is_not_recognised(name: str) -> None:
    made = {node.op for node in facts_of(DECOYS[name], X).graph.nodes if node.op.startswith("netaudit.")}
    assert made <= {"netaudit.center"}
    assert name != "the mean is subtracted twice" or not made


def _attention(fill: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda q, k, v: torch.softmax(fill(q @ k.transpose(-2, -1)), -1) @ v


HIDDEN: dict[str, Callable[[Tensor], Tensor]] = {
    "masked_fill by -inf": lambda s: s.masked_fill(~SHOWN, -torch.inf),
    "masked_fill by zero": lambda s: s.masked_fill(~SHOWN, 0.0),
    "masked_fill by fifty": lambda s: s.masked_fill(~SHOWN, 50.0),
    "where": lambda s: torch.where(SHOWN, s, -torch.inf),
    "where not": lambda s: torch.where(~SHOWN, -torch.inf, s),
    "where by fifty": lambda s: torch.where(SHOWN, s, 50.0),
    "where by a tensor": lambda s: torch.where(SHOWN, s, torch.full((3, 3), 20.0, dtype=s.dtype)),
    "a bias": lambda s: s + torch.linspace(-3, 3, 9, dtype=s.dtype).reshape(3, 3),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_attention_by_hand_is_sound_for_whatever_hides_keys(name: str) -> None:
    inputs = tuple(normal(3, 4, seed=i) for i in range(3))
    domain = Interval(-0.3, 0.4)  # logits close together: what is replaced stands out
    op = applied(Case(op="netaudit.attention", function=_attention(HIDDEN[name]), inputs=inputs, ranges=dict.fromkeys(range(3), domain)))
    assert list(unsound(op, search(op))) == []


def test_what_is_filled_in_keeps_its_gradient() -> None:
    """A learned logit for hidden keys reaches the output through the composite."""
    facts = facts_of(
        lambda q, k, v, w: _attention(lambda s: torch.where(SHOWN, s, w))(q, k, v), *(normal(3, 4) for _ in range(3)), weights=(normal(),)
    )
    node = next(n for n in facts.graph.nodes if n.op == "netaudit.attention")
    slots = [slot for slot, operand in enumerate(node.operands) if isinstance(operand, str) and facts.nodes[operand].op == "parameter"]
    assert [facts.effects[node.name].jac[slot].lip > 0 for slot in slots] == [True]  # type: ignore[union-attr]  # present: it is an operand
