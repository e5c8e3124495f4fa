"""One JSON object a line: findings, what is suppressed, targets, and the run, each as in the JSON report without the tables of nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from netaudit.finding import Report

from .documents import RunLine
from .json import model
from .schema import TargetHead
from .style import Style


def render(report: Report, style: Style) -> str:
    """Lines whose ``type`` is ``finding``, ``suppressed``, ``target`` or ``run``, in this order."""
    lines = (line for line in _lines(report) if not (style.quiet and line["type"] == "suppressed"))
    return "".join(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n" for line in lines)


def _lines(report: Report) -> Iterator[Mapping[str, object]]:
    whole = model(report)
    for finding in whole.findings:
        yield {"type": "finding", **finding.model_dump(mode="json")}
    for target in whole.targets:
        for gone in target.suppressed:
            yield {"type": "suppressed", "target": target.id, **gone.model_dump(mode="json")}
    for target in whole.targets:
        yield {"type": "target", **target.model_dump(mode="json", include=set(TargetHead.model_fields))}
    yield {"type": "run", **whole.model_dump(mode="json", include=set(RunLine.model_fields))}
