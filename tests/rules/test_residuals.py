"""Residual sums by structure, and NA302, NA303, NA403, NA404, NA405 on every kind of shortcut the literature has."""

from __future__ import annotations

import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from netaudit_rules.checks.residual import Residual, streams

from netaudit.audit import Settings, analyse
from netaudit.check import Audit
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import installed
from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(32, 32), nn.Linear(32, 32)
        self.norm, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.scale, self.gamma = nn.Parameter(torch.zeros(())), nn.Parameter(torch.full((32,), 1e-4))
        self.drop = nn.Dropout(0.1)
        {init}

    def branch(self, x):
        return self.g(torch.relu(self.f(x)))

    def forward(self, x):
        {forward}

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), *[Block() for _ in range({depth})], {end}nn.Linear(32, 4))

def example_inputs():
    torch.manual_seed(1)
    return torch.randn(32, 16)

def loss(model, x):
    return F.cross_entropy(model(x), torch.arange(32) % 4)
"""
HE = "[nn.init.kaiming_normal_(m.weight) for m in (self.f, self.g)]"
RULES = ("NA302", "NA303", "NA403", "NA404", "NA405")


def severities(forward: str, init: str = "pass", depth: int = 24, end: str = "") -> dict[str, str]:
    source = HEADER.format(forward=textwrap.indent(forward, " " * 8).strip(), init=init, depth=depth, end=end)
    return {f.code: f.severity for f in findings(source) if f.code in RULES}


NORM = "nn.LayerNorm(32), "
HEALTHY = {
    "plain, default": ("return x + self.branch(x)", "pass", ""),
    "scaled by 1 / sqrt L": ("return x + self.branch(x) / 24**0.5", HE, ""),
    "scaled by 1 / L": ("return x + self.branch(x) / 24", HE, ""),
    "ReZero": ("return x + self.scale * self.branch(x)", HE, ""),
    "LayerScale": ("return x + self.gamma * self.branch(self.norm(x))", HE, NORM),
    "Fixup": ("return x + self.branch(x)", "nn.init.kaiming_normal_(self.f.weight); nn.init.zeros_(self.g.weight)", ""),
    "zero gamma": ("return x + self.norm(self.branch(x))", "nn.init.zeros_(self.norm.weight)", NORM),
    "pre-norm": ("return x + self.branch(self.norm(x))", HE, NORM),
    "sandwich norm": ("return x + self.norm2(self.branch(self.norm(x)))", HE, NORM),
    "DeepNorm": ("return self.norm((2 * 24) ** 0.25 * x + self.branch(x))", "nn.init.xavier_normal_(self.g.weight, 0.3)", ""),
    "stochastic depth": ("keep = torch.empty(x.shape[0], 1).bernoulli_(0.9) / 0.9\nreturn x + keep * self.branch(self.norm(x))", HE, NORM),
    "branch dropout": ("return x + self.drop(self.branch(self.norm(x)))", HE, NORM),
    "mean of stream and branch": ("return (x + self.branch(self.norm(x))) / 2**0.5", HE, NORM),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_a_sound_shortcut_draws_no_warning(name: str) -> None:
    forward, init, end = HEALTHY[name]
    found = severities(forward, init, end=end)
    assert {code: how for code, how in found.items() if how != "info"} == {}
    assert "NA405" not in found


def test_post_norm_is_a_note_and_pre_norm_is_not_one() -> None:
    assert severities("return self.norm(x + self.branch(x))", HE)["NA403"] == "info"
    assert "NA403" not in severities("return x + self.branch(self.norm(x))", HE, end=NORM)
    assert "NA403" not in severities("return self.norm(x + self.branch(x))", HE, depth=6)


def test_unscaled_he_branches_triple_the_variance() -> None:
    assert severities("return x + self.branch(x)", HE, depth=12)["NA302"] == "warning"  # variance x3 per block, 3^6 = 729
    assert severities("return x + self.branch(x)", HE, depth=24)["NA302"] == "error"
    assert "NA302" not in severities("return x + self.branch(x)", HE, depth=6)


def test_branches_that_only_add() -> None:
    assert severities("return x + torch.relu(self.f(self.norm(x)))", HE, depth=12, end=NORM) == {"NA303": "info"}
    assert severities("return x + torch.relu(self.f(x))", HE)["NA303"] == "error"
    assert "NA303" not in severities("return torch.relu(x + self.branch(x))")  # as in ResNet v1
    assert "NA303" not in severities("return x - torch.relu(self.f(self.norm(x)))", end=NORM)


BROKEN = {
    "halved": ("return 0.5 * x + self.branch(self.norm(x))", "error"),
    "damped": ("return 0.9 * x + self.branch(self.norm(x))", "info"),
    "doubled": ("h = self.branch(self.norm(x))\nx = x + x\nreturn x + h", "error"),
    "squashed": ("return torch.tanh(x) + self.branch(self.norm(x))", "info"),
    "dropped": ("return self.drop(x) + self.branch(self.norm(x))", "info"),
    "normalised": ("return self.norm2(x) + self.branch(x)", "info"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_shortcut_that_is_no_identity_is_found(name: str) -> None:
    forward, severity = BROKEN[name]
    assert severities(forward, end=NORM).get("NA405") == severity


def test_a_missing_final_norm_is_a_note_and_large_logits_are_a_warning() -> None:
    wide = "[nn.init.normal_(m.weight, std=1.0) for m in (self.f, self.g)]"
    assert severities("return x + self.branch(self.norm(x))", HE)["NA404"] == "info"
    assert severities("return x + self.branch(self.norm(x))", wide)["NA404"] == "warning"
    assert "NA404" not in severities("return x + self.branch(self.norm(x))", HE, end=NORM)


def test_structure_of_a_residual_network_with_stages() -> None:
    """Eight blocks in one run, three of them with a layer on the shortcut, a ReLU between blocks and none on the shortcuts."""
    source = """
class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Linear(b, b), nn.BatchNorm1d(b))
        self.down = nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b)) if a != b else nn.Identity()

    def forward(self, x):
        return torch.relu(self.f(x) + self.down(x))

def build():
    sizes = [16, 16, 16, 24, 24, 32, 32, 48, 48]
    return nn.Sequential(*[Block(a, b) for a, b in zip(sizes, sizes[1:])], nn.Linear(48, 4))

def example_inputs():
    return torch.randn(32, 16)
"""
    (run,) = runs("import torch\nfrom torch import nn\n" + source)
    assert len(run) == 8
    assert [one.projected for one in run].count(True) == 3
    assert all(one.skip == () for one in run if not one.projected)
    assert all(len(one.branch) == 5 for one in run)


def runs(source: str) -> tuple[tuple[Residual, ...], ...]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.py"
        path.write_text(source)
        (subject,) = load(str(path), Options())
        analysis = analyse(subject, installed(), Settings())
    return streams(Audit(subject.id, analysis.facts, analysis.flow, analysis.later))
