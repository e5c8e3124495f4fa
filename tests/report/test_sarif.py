"""What a SARIF log says of each finding. That it is valid is tested with all formats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from netaudit.finding import Evidence, Finding, Report, Step, TargetReport
from netaudit.report import FORMATS, Style


@pytest.fixture
def runs(full_report: Report) -> list[dict[str, Any]]:
    return log(full_report)


def log(report: Report, *, quiet: bool = False) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FORMATS["sarif"](report, Style(quiet=quiet)))["runs"]
    return found


def place(location: dict[str, Any]) -> tuple[str, int | None]:
    physical = location["physicalLocation"]
    return physical["artifactLocation"]["uri"], physical.get("region", {}).get("startLine")


def test_a_target_is_a_run_with_its_own_id(runs: list[dict[str, Any]]) -> None:
    ids = [run["automationDetails"]["id"] for run in runs]
    assert ids == ["netaudit/models/net.py/", "netaudit/models/lost.py/", "netaudit/timm:vit_tiny/"]


def test_a_finding_is_where_its_module_is_built_and_called(runs: list[dict[str, Any]]) -> None:
    result = runs[0]["results"][0]
    assert place(result["locations"][0]) == ("models/net.py", 14)
    assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "body"
    assert [(place(related), related["message"]["text"]) for related in result["relatedLocations"]] == [
        (("models/net.py", 18), "called here")
    ]


def test_without_a_line_there_is_a_file_and_no_region(runs: list[dict[str, Any]]) -> None:
    assert place(runs[0]["results"][2]["locations"][0]) == ("models/net.py", None)
    assert place(runs[1]["results"][0]["locations"][0]) == ("models/lost.py", None)
    assert place({"physicalLocation": {"artifactLocation": runs[2]["artifacts"][0]["location"]}}) == ("timm%3Avit_tiny", None)


def test_the_path_of_the_gradient_leads_back_to_the_finding(runs: list[dict[str, Any]]) -> None:
    """Each step where its module is built; ``body.0`` has no node, and of two calls without a module the op tells which is meant."""
    (flow,) = runs[0]["results"][0]["codeFlows"]
    steps = [step["location"] for step in flow["threadFlows"][0]["locations"]]
    assert [place(step) for step in steps] == [("models/net.py", 25), ("models/net.py", None), ("models/net.py", 13)]
    assert [step["message"]["text"] for step in steps] == [
        "aten.cross_entropy_loss: proved <= 1 · forecast 1",
        "body.0: forecast 0.063",
        "stem: proved <= 2.7e-08 · forecast 4.3e-12",
    ]


def test_a_long_path_is_cut_in_the_middle_and_says_so() -> None:
    path = tuple(Step(f"b{i}", f"b{i}", None, 0.0) for i in range(1200))
    one = TargetReport("a.py", findings=(Finding("NA201", "n", "error", "m", "a.py", path=path),))
    (flow,) = log(Report((one,), "0", "0", ()))[0]["results"][0]["codeFlows"]
    steps = flow["threadFlows"][0]["locations"]
    assert len(steps) == 1000
    assert (steps[0]["location"]["message"]["text"], steps[-1]["location"]["message"]["text"]) == ("b1199: forecast 1", "b0: forecast 1")
    assert "200 blocks in the middle are left out" in flow["message"]["text"]


def test_the_kind_of_evidence_is_the_precision(runs: list[dict[str, Any]]) -> None:
    found = {result["ruleId"]: result["properties"] for result in runs[0]["results"]}
    assert (found["NA201"]["evidence"], found["NA201"]["precision"]) == ("forecast", "medium")  # the bound is above the limit
    assert (found["NA105"]["evidence"], found["NA105"]["precision"]) == ("proved", "very-high")
    assert found["NA999"]["evidence"] == "none"
    assert "precision" not in found["NA999"]


def test_a_rule_is_as_precise_as_its_least_certain_finding() -> None:
    kinds = (Evidence(proved=-9.0), Evidence(measured=-9.0), Evidence(forecast=-9.0))
    for count, precision in enumerate(("very-high", "high", "medium"), 1):
        found = tuple(Finding("NA201", "n", "error", "m", "a.py", evidence=kind) for kind in kinds[:count])
        (rule,) = log(Report((TargetReport("a.py", findings=found),), "0", "0", ()))[0]["tool"]["driver"]["rules"]
        assert rule["properties"]["precision"] == precision


def test_a_rule_brings_its_text(runs: list[dict[str, Any]]) -> None:
    rules = {rule["id"]: rule for rule in runs[0]["tool"]["driver"]["rules"]}
    assert rules["NA201"]["help"]["markdown"].startswith("# NA201 vanishing-gradient\n")
    assert "## Why" in rules["NA201"]["help"]["markdown"]
    assert rules["NA999"]["name"] == "of-another-pack"


def test_what_is_suppressed_says_by_what(full_report: Report) -> None:
    first = log(full_report)[0]["results"]
    comment, override = (result["suppressions"][0] for result in first if "suppressions" in result)
    assert (comment["kind"], comment["justification"], place(comment["location"])) == (
        "inSource", "teacher is frozen", ("models/net.py", 14),
    )  # fmt: skip
    assert (override["kind"], override["justification"]) == ("external", "override body.*")
    assert not [result for result in log(full_report, quiet=True)[0]["results"] if "suppressions" in result]


def test_the_baseline_is_said_of_all_results_or_of_none(full_report: Report, runs: list[dict[str, Any]]) -> None:
    assert {result["baselineState"] for result in runs[0]["results"]} == {"unchanged"}
    target = full_report.targets[0]
    states = ("new", "worse", "unchanged")
    compared = tuple(replace(f, baseline=state) for f, state in zip(target.findings, states, strict=True))  # type: ignore[arg-type]
    (run,) = log(Report((replace(target, findings=compared),), "0", "0", ()))
    assert [result["baselineState"] for result in run["results"]][:3] == ["new", "updated", "unchanged"]
    assert "baselineState" not in runs[1]["results"][0]
    (quiet,) = log(Report((replace(target, findings=compared),), "0", "0", ()), quiet=True)
    assert [result["baselineState"] for result in quiet["results"]] == ["new", "updated"], "GitHub would show what is accepted as open"


def test_the_only_fingerprint_is_our_own(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        for result in run["results"]:
            assert list(result["partialFingerprints"]) == ["netauditFinding/v1"]


def test_what_was_not_checked_fails_the_invocation(runs: list[dict[str, Any]]) -> None:
    invocations = [run["invocations"][0] for run in runs]
    assert [one["executionSuccessful"] for one in invocations] == [True, False, False]
    said = [(n["level"], n["message"]["text"]) for one in invocations for n in one["toolExecutionNotifications"]]
    assert said == [
        ("note", "models/net.py: inputs: a guess"),
        ("error", "models/lost.py: the model was not traced: RuntimeError: boom"),
        (
            "error",
            "timm:vit_tiny: no transfer for aten.mystery (2); no forecast for 1 parameters, whose gradients no rule has judged"
            " (--min-coverage 1)",
        ),
        ("note", "timm:vit_tiny: one path only"),
    ]
    assert "nowhere" in invocations[0]["toolConfigurationNotifications"][0]["message"]["text"]
