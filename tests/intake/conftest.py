"""What the tests of loading share: a folder of their own to work in, and the shortest way to load."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from netaudit.errors import TargetError
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load

HEADER = "import torch\nfrom torch import nn\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    """Write a python file that imports torch and nn in its first two lines."""

    def write_file(text: str, name: str = "model.py") -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + textwrap.dedent(text).lstrip("\n"))
        return path

    return write_file


@pytest.fixture
def only(folder: Path) -> Callable[..., Subject]:
    """Load the one subject of a target."""

    def load_one(target: str = "model.py", options: Options | None = None) -> Subject:
        (subject,) = load(target, options or Options())
        return subject

    return load_one


@pytest.fixture
def refusal(folder: Path) -> Callable[..., TargetError]:
    """The error that loading a target raises."""

    def refused(target: str = "model.py", options: Options | None = None) -> TargetError:
        with pytest.raises(TargetError) as caught:
            load(target, options or Options())
        return caught.value

    return refused
