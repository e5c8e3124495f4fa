"""How large a gradient may be: NA301 on layers that are wide, deep behind normalisations, or tiny."""

from __future__ import annotations

import textwrap
from math import log10

import pytest
from netaudit_rules.checks import limits
from netaudit_rules.checks.limits import largest_s

from netaudit.finding import Finding
from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def build():
    torch.manual_seed(0)
    {build}

def example_inputs():
    torch.manual_seed(1)
    return torch.randn(8, {width})

def loss(model, x):
    y = model(x)
    return F.cross_entropy(y, torch.arange(8) % y.shape[1])
"""


def exploding(build: str, width: int) -> list[Finding]:
    source = HEADER.format(build=textwrap.indent(textwrap.dedent(build), "    ").strip(), width=width)
    return [f for f in findings(source) if f.code == "NA301"]


@pytest.mark.parametrize("shape", [(4, 4), (16, 4096), (3, 7, 5, 5), (5000,), (1, 1, 768), ()])
def test_the_limit_of_s_is_100_for_what_is_narrow_on_one_side(shape: tuple[int, ...]) -> None:
    assert largest_s(shape) == 2.0


@pytest.mark.parametrize("shape", [(32, 32), (1000, 512), (64, 3, 7, 7)])
def test_it_doubles_where_both_sides_are_four_times_as_wide(shape: tuple[int, ...]) -> None:
    wider = (4 * shape[0], 4 * shape[1], *shape[2:])
    assert largest_s(wider) - largest_s(shape) == pytest.approx(log10(2.0))


@pytest.mark.parametrize(
    "build", ["return nn.Linear(1024, 1000)", "return nn.Sequential(nn.Linear(1024, 1024), nn.LayerNorm(1024), nn.Linear(1024, 1000))"]
)
def test_a_wide_head_is_healthy(build: str) -> None:
    assert exploding(build, 1024) == []


def test_a_wide_head_that_starts_far_too_large_is_not() -> None:
    (found,) = exploding("model = nn.Linear(1024, 1000)\nnn.init.normal_(model.weight)\nreturn model", 1024)
    assert found.severity == "warning"
    assert "S = " in found.message


STACK = "return nn.Sequential(*[m for _ in range({depth}) for m in (nn.Linear(32, 32), {norm}nn.ReLU())], nn.Linear(32, 10))"


def test_what_grows_only_behind_normalisations_is_not_called_exploding(monkeypatch: pytest.MonkeyPatch) -> None:
    """S of the first weights is above 1000, measured too: without normalisations such a gradient is too large."""
    stack = STACK.format(depth=26, norm="nn.BatchNorm1d(32), ")
    assert exploding(stack, 32) == []
    monkeypatch.setattr(limits, "HIDDEN", 0.0)
    assert exploding(stack, 32) != []


def test_the_message_quotes_what_is_beyond_its_limit() -> None:
    tiny = """
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain, self.head = nn.Parameter(torch.full((32,), 1e-6)), nn.Linear(32, 10)

        def forward(self, x):
            return self.head(x * (self.gain * 1e6))
    return Tiny()
    """
    (found,) = exploding(tiny, 32)
    assert "`gain`" in found.message
    assert "RMS of the gradient" in found.message
    assert "limit 1" in found.message
    assert "S = " not in found.message
    assert found.evidence.quantity == "RMS of the gradient"
