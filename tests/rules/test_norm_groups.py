"""NA205 and NA411: how many entries share one mean and variance."""

from __future__ import annotations

import pytest

from netaudit.testing import findings

HEADER = """
import torch
from torch import nn
from torch.nn import functional as F

def loss(model, x):
    return model(x).square().mean()

"""


def severities(code: str, body: str, shape: str, *, given: bool = True) -> list[str]:
    inputs = f"def example_inputs():\n    return torch.randn({shape})\n" if given else ""
    source = f"{HEADER}{inputs}\ndef build():\n    return nn.Sequential({body})\n"
    return sorted(f.severity for f in findings(source) if f.code == code)


@pytest.mark.parametrize(
    ("body", "shape", "expected"),
    [
        ("nn.Linear(8, 1), nn.LayerNorm(1), nn.Linear(1, 4)", "8, 8", ["error"]),
        ("nn.Linear(8, 2), nn.LayerNorm(2), nn.Linear(2, 4)", "8, 8", ["warning"]),
        ("nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, 4)", "8, 8", ["info"]),
        ("nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4)", "8, 8", []),
        ("nn.Linear(8, 1), nn.RMSNorm(1), nn.Linear(1, 4)", "8, 8", ["error"]),
        ("nn.Linear(8, 2), nn.RMSNorm(2), nn.Linear(2, 4)", "8, 8", ["info"]),
        ("nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(8, 8), nn.Conv2d(8, 4, 1)", "8, 3, 8, 8", ["error"]),
        ("nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(4, 8), nn.Conv2d(8, 4, 1)", "8, 3, 8, 8", ["warning"]),
        ("nn.Conv2d(3, 8, 3), nn.GroupNorm(8, 8), nn.Conv2d(8, 4, 1)", "8, 3, 8, 8", []),
        ("nn.Conv2d(3, 8, 3, 2), nn.InstanceNorm2d(8), nn.Conv2d(8, 4, 1)", "8, 3, 4, 5", ["warning"]),
        ("nn.BatchNorm1d(8), nn.Linear(8, 4)", "2, 8", []),
    ],
)
def test_groups_by_layer(body: str, shape: str, expected: list[str]) -> None:
    assert severities("NA205", body, shape) == expected


def test_the_power_iteration_of_a_spectral_norm_is_not_meant() -> None:
    assert severities("NA205", "nn.utils.parametrizations.spectral_norm(nn.Linear(8, 1)), nn.Linear(1, 4)", "8, 8") == []


def test_a_norm_that_passes_nothing_does_not_hold_zeros_together() -> None:
    body = "nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(8, 8), nn.Conv2d(8, 4, 1)"
    assert severities("NA212", body, "8, 3, 8, 8") == []
    assert severities("NA206", body, "8, 3, 8, 8") == ["error"]


def test_a_length_over_one_entry_is_its_sign() -> None:
    source = (
        HEADER
        + """
class Unit(nn.Module):
    def forward(self, x):
        return F.normalize(x, dim=1)

def build():
    return nn.Sequential(nn.Linear(8, {n}), Unit(), nn.Linear({n}, 4))

def example_inputs():
    return torch.randn(8, 8)
"""
    )
    assert [f.severity for f in findings(source.replace("{n}", "1")) if f.code == "NA205"] == ["error"]
    assert [f.severity for f in findings(source.replace("{n}", "2")) if f.code == "NA205"] == []


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(2, ["error"]), (3, ["warning"]), (4, ["warning"]), (8, ["info"]), (16, []), (32, [])],
)
def test_batch_norm_by_batch(batch: int, expected: list[str]) -> None:
    assert severities("NA411", "nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)", f"{batch}, 8") == expected


def test_positions_count_as_well() -> None:
    assert severities("NA411", "nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)", "2, 3, 8, 8") == []


def test_running_statistics_are_no_estimate() -> None:
    assert severities("NA411", "nn.Linear(8, 8), Frozen(8), nn.Linear(8, 4)".replace("Frozen(8)", "nn.BatchNorm1d(8)"), "3, 8") == [
        "warning"
    ]
    source = (
        HEADER
        + """
class Frozen(nn.BatchNorm1d):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False)

def build():
    return nn.Sequential(nn.Linear(8, 8), Frozen(8), nn.Linear(8, 4))

def example_inputs():
    return torch.randn(3, 8)
"""
    )
    assert "NA411" not in {f.code for f in findings(source)}
