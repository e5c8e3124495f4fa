"""NA421: whatever asks for a gradient and is no parameter is found, by the name the code has for it; the rest is left alone."""

from __future__ import annotations

import textwrap

import pytest

from netaudit.testing import findings

MODEL = """
import functools
import torch
from torch import nn
from torch.nn import functional as F

{outside}

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 4)
{made}

    def forward(self, x):
{used}
        return self.head(x)

def build():
    return Model()

def example_inputs():
    return torch.randn(8, 8)

def loss(model, inputs):
    return F.cross_entropy(model(inputs), torch.arange(8) % 4)

{optimizer}
"""


def model(made: str = "pass", used: str = "pass", outside: str = "", optimizer: str = "") -> str:
    return MODEL.format(outside=outside, made=textwrap.indent(made, " " * 8), used=textwrap.indent(used, " " * 8), optimizer=optimizer)


FAULTS = {
    "a list of modules": (model("self.fs = [nn.Linear(8, 8)]", "x = self.fs[0](x)"), "fs[0].weight", "fs"),
    "a dict of tuples": (model("self.fs = {'a': (nn.Linear(8, 8),)}", "x = self.fs['a'][0](x)"), "fs['a'][0].weight", "fs"),
    "a parameter in a list": (model("self.ws = [nn.Parameter(torch.randn(8, 8))]", "x = x @ self.ws[0]"), "ws[0]", "ws"),
    "a plain tensor": (model("self.w = torch.randn(8, requires_grad=True)", "x = x * self.w"), "w", "w"),
    "a parameter times a number": (model("self.w = nn.Parameter(torch.randn(8)) * 0.1", "x = x * self.w"), "w", "w"),
    "a buffer that asks for a gradient": (
        model("self.register_buffer('w', torch.ones(8, requires_grad=True))", "x = x * self.w"),
        "w",
        "",
    ),
    "a closure": (model("f = nn.Linear(8, 8)\nself.act = lambda x: torch.relu(f(x))", "x = self.act(x)"), "f.weight", "act"),
    "a partial": (
        model("self.act = functools.partial(F.linear, weight=nn.Parameter(torch.randn(8, 8)))", "x = self.act(x)"),
        "partial",
        "act",
    ),
    "a global": (model(used="x = TABLE(x)", outside="TABLE = nn.Linear(8, 8)"), "TABLE.weight", ""),
    "an object of the user's": (
        model("self.holder = Holder()", "x = self.holder.f(x)", "class Holder:\n    def __init__(self):\n        self.f = nn.Linear(8, 8)"),
        "holder.f.weight",
        "holder",
    ),
    "what is computed from it before use": (model("self.w = [nn.Parameter(torch.randn(8))]", "x = x * self.w[0].exp()"), "w[0]", "w"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_tensor_that_is_not_registered_is_an_error_with_its_name(name: str) -> None:
    source, path, module = FAULTS[name]
    found = [f for f in findings(source) if f.code == "NA421"]
    assert [f.severity for f in found] == ["error"]
    assert f"`{path}`" in found[0].message
    assert found[0].module == module


SOUND = {
    "a list of registered modules": model("self.a = nn.Linear(8, 8)\nself.fs = [self.a]", "x = self.fs[0](x)"),
    "a constant table": model("self.table = [torch.randn(8)]", "x = x * self.table[0]"),
    "a frozen teacher kept out of the state": model("self.teacher = [nn.Linear(8, 8).requires_grad_(False)]", "x = x + self.teacher[0](x)"),
    "a teacher that runs without gradients": model(
        "self.teacher = [nn.Linear(8, 8)]", "with torch.no_grad():\n    t = self.teacher[0](x)\nx = x + t"
    ),
    "a list that is not used": model("self.spare = [nn.Linear(8, 8)]"),
    "old-style weight norm": model("self.f = nn.utils.weight_norm(nn.Linear(8, 8))", "x = self.f(x)"),
    "new-style weight norm": model("self.f = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))", "x = self.f(x)"),
    "spectral norm": model("self.f = nn.utils.spectral_norm(nn.Linear(8, 8))", "x = self.f(x)"),
    "an alias of a parameter": model("self.a = nn.Linear(8, 8)\nself.ws = [self.a.weight]", "x = x @ self.ws[0]"),
    "a detached copy": model("self.ws = [self.head.weight.detach()]", "x = x + 0.1 * (F.linear(x, self.ws[0]) @ self.ws[0])"),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_registered_or_gets_no_gradient_is_left_alone(name: str) -> None:
    assert "NA421" not in {f.code for f in findings(SOUND[name])}


def test_what_an_optimiser_has_is_a_note() -> None:
    optimizer = "def optimizer(model):\n    return torch.optim.SGD([*model.parameters(), *model.fs[0].parameters()], lr=0.1)"
    source = model("self.fs = [nn.Linear(8, 8)]", "x = self.fs[0](x)", optimizer=optimizer)
    assert [f.severity for f in findings(source) if f.code == "NA421"] == ["info"]


def test_what_only_the_loss_uses_is_a_note() -> None:
    source = model(outside="CRITIC = nn.Linear(4, 4)").replace("F.cross_entropy(model(inputs)", "F.cross_entropy(CRITIC(model(inputs))")
    assert [f.severity for f in findings(source) if f.code == "NA421"] == ["info"]


def test_siblings_of_one_holder_are_one_finding() -> None:
    found = findings(model("self.fs = [nn.Linear(8, 8) for _ in range(3)]", "for f in self.fs:\n    x = f(x)"))
    (one,) = [f for f in found if f.code == "NA421"]
    assert len(one.siblings) == 5


@pytest.mark.parametrize(
    ("used", "flagged"),
    [
        ("x = nn.Linear(8, 8)(x)", True),
        ("x = F.linear(x, torch.randn(8, 8))", True),
        ("x = F.linear(x, self.head.weight.new_ones(8, 8) * self.a.weight)", False),
        ("x = F.linear(x, self.a.weight + 0.1 * torch.randn(8, 8))", False),
        ("x = F.linear(x, F.dropout(self.a.weight, 0.1))", False),
        ("x = F.linear(x, torch.eye(8)) + self.a(x)", False),
    ],
    ids=["a layer", "random numbers", "scaled", "noisy", "dropped", "constant"],
)
def test_weights_that_are_drawn_in_forward(used: str, flagged: bool) -> None:
    found = [f.severity for f in findings(model("self.a = nn.Linear(8, 8)", used)) if f.code == "NA427"]
    assert found == ["error"] * flagged
