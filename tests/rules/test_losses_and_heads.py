"""NA213, NA431, NA433, NA434: what a loss gets from the model and from the labels."""

from __future__ import annotations

import textwrap

import pytest

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def example_inputs():
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(0))

def net(out, *last):
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, out), *last)

"""


def found(code: str, build: str, loss: str) -> list[str]:
    """The severities of a code's findings on a model, given by its last layers, under a loss of ``p`` and ``x``."""
    text = f"def build():\n    return {build}\n\ndef loss(model, x):\n    p = model(x)\n{textwrap.indent(loss, '    ')}\n"
    return sorted(f.severity for f in findings(HEADER + text) if f.code == code)


@pytest.mark.parametrize(
    "loss",
    [
        "return F.mse_loss(p, x[:, 0])",
        "return F.smooth_l1_loss(x[:, 0], p)",
        "return ((p - x[:, 0]) ** 2).mean()",
        "return (x[:, 0] - p).abs().mean()",
        "return F.mse_loss(p.squeeze(1), x[:, :1])",
        "return ((p.squeeze(1) - x[:, 0].reshape(-1, 1)) ** 2).mean()",
        "return F.relu(1 - x[:, 0].sign() * p).mean()",
        "return F.mse_loss(p.reshape(8, 1, 4), x[:, 0].reshape(8, 4))",
    ],
)
def test_two_sided_broadcasting_is_an_error(loss: str) -> None:
    assert found("NA431", "net(1)", loss) == ["error"]


@pytest.mark.parametrize(
    ("out", "loss"),
    [
        (1, "return F.mse_loss(p, x[:, :1])"),
        (1, "return F.mse_loss(p.squeeze(1), x[:, 0])"),
        (1, "return ((p.unsqueeze(1) - x[:, :1]) ** 2).mean()"),
        (4, "return ((p[:, None] - p) ** 2).mean()"),
        (4, "return ((p.unsqueeze(1) - x[:, :4]) ** 2).amin(1).mean()"),
        (1, "return ((p[:, None, 0] - p[:, 0]) ** 2).mean()"),
        (4, "return F.mse_loss(p, x[:, :4].mean())"),
        (4, "return ((p - x[:, :4].mean(0)) ** 2).mean()"),
        (4, "return ((p - x[:, :1]) ** 2).mean()"),
        (1, "return (p - 1.0).square().mean()"),
    ],
)
def test_one_sided_or_deliberate_broadcasting_is_not(out: int, loss: str) -> None:
    assert found("NA431", f"net({out})", loss) == []


def test_a_difference_inside_the_model_is_not_a_loss() -> None:
    text = """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.f, self.head = nn.Linear(16, 1), nn.Linear(32, 4)

            def forward(self, x):
                return self.head((self.f(x) - x[:, 0]).tanh())

        def build():
            return Model()

        def loss(model, x):
            return F.cross_entropy(model(x), torch.arange(32) % 4)
    """
    assert "NA431" not in {f.code for f in findings(HEADER + textwrap.dedent(text))}


BCE = "F.binary_cross_entropy_with_logits(p, (x[:, :1] > 0).float())"


@pytest.mark.parametrize(
    ("build", "loss", "severities"),
    [
        ("net(1, nn.Sigmoid())", f"return {BCE}", ["error"]),
        ("net(1, nn.Tanh())", f"return {BCE}", ["error"]),
        ("net(1, nn.Sigmoid(), nn.Sigmoid())", "return F.binary_cross_entropy(p, (x[:, :1] > 0).float())", ["warning"]),
        ("net(4, nn.Softmax(1))", "return F.nll_loss(F.log_softmax(p, 1), torch.arange(32) % 4)", ["error"]),
        ("net(4, nn.LogSoftmax(1))", "return F.nll_loss(F.log_softmax(p, 1), torch.arange(32) % 4)", []),
        ("net(1)", f"return {BCE}", []),
        ("net(1, nn.Sigmoid())", "return F.binary_cross_entropy_with_logits(8 * p - 4, (x[:, :1] > 0).float())", []),
        ("nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())", "return p.mean()", []),
    ],
)
def test_squashes_in_a_row(build: str, loss: str, severities: list[str]) -> None:
    assert found("NA213", build, loss) == severities


def test_weights_of_attention_over_bounded_scores_are_a_note() -> None:
    text = """
        class Pool(nn.Module):
            def __init__(self):
                super().__init__()
                self.score, self.head = nn.Linear(4, 1), nn.Linear(4, 4)

            def forward(self, x):
                x = x.view(32, 4, 4)
                return self.head((torch.softmax(torch.tanh(self.score(x)), 1) * x).sum(1))

        def build():
            return Pool()
    """
    assert [f.severity for f in findings(HEADER + textwrap.dedent(text)) if f.code == "NA213"] == ["info"]


LABELS = "torch.arange(32) % 4"


@pytest.mark.parametrize(
    ("build", "loss"),
    [
        ("net(1)", "return F.cross_entropy(p, torch.zeros(32, dtype=torch.long))"),
        ("net(3)", f"return F.cross_entropy(p, {LABELS})"),
        ("net(4)", f"return F.cross_entropy(p, {LABELS} - 1)"),
        ("net(4)", f"return F.nll_loss(p, {LABELS})"),
        ("net(4, nn.Softmax(1))", f"return F.nll_loss(p, {LABELS})"),
        ("net(4, nn.LogSoftmax(0))", f"return F.nll_loss(p, {LABELS})"),
        ("net(1)", "return F.binary_cross_entropy(p, (x[:, :1] > 0).float())"),
        ("net(1)", "return F.binary_cross_entropy_with_logits(p, (x[:, :1] > 0).float() * 2 - 1)"),
        ("net(4)", "return F.kl_div(p, F.softmax(x[:, :4], 1), reduction='batchmean')"),
        ("net(4, nn.Softmax(1))", "return F.kl_div(p, F.softmax(x[:, :4], 1), reduction='batchmean')"),
        ("net(4, nn.LogSoftmax(1))", "return F.kl_div(p, F.log_softmax(x[:, :4], 1), reduction='batchmean')"),
        ("net(1)", "return F.soft_margin_loss(p, (x[:, :1] > 0).float())"),
    ],
)
def test_a_loss_that_gets_the_wrong_kind_is_an_error(build: str, loss: str) -> None:
    assert found("NA433", build, loss) == ["error"]


@pytest.mark.parametrize(
    ("build", "loss"),
    [
        ("net(4)", f"return F.cross_entropy(p, {LABELS})"),
        ("net(4)", f"return F.cross_entropy(p, torch.where(torch.arange(32) < 4, -100, {LABELS}))"),
        ("net(4)", f"return F.nll_loss(torch.log(F.softmax(p, 1) + 1e-6), {LABELS})"),
        ("net(4)", f"return F.nll_loss(p - p.logsumexp(1, keepdim=True), {LABELS})"),
        ("net(1, nn.Sigmoid())", "return F.binary_cross_entropy(p, (x[:, :1] > 0).float())"),
        ("net(1)", "return F.binary_cross_entropy(torch.exp(-p ** 2), (x[:, :1] > 0).float())"),
        ("net(1)", f"return {BCE}"),
        ("net(1)", "return F.soft_margin_loss(p, x[:, :1].sign())"),
        ("net(4, nn.LogSoftmax(1))", "return F.kl_div(p, F.softmax(x[:, :4], 1), reduction='batchmean')"),
        ("net(4, nn.LogSoftmax(-1))", f"return F.nll_loss(p.view(8, 4, 4).transpose(1, 2), ({LABELS}).view(8, 4))"),
    ],
)
def test_a_loss_that_gets_its_kind_is_not_flagged(build: str, loss: str) -> None:
    assert found("NA433", build, loss) == []


def test_scores_that_are_never_negative() -> None:
    assert found("NA433", "net(1, nn.ReLU())", f"return {BCE}") == ["warning"]
    assert found("NA433", "net(4, nn.ReLU())", f"return F.cross_entropy(p, {LABELS})") == ["info"]  # as SqueezeNet does


@pytest.mark.parametrize(
    ("build", "target", "severities"),
    [
        ("net(1, nn.Sigmoid())", "255 * torch.sigmoid(x[:, :1])", ["error"]),
        ("net(1, nn.Sigmoid())", "x[:, :1]", ["error"]),
        ("net(1, nn.ReLU())", "x[:, :1]", ["error"]),
        ("net(1, nn.Tanh())", "2 * x[:, :1]", ["warning"]),
        ("net(1, nn.Tanh())", "x[:, :1]", ["info"]),
        ("net(1, nn.Sigmoid())", "torch.sigmoid(x[:, :1])", []),
        ("net(1, nn.Tanh())", "torch.sin(x[:, :1])", []),
        ("net(1)", "1000 * x[:, :1]", []),
        ("net(1, nn.ReLU())", "x[:, :1].abs()", []),
    ],
)
def test_targets_are_held_against_the_proved_range(build: str, target: str, severities: list[str]) -> None:
    assert found("NA434", build, f"return F.mse_loss(p, {target})") == severities
    assert found("NA434", build, f"return ((p - {target}) ** 2).mean()") == severities


def test_an_input_as_target_is_seen() -> None:
    assert found("NA434", "net(16, nn.Sigmoid())", "return F.mse_loss(p, x)") == ["error"]


def test_a_range_that_only_the_weights_of_the_moment_give_is_no_limit() -> None:
    """Behind a bounded activation a linear layer is bounded for now; training moves that bound."""
    build = "nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))"
    assert found("NA434", build, "return F.mse_loss(p, 100 * x[:, :1])") == []


def test_a_scaled_sigmoid_reaches_further() -> None:
    assert found("NA434", "net(1, nn.Sigmoid())", "return F.mse_loss(2 * p - 1, torch.sin(x[:, :1]))") == []
    assert found("NA434", "net(1, nn.Sigmoid())", "return F.mse_loss(2 * p - 1, 5 * torch.sin(x[:, :1]))") == ["error"]
