"""A probe of an audited target: verdicts, bounds, calibration, what it says when it cannot measure."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from math import inf, log10
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from netaudit.audit import Settings, analyse, audit_subject
from netaudit.cli import _run, app
from netaudit.effect import Effect, Transfer
from netaudit.errors import ProbeError
from netaudit.finding import Evidence, Finding, TargetReport
from netaudit.graph import Node
from netaudit.intake.subject import Subject
from netaudit.measured import Claim, ParamMeasured, Spread
from netaudit.pack import installed
from netaudit.probe import Known, Plan, Probing, probed
from netaudit.probe.agreement import calibration
from netaudit.probe.batch import halved
from netaudit.probe.devices import device_of
from netaudit.probe.run import runs
from netaudit.probe.studies import STUDIES
from netaudit.probe.verdicts import Readings, downgraded, judged
from netaudit.signal import Signal

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


def _ten_times_too_small(real: Transfer) -> Transfer:
    """A transfer that proves a tenth of what is true."""

    def body(node: Node, *operands: Signal | None) -> Effect:
        effect = real(node, *operands)
        return replace(effect, jac=tuple(None if jac is None else replace(jac, lip=jac.lip / 10.0) for jac in effect.jac))

    return replace(real, body=body)


@pytest.mark.parametrize("first", ["float32", "float64"])
def test_a_bound_that_does_not_hold_comes_with_a_command_that_shows_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    catalog = installed()
    lying = {**catalog.transfers, "aten.tanh": _ten_times_too_small(catalog.transfers["aten.tanh"])}
    monkeypatch.setattr("netaudit.pack.installed", lambda **_: replace(catalog, transfers=lying))
    monkeypatch.chdir(tmp_path)
    Path("my model.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build(width: int = 4): return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))\n"
        "def example_inputs(): return torch.randn(3, 4)\n"
    )
    asked = ["probe", "my model.py", "--arg", "width=6", "--seed", "3", "--device", "cpu", "--dtype", first, "-o", "json"]
    assert _run(asked) == 3
    (target,) = json.loads(capsys.readouterr().out)["targets"]
    (problem,) = (text for text in target["problems"] if "`tanh`" in text)
    assert "please report it" in problem
    command = problem.rpartition("with the output of: ")[2]
    again = shlex.split(command)
    assert again[:3] == ["netaudit", "probe", "my model.py"]
    for flag, value in (("--arg", "width=6"), ("--seed", "3"), ("--device", "cpu"), ("--dtype", "float64"), ("--node", "tanh")):
        assert again[again.index(flag) + 1] == value
    assert _run([*again[1:], "-o", "json"]) == 3
    (shown,) = json.loads(capsys.readouterr().out)["targets"]
    assert [row["id"] for row in shown["nodes"]] == ["tanh"]
    assert shown["nodes"][0]["measured"]["gains"]["linear"]["largest"] > shown["nodes"][0]["lipschitz"]["log10"]
    assert any(text.startswith(problem.partition(" is ")[0]) for text in shown["problems"])


def test_a_node_that_is_not_there_is_an_error_that_names_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["probe", str(EXAMPLES / "deep_sigmoid.py"), "--device", "cpu", "--node", "linea_1"]) == 2
    assert "did you mean 'linear_1'?" in capsys.readouterr().err


def test_a_violation_that_only_a_sought_gain_shows_is_sought_again() -> None:
    """In float64 the same calls are climbed: without, a random cotangent might not show what is wrong, and it would pass for rounding."""
    subject = _subject(1)
    analysis = analyse(subject, installed(), Settings())
    effect = analysis.facts.effects["linear"]
    first = effect.jac[0]
    assert first is not None
    lying = {**analysis.facts.effects, "linear": replace(effect, jac=(replace(first, lip=0.9 * first.lip), *effect.jac[1:]))}
    known = Known(subject, analysis.lowered, replace(analysis.facts, effects=lying), analysis.flow)
    assert not _violations(known, replace(ON_CPU, climb="none")), "random cotangents do not show it"
    assert _violations(known, replace(ON_CPU, climb="all"))


def _violations(known: Known, probing: Probing) -> tuple[str, ...]:
    report = probed(TargetReport("stack"), known, probing)
    assert report.measured is not None
    return report.measured.violations


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
