"""What is no number is a word in the text and in the JSON of a probe, whatever was measured."""

from __future__ import annotations

import json
from math import inf, nan

import jsonschema
import pytest
import torch
from torch import Tensor, nn

from netaudit.audit import Settings, audit_subject
from netaudit.finding import Report, TargetReport
from netaudit.intake.subject import Subject
from netaudit.pack import installed
from netaudit.probe import Plan, Probing
from netaudit.probe.studies import STUDIES
from netaudit.report.documents import json_schema
from netaudit.report.json import render
from netaudit.report.numbers import cell
from netaudit.report.probe import text
from netaudit.report.style import Style


class Overflowing(nn.Module):
    """1e60 is infinite in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lin(x * 1e30 * 1e30)
        return y.tanh()


@pytest.fixture(scope="module")
def probed() -> TargetReport:
    x = torch.ones(2, 4)
    probing = Probing("cpu", climb="all", studies=tuple(STUDIES), plan=Plan(samples=2))
    return audit_subject(Subject("t", Overflowing(), (x,), {}, x, "test"), installed(), Settings(probe=probing, raise_internal=True))


def _strict(document: str) -> object:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(document, parse_constant=refuse)


def test_a_probe_of_a_model_that_overflows_is_json_by_its_schema(probed: TargetReport) -> None:
    document = _strict(render(Report((probed,), "0", "0", ()), Style()))
    jsonschema.validate(document, json.loads(json_schema()))
    (target,) = document["targets"]  # type: ignore[index]  # JSON
    studies = {study["name"]: study for study in target["probe"]["studies"]}
    assert studies.keys() == STUDIES.keys()
    assert studies["curvature"]["columns"] == ["not measured"]
    (row,) = studies["modes"]["rows"]
    assert row == ["0", "not finite", "not finite", "not finite"]
    assert any(gain["typical"] is None for node in target["nodes"] for gain in node["measured"]["gains"].values())


def test_a_probe_of_a_model_that_overflows_reads_as_words(probed: TargetReport) -> None:
    shown = text(probed, full=True)
    assert "not finite" in shown
    assert "nan" not in shown.lower().split()
    assert " inf" not in shown


def test_modes_that_agree_exactly_have_a_difference_of_zero() -> None:
    x = torch.ones(2, 4)
    subject = Subject("t", nn.Linear(4, 4), (x,), {}, x, "test")
    report = audit_subject(subject, installed(), Settings(probe=Probing("cpu", studies=("modes",)), raise_internal=True))
    document = _strict(render(Report((report,), "0", "0", ()), Style()))
    assert document["targets"][0]["probe"]["studies"][0]["rows"][0][3] == "zero"  # type: ignore[index]  # JSON


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("log10 RMS", -inf, "zero"),
        ("degree", -inf, "-infinite"),
        ("log10 RMS", inf, "infinite"),
        ("gain", nan, "not finite"),
        ("gain", 1.23456789, 1.23457),
        ("gain", None, None),
        ("largest >=", 1.99999999, 1.99999),
        ("proved <=", 1.00000001, 1.00001),
        ("proved <=", -1.00000001, -1.0),
        ("lambda min <=", -0.0, 0.0),
        ("input", "x", "x"),
    ],
)
def test_a_cell_is_a_number_or_a_word(column: str, value: float | None, shown: object) -> None:
    assert cell(column, value) == shown
