"""NA422 and NA424: layers that cannot learn as they stand."""

from __future__ import annotations

import textwrap

import pytest
import torch

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def example_inputs():
    torch.manual_seed(1)
    return torch.randn(16, 16)

def loss(model, inputs):
    return F.cross_entropy(model(inputs), torch.arange(16) % 4)

"""


def severities(code: str, body: str) -> list[str]:
    return [f.severity for f in findings(HEADER + textwrap.dedent(body)) if f.code == code]


def built(*lines: str, hidden: int = 2) -> str:
    body = ", ".join(["nn.Linear(16, 32), nn.ReLU()", *["nn.Linear(32, 32), nn.ReLU()"] * (hidden - 1), "nn.Linear(32, 4)"])
    return "def build():\n    m = nn.Sequential(" + body + ")\n" + "".join(f"    {line}\n" for line in lines) + "    return m\n"


FROZEN = {
    "the head": built("m[4].requires_grad_(False)"),
    "all but the norms": """
        def build():
            m = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
            m.requires_grad_(False)
            m[1].requires_grad_(True)
            return m
    """,
    "all but the biases": built("for n, p in m.named_parameters(): p.requires_grad_('bias' in n)"),
    "one in the middle": built("m[4].requires_grad_(False)", hidden=4),
    "a head drawn by xavier": built("nn.init.xavier_uniform_(m[4].weight)", "m[4].requires_grad_(False)"),
    "a head drawn normally": built("nn.init.normal_(m[4].weight, std=0.02)", "m[4].requires_grad_(False)"),
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_layer_frozen_as_it_was_drawn_is_found(name: str) -> None:
    assert severities("NA422", FROZEN[name]) == ["warning"]


LORA = """
class Adapted(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.base = nn.Linear(n, m).requires_grad_(False)
        self.down, self.up = nn.Linear(n, 2, bias=False), nn.Linear(2, m, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))

def build():
    return nn.Sequential(Adapted(16, 32), nn.ReLU(), Adapted(32, 32), nn.ReLU(), Adapted(32, 4))
"""
PROMPT = """
class Prompted(nn.Module):
    def __init__(self):
        super().__init__()
        self.prompt = nn.Parameter(torch.randn(4, 16))
        self.body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).requires_grad_(False)

    def forward(self, x):
        return self.body(torch.cat([self.prompt, x]))[4:]

def build():
    return Prompted()
"""
ADAPTERS = """
class Adapter(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(32, 4), nn.Linear(4, 32)

    def forward(self, x):
        return x + self.up(F.relu(self.down(x)))

def frozen(n, m):
    return nn.Linear(n, m).requires_grad_(False)

def build():
    body = [m for _ in range(3) for m in (frozen(32, 32), nn.ReLU(), frozen(32, 32), nn.ReLU(), Adapter())]
    return nn.Sequential(frozen(16, 32), *body, nn.Linear(32, 4))
"""
TEACHER = """
class Distilled(nn.Module):
    def __init__(self):
        super().__init__()
        self.student, self.head = nn.Linear(16, 32), nn.Linear(32, 4)
        self.teacher = nn.Linear(16, 32).requires_grad_(False)

    def forward(self, x):
        with torch.no_grad():
            t = self.teacher(x)
        return self.head(self.student(x)) + 0.0 * (self.student(x) - t).square().mean()

def build():
    return Distilled()
"""
SOUND = {
    "random features": built("m[0].requires_grad_(False)"),
    "all but the head": built("m.requires_grad_(False)", "m[4].requires_grad_(True)"),
    "nothing frozen": built(),
    "a fixed orthogonal classifier": built("nn.init.orthogonal_(m[4].weight)", "m[4].requires_grad_(False)"),
    "a head that was trained": built(
        "w = m[4].weight", "w.data += torch.outer(torch.randn(4), torch.randn(32))", "m[4].requires_grad_(False)"
    ),
    "low-rank adapters": LORA,
    "soft prompts": PROMPT,
    "adapters in series": ADAPTERS,
    "a teacher without gradient": TEACHER,
    "a frozen bias": built("m[4].bias.requires_grad_(False)"),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_frozen_on_purpose_is_left_alone(name: str) -> None:
    assert severities("NA422", SOUND[name]) == []


def test_a_frozen_network_at_the_end_is_a_note() -> None:
    assert severities("NA422", built("m[2].requires_grad_(False)", "m[4].requires_grad_(False)")) == ["info"]


def test_nothing_trained_is_an_error_under_a_loss_only() -> None:
    assert severities("NA422", built("m.requires_grad_(False)")) == ["error"]
    body = HEADER.partition("def loss")[0] + built("m.requires_grad_(False)")
    assert [f.severity for f in findings(body) if f.code == "NA422"] == ["info"]


CONSTANT = "for l in m: [nn.init.constant_(p, 0.1) for p in l.parameters()]"
WEIGHTS = "for l in m: [nn.init.constant_(p, 0.1) for n, p in l.named_parameters() if n == 'weight']"
SYMMETRIC = {
    "all constant": built(CONSTANT),
    "ones": built(CONSTANT.replace("0.1", "1.0")),
    "constant head over zero layers": built("for l in m[:4]: [nn.init.zeros_(p) for p in l.parameters()]", "nn.init.ones_(m[4].weight)"),
    "equal rows": built(
        "for l in (m[0], m[2]): l.weight.data[:] = l.weight.data[:1]; nn.init.zeros_(l.bias)",
        "m[2].weight.data[:] = m[2].weight.data[:, :1]",
        "nn.init.constant_(m[4].weight, 0.1)",
    ),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_units_that_stay_equal_are_an_error_and_do_stay_equal(name: str) -> None:
    assert severities("NA424", SYMMETRIC[name]) == ["error"]
    assert spread_after_training(SYMMETRIC[name]) == 0.0


BROKEN = {
    "random": built(),
    "a zero head": built("nn.init.zeros_(m[4].weight)"),
    "a constant head": built("nn.init.constant_(m[4].weight, 0.1)", "nn.init.zeros_(m[4].bias)"),
    "random biases": built(WEIGHTS),
    "a zero layer under a random head": built("nn.init.zeros_(m[2].weight)", "nn.init.constant_(m[2].bias, 0.1)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_units_that_are_told_apart_are_not(name: str) -> None:
    assert severities("NA424", BROKEN[name]) == []
    assert spread_after_training(BROKEN[name]) > 0.0


def test_units_that_only_start_equal_are_a_note() -> None:
    body = built("nn.init.constant_(m[0].weight, 0.1)", "nn.init.zeros_(m[0].bias)")
    assert severities("NA424", body) == ["info"]
    assert spread_after_training(body) > 0.0


def test_dropout_breaks_the_symmetry() -> None:
    body = """
        def build():
            m = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 4))
            for l in m: [nn.init.constant_(p, 0.1) for p in l.parameters()]
            return m
    """
    assert severities("NA424", body) == []


def spread_after_training(body: str) -> float:
    """The largest spread between units of the first hidden layers after five steps of SGD."""
    space: dict[str, object] = {}
    torch.manual_seed(0)
    exec(HEADER + textwrap.dedent(body), space)
    model = space["build"]()  # type: ignore[operator]  # a function
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        space["loss"](model, space["example_inputs"]()).backward()  # type: ignore[operator]
        optimizer.step()
    hidden = [layer for layer in model if isinstance(layer, torch.nn.Linear)][:-1]
    return max(float((layer.weight - layer.weight[:1]).detach().abs().max()) for layer in hidden)
