"""Audit, certify and forecast of a model in hand: the same numbers as for a target, and clear words for what does not fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netaudit
from netaudit.audit import Settings, audit_subject
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import installed

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "deep_sigmoid.py")


def deep(depth: int = 12) -> nn.Module:
    torch.manual_seed(0)
    layers = [m for _ in range(depth) for m in (nn.Linear(64, 64), nn.Sigmoid())]
    return nn.Sequential(nn.Linear(32, 64), *layers, nn.Linear(64, 10))


def healthy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 10))


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


BATCH = (torch.randn(16, 32, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10)


# what is said ------------------------------------------------------------------------------------------------------------


def test_a_model_in_hand_is_judged_as_the_target_that_makes_it() -> None:
    (subject,) = load(EXAMPLE, Options())
    expected = audit_subject(subject, installed(), Settings())
    (found,) = netaudit.audit(subject.model, subject.inputs, loss=subject.loss, name=subject.id).targets
    assert found.params == expected.params
    assert [(f.code, f.module, f.evidence) for f in found.findings] == [(f.code, f.module, f.evidence) for f in expected.findings]
    assert found.coverage == expected.coverage


def test_present_weights_are_what_is_audited() -> None:
    model = healthy()
    before = netaudit.forecast(model, BATCH, loss=cross_entropy)["3.weight"]
    with torch.no_grad():
        model[1].weight.mul_(100.0)  # type: ignore[index]  # a Sequential
    after = netaudit.forecast(model, BATCH, loss=cross_entropy)["3.weight"]
    assert before.log10_grad_rms is not None
    assert after.log10_grad_rms is not None
    assert after.log10_grad_rms - before.log10_grad_rms > 1.5


def test_a_loss_takes_labels_that_forward_does_not() -> None:
    report = netaudit.audit(healthy(), BATCH, loss=cross_entropy)
    assert report.targets[0].cotangent == "traced loss"
    assert not report.incomplete


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel], ids=["compiled", "data parallel"])
def test_wrappers_are_looked_through(wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain, wrapped = (netaudit.audit(one, BATCH[0], name="net") for one in (healthy(), wrap(healthy())))
    assert wrapped.targets[0].params == plain.targets[0].params


class Judged(nn.Module):
    """Has its loss as a method, as a LightningModule does."""

    def __init__(self) -> None:
        super().__init__()
        self.net = healthy()
        self.keeper = sys  # cannot be copied: a module of python

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y

    def step(self, _model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])


def test_a_loss_that_is_a_method_of_the_model_is_one_of_the_copy() -> None:
    model = Judged()
    report = netaudit.audit(model, BATCH, loss=model.step, apart=(sys,))
    assert not report.incomplete
    assert report.targets[0].coverage.params == 6
    assert model.keeper is sys


def test_inputs_may_be_a_specification_or_a_guess() -> None:
    given = netaudit.audit(healthy(), "f32[16,32]")
    assert given.targets[0].inputs == (("input", "float32", (16, 32)),)
    assert netaudit.audit(healthy()).targets[0].guess


def test_rules_are_chosen_as_on_the_command_line() -> None:
    assert [f.code for f in netaudit.audit(deep(), BATCH, loss=cross_entropy, select="NA201").findings] == ["NA201"]
    assert not netaudit.audit(deep(), BATCH, loss=cross_entropy, select=["NA2"], ignore="NA201,NA203").findings
    hidden = netaudit.audit(deep(), BATCH, loss=cross_entropy, select="NA201", overrides={"*": "NA201"})
    assert not hidden.findings
    assert len(hidden.targets[0].suppressed) == 1


def test_optimiser_and_scheduler_are_those_in_hand() -> None:
    model = healthy()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, total_iters=10)
    state = (scheduler.state_dict(), [dict(g) for g in optimizer.param_groups])
    training = (
        netaudit.audit(model, BATCH, loss=cross_entropy, optimizer=optimizer, scheduler=scheduler, training={"steps": 50})
        .targets[0]
        .training
    )
    (group,) = training.optimizers[0].groups
    assert set(group.params) == {name for name, _ in model.named_parameters()}
    assert group.schedule is not None
    assert (group.schedule.at(0), group.schedule.at(20)) == pytest.approx((2e-4, 2e-3))
    assert scheduler.state_dict() == state[0]
    assert [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups] == [
        {k: v for k, v in g.items() if k != "params"} for g in state[1]
    ]


def test_the_learning_rate_of_a_warm_up_is_not_taken_for_the_rate() -> None:
    model = healthy()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 100)  # the rate is zero now
    (found,) = netaudit.audit(model, BATCH, loss=cross_entropy, optimizer=optimizer).targets
    assert found.training.optimizers[0].groups[0].number("lr") == 0.1


# what becomes of it ------------------------------------------------------------------------------------------------------


def test_ok_and_raise_for_findings() -> None:
    bad, good = (netaudit.audit(m, BATCH, loss=cross_entropy) for m in (deep(), healthy()))
    assert (bad.ok, good.ok) == (False, True)
    good.raise_for_findings("warning")
    with pytest.raises(netaudit.FindingsError, match=r"(?s)1 finding at error.*NA201") as caught:
        bad.raise_for_findings()
    assert caught.value.report is bad


class Unheard(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.matrix_exp(x @ x.T) @ x
        return y


def test_what_was_not_wholly_checked_does_not_pass() -> None:
    report = netaudit.audit(nn.Sequential(nn.Linear(32, 8), Unheard()), BATCH[0], ignore="NA0")
    assert report.targets[0].coverage.unknown
    assert not report.ok
    with pytest.raises(netaudit.FindingsError, match="not wholly checked"):
        report.raise_for_findings()
    report.raise_for_findings(incomplete=False)


def test_text_and_html_show_the_finding() -> None:
    report = netaudit.audit(deep(), BATCH, loss=cross_entropy)
    for shown in (str(report), report._repr_html_()):
        assert "vanishing-gradient" in shown
        assert "NA201" in shown
    assert "more (--full)" not in report.text(full=True)


def test_a_forecast_has_names() -> None:
    found = netaudit.forecast(deep(), BATCH, loss=cross_entropy, measure=True)
    stem = found["0.weight"]
    assert stem == found.params["0.weight"]
    assert "vanishing" in stem.flags
    assert stem.grad_rms == pytest.approx(10 ** (stem.log10_grad_rms or 0.0))
    assert stem.log10_measured == pytest.approx(stem.log10_grad_rms, abs=stem.error)
    assert list(found.params) == [name for name, _ in deep().named_parameters()]
    with pytest.raises(KeyError, match=r"did you mean '0\.weight'"):
        found["0.weigt"]


def test_a_forecast_below_the_floats_is_not_zero() -> None:
    model = deep(40)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1e-9)
    found = netaudit.forecast(model, BATCH, loss=cross_entropy)["0.weight"]
    assert found.log10_grad_rms is not None
    assert -inf < found.log10_grad_rms < -308
    assert found.grad_rms != 0.0


def test_a_certificate_bounds_what_is_attained() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    found = netaudit.certify(model, torch.randn(5, 4), budget=0.0, ball=0.1)
    jacobian: Any = torch.func.vmap(torch.func.jacrev(model))(torch.randn(200, 4))
    steepest = torch.linalg.matrix_norm(jacobian, 2).max().log10().item()
    assert steepest <= found.log10_bound <= found.log10_composition
    assert found.log10_attained <= found.log10_bound
    assert found.log10_local_bound is not None
    assert found.log10_local_bound <= found.log10_bound
    assert not found.unknown
    assert "proved <=" in str(found)


# what does not fit -------------------------------------------------------------------------------------------------------


def stepped(model: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    optimizer.step()
    scheduler.step()
    return {"optimizer": optimizer, "scheduler": scheduler}


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a class": (lambda: netaudit.audit(nn.ReLU, BATCH[0]), r"ReLU is a class.*"),  # type: ignore[arg-type]  # what is refused
    "no model": (lambda: netaudit.audit(lambda x: x, BATCH[0]), "a function, not a torch.nn.Module"),  # type: ignore[arg-type]  # likewise
    "inputs of a type": (lambda: netaudit.audit(healthy(), 3), "inputs of Sequential are an int"),
    "too many inputs": (lambda: netaudit.audit(healthy(), BATCH), "do not fit"),
    "numpy": (lambda: netaudit.audit(healthy(), (BATCH[0].numpy(),)), "numpy.ndarray"),
    "a lazy layer": (lambda: netaudit.audit(nn.Sequential(nn.LazyLinear(3)), BATCH[0]), "lazy parameters.*0.weight"),
    "meta": (lambda: netaudit.audit(healthy().to("meta"), BATCH[0]), "0.weight of Sequential is on the meta device"),
    "a criterion": (lambda: netaudit.audit(healthy(), BATCH, loss=nn.CrossEntropyLoss()), "takes an output and a target"),
    "loss of one": (lambda: netaudit.audit(healthy(), BATCH, loss=lambda y: y), r"loss\(y\) cannot be called as"),  # type: ignore[arg-type,misc]  # likewise
    "no loss": (lambda: netaudit.audit(healthy(), BATCH, loss=3), "loss is an int"),  # type: ignore[arg-type]  # likewise
    "optimiser": (lambda: netaudit.audit(healthy(), BATCH[0], optimizer="adamw"), "optimizer is a str"),  # type: ignore[arg-type]  # likewise
    "scheduler": (lambda: netaudit.audit(healthy(), BATCH[0], scheduler=3), "scheduler is an int"),  # type: ignore[arg-type]  # likewise
    "stepped": (lambda: netaudit.audit(m := healthy(), BATCH[0], **stepped(m)), "stepped already"),
    "training": (lambda: netaudit.audit(healthy(), BATCH[0], training={"step": 3}), "training: step: did you mean 'steps'"),
    "mode": (lambda: netaudit.audit(healthy(), BATCH[0], mode="test"), "mode='test' is not one of train, eval"),  # type: ignore[arg-type]  # likewise
    "rule": (lambda: netaudit.audit(healthy(), BATCH[0], ignore="NA2O1"), "no rule matches 'NA2O1'"),
    "range": (lambda: netaudit.audit(healthy(), BATCH[0], ranges=(1, -1)), "the range 1:-1 of the inputs is empty"),
    "coverage": (lambda: netaudit.audit(healthy(), BATCH[0], min_coverage=2), "min_coverage=2 is not a share"),
    "level": (lambda: netaudit.audit(healthy(), BATCH[0]).raise_for_findings("fatal"), "the level 'fatal' is not one of"),  # type: ignore[arg-type]  # likewise
    "ball": (lambda: netaudit.certify(healthy(), BATCH[0], ball=-1), "ball=-1 is not a radius"),
    "cotangent": (lambda: netaudit.forecast(healthy(), BATCH[0], cotangent="los"), "cotangent='los' is not one of"),  # type: ignore[arg-type]  # likewise
    "not to be copied": (lambda: netaudit.audit(Judged(), BATCH[0]), "Judged cannot be copied.*TypeError"),
}


@pytest.mark.parametrize(("asked", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_one_clear_error(asked: Callable[[], Any], said: str) -> None:
    with pytest.raises(netaudit.NetauditError, match=said):
        asked()


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError(f"boom {x.shape}")


def test_a_model_that_fails_is_a_finding() -> None:
    report = netaudit.audit(Broken(), BATCH[0])
    assert [f.code for f in report.findings] == ["NA001"]
    assert not report.ok


# how it is named ---------------------------------------------------------------------------------------------------------

LAZY = """
import sys
import netaudit
assert 'torch' not in sys.modules and 'numpy' not in sys.modules
import netaudit.audit, netaudit.certify
from netaudit.audit import Settings
assert callable(netaudit.audit) and callable(netaudit.certify) and callable(netaudit.forecast)
assert netaudit.audit.__module__ == 'netaudit.live'
"""


def test_a_room_does_not_take_the_place_of_the_function_of_its_name() -> None:
    subprocess.run([sys.executable, "-c", LAZY], check=True)
