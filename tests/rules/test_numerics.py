"""Jumps, gates, exponentials, probabilities and half precision: what the checks say, and what torch does."""

from __future__ import annotations

import textwrap
from math import inf, isfinite, isnan
from typing import Any

import pytest
import torch
from netaudit_rules.checks.ranges import FORMATS
from torch.nn import functional as F

from netaudit.pack import installed
from netaudit.testing import examples, findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.g, self.n = nn.Linear(16, 8), nn.Linear(16, 8), nn.LayerNorm(16)
        self.s = nn.Parameter(torch.tensor(2.66))

def example_inputs():
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(0))

def build():
    return Model()
"""
HALF = """
def example_inputs():
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(0)).half()
    x[:4] = 0.0
    return x

def build():
    torch.manual_seed(0)
    return Model().half()
"""


def model(forward: str, more: str = "") -> str:
    body = textwrap.indent(textwrap.dedent(forward).strip(), " " * 8)
    return f"{HEADER}\nclass Model(Layer):\n    def forward(self, x):\n{body}\n{more}\n"


def severity(source: str, code: str) -> str | None:
    """The gravest severity of a code, None when it is not found."""
    rank = ("info", "warning", "error")
    return max((f.severity for f in findings(source) if f.code == code), key=rank.index, default=None)


def is_finite(source: str) -> bool:
    """Whether torch gives a finite output and finite gradients of its sum on the example input."""
    made: dict[str, Any] = {}
    exec(compile(source, "example", "exec"), made)
    torch.manual_seed(0)
    built, x = made["build"](), made["example_inputs"]()
    total = built(*(x if isinstance(x, tuple) else (x,))).float().sum()
    total.backward()
    gradients = [p.grad for p in built.parameters() if p.grad is not None]
    return isfinite(total.item()) and all(bool(torch.isfinite(g).all()) for g in gradients)


# formats -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_the_limits_of_a_format_are_what_torch_computes(name: str) -> None:
    kind, form = getattr(torch, name), FORMATS[name]
    found = torch.finfo(kind)
    assert (form.largest, form.step) == (found.max, found.eps)
    assert form.smallest == found.smallest_normal * found.eps or form.smallest == 2.0**-1074

    def exp(x: float) -> float:
        return float(torch.exp(torch.tensor(x, dtype=torch.float64)).to(kind))

    assert isfinite(exp(form.exp_overflow - 1e-3))
    assert exp(form.exp_overflow + 1e-2) == inf
    assert exp(form.exp_underflow + 1e-2) > 0.0
    assert exp(form.exp_underflow - 1e-2) == 0.0
    steps = torch.tensor([form.saturation * 0.99, form.saturation * 1.01], dtype=kind)
    assert torch.sigmoid(steps).eq(1.0).tolist() == [False, True]


# one forward pass each ---------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[str, str | None, str]] = {
    # jumps
    "hardshrink": ("NA106", "info", "return F.hardshrink(self.f(x), 0.4)"),
    "a threshold with a far value": ("NA106", "warning", "return F.threshold(self.f(x), 0.1, 20.0)"),
    "a threshold with its own value": ("NA106", None, "return F.threshold(self.f(x), 0.1, 0.1)"),
    "softplus that ends early": ("NA106", "info", "return F.softplus(self.f(x), threshold=1.0)"),
    "softplus": ("NA106", None, "return F.softplus(self.f(x)) + F.softplus(self.f(x), 10.0)"),
    "hardshrink of nothing": ("NA106", None, "return F.hardshrink(self.f(x), 0.0)"),
    "softshrink": ("NA106", None, "return F.softshrink(self.f(x), 0.4)"),
    "a remainder": ("NA106", "info", "return torch.remainder(self.f(x), 1.0)"),
    "a sign that multiplies": ("NA106", "info", "y = self.f(x); return y.abs().sqrt() * y.sign()"),
    "a straight-through estimator": ("NA106", None, "y = self.f(x); return y + (y.round() - y).detach()"),
    "rounded data": ("NA106", None, "return self.f(x.round())"),
    # gates
    "a gate without bound": ("NA107", "info", "return F.silu(self.f(x)) * self.g(x)"),
    "a gate behind a norm": ("NA107", None, "x = self.n(x); return F.silu(self.f(x)) * self.g(x)"),
    "a gate in (0, 1)": ("NA107", None, "return torch.sigmoid(self.f(x)) * self.g(x)"),
    "a clamped gate": ("NA107", None, "return self.f(x).clamp(-7, 7) * self.g(x)"),
    "a square": ("NA107", None, "y = self.f(x); return y * y"),
    "a mask": ("NA107", None, "return self.f(x) * (x[:, :8] > 0)"),
    "a learned scale": ("NA107", None, "return self.f(x) * self.s"),
    "a product in a stream": (
        "NA107", "warning", "y = 100 * self.f(x); return F.linear(y + 100 * y * self.g(x) + 0.0, torch.eye(8))",
    ),
    # exponentials
    "exp of a small head": ("NA108", "info", "return self.f(x).exp()"),
    "exp of a large head": ("NA108", "error", "return (3000 * self.f(x)).exp()"),
    "exp of a head of deviation 3": ("NA108", "warning", "return (8 * self.f(x)).exp()"),
    "exp of minus a square": ("NA108", None, "return (-self.f(x).square()).exp()"),
    "exp of a clamped head": ("NA108", None, "return (300 * self.f(x)).clamp(-20, 20).exp()"),
    "exp of a shifted row": ("NA108", None, "y = 300 * self.f(x); return (y - y.amax(1, keepdim=True)).exp()"),
    "exp of a running maximum": ("NA108", None, "y, z = 300 * self.f(x), self.g(x); return (y - torch.maximum(y, z)).exp()"),
    "exp of a bounded head": ("NA108", None, "return (10 * torch.tanh(self.f(x))).exp()"),
    "a learned temperature": ("NA108", "info", "return self.f(x) * self.s.exp()"),
    "a clamped temperature": ("NA108", None, "return self.f(x) * self.s.clamp(max=4.6).exp()"),
    "exp of data": ("NA108", None, "return self.f(x) * (100 * x[:, :8]).exp()"),
    # unstable compositions
    "log softmax": ("NA507", "info", "return torch.log(torch.softmax(self.f(x), 1))"),
    "log softmax of large logits": ("NA507", "error", "return torch.log(torch.softmax(100 * self.f(x), 1))"),
    "log of one less a sigmoid": ("NA507", "warning", "return torch.log(1 - torch.sigmoid(self.f(x)))"),
    "its other spellings": ("NA507", "warning", "return torch.log1p(-torch.sigmoid(self.f(x))) + (-torch.sigmoid(self.g(x)) + 1).log()"),
    "softplus by hand": ("NA507", "info", "return torch.log(1 + torch.exp(self.f(x)))"),
    "softplus by hand, large": ("NA507", "error", "return torch.log1p(torch.exp(100 * self.f(x)))"),
    "logsumexp by hand": ("NA507", "warning", "return torch.log(torch.exp(8 * self.f(x)).sum(1))"),
    "logsumexp by hand, shifted": ("NA507", None, "y = 8 * self.f(x); m = y.amax(1, True); return m + (y - m).exp().sum(1, True).log()"),
    "softmax by hand": ("NA507", "error", "e = torch.exp(100 * self.f(x)); return e / e.sum(1, keepdim=True)"),
    "softplus of minus a size": ("NA507", None, "return torch.log1p(torch.exp(-self.f(x).abs()))"),
    "fused ones": ("NA507", None, "y = self.f(x); return F.log_softmax(y, 1) + F.logsigmoid(y) + F.softplus(y) + y.logsumexp(1, True)"),
    "a variance by difference": ("NA507", "info", "y = self.f(x); return y.square().mean(1) - y.mean(1) ** 2"),
    "a variance by difference, far from 0": ("NA507", "warning", "y = self.f(x) + 1e4; return y.square().mean(1) - y.mean(1) ** 2"),
    "another tensor's mean": ("NA507", None, "y = self.f(x); return y.square().mean(1) - self.g(x).mean(1) ** 2"),
    "an entropy of hidden logits": (
        "NA507", "error", "p = self.f(x).masked_fill(torch.arange(8) > 5, -torch.inf).softmax(1); return (p * p.log()).sum(1)",
    ),
    "log cosh": ("NA507", "info", "return torch.log(torch.cosh(self.f(x)))"),
    "log cosh of large residuals": ("NA507", "error", "return torch.log(torch.cosh(300 * self.f(x)))"),
    "tanh by hand": ("NA507", "error", "a, b = torch.exp(99 * self.f(x)), torch.exp(-99 * self.f(x)); return (a - b) / (a + b)"),
    "sigmoid by hand": ("NA507", "error", "return 1 / (1 + torch.exp(-99 * self.f(x)))"),
    "sigmoid by hand, small": ("NA507", "info", "return 1 / (1 + torch.exp(-self.f(x)))"),
    "a mask times minus infinity": ("NA507", "error", "m = (x[:, :8] > 0).float(); return torch.softmax(self.f(x) + m * -torch.inf, 1)"),
    "a constant mask times minus infinity": (
        "NA507", "error", "m = (torch.arange(8) > 5).float() * -torch.inf; return torch.softmax(self.f(x) + m, 1)",
    ),
    "a mask times a number": ("NA507", None, "m = (x[:, :8] > 0).float(); return torch.softmax(self.f(x) + m * -1e9, 1)"),
    "in double precision": ("NA507", "info", "return torch.log(1 - torch.sigmoid(self.f(x).double()))"),
    # losses on probabilities
    "an entropy with an eps": ("NA112", "info", "p = torch.softmax(self.f(x), 1); return -(p * torch.log(p + 1e-8)).sum(1)"),
    "log of a clamped sigmoid, large logits": ("NA112", "warning", "return torch.log(torch.sigmoid(100 * self.f(x)).clamp(min=1e-7))"),
    "log of an average of softmaxes": ("NA112", None, "p = self.f(x).softmax(1); return torch.log(0.5 * p + 0.5 * self.g(x).softmax(1))"),
    "log of a rate": ("NA112", None, "return torch.log(F.softplus(self.f(x)) + 1e-8)"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_forward_pass(name: str) -> None:
    code, expected, forward = CASES[name]
    assert severity(model(forward), code) == expected


@pytest.mark.parametrize("name", [n for n, (code, s, _) in CASES.items() if s == "error" and code in ("NA108", "NA507")])
def test_torch_overflows_where_it_is_an_error(name: str) -> None:
    assert not is_finite(model(CASES[name][2]))


@pytest.mark.parametrize("name", [n for n, (code, s, _) in CASES.items() if s is None and code in ("NA108", "NA507", "NA112")])
def test_torch_is_finite_where_nothing_is_said(name: str) -> None:
    if name == "exp of data":
        pytest.skip("data is as it is")
    assert is_finite(model(CASES[name][2]))


# losses ------------------------------------------------------------------------------------------------------------------

LOSSES: dict[str, tuple[str, str | None, str]] = {
    "bce of a sigmoid": ("NA112", "info", "F.binary_cross_entropy(torch.sigmoid(model(x)), torch.ones(32, 8))"),
    "bce of a saturated sigmoid": ("NA112", "warning", "F.binary_cross_entropy(torch.sigmoid(30 * model(x)), torch.ones(32, 8))"),
    "bce of logits": ("NA112", None, "F.binary_cross_entropy_with_logits(30 * model(x), torch.ones(32, 8))"),
    "nll of log softmax by hand": ("NA112", "info", "F.nll_loss(torch.log(torch.softmax(model(x), 1)), torch.arange(32) % 8)"),
    "nll of log softmax": ("NA112", None, "F.nll_loss(torch.log_softmax(model(x), 1), torch.arange(32) % 8)"),
    "soft margin": ("NA507", "info", "F.soft_margin_loss(model(x), torch.ones(32, 8))"),
    "soft margin of large logits": ("NA507", "error", "F.soft_margin_loss(300 * model(x), torch.ones(32, 8))"),
    "poisson": ("NA108", "info", "F.poisson_nll_loss(model(x), torch.ones(32, 8))"),
    "poisson of rates": ("NA108", None, "F.poisson_nll_loss(F.softplus(model(x)), torch.ones(32, 8), log_input=False)"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss(name: str) -> None:
    code, expected, value = LOSSES[name]
    source = model("return self.f(x)", f"def loss(model, x):\n    return {value}")
    assert severity(source, code) == expected
    other = {"NA112": "NA507", "NA507": "NA112", "NA108": "NA507"}[code]
    assert severity(source, other) is None  # one cause, one finding


def test_a_saturated_probability_has_no_gradient_and_the_logit_has() -> None:
    x = torch.tensor([-30.0], requires_grad=True)
    by_probability = torch.autograd.grad(F.binary_cross_entropy(torch.sigmoid(-x), torch.zeros(1)), x)[0]
    by_logit = torch.autograd.grad(F.binary_cross_entropy_with_logits(-x, torch.zeros(1)), x)[0]
    assert (by_probability.item(), round(by_logit.item(), 5)) == (0.0, -1.0)


# half precision ----------------------------------------------------------------------------------------------------------

HALVES: dict[str, tuple[str, str | None, str]] = {
    "an eps of 1e-8": ("NA501", "error", "y = self.g(x) * (x[:, :8] != 0); return y / (y.norm(dim=1, keepdim=True) + 1e-8)"),
    "normalize with its default": ("NA501", "warning", "return F.normalize(self.f(x), dim=1)"),
    "a cosine with its default": ("NA501", "warning", "return F.cosine_similarity(self.f(x), self.g(x), dim=1)"),
    "an eps of 1e-4": ("NA501", None, "y = self.f(x); return y / (y.norm(dim=1, keepdim=True) + 1e-4) + F.normalize(y, dim=1, eps=1e-4)"),
    "an eps in single precision": ("NA501", None, "y = self.f(x).float(); return y / (y.norm(dim=1, keepdim=True) + 1e-8)"),
    "an eps of torch's own norms": ("NA501", None, "return F.layer_norm(x, (16,), eps=1e-12) @ self.f.weight.T"),
    "a small constant that guards nothing": ("NA501", None, "return self.f(x) + 1e-8"),
    "squares beyond the range": ("NA503", "error", "return (500 * self.f(x)).square()"),
    "a sum beyond the range": ("NA503", "warning", "return (self.f(x) + 6000).sum(1)"),
    "values within the range": ("NA503", None, "return self.f(x).square().sum(1)"),
    "squares in single precision": ("NA503", None, "return (500 * self.f(x)).float().square().mean()"),
    "values that vanish": ("NA503", "warning", "return (self.f(x) * 1e-4).square() * 1e-3"),
}  # fmt: skip


@pytest.mark.parametrize("name", HALVES)
def test_half_precision(name: str) -> None:
    code, expected, forward = HALVES[name]
    source = model(forward, HALF)
    assert severity(source, code) == expected
    if expected == "error":
        assert not is_finite(source)
    if expected is None and code == "NA503":
        assert is_finite(source)


def test_bfloat16_has_the_range_of_single_precision() -> None:
    wide = HALF.replace(".half()", ".bfloat16()")
    for code, _, forward in HALVES.values():
        assert severity(model(forward, wide), code) is None


MASKS: dict[str, tuple[str | None, str]] = {
    "added": ("warning", "y = self.f(x); return torch.softmax(y + m.half() * -1e9, 1)"),
    "chosen": ("warning", "y = self.f(x); return torch.softmax(torch.where(m, y, -1e9), 1)"),
    "that fits": (None, "y = self.f(x); return torch.softmax(y + m.half() * -1e4, 1)"),
    "of minus infinity": (None, "y = self.f(x); return torch.softmax(y.masked_fill(m, -torch.inf), 1)"),
    "by finfo": (None, "y = self.f(x); return torch.softmax(y.masked_fill(m, torch.finfo(y.dtype).min), 1)"),
    "on scores in single precision": (None, "y = self.f(x).float(); return torch.softmax(y.masked_fill(m, -1e9), 1)"),
    "that no softmax sees": (None, "y = self.f(x); return torch.softmax(y, 1) * m.half()"),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_constant_in_half_precision(name: str) -> None:
    expected, forward = MASKS[name]
    source = model(f"m = x[:, :8] > 1\n{forward}", HALF)
    assert severity(source, "NA502") == expected


def test_constants_beyond_half_precision_become_infinite() -> None:
    zero = torch.zeros(2, dtype=torch.float16)
    assert (zero - 1e9).tolist() == torch.where(torch.tensor([True, True]), torch.tensor(-1e9), zero).tolist() == [-inf, -inf]
    assert isnan((torch.softmax(zero - 1e9, 0))[0].item())
    with pytest.raises(RuntimeError, match="without overflow"):
        zero.masked_fill(torch.tensor([True, False]), -1e9)


# losses that torch refuses ------------------------------------------------------------------------------------------------


def test_binary_cross_entropy_under_autocast() -> None:
    loss = "def loss(model, x):\n    with torch.autocast('cpu', torch.bfloat16, enabled={}):\n        y = model(x)\n        {}\n"
    inside = loss.format(True, "return F.binary_cross_entropy(torch.sigmoid(y), torch.rand(32, 8))")
    logits = loss.format(True, "return F.binary_cross_entropy_with_logits(y, torch.rand(32, 8))")
    off = loss.format(False, "return F.binary_cross_entropy(torch.sigmoid(y), torch.rand(32, 8))")
    found = [severity(model("return self.f(x)", source), "NA508") for source in (inside, logits, off)]
    assert found == ["error", None, None]


@pytest.mark.parametrize(
    ("steps", "labels", "keyword", "expected"),
    [(5, 4, "", "error"), (6, 4, "", None), (5, 4, ", zero_infinity=True", None), (5, 3, "", None)],
)
def test_ctc_needs_a_step_for_each_label_and_each_repeat(steps: int, labels: int, keyword: str, expected: str | None) -> None:
    call = f"F.ctc_loss(z, torch.tensor([[1, 1, 2, 2]]), torch.tensor([{steps}]), torch.tensor([{labels}]){keyword})"
    source = model("return self.f(x[:6])", f"def loss(model, x):\n    z = model(x).log_softmax(1)[:, None]\n    return {call}")
    assert severity(source, "NA508") == expected
    z = torch.randn(6, 1, 8).log_softmax(-1)
    assert isfinite(eval(call, {"F": F, "torch": torch, "z": z}).item()) == (expected is None)


# certificates -------------------------------------------------------------------------------------------------------------

CERTIFICATES: dict[str, tuple[bool, str]] = {
    "a convolution": (True, "nn.Sequential(sn(nn.Conv2d(2, 4, 3, padding=1)), nn.Flatten(), sn(nn.Linear(256, 1)))"),
    "a shortcut": (True, "Shortcut()"),
    "batch normalisation": (True, "nn.Sequential(nn.Flatten(), sn(nn.Linear(128, 8)), nn.BatchNorm1d(8), sn(nn.Linear(8, 1)))"),
    "linear layers and relu": (False, "nn.Sequential(nn.Flatten(), sn(nn.Linear(128, 8)), nn.ReLU(), sn(nn.Linear(8, 1)))"),
    "only some weights": (False, "nn.Sequential(sn(nn.Conv2d(2, 4, 3, padding=1)), nn.Flatten(), nn.Linear(256, 1))"),
    "no weights": (False, "nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(256, 1))"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_spectral_normalisation_is_no_certificate(name: str) -> None:
    expected, made = CERTIFICATES[name]
    source = f"""
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as sn

class Shortcut(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.g = sn(nn.Linear(128, 128)), sn(nn.Linear(128, 1))

    def forward(self, x):
        x = x.flatten(1)
        return self.g(x + torch.relu(self.f(x)))

def build():
    return {made}

def example_inputs():
    return torch.randn(4, 2, 8, 8)
"""
    assert severity(source, "NA111") == ("info" if expected else None)


# the checks' own examples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "source"),
    [
        pytest.param(heading, block, id=f"{code}-{heading}-{i}")
        for code in ("NA108", "NA413", "NA503")
        for heading in ("Flagged", "Clean")
        for i, block in enumerate(examples(installed().checks[code])[heading])
    ],
)
def test_examples_are_what_torch_says(heading: str, source: str) -> None:
    assert is_finite(source) == (heading == "Clean")
