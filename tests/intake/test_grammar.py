"""What a target may look like."""

from __future__ import annotations

from pathlib import Path

import pytest

from netaudit.errors import TargetError
from netaudit.intake.build import parse_args
from netaudit.intake.grammar import Target, location, parse, split


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    for name in ("model.py", "deep/gpt.py", "net.pt2", "notes.txt", "w.safetensors", "w.pt", "run.ipynb", "net.onnx"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("model.py", Target("file", "model.py")),
        ("./model.py", Target("file", "./model.py")),
        ("deep/gpt.py:Net", Target("file", "deep/gpt.py", "Net")),
        ("model.py:Net.small", Target("file", "model.py", "Net.small")),
        ("deep", Target("folder", "deep")),
        ("deep/", Target("folder", "deep/")),
        (".", Target("folder", ".")),
        ("pkg.mod:factory", Target("module", "pkg.mod", "factory")),
        ("pkg:Class.method", Target("module", "pkg", "Class.method")),
        ("net.pt2", Target("program", "net.pt2")),
        ("torchvision:resnet50", Target("torchvision", "resnet50")),
        ("timm:resnet18.a1_in1k", Target("timm", "resnet18.a1_in1k")),
        ("hf:deep/config.json", Target("hf", "deep/config.json")),
        (r"hf:C:\models\bert", Target("hf", r"C:\models\bert")),
    ],
)
def test_targets_are_told_apart(text: str, target: Target) -> None:
    assert parse(text) == target


def test_absolute_paths_are_read(folder: Path) -> None:
    assert parse(f"{folder / 'model.py'}:Net") == Target("file", str(folder / "model.py"), "Net")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (r"C:\work\model.py", (r"C:\work\model.py", "")),
        (r"C:\work\model.py:Net", (r"C:\work\model.py", "Net")),
        ("C:model.py", ("C:model.py", "")),
        ("model.py:3", ("model.py:3", "")),
    ],
)
def test_a_drive_is_no_file_and_a_number_no_name(text: str, parts: tuple[str, str]) -> None:
    assert split(text) == parts


def test_equal_places_are_equal_however_they_are_written(folder: Path) -> None:
    assert location("model.py:Net") == location(f"{folder}/deep/../model.py:Net") != location("model.py")


@pytest.mark.parametrize(
    ("text", "says", "hints"),
    [
        ("modle.py", "there is no file or folder modle.py", "did you mean 'model.py'?"),
        ("modle.py:Net", "there is no file or folder modle.py", "did you mean 'model.py'?"),
        ("deep/gtp.py", "there is no file or folder deep/gtp.py", "did you mean 'gpt.py'?"),
        ("depe", "there is no file or folder depe", "did you mean 'deep'?"),
        ("nowhere/model.py", "there is no file or folder nowhere/model.py", "there is no folder nowhere either"),
        ("pkg.models.big", "there is no file or folder pkg.models.big", "pkg.models.big:build"),
        ("whatever", "there is no file or folder whatever", "a target is model.py"),
        ("smal", "there is no file or folder smal", "did you mean 'small'?"),
        ("notes.txt", "notes.txt is not a python file", "a target is model.py"),
        ("w.safetensors", "w.safetensors is not a python file", "netaudit check model.py --weights w.safetensors"),
        ("w.pt", "w.pt is not a python file", "--weights w.pt"),
        ("run.ipynb", "run.ipynb is not a python file", "nbconvert"),
        ("net.onnx", "net.onnx is not a python file", "is not trained"),
    ],
)
def test_what_is_no_target_is_refused(text: str, says: str, hints: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse(text, ["small", "large"])
    assert str(caught.value) == says
    assert hints in caught.value.hint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=12", 12),
        ("a=1e-3", 1e-3),
        ("a=None", None),
        ("a=[1, 2]", [1, 2]),
        ("a='x'", "x"),
        ("a=batch", "batch"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        (" a = True ", True),
    ],
)
def test_arguments_are_literals_or_words(text: str, value: object) -> None:
    assert parse_args([text]) == {"a": value}


@pytest.mark.parametrize("texts", [["depth"], ["=3"], ["1a=3"], ["a=1", "a=2"]])
def test_arguments_without_a_name_or_twice_are_refused(texts: list[str]) -> None:
    with pytest.raises(TargetError, match="--arg") as caught:
        parse_args(texts)
    assert caught.value.hint
