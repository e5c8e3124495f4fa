"""Models that look faulty and train well: no check may warn of them."""

from __future__ import annotations

import textwrap

import pytest

from netaudit.testing import codes

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def example_inputs():
    return torch.randn(8, 16)

def loss(model, inputs):
    return F.cross_entropy(model(inputs), torch.arange(8) % 4)
"""

TRAPS = {
    "a zero-initialised head": """
        def build():
            model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
            nn.init.zeros_(model[2].weight)
            return model
    """,
    "a residual branch behind a zero gamma": """
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.f, self.norm = nn.Linear(16, 16), nn.LayerNorm(16)
                nn.init.zeros_(self.norm.weight)

            def forward(self, x):
                return x + self.norm(self.f(x))

        def build():
            return nn.Sequential(Block(), Block(), nn.Linear(16, 4))
    """,
    "ReZero": """
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.f, self.scale = nn.Linear(16, 16), nn.Parameter(torch.zeros(()))

            def forward(self, x):
                return x + self.scale * torch.relu(self.f(x))

        def build():
            return nn.Sequential(Block(), Block(), nn.Linear(16, 4))
    """,
    "an adapter whose second factor is zero (LoRA)": """
        class Adapted(nn.Module):
            def __init__(self):
                super().__init__()
                self.base = nn.Linear(16, 4)
                self.down, self.up = nn.Linear(16, 2, bias=False), nn.Linear(2, 4, bias=False)
                nn.init.zeros_(self.up.weight)
                self.base.requires_grad_(False)

            def forward(self, x):
                return self.base(x) + self.up(self.down(x))

        def build():
            return Adapted()
    """,
}


def flagged(body: str) -> frozenset[str]:
    return codes(HEADER + textwrap.dedent(body))


@pytest.mark.parametrize("name", TRAPS)
def test_a_look_alike_is_not_flagged(name: str) -> None:
    assert flagged(TRAPS[name]) == frozenset()


def test_factors_that_keep_each_other_at_zero_are_found() -> None:
    """The counterpart of LoRA: with both factors zero neither ever gets a gradient."""
    body = TRAPS["an adapter whose second factor is zero (LoRA)"].replace(
        "nn.init.zeros_(self.up.weight)", "nn.init.zeros_(self.up.weight); nn.init.zeros_(self.down.weight)"
    )
    assert {"NA206", "NA212"} & flagged(body) == {"NA212"}
