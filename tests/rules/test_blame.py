"""Where vanishing and exploding gradients are put down to: the run of calls that makes them so, backward or forward."""

from __future__ import annotations

import textwrap

import pytest

from netaudit.audit import Settings, audit_subject
from netaudit.finding import Finding
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import installed

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def example_inputs():
    return torch.randn(32, 64)

def loss(model, inputs):
    return F.cross_entropy(model(inputs), torch.arange(32) % 10)

class Net(nn.Module):
    def __init__(self, blocks, between=lambda x: x):
        super().__init__()
        self.stem, self.blocks, self.head = nn.Linear(64, 64), nn.ModuleList(blocks), nn.Linear(64, 10)
        self.between = between

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = self.between(block(x))
        return self.head(x)

def init(layers, std):
    for layer in layers:
        nn.init.normal_(layer.weight, std=std)
    return layers
"""

CASES = {
    "a plain stack of sigmoids": (
        """
        def build():
            return Net([nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(12)])
        """,
        "NA201", "blocks", "multiply the gradient on its way back",
    ),
    "sigmoids called by the model itself": (
        """
        def build():
            return Net([nn.Linear(64, 64) for _ in range(12)], torch.sigmoid)
        """,
        "NA201", "blocks", "multiply the gradient on its way back",
    ),
    "one layer that is far too small": (
        """
        def build():
            model = Net([nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(4)])
            nn.init.normal_(model.blocks[2][0].weight, std=1e-8)
            return model
        """,
        "NA201", "blocks.2.0", "`blocks.2.0` multiplies the gradient on its way back",
    ),
    "residual blocks that double the stream in front of a head": (
        """
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.fc = nn.LayerNorm(64), nn.Linear(64, 64)

            def forward(self, x):
                return x + x + F.relu(self.fc(self.norm(x)))

        def build():
            return Net([Block() for _ in range(20)])
        """,
        "NA301", "blocks", "multiply the",
    ),
    "a stream that the model itself doubles": (
        """
        class Doubling(Net):
            def forward(self, x):
                x = self.stem(x)
                for block in self.blocks:
                    x = x + x + F.relu(block(F.layer_norm(x, (64,))))
                return self.head(x)

        def build():
            return Doubling([nn.Linear(64, 64) for _ in range(20)])
        """,
        "NA301", "blocks", "`add` at ",
    ),
    "an embedding that is far too large": (
        """
        class Text(nn.Module):
            def __init__(self):
                super().__init__()
                self.table, self.head = nn.Embedding(50, 64), nn.Linear(64, 10)
                nn.init.normal_(self.table.weight, std=1e3)

            def forward(self, ids):
                return self.head(self.table(ids))

        def build():
            return Text()

        def example_inputs():
            return torch.arange(32)
        """,
        "NA301", "table", "the weight's own RMS is 1.01e+03",
    ),
    "weights that are far too large, forward and back": (
        """
        def build():
            return Net(init([nn.Linear(64, 64) for _ in range(10)], 0.7), torch.relu)
        """,
        "NA301", "blocks", "by",
    ),
    "targets that no head can meet": (
        """
        def build():
            return Net([nn.Linear(64, 64)], torch.relu)

        def loss(model, inputs):
            return F.mse_loss(model(inputs), torch.full((32, 10), 1e5))
        """,
        "NA301", "head", "`mse_loss`",
    ),
}  # fmt: skip


def findings(body: str, folder: object) -> list[Finding]:
    path = folder / "model.py"  # type: ignore[operator]  # pytest's tmp_path
    path.write_text(HEADER + textwrap.dedent(body))
    return [f for subject in load(str(path), Options()) for f in audit_subject(subject, installed(), Settings()).findings]


@pytest.mark.parametrize("name", CASES)
def test_blame_goes_to_what_makes_the_gradient_so(name: str, tmp_path: object) -> None:
    body, code, module, words = CASES[name]
    found = [f for f in findings(body, tmp_path) if f.code == code]
    assert [f.module for f in found] == [module]
    assert words in found[0].reason
