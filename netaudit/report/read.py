"""JSON reports read back, as far as they hold what a report does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, nan
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from netaudit.diff import load
from netaudit.errors import ConfigError
from netaudit.finding import (
    NOT_MEASURED,
    Coverage,
    Evidence,
    Finding,
    Magnitude,
    NodeRow,
    ParamRow,
    Remedy,
    Report,
    Since,
    Step,
    Suppressed,
    TargetReport,
)
from netaudit.graph import Site, Where
from netaudit.measured import Calibration, Claim, Gain, Measured, NodeMeasured, ParamMeasured, Spread, Study
from netaudit.training import Group, Optimizer, Training

from .json import KINDS
from .schema import SCHEMA_VERSION, ReportModel

Row: TypeAlias = Mapping[str, Any]
SHOWN = 3
"""Faults of a file that are told."""
LACKS = (
    "read from JSON, which holds no timings, no classes of modules, of optimisers the learning rates only, of what is suppressed "
    "message and place only"
)
"""What a report that was read does not hold, though it may have been known when it was made."""


def read(path: Path) -> Report:
    """The report in a file.

    Raises:
        ConfigError: it is not there, is no JSON report, is one of another version, or is not whole.
    """
    data = load(path)
    version = data["schema_version"]
    if version != SCHEMA_VERSION:
        made = data.get("tool", {}).get("version", "another version") if isinstance(data.get("tool"), dict) else "another version"
        hint = f"netaudit {made} wrote it: read it with that, or make it anew"
        raise ConfigError(f"{path} is a report of schema {version}, and this netaudit reads {SCHEMA_VERSION}", hint)
    try:
        ReportModel.model_validate(data)
    except ValidationError as error:
        faults = [f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        more = f"\nand {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise ConfigError("\n".join(faults[:SHOWN]) + more, "it was not written by netaudit, or was changed afterwards") from error
    return _report(data, path)


def _report(data: Row, path: Path) -> Report:
    tool, run = data["tool"], data["run"]
    said: dict[str, list[Finding]] = {target["id"]: [] for target in data["targets"]}
    for row in data["findings"]:
        if row["target"] not in said:
            raise ConfigError(f"{path}: a finding is about {row['target']!r}, which is none of its targets", "make the report anew")
        said[row["target"]].append(_finding(row))
    targets = tuple(_target(target, said[target["id"]]) for target in data["targets"])
    since = None if run["since"] is None else Since(run["since"]["what"], run["since"]["gone"], tuple(run["since"]["notes"]))
    overrides = tuple(run["unused_overrides"])
    return Report(targets, tool["version"], tool["torch"], tuple(tool["packs"]), run["seed"], run["min_coverage"], overrides, since)


def _target(row: Row, findings: Sequence[Finding]) -> TargetReport:
    covered = row["coverage"]
    return TargetReport(
        id=row["id"],
        tracer=row["tracer"],
        mode=row["mode"],
        inputs=tuple((one["name"], one["dtype"], tuple(one["shape"])) for one in row["inputs"]),
        inputs_from=row["inputs_from"],
        guess=row["guess"],
        cotangent=row["cotangent"],
        training=_training(row["training"]),
        notes=tuple(row["notes"]),
        coverage=Coverage(
            covered["calls"],
            covered["with_transfer"],
            covered["unknown"],
            covered["parameters"],
            covered["forecast"],
            covered["broken"],
        ),
        findings=tuple(findings),
        suppressed=tuple(_suppressed(one, row["id"]) for one in row["suppressed"]),
        spent=frozenset((one["file"], one["key"]) for one in row["spent"]),
        problems=tuple(row["problems"]),
        nodes=tuple(map(_node, row["nodes"])),
        params=tuple(map(_param, row["parameters"])),
        measured=_measured(row),
        heads=tuple(row["heads"]),
        file=row["file"],
    )


# findings ---------------------------------------------------------------------------------------------------------------


def _site(row: Row | None) -> Site | None:
    return None if row is None else Site(row["file"], row["line"])


def _where(row: Row) -> Where:
    return Where(row["module"], "", _site(row["called_at"]), _site(row["defined_at"]))


def _sizes(row: Row) -> dict[str, float | None]:
    return {kind: -inf if kind in row["zero"] else row[kind] for kind in KINDS}


def _finding(row: Row) -> Finding:
    evidence = row["evidence"]
    return Finding(
        code=row["code"],
        name=row["name"],
        severity=row["severity"],
        message=row["message"],
        target=row["target"],
        module=row["module"],
        where=_where(row),
        reason=row["reason"],
        evidence=Evidence(evidence["quantity"], evidence["threshold"], **_sizes(evidence), assumptions=evidence["assumptions"]),
        path=tuple(Step(step["label"], step["module"], **_sizes(step)) for step in row["path"]),
        help=tuple(Remedy(one["text"], one["outcome"], resolves=one["resolves"]) for one in row["help"]),
        siblings=tuple(row["also"]),
        fingerprint=row["fingerprint"],
        key=row["key"],
        verdict=row["verdict"],
        claim=None if row["claim"] is None else _claim(row["claim"]),
        seen=None if row["claim"] is None else row["claim"]["measured"],
        baseline=row["baseline"],
    )


def _claim(row: Row) -> Claim:
    """What was claimed, without what a probe needs to read it."""
    limit = -inf if row["limit"] is None else row["limit"]
    return Claim(row["quantity"], tuple(row["subjects"]), limit, row["side"], tuple(row["over"]))


def _suppressed(row: Row, target: str) -> Suppressed:
    words = {key: row[key] for key in ("code", "name", "severity", "message", "module", "fingerprint")}
    finding = Finding(**words, target=target, where=_where(row))
    return Suppressed(finding, row["by"], row["reason"], _site(row["at"]))


def _training(row: Row) -> Training:
    """What is known of the training: of its groups the largest learning rate, and how many parameters, without their names."""
    optimizers = tuple(
        Optimizer(one["kind"], tuple(_group(lr, count) for lr, count in zip(one["lr"], one["parameters"], strict=True)))
        for one in row["optimizers"]
    )
    names = ("steps", "clip", "clip_value", "accumulation", "batch_size", "precision", "scaler", "ema", "source")
    return Training(optimizers, **{name: row[name] for name in names}, notes=tuple(row["notes"]))


def _group(lr: float | None, count: int) -> Group:
    return Group(("",) * count, {} if lr is None else {"lr": lr})


# tables -----------------------------------------------------------------------------------------------------------------


def _node(row: Row) -> NodeRow:
    seen = row["measured"]
    return NodeRow(
        id=row["id"],
        op=row["op"],
        module=row["module"],
        where=_where(row),
        shape=tuple(row["shape"]),
        dtype=row["dtype"],
        lipschitz=Magnitude(**row["lipschitz"]),
        tags=tuple(row["jacobian"]),
        rms=Magnitude(**row["rms"]),
        gradient_bound=Magnitude(**row["gradient_norm"]),
        gradient=Magnitude(**row["gradient_rms"]),
        rms_measured=NOT_MEASURED if seen is None else _seen(seen["rms"]),
        gradient_measured=NOT_MEASURED if seen is None or seen["gradient_rms"] is None else _seen(seen["gradient_rms"]),
        via=row["via"],
        share=row["share"],
        operands=tuple(row["operands"]),
    )


def _param(row: Row) -> ParamRow:
    seen = row["measured"]
    return ParamRow(
        row["name"],
        tuple(row["shape"]),
        row["trainable"],
        Magnitude(**row["gradient_norm"]),
        Magnitude(**row["gradient_rms"]),
        Magnitude(**row["sensitivity"]),
        gradient_measured=NOT_MEASURED if seen is None else _seen(seen["gradient_rms"]),
    )


def _seen(row: Row) -> Magnitude:
    return Magnitude(row["middle"], "measured")


# what was measured ------------------------------------------------------------------------------------------------------


def _measured(target: Row) -> Measured | None:
    row = target["probe"]
    if row is None:
        return None
    return Measured(
        row["device"],
        row["dtype"],
        tuple(row["seeds"]),
        row["inputs"],
        {node["id"]: _node_measured(node["measured"]) for node in target["nodes"] if node["measured"] is not None},
        {one["name"]: _param_measured(one["measured"]) for one in target["parameters"] if one["measured"] is not None},
        row["bounds"],
        tuple(row["violations"]),
        None if row["values"] is None else Calibration(**row["values"]),
        None if row["gradients"] is None else Calibration(**row["gradients"]),
        tuple(_study(one) for one in row["studies"]),
        tuple(row["notes"]),
        row["partial"],
    )


def _log(value: float | None) -> float:
    return -inf if value is None else value


def _spread(row: Row) -> Spread:
    return Spread(_log(row["middle"]), _log(row["low"]), _log(row["high"]))


def _node_measured(row: Row) -> NodeMeasured:
    gains = {
        name: Gain(_log(one["typical"]), nan if one["error"] is None else one["error"], one["largest"], one["pairs"], one["converged"])
        for name, one in row["gains"].items()
    }
    gradient = None if row["gradient_rms"] is None else _spread(row["gradient_rms"])
    return NodeMeasured(_spread(row["rms"]), _log(row["largest"]), row["zeros"], gradient, gains)


def _param_measured(row: Row) -> ParamMeasured:
    return ParamMeasured(_spread(row["gradient_rms"]), _spread(row["sensitivity"]))


def _study(row: Row) -> Study:
    return Study(row["name"], row["title"], tuple(row["columns"]), tuple(map(tuple, row["rows"])), row["says"])
