"""What published models do on purpose, each beside a twin in which the same sign is a fault."""

from __future__ import annotations

import textwrap

import pytest

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def example_inputs():
    torch.manual_seed(1)
    return torch.randn(8, 12, 16)

def loss(model, x):
    y = model(x)
    return F.cross_entropy(y, torch.arange(8) % y.shape[1])
"""


def severities(code: str, source: str) -> list[tuple[str, str]]:
    """Severity and key of what a check finds."""
    return [(f.severity, f.key) for f in findings(HEADER + textwrap.dedent(source)) if f.code == code]


# a class token ----------------------------------------------------------------------------------------------------------

TOKEN = """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.local = nn.Linear(16, 16)

    def forward(self, x):
        q = torch.cat((self.q(x[:, :1]), self.local(x[:, 1:])), 1)
        return torch.softmax(q @ self.k(x).transpose(1, 2) / 4, -1) @ self.v(x)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = Attention(), nn.Linear(16, 4)

    def forward(self, x):
        return self.head({read})

def build():
    torch.manual_seed(0)
    return Model()
"""


def test_queries_of_tokens_that_are_not_read_are_a_note() -> None:
    """The gradient of `local` is exactly zero, and the model is none the worse for it."""
    assert severities("NA201", TOKEN.format(read="self.attention(x)[:, 0]")) == [("info", "unread")]


def test_they_get_a_gradient_where_all_tokens_are_read() -> None:
    assert severities("NA201", TOKEN.format(read="self.attention(x).mean(1)")) == []


DEAD = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(16, 16), nn.Linear(16, 4)
        nn.init.constant_(self.body.bias, -1e4)

    def forward(self, x):
        return self.head(torch.relu(self.body(x))[:, 0])

def build():
    torch.manual_seed(0)
    return Model()
"""


def test_a_zero_that_an_activation_makes_in_front_of_the_slice_is_none() -> None:
    assert ("info", "unread") not in severities("NA201", DEAD)


# rows of zeros in front of a normalisation ------------------------------------------------------------------------------

ZERO_TOKEN = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.{start})
        self.norm, self.mix, self.head = nn.LayerNorm(16, eps=1e-16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        x = torch.cat((self.token.expand(8, -1, -1), x), 1)
        return self.head((x + self.mix(self.norm(x)))[:, 0])

def build():
    torch.manual_seed(0)
    return Model()
"""


def test_a_token_of_zeros_is_judged_once_it_has_moved() -> None:
    assert severities("NA301", ZERO_TOKEN.format(start="zeros(1, 1, 16)")) == []


# state space models -----------------------------------------------------------------------------------------------------

DECAY = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        sums = torch.cumsum({rate}, 1)
        return self.head((torch.exp({left}) * x).mean(1))

def build():
    torch.manual_seed(0)
    return Model()
"""
FALLING, ANY = "-8 * F.softplus(self.rate(x))", "8 * self.rate(x)"


@pytest.mark.parametrize("left", ["sums[:, -1:] - sums", "sums[:, -1].unsqueeze(1) - sums"])
def test_what_is_left_of_a_falling_sum_is_bounded(left: str) -> None:
    assert severities("NA108", DECAY.format(rate=FALLING, left=left)) == []


@pytest.mark.parametrize(
    ("rate", "left"), [(FALLING, "sums - sums[:, -1:]"), (FALLING, "sums[:, :1] - sums"), (ANY, "sums[:, -1:] - sums")]
)
def test_other_differences_of_sums_are_not(rate: str, left: str) -> None:
    assert severities("NA108", DECAY.format(rate=rate, left=left)) != []


# attention to positions -------------------------------------------------------------------------------------------------

POSITIONS = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.place, self.value, self.head = nn.Parameter(40 * torch.randn(12, 12)), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head((torch.softmax({logits}, -1) @ self.value(x)).mean(1))

def build():
    torch.manual_seed(0)
    return Model()
"""


def test_a_sharp_pattern_of_positions_is_a_note() -> None:
    assert severities("NA307", POSITIONS.format(logits="self.place")) == [("info", "sharp")]


def test_sharp_logits_that_depend_on_the_input_are_not() -> None:
    assert severities("NA307", POSITIONS.format(logits="self.place @ x[:, :, :12]")) == [("warning", "saturated")]


# inputs and losses that are broken --------------------------------------------------------------------------------------

LINEAR = """
def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4){cast})

def example_inputs():
    x = torch.randn(8, 12, 16)
    x[0, 0, 0] = {value}
    return x{inputs}
"""


@pytest.mark.parametrize(("value", "found"), [("float('nan')", True), ("float('inf')", False), ("0.0", False)])
def test_nan_in_the_example_is_said(value: str, found: bool) -> None:
    assert bool(severities("NA004", LINEAR.format(cast="", value=value, inputs=""))) == found


def test_nan_that_the_model_replaces_is_not() -> None:
    replacing = """
    class Replacing(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            return self.head(torch.nan_to_num(x).mean(1))

    def build():
        return Replacing()

    def example_inputs():
        x = torch.randn(8, 12, 16)
        x[0, 0, 0] = float("nan")
        return x
    """
    assert severities("NA004", replacing) == []


@pytest.mark.parametrize(
    ("cast", "inputs", "found"), [("", ".double()", True), (").double(", "", True), ("", "", False), (").double(", ".double()", False)]
)
def test_a_product_of_two_dtypes_is_said(cast: str, inputs: str, found: bool) -> None:
    assert bool(severities("NA005", LINEAR.format(cast=cast, value="0.0", inputs=inputs))) == found


AUTOCAST = """
class Cast(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 4)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.head(torch.relu(x.flatten(1).bfloat16()))

def build():
    return Cast()
"""


def test_autocast_casts_by_itself() -> None:
    assert severities("NA005", AUTOCAST) == []
