"""A probe of an audited target: verdicts, bounds, calibration, what it says when it cannot measure."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, log10
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from netaudit.audit import Settings, analyse, audit_subject
from netaudit.cli import app
from netaudit.effect import Effect
from netaudit.errors import ProbeError
from netaudit.finding import Claim, Evidence, Finding, TargetReport
from netaudit.intake.subject import Subject
from netaudit.measured import ParamMeasured, Spread
from netaudit.pack import installed
from netaudit.probe import Known, Plan, Probing, probed
from netaudit.probe.agreement import calibration
from netaudit.probe.batch import halved
from netaudit.probe.devices import device_of
from netaudit.probe.run import runs
from netaudit.probe.studies import STUDIES
from netaudit.probe.verdicts import Readings, downgraded, judged

EXAMPLES = Path(__file__).parents[2] / "examples"
ON_CPU = Probing(device="cpu", plan=Plan(samples=2))


def _subject(depth: int = 12) -> Subject:
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    x = torch.randn(8, 16)
    return Subject("stack", nn.Sequential(*layers, nn.Linear(16, 4)), (x,), {}, x, "test", loss=lambda model, x: model(x).square().mean())


def _report(subject: Subject, probing: Probing = ON_CPU) -> TargetReport:
    return audit_subject(subject, installed(), Settings(probe=probing, raise_internal=True))


def test_a_true_finding_is_confirmed_and_every_bound_holds() -> None:
    report = _report(_subject(), replace(ON_CPU, climb="all"))
    found = next(f for f in report.findings if f.code == "NA201")
    assert found.verdict == "confirmed"
    assert found.evidence.measured is not None
    assert found.evidence.measured < -5.0
    assert report.measured is not None
    assert report.measured.bounds > 50
    assert not report.measured.violations
    assert not report.problems


def test_a_bound_that_does_not_hold_is_found_and_makes_the_report_incomplete() -> None:
    """The oracle of the check itself: facts whose Lipschitz constants are divided by ten."""
    subject = _subject(2)
    analysis = analyse(subject, installed(), Settings())
    lying = {
        name: Effect(effect.out, tuple(None if j is None else replace(j, lip=j.lip / 10.0) for j in effect.jac), effect.pull)
        for name, effect in analysis.facts.effects.items()
    }
    known = Known(subject, analysis.lowered, replace(analysis.facts, effects=lying), analysis.flow)
    report = probed(TargetReport("stack"), known, replace(ON_CPU, climb="all"))
    assert report.measured is not None
    assert any("the gain of" in text for text in report.measured.violations)
    assert any("please report it" in problem for problem in report.problems)


def _finding(claim: Claim | None, evidence: Evidence = Evidence("S", 2.0, None, 3.0)) -> Finding:
    return Finding("NA301", "exploding-gradient", "warning", "m", "t", claim=claim, evidence=evidence)


def _readings(**sizes: float) -> Readings:
    return Readings({}, {name: ParamMeasured(Spread(v, v, v), Spread(v, v, v)) for name, v in sizes.items()})


@pytest.mark.parametrize(
    ("measured", "verdict", "severity"),
    [
        (3.0, "confirmed", "warning"),
        (1.8, "confirmed", "warning"),
        (1.0, "not reproduced", "info"),
        (float("nan"), "not probed", "warning"),
    ],
)
def test_a_verdict_follows_from_the_measurement_alone(measured: float, verdict: str, severity: str) -> None:
    found = judged(_finding(Claim("sensitivity", ("w",), 2.0, "above")), _readings(w=measured))
    assert found.verdict == verdict
    assert downgraded(found).severity == severity


def test_what_nothing_claims_and_what_was_not_measured_is_not_probed() -> None:
    assert judged(_finding(None), _readings(w=3.0)).verdict == "not probed"
    assert judged(_finding(Claim("update", ("w",), 0.0, "above")), _readings(w=3.0)).verdict == "not probed"


def test_what_is_proved_is_never_downgraded() -> None:
    proved = _finding(Claim("sensitivity", ("w",), 2.0, "above"), Evidence("S", 2.0, 2.5, 3.0))
    assert downgraded(judged(proved, _readings(w=0.0))).severity == "warning"


def test_several_runs_and_a_precision_of_their_own() -> None:
    report = _report(_subject(2), Probing("cpu", "float64", plan=Plan(samples=1, draws=3)))
    assert report.measured is not None
    assert report.measured.dtype == "float64"
    assert report.measured.params["0.weight"].gradient.low <= report.measured.params["0.weight"].gradient.high


def test_memory_that_is_out_halves_the_batch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = runs, []

    def scarce(machine: object, plan: Plan) -> object:
        tries.append(machine.graph.by_name()[machine.graph.inputs[0]].shape[0])  # type: ignore[attr-defined]  # a Machine
        if tries[-1] > 2:
            raise torch.OutOfMemoryError
        return real(machine, plan)  # type: ignore[arg-type]  # a Machine

    monkeypatch.setattr("netaudit.probe.fitted.runs", scarce)
    report = _report(_subject(1))
    assert tries == [8, 4, 2]
    assert report.measured is not None
    assert any("halved" in note for note in report.measured.notes)
    assert any("no bound was checked" in note for note in report.measured.notes)


def test_a_batch_of_one_cannot_be_halved() -> None:
    x = torch.randn(1, 4)
    with pytest.raises(ProbeError, match="does not fit"):
        halved(Subject("one", nn.Linear(4, 4), (x,), {}, x, "test"))


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        del ctx
        return x * 2

    @staticmethod
    def backward(ctx: object, *g: Tensor) -> Tensor:
        del ctx
        return g[0] * 5


class WithCustom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Custom.apply(self.lin(x))  # type: ignore[no-untyped-call]  # torch's stub
        return y


def test_a_backward_that_was_not_run_is_said() -> None:
    x = torch.randn(2, 4)
    report = _report(Subject("custom", WithCustom(), (x,), {}, x, "test"))
    assert report.measured is not None
    assert any("Custom was not run" in note for note in report.measured.notes)


def test_calibration_counts_what_is_within_a_factor_of_two() -> None:
    found = calibration([(0.0, 0.1), (1.0, 1.2), (2.0, 3.0), (-inf, 0.0)])
    assert found is not None
    assert found.count == 3
    assert found.within == pytest.approx(2 / 3)
    assert found.error == pytest.approx(0.2)
    assert found.correlation == pytest.approx(1.0)
    assert calibration([(0.0, log10(2.0))]) is None


@pytest.mark.parametrize("word", ["cuda:99", "tpu", "cud", "cpu:x"])
def test_a_device_that_is_not_here_is_an_error_that_says_what_is(word: str) -> None:
    with pytest.raises(ProbeError) as caught:
        device_of(word)
    assert caught.value.hint


def test_the_command_prints_tables_and_json() -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["probe", str(EXAMPLES / "deep_sigmoid.py"), "--device", "cpu", "--study", "all"], standalone_mode=False)
    assert done.exit_code == 0, done.output
    assert "confirmed: NA201" in done.output
    assert "proved bounds held" in done.output
    assert all(kind.title in done.output for kind in STUDIES.values())
    again = runner.invoke(app, ["probe", str(EXAMPLES / "deep_sigmoid.py"), "--device", "cpu", "-o", "json"], standalone_mode=False)
    report = json.loads(again.output)["targets"][0]
    assert report["probe"]["device"] == "cpu"
    assert all(node["measured"]["rms"]["middle"] is not None for node in report["nodes"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_measures_what_the_cpu_measures() -> None:
    here, there = (_report(_subject(4), Probing(device)).measured for device in ("cpu", "cuda"))
    assert here is not None
    assert there is not None
    for name, one in here.params.items():
        assert abs(one.gradient.middle - there.params[name].gradient.middle) < 1e-3, name
