"""Where the training set-up comes from, and the replay of schedulers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim import lr_scheduler

from netaudit.audit import Settings, analyse
from netaudit.errors import ConfigError, TargetError
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load
from netaudit.intake.training import Said, training_of
from netaudit.pack import installed
from netaudit.training import Described, Training

MODEL = """
import torch
from torch import nn, optim
from torch.optim import lr_scheduler as schedulers

def build():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

def example_inputs():
    return torch.randn(3, 4)
"""
SGD = "\ndef optimizer(model):\n    return optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n"
GROUPS = """
def optimizer(model):
    return optim.SGD([{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 1.0}], lr=0.5)
"""

Known = Callable[..., Training]


def subject_of(folder: Path, text: str) -> Subject:
    path = folder / "model.py"
    path.write_text(MODEL + text)
    return load(str(path), Options())[0]


@pytest.fixture
def known(tmp_path: Path) -> Known:
    """The training of the model with some more text in its file."""

    def read(text: str = "", flags: Described = Described(), config: Described = Described()) -> Training:
        subject = subject_of(tmp_path, text)
        return training_of(subject, analyse(subject, installed(), Settings()).graph, Said(flags, config))

    return read


def test_nothing_said_is_nothing_known(known: Known) -> None:
    assert known() == Training()


def test_the_command_line_goes_before_the_file_and_the_file_before_the_configuration(known: Known) -> None:
    flags, config = Described(optimizer="adamw", lr=1e-3), Described(optimizer="lion", lr=1e-4, steps=10, clip=1.0)
    assert [known("", config=config).optimizers[0].kind, known("", config=config).source] == ["Lion", "configuration"]
    assert [known(SGD, config=config).optimizers[0].kind, known(SGD, config=config).source] == ["SGD", "optimizer()"]
    assert [known(SGD, flags, config).optimizers[0].kind, known(SGD, flags, config).source] == ["AdamW", "--optimizer"]
    assert (known(SGD, config=config).steps, known(SGD, config=config).clip) == (10, 1.0)


SETUP = '\ndef training_setup():\n    return {"optimizer": "lion", "lr": 1e-4, "clip": 2.0}\n'


def test_a_file_can_say_what_the_configuration_can_and_goes_before_it(known: Known) -> None:
    found = known(SETUP, config=Described(optimizer="adamw", lr=1.0, clip=1.0, steps=5))
    assert (found.optimizers[0].kind, found.optimizers[0].groups[0].number("lr")) == ("Lion", 1e-4)
    assert (found.clip, found.steps, found.source) == (2.0, 5, "training_setup()")
    assert known(SGD + SETUP).optimizers[0].kind == "SGD"
    assert known(SETUP, Described(clip=3.0)).clip == 3.0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("3", "training_setup() of model.py returned an int"),
        ("{'clipp': 1.0}", "training_setup() of model.py: unknown key clipp: did you mean 'clip'?"),
        ("{'precision': 'fp61'}", "training_setup() of model.py: precision: expected 'fp32'"),
        ("{'ema': 2.0}", "training_setup() of model.py: ema: expected a number less than 1, found 2.0 (a number)"),
    ],
)
def test_what_a_file_says_is_held_to_the_same_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL + f"\ndef training_setup():\n    return {body}\n")
    with pytest.raises(TargetError) as caught:
        load("model.py", Options())
    assert words in str(caught.value)


def test_a_setting_on_the_command_line_changes_the_optimiser_of_the_file(known: Known) -> None:
    (optimizer,) = known(SGD, Described(lr=0.5)).optimizers
    assert (optimizer.kind, optimizer.groups[0].number("lr"), optimizer.groups[0].number("momentum")) == ("SGD", 0.5, 0.9)
    with pytest.raises(ConfigError, match="SGD has no betas"):
        known(SGD, Described(betas=(0.9, 0.99)))


def test_a_described_optimiser_holds_what_is_trained(known: Known) -> None:
    (optimizer,) = known("", Described(optimizer="adam")).optimizers
    assert optimizer.groups[0].params == ("0.weight", "0.bias", "2.weight", "2.bias")


def test_an_optimiser_with_settings_that_are_no_numbers_is_read(known: Known) -> None:
    text = "\ndef optimizer(model):\n    return optim.Adafactor(model.parameters(), lr=torch.tensor(0.5))\n"
    (optimizer,) = known(text).optimizers
    assert optimizer.groups[0].settings["eps"] == (None, 1e-3)
    assert optimizer.groups[0].number("lr") == 0.5


def test_the_line_that_makes_an_optimiser_is_known(known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = torch.optim.Optimizer.__init__
    text = "\nclass Own(optim.SGD):\n    def __init__(self, params):\n        super().__init__(params, lr=0.1)\n"
    (optimizer,) = known(text + "\ndef optimizer(model):\n    made = Own(model.parameters())\n    return made\n").optimizers
    assert optimizer.site is not None
    assert Path(optimizer.site.file).read_text().splitlines()[optimizer.site.line - 1].strip() == "made = Own(model.parameters())"
    assert optimizer.kind == "Own"
    assert torch.optim.Optimizer.__init__ is before


# replay -----------------------------------------------------------------------------------------------------------------

SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]] = {
    "StepLR(optimizer, 30)": lambda o: lr_scheduler.StepLR(o, 30),
    "CosineAnnealingLR(optimizer, 100)": lambda o: lr_scheduler.CosineAnnealingLR(o, 100),
    "OneCycleLR(optimizer, 0.7, total_steps=200)": lambda o: lr_scheduler.OneCycleLR(o, 0.7, total_steps=200),
    "LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 50))": lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1.0, (t + 1) / 50)),
    "CosineAnnealingWarmRestarts(optimizer, 40)": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 40),
}


@pytest.mark.parametrize("text", SCHEDULERS)
def test_a_replay_is_what_training_would_see(known: Known, text: str) -> None:
    found = known(SGD + f"\ndef scheduler(optimizer):\n    return schedulers.{text}\n", config=Described(steps=200))
    schedule = found.optimizers[0].groups[0].schedule
    assert schedule is not None
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    scheduler = SCHEDULERS[text](optimizer)
    for step in range(200):
        assert schedule.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=2e-3, abs=1e-6)
        weight.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()


def test_nothing_of_the_users_is_changed(tmp_path: Path) -> None:
    subject = subject_of(tmp_path, SGD + "\ndef scheduler(optimizer):\n    return schedulers.StepLR(optimizer, 2)\n")
    (optimizer,) = subject.optimizers
    before = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    weights = [p.detach().clone() for p in subject.model.parameters()]
    own = set(vars(optimizer))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training_of(subject, analyse(subject, installed(), Settings()).graph)
    assert [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups] == before
    assert set(vars(optimizer)) == own
    assert not optimizer.state
    assert all(torch.equal(a, b) for a, b in zip(weights, subject.model.parameters(), strict=True))


def test_every_group_has_its_own_rates(known: Known) -> None:
    found = known(GROUPS + "\ndef scheduler(optimizer):\n    return schedulers.ExponentialLR(optimizer, 0.9)\n", config=Described(steps=10))
    first, second = found.optimizers[0].groups
    assert first.schedule is not None
    assert second.schedule is not None
    assert (first.peak_lr, second.peak_lr) == (0.1, 1.0)
    assert first.schedule.at(10) == pytest.approx(0.1 * 0.9**10, rel=2e-3)


def test_schedulers_that_are_stepped_once_an_epoch_are_stretched(known: Known) -> None:
    text = SGD + "\ndef scheduler(optimizer):\n    return schedulers.StepLR(optimizer, 30)\n"
    schedule = known(text, config=Described(steps=90_000, schedule_steps=90)).optimizers[0].groups[0].schedule
    assert schedule is not None
    assert schedule.at(20_000) == pytest.approx(0.1)
    assert schedule.at(45_000) == pytest.approx(0.01)


def test_a_scheduler_that_raises_is_known_up_to_there(known: Known) -> None:
    text = SGD + "\ndef scheduler(optimizer):\n    return schedulers.OneCycleLR(optimizer, 0.5, total_steps=50)\n"
    schedule = known(text, config=Described(steps=80)).optimizers[0].groups[0].schedule
    assert schedule is not None
    assert schedule.known == 50
    assert "Tried to step" in schedule.broken


def test_a_schedule_that_follows_the_loss_is_unknown_and_said_so(known: Known) -> None:
    found = known(SGD + "\ndef scheduler(optimizer):\n    return schedulers.ReduceLROnPlateau(optimizer)\n")
    assert found.optimizers[0].groups[0].schedule is None
    assert "ReduceLROnPlateau" in found.notes[0]


def test_a_scheduler_can_be_given_a_described_optimiser(known: Known) -> None:
    text = "\ndef scheduler(optimizer):\n    return schedulers.OneCycleLR(optimizer, 0.5, total_steps=50)\n"
    found = known(text, config=Described(optimizer="adamw", lr=0.1))
    assert found.optimizers[0].groups[0].peak_lr == 0.5
    assert known(text, config=Described(optimizer="lion", lr=0.1)).notes


@pytest.mark.parametrize(
    ("body", "words"),
    [("raise KeyError('x')", "scheduler() of model.py failed"), ("return 3", "returned an int"), ("pass", "returned None")],
)
def test_a_scheduler_that_is_none_is_refused(known: Known, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetError) as caught:
        known(SGD + f"\ndef scheduler(optimizer):\n    {body}\n")
    assert words in str(caught.value)


def test_a_schedule_that_is_said_on_the_command_line_goes_before_the_files(known: Known) -> None:
    text = SGD + "\ndef scheduler(optimizer):\n    return schedulers.StepLR(optimizer, 30)\n"
    said = Described(schedule="linear", warmup=10, steps=100)
    flagged = known(text, said).optimizers[0].groups[0].schedule
    configured = known(text, config=said).optimizers[0].groups[0].schedule
    assert flagged is not None
    assert configured is not None
    assert (flagged.warmup, configured.warmup) == (10, 0)
