"""The scores of the fault benchmark, on answers made up for it; and that a model that hangs or dies has none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from netaudit.pack import Catalog


def loaded(name: str) -> ModuleType:
    """A benchmark as a module, under a name that the answers of its processes can be read by."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCH: Any = loaded("bench_faults")
Found, Answer, Label, Scored = BENCH.Found, BENCH.Answer, BENCH.Label, BENCH.Scored


def label(kind: str, *culprits: str) -> Any:
    return Label(kind, "slug", "category", culprits, "model")


def found(*said: tuple[str, str, str]) -> Any:
    return Answer(tuple(Found(severity, path, rule, "") for severity, path, rule in said))


LABELS = {
    "placed": label("fault", "body"),
    "elsewhere": label("fault", "body"),
    "in_both": label("fault"),
    "missed": label("fault", "head"),
    "well": label("healthy"),
    "alarmed": label("healthy"),
    "smell": label("advisory"),
}
CASES = {
    "placed": found(("error", "net.body.0", "NA201")),
    "elsewhere": found(("warning", "antibody", "NA201")),
    "in_both": found(("warning", "", "NA301")),
    "missed": found(("info", "head", "NA105")),
    "well": found(("info", "", "NA101")),
    "alarmed": found(("warning", "", "NA301")),
    "smell": found(("info", "", "NA101")),
}
FIXED = {
    "placed": found(),
    "elsewhere": found(("info", "", "NA101")),
    "in_both": found(("error", "", "NA301")),
    "missed": Answer(failed="hangs"),
}


def test_every_score_is_what_its_definition_says() -> None:
    scored = Scored(LABELS, frozenset(FIXED), {"cases": CASES, "fixed": FIXED}, "warning")
    assert {name: (part, whole) for name, part, whole in scored.rows()} == {
        "recall on faults": (3, 4),
        "minimal pairs": (2, 4),
        "localised": (1, 3),
        "false alarms, healthy": (1, 2),
        "false alarms, repaired twins": (1, 4),
        "advisory, any severity": (1, 1),
        "advisory, warning or above": (0, 1),
        "no answer": (1, 11),
        "not wholly checked": (0, 11),
    }
    printed = "\n".join(BENCH.tables(scored))
    for words in ("| missed ", "| alarmed ", "| elsewhere ", "i NA105 head", "| in_both "):
        assert words in printed


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ("while True: pass", "not done after 0.5 seconds"),
        ("import os; os._exit(9)", "the process ended without an answer"),
        ("raise ValueError('no')", "importing {path} failed at {path}:1: ValueError: no"),
    ],
    ids=["hangs", "dies", "raises"],
)
def test_a_model_that_ends_badly_has_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, failed: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.py").write_text(body, encoding="utf-8")
    limit = 0.5 if "while" in body else 60.0
    assert BENCH.answer(tmp_path / "case.py", Catalog(), limit).failed == failed.format(path="case.py")
