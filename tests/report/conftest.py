"""A report that holds everything a format has to cope with, built by hand."""

from __future__ import annotations

import pytest

from netaudit.finding import Coverage, Evidence, Finding, Magnitude, NodeRow, Remedy, Report, Step, Suppressed, TargetReport, fingerprint
from netaudit.graph import Site, Where

BODY = Where("body", "Sequential", Site("models/net.py", 18), Site("models/net.py", 14))
UNKNOWN = Magnitude(None, "unknown")


def finding(code: str, name: str, severity: str, message: str, target: str, module: str = "", **rest: object) -> Finding:
    return Finding(code, name, severity, message, target, module, fingerprint=fingerprint(code, target, module, ""), **rest)  # type: ignore[arg-type]


def node(name: str, op: str, module: str, called: int, created: int) -> NodeRow:
    where = Where(module, "", Site("models/net.py", called), Site("models/net.py", created) if created else None)
    return NodeRow(name, op, module, where, (8, 4), "float32", UNKNOWN, (), UNKNOWN, UNKNOWN, UNKNOWN)


@pytest.fixture(scope="session")
def full_report() -> Report:
    """Findings of every kind, with and without lines and numbers; suppressed ones; a target that was not traced; a model of a library."""
    net = "models/net.py"
    path = (
        Step("stem", "stem", -7.58, -11.37),
        Step("body.0", "body.0", None, -1.2),
        Step("aten.cross_entropy_loss", "", 0.0, 0.0),
    )
    found = (
        finding(
            "NA201", "vanishing-gradient", "error", "`stem.weight` is forecast to receive almost no gradient", net, "body", where=BODY,
            reason="S is the change of the loss\nsee also NA203", evidence=Evidence("S", -5.0, 3.0, -9.94, None, "mean-field"), path=path,
            help=(Remedy("relu in place of sigmoid", "S becomes 1.9 (forecast)", resolves=True), Remedy("a residual x + f(x)")),
            siblings=("body.0.weight", "body.2.weight"),
        ),
        finding(
            "NA105", "tiny-normaliser-eps", "info", "eps | 1e-12, at 100 %:\nsee `a|b` and <b>_this_</b> ]]>", net, "norm",
            where=Where("norm", "", Site("models/net.py", 20)), evidence=Evidence("gain", 2.0, 6.0), baseline="unchanged",
        ),
        finding("NA999", "of-another-pack", "warning", "a rule that no installed pack knows: 漢字 🙂 \x1b[31m", net),
    )  # fmt: skip
    gone = (
        Suppressed(
            finding("NA206", "cut-gradient", "error", "no gradient", net, "head", where=BODY),
            "comment",
            "teacher is frozen",
            Site("models/net.py", 14),
        ),
        Suppressed(finding("NA301", "default-init", "info", "plain", net, "body.1"), "override body.*"),
    )
    nodes = (node("a", "aten.linear", "stem", 17, 13), node("b", "aten.cross_entropy_loss", "", 25, 0), node("c", "aten.add", "", 19, 0))
    whole = TargetReport(
        net, "torch.export", file=net, findings=found, suppressed=gone, nodes=nodes, coverage=Coverage(3, 3, {}, 4, 4),
        guess="inputs: a guess",
    )  # fmt: skip
    lost = TargetReport(
        "models/lost.py",
        problems=("the model was not traced: RuntimeError: boom",),
        findings=(finding("NA001", "not-traced", "error", "the model was not traced", "models/lost.py"),),
    )
    library = TargetReport("timm:vit_tiny", "torch.export", coverage=Coverage(9, 7, {"aten.mystery": 2}, 5, 4), notes=("one path only",))
    return Report((whole, lost, library), "0.0.0", "0.0.0", ("netaudit_rules",), idle_overrides=("nowhere.*: no module has this path",))
