"""The published schemas are the truth: what every command writes fits, no key is left out of them, and each one is described."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from netaudit.cli import _run
from netaudit.finding import Report
from netaudit.report import FORMATS, Style
from netaudit.report.documents import KINDS, json_schema

SCHEMAS: Mapping[str, Any] = {kind: json.loads(json_schema(kind)) for kind in KINDS}

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, depth=7):
        super().__init__()
        self.body = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(6, 6), nn.Sigmoid())], nn.Dropout(0.1))
        self.head = nn.Linear(6, 3)  # netaudit: ignore[NA901] on purpose
    def forward(self, x):
        return self.head(x + self.body(x))

class Deep(Net):
    def forward(self, x):
        return self.head(self.body(x))  # netaudit: ignore[NA307] on purpose

def example_inputs(): return torch.randn(5, 6)
def loss(model, x): return model(x).logsumexp(1).mean()
def optimizer(model): return torch.optim.AdamW(model.parameters(), lr=3e-4)
"""


def validator(kind: str) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[kind])
    return jsonschema.Draft202012Validator(SCHEMAS[kind])


def objects(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of a schema that names its keys."""
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_described_and_no_other_is_allowed(kind: str) -> None:
    found = list(objects(SCHEMAS[kind]))
    assert found
    for one in found:
        assert one["additionalProperties"] is False, one["title"]
        assert one.get("description") or one is SCHEMAS[kind], one["title"]
        assert set(one["required"]) == set(one["properties"]), f"{one['title']}: every key is always written"
        for name, known in one["properties"].items():
            assert known.get("description"), f"{one['title']}.{name}"


WRITTEN = {
    "check": ("report", "check model.py -o json"),
    "check --probe": ("report", "check model.py:Deep --probe --no-downgrade -o json"),
    "probe": ("report", "probe model.py:Net --gains all --study all --samples 1 --draws 2 -o json"),
    "jsonl": ("jsonl", "check model.py -o jsonl"),
    "forecast": ("forecast", "forecast model.py:Deep --measure -o json"),
    "forecast --sweep": ("forecast", "forecast model.py:Net --sweep depth=1,2 -o json"),
    "forecast --verbose": ("forecast", "forecast model.py:Net --verbose -o json"),
    "certify": ("certificate", "certify model.py:Net --ball 0.1 --budget 0 -o json"),
    "certify several": ("certificate", "certify model.py --budget 0 -o json"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_command_writes_fits_its_schema(project: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert project.is_dir()
    kind, command = WRITTEN[name]
    assert _run(command.split()) in (0, 1)
    text = capsys.readouterr().out
    documents = [json.loads(line) for line in text.splitlines()] if kind == "jsonl" else [json.loads(text)]
    for document in documents:
        validator(kind).validate(document)


def test_the_file_of_a_baseline_fits_its_schema(project: Path) -> None:
    assert _run(["baseline", "create", "model.py"]) == 0
    found = json.loads((project / "netaudit-baseline.json").read_text(encoding="utf-8"))
    assert found["findings"]
    validator("baseline").validate(found)


def test_a_report_with_everything_in_it_fits(full_report: Report) -> None:
    validator("report").validate(json.loads(FORMATS["json"](full_report, Style())))
    for line in FORMATS["jsonl"](full_report, Style()).splitlines():
        validator("jsonl").validate(json.loads(line))


def test_a_key_that_is_not_published_is_refused(full_report: Report) -> None:
    """The schema is no rubber stamp: one key more, at any depth, does not fit."""
    report = json.loads(FORMATS["json"](full_report, Style()))
    report["targets"][0]["surprise"] = 1
    assert not validator("report").is_valid(report)


def test_the_report_holds_the_graph(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``via`` leads from every call that a gradient reaches to a head, over calls that take its value."""
    _run(["check", "model.py:Net", "-o", "json", "--exit-zero"])
    (target,) = json.loads(capsys.readouterr().out)["targets"]
    nodes = {node["id"]: node for node in target["nodes"]}
    assert target["heads"]
    for node in nodes.values():
        assert set(node["operands"]) <= set(nodes)
        if node["via"]:
            assert node["id"] in nodes[node["via"]]["operands"]
            assert 0.0 <= node["share"] <= 1.0
        else:
            assert node["id"] in target["heads"]
    shared = [node for node in nodes.values() if sum(node["id"] in other["operands"] for other in nodes.values()) > 1]
    assert all(node["share"] < 1.0 for node in shared)
    assert all(node["gradient_rms"]["error"] >= 0.3 for node in nodes.values() if node["gradient_rms"]["status"] == "forecast")


def test_a_kind_that_does_not_exist_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["schema", "forcast"]) == 2
    assert "did you mean 'forecast'" in capsys.readouterr().err
