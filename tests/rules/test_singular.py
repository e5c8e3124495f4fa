"""Singular points: what torch returns there, and what NA102 to NA104 say. The oracle is torch's own backward pass."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from math import inf, isfinite, isnan, nan
from typing import Any

import pytest
import torch
from netaudit_rules.checks.reach import STOPPING
from torch import Tensor
from torch.nn import functional as F

from netaudit.pack import installed
from netaudit.testing import examples, findings

FAMILY = ("NA102", "NA103", "NA104")
HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(16, 8), nn.Linear(16, 8, bias=False)

def example_inputs():
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    x[:4] = 0.0
    return x

def build():
    return Model()
"""


def model(forward: str, setup: str = "") -> str:
    """A file with a model of this forward pass on rows ``x``, the first of which are zero; ``y`` has a bias, ``z`` none."""
    body = textwrap.indent(textwrap.dedent(forward).strip(), " " * 8)
    return f"{HEADER}\n{setup}\nclass Model(Layer):\n    def forward(self, x):\n        y, z = self.f(x), self.g(x)\n{body}\n"


def severities(source: str) -> Mapping[str, str]:
    """The gravest severity by code, of the family."""
    rank = ("info", "warning", "error")
    result: dict[str, str] = {}
    for finding in findings(source):
        if finding.code in FAMILY:
            result[finding.code] = max(result.get(finding.code, "info"), finding.severity, key=rank.index)
    return result


def is_finite(source: str) -> bool:
    """Whether torch gives finite outputs and finite gradients of their sum on the example input, in five runs."""
    made: dict[str, Any] = {}
    exec(compile(source, "example", "exec"), made)
    torch.manual_seed(0)
    built, x = made["build"](), made["example_inputs"]()
    ok = True
    for _ in range(5):
        built.zero_grad()
        total = built(x).sum()
        total.backward()
        gradients = [p.grad for p in built.parameters() if p.grad is not None]
        ok = ok and isfinite(total.item()) and all(bool(torch.isfinite(g).all()) for g in gradients)
    return ok


# what torch does ---------------------------------------------------------------------------------------------------------

POINTS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "sqrt": (torch.sqrt, 0.0), "log": (torch.log, 0.0), "log2": (torch.log2, 0.0), "log1p": (torch.log1p, -1.0),
    "reciprocal": (torch.reciprocal, 0.0), "rsqrt": (torch.rsqrt, 0.0), "acos": (torch.acos, 1.0), "asin": (torch.asin, -1.0),
    "atanh": (torch.atanh, 1.0), "acosh": (torch.acosh, 1.0), "x^0.3": (lambda x: x**0.3, 0.0), "x^-2": (lambda x: x**-2, 0.0),
}  # fmt: skip


def slope(f: Callable[[Tensor], Tensor], at: float, cotangent: float = 1.0) -> float:
    x = torch.tensor([at], requires_grad=True)
    return float(torch.autograd.grad(f(x), x, torch.tensor([cotangent]))[0])


@pytest.mark.parametrize("name", POINTS)
def test_the_slope_is_infinite_and_times_zero_is_nan(name: str) -> None:
    f, at = POINTS[name]
    assert abs(slope(f, at)) == inf
    assert isnan(slope(f, at, 0.0))


def test_roots_have_a_nan_slope_outside_their_domain_and_logarithms_do_not() -> None:
    outside = {"sqrt": -1.0, "rsqrt": -1.0, "acos": 2.0, "asin": 2.0, "acosh": 0.5, "x^0.3": -1.0}
    assert all(isnan(slope(POINTS[name][0], at, 0.0)) for name, at in outside.items())
    assert slope(torch.log, -1.0, 0.0) == 0.0
    assert slope(torch.log1p, -2.0, 0.0) == 0.0


SELECTING: dict[str, Callable[[Tensor], Tensor]] = {
    "aten.relu": F.relu, "aten.relu6": F.relu6, "aten.threshold": lambda x: F.threshold(x, 0.0, 0.0), "aten.hardshrink": F.hardshrink,
    "aten.softshrink": F.softshrink, "aten.where": lambda x: torch.where(x > 0, x, 0.0),
    "aten.masked_fill": lambda x: x.masked_fill(x <= 0, 0.0),
}  # fmt: skip


def test_ops_that_select_stop_what_is_not_finite() -> None:
    assert set(SELECTING) == STOPPING
    for f in SELECTING.values():
        assert slope(f, 0.0, inf) == slope(f, 0.0, nan) == 0.0


def test_ops_that_multiply_do_not_and_a_clamp_passes_it_at_its_bound() -> None:
    for f in (torch.abs, torch.square, torch.tanh, F.leaky_relu, F.silu, lambda x: x * 0.0):
        assert not isfinite(slope(f, 0.0, inf))
    clamp: Callable[[Tensor], Tensor] = lambda x: x.clamp(min=0.0)  # noqa: E731
    assert slope(clamp, 0.0, inf) == inf
    assert slope(clamp, -1.0, inf) == 0.0


# faults ------------------------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[str, str, str]] = {
    "pairwise distances": ("NA104", "error", "return (y[:, None] - y[None]).square().sum(-1).sqrt()"),
    "clamped ones": ("NA104", "error", "return (y[:, None] - y[None]).square().sum(-1).clamp(min=0).sqrt()"),
    "a product of two differences": ("NA104", "error", "return ((y[:, None] - y[None]) * (y[:, None] - y[None])).sum(-1) ** 0.5"),
    "by the binomial formula": (
        "NA102", "error", "s = (y * y).sum(1); return (s[:, None] + s[None] - 2 * y @ y.T).clamp(min=0).sqrt()",
    ),
    "a norm of zero rows": ("NA104", "error", "return z.pow(2).sum(1).sqrt()"),
    "a quotient by the norm of zero rows": ("NA104", "error", "return z / z.norm(dim=1, keepdim=True)"),
    "eps outside the root": ("NA104", "error", "return z / (z.pow(2).sum(1, keepdim=True).sqrt() + 1e-8)"),
    "a variance over one entry": ("NA104", "error", "return y[:, :1].var(1, unbiased=False).sqrt()"),
    "the variance of equal entries": ("NA104", "error", "return y.mean(1, keepdim=True).expand(-1, 4).var(1).sqrt()"),
    "the distance of a pair that is equal": (
        "NA104",
        "error",
        "pair = x[[*range(8), *range(16, 24)]]; return (self.f(x[:16]) - self.f(pair)).pow(2).sum(1).sqrt()",
    ),
    "dropped entries under a root": ("NA102", "error", "return F.dropout(y.abs() + 1, 0.5).sqrt()"),
    "masked entries under a root": ("NA102", "error", "return (y.abs() * (torch.arange(8) > 3)).sqrt()"),
    "log of relu": ("NA102", "error", "return torch.log(torch.relu(y))"),
    "a quotient by relu": ("NA102", "error", "return y / torch.relu(z)"),
    "log of what has both signs": ("NA102", "error", "return torch.log(y)"),
    "a root of what has both signs": ("NA102", "error", "return torch.sqrt(y)"),
    "a power of what has both signs": ("NA102", "error", "return y.pow(1.5)"),
    "the angle of a row with itself": (
        "NA102", "error", "u = F.normalize(y, dim=1); return torch.acos((u @ u.T).clamp(-1, 1))",
    ),
    "a deviation of one entry": ("NA104", "error", "return y[:, :1].std(1) + y.sum()"),
    "a learned power of what has both signs": ("NA102", "error", "return y.pow(self.f.bias[0] + 2.5)"),
    "a mean over nothing": ("NA102", "error", "n = (x != 0).sum(1, keepdim=True); return y * x[:, :8].sum(1, keepdim=True) / n"),
    "data over its deviation": ("NA104", "error", "w = x * 1.0; return self.f((w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True))"),
    "the log of data": ("NA102", "error", "return self.f(x.abs().log())"),
    "an entropy of zeros": ("NA102", "error", "p = z.square(); return (p * p.log()).sum(1)"),
    "a choice after a root": ("NA103", "error", "return torch.where(y > 0, y.sqrt(), 0.0)"),
    "a choice after the log of zeros": ("NA103", "error", "p = z.square(); return torch.where(p > 0, p.log(), 0.0)"),
    "a filled quotient by zeros": ("NA103", "error", "n = z.abs(); return (y / n).masked_fill(n == 0, 0.0)"),
    "NaN replaced by a number": ("NA103", "error", "return torch.nan_to_num(y / z, nan=0.0, posinf=0.0, neginf=0.0)"),
    "a choice after exp": ("NA103", "error", "w = y * 200; return torch.where(w < 10, w.exp(), w)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_torch_gives_what_is_not_finite(name: str) -> None:
    code, severity, forward = FAULTS[name]
    source = model(forward)
    assert severities(source).get(code) == severity
    assert not is_finite(source)


# look-alikes -------------------------------------------------------------------------------------------------------------

TRAPS: dict[str, str] = {
    "eps inside the root": "return ((y[:, None] - y[None]).pow(2).sum(-1) + 1e-12).sqrt()",
    "clamped above zero": "return (y[:, None] - y[None]).pow(2).sum(-1).clamp(min=1e-12).sqrt()",
    "torch's own norm": "return z.norm(dim=1) + torch.linalg.vector_norm(z, dim=1) + torch.cdist(z, z).sum(1)",
    "normalize with its eps": "return F.normalize(z, dim=1)",
    "a quotient by the norm of rows with a bias": "return y / y.norm(dim=1, keepdim=True)",
    "a root behind relu": "return torch.relu(z).sqrt()",
    "a norm behind relu": "return torch.relu(z).pow(2).sum(1).sqrt()",
    "zeros that are filled in": "return y.abs().masked_fill((torch.arange(8) > 3)[None], 0.0).sqrt()",
    "softplus": "return torch.log(F.softplus(y)) + y / F.softplus(z)",
    "exp and a constant": "return y / (1 + torch.exp(-z)) + torch.log1p(torch.exp(-y.abs()))",
    "a sum of exponentials": "return torch.exp(y) / torch.exp(y).sum(1, keepdim=True)",
    "the largest probabilities": "p = torch.softmax(y, 1).topk(2, 1).values; return p / p.sum(1, keepdim=True)",
    "a quotient by a constant table": "return y / torch.arange(1.0, 9.0)",
    "a table that is a power": "return y * 10000.0 ** (-torch.arange(8) / 8)",
    "a double where": "safe = torch.where(z != 0, z, torch.ones_like(z)); return torch.where(z != 0, y / safe, 0.0)",
    "a double where on the size": "n = z.abs(); safe = torch.where(n > 1e-6, n, 1.0); return torch.where(n > 1e-6, safe.log(), 0.0)",
    "filled before the log": "p = z.square(); return p.masked_fill(p == 0, 1.0).log()",
    "negative entries behind a log": "return torch.where(y > 0, y.log(), 0.0)",
    "counts of the data": "n = (x != 0).sum(1, keepdim=True).clamp(min=1); return (y / n) + y / (x.abs().sum(1, keepdim=True) + 1)",
    "log as a mask": "return torch.softmax(y + torch.log((torch.arange(8) < 5).float()), 1)",
    "a clamped cosine": "u = F.normalize(y, dim=1); return torch.acos((u @ u.T).clamp(-1 + 1e-6, 1 - 1e-6))",
    "roots of squares weighted by squares": "return (F.linear(y.square(), self.f.weight[:, :8].square()) + 1e-6).sqrt()",
    "a generalised mean": "return y.clamp(min=1e-6).pow(self.f.bias[0] + 3).mean(1).pow(1 / 3)",
    "a deviation without correction": "return y[:, :1].std(1, correction=0) + y.std(1)",
    "linear attention": (
        "q, k, v = torch.relu(y)[None], torch.relu(self.f(x + 1))[None], F.pad(z[None], (0, 1), value=1.0)\n"
        "o = q @ (k.transpose(1, 2) @ v); return o[..., :-1] / (o[..., -1:] + 1e-5)"
    ),
    "a geometric mean": "return torch.sqrt(F.softplus(y) * F.softplus(z))",
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_a_look_alike_is_no_warning_and_torch_is_finite(name: str) -> None:
    source = model(TRAPS[name])
    assert set(severities(source).values()) <= {"info"}
    assert is_finite(source)


# the checks' own examples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "source"),
    [
        pytest.param(heading, block, id=f"{code}-{heading}-{i}")
        for code in FAMILY
        for heading in ("Flagged", "Clean")
        for i, block in enumerate(examples(installed().checks[code])[heading])
    ],
)
def test_examples_are_what_torch_says(heading: str, source: str) -> None:
    assert is_finite(source) == (heading == "Clean")
