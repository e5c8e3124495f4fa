"""Targets named in the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netaudit.config import TargetConfig, load_config
from netaudit.errors import TargetError
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load

Write = Callable[..., Path]
Only = Callable[..., Subject]
Refusal = Callable[..., TargetError]

NET = """
class Net(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.body = nn.Sequential(*[nn.Linear(4, 4) for _ in range(depth)])

    def forward(self, x):
        return self.body(x)

class Small(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)
"""


def depth(subject: Subject) -> int:
    return sum(isinstance(layer, nn.Linear) for layer in subject.model.modules())


def batch(subject: Subject) -> int:
    (value,) = (*subject.args, *subject.kwargs.values())
    assert isinstance(value, Tensor)
    return len(value)


@pytest.fixture
def options(write: Write) -> Options:
    write(NET)
    deep = TargetConfig(target="model.py:Net", inputs=("x=f32[5,4]",), args={"depth": 5}, weights=None)
    wide = TargetConfig(target="./model.py:Net", inputs=(), args={"depth": 1})
    return Options(config={"deep": deep, "wide": wide})


def test_a_name_stands_for_its_entry(options: Options, only: Only) -> None:
    subject = only("deep", options)
    assert (subject.id, subject.inputs_from, depth(subject), batch(subject)) == ("deep", "pyproject.toml", 5, 5)


def test_the_command_line_goes_first(options: Options, only: Only) -> None:
    given = Options(args={"depth": 2}, inputs=("f32[9,4]",), config=options.config)
    subject = only("deep", given)
    assert (subject.inputs_from, depth(subject), batch(subject)) == ("--input", 2, 9)


def test_a_file_brings_the_entries_that_point_into_it(options: Options) -> None:
    subjects = load("model.py", options)
    assert [(subject.id, depth(subject)) for subject in subjects] == [("deep", 5), ("wide", 1), ("model.py:Small", 1)]
    assert [subject.id for subject in load(".", options)] == ["deep", "wide", "model.py:Small"]


def test_a_target_is_loaded_as_the_entries_for_it_say(options: Options) -> None:
    assert [subject.id for subject in load("model.py:Net", options)] == ["deep", "wide"]
    assert [subject.id for subject in load("model.py:Small", options)] == ["model.py:Small"]


def test_an_entry_for_a_file_with_several_models_names_them(write: Write) -> None:
    write("class A(nn.Linear):\n    def __init__(self):\n        super().__init__(2, 2)\nclass B(A):\n    pass\n")
    options = Options(config={"both": TargetConfig(target="model.py")})
    assert [subject.id for subject in load("both", options)] == ["both:A", "both:B"]
    assert [subject.id for subject in load("model.py", options)] == ["both:A", "both:B"]


def test_an_entry_for_a_folder_keeps_its_models_apart(write: Write) -> None:
    for name in ("nets/a.py", "nets/b.py"):
        write("class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(2, 2)\n", name)
    options = Options(config={"all": TargetConfig(target="nets")})
    assert [subject.id for subject in load("all", options)] == ["all:nets/a.py:Net", "all:nets/b.py:Net"]


def test_a_mistyped_name_is_suggested(options: Options, refusal: Refusal) -> None:
    assert refusal("dep", options).hint == "did you mean 'deep'?"


def test_paths_are_relative_to_the_file(write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(NET, "nets/model.py")
    write("", "inner/empty.py")
    torch.save({"body.0.weight": torch.zeros(4, 4), "body.0.bias": torch.zeros(4)}, folder / "nets/w.pt")
    (folder / "pyproject.toml").write_text(
        '[tool.netaudit.targets.gpt]\ntarget = "nets/model.py:Net"\nargs = {depth = 1}\nweights = "nets/w.pt"\n'
    )
    monkeypatch.chdir(folder / "inner")
    config = load_config()
    (subject,) = load("gpt", Options(config=config.targets))
    assert subject.file == "../nets/model.py"
    assert not subject.model.state_dict()["body.0.weight"].any()
