"""Exported programs as targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from netaudit.errors import TargetError
from netaudit.intake.subject import Options, Subject

Only = Callable[..., Subject]
Refusal = Callable[..., TargetError]


@pytest.fixture
def program(folder: Path) -> torch.export.ExportedProgram:
    program = torch.export.export(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (torch.ones(2, 3),))
    torch.export.save(program, folder / "net.pt2")
    return program


def test_a_program_brings_its_model_and_inputs(program: torch.export.ExportedProgram, only: Only) -> None:
    subject = only("net.pt2")
    assert (subject.id, subject.file, subject.inputs_from) == ("net.pt2", None, ".pt2")
    assert subject.program is not None
    assert torch.equal(subject.args[0], torch.ones(2, 3))  # type: ignore[arg-type]  # a tensor
    assert torch.equal(subject.model(*subject.args), program.module()(torch.ones(2, 3)))
    assert subject.created == {}


def test_inputs_of_a_program_can_be_given(program: torch.export.ExportedProgram, only: Only) -> None:
    subject = only("net.pt2", Options(inputs=("f32[2,3]",)))
    assert subject.inputs_from == "--input"
    subject.model(*subject.args)


def test_a_program_takes_no_arguments(program: torch.export.ExportedProgram, refusal: Refusal) -> None:
    assert str(refusal("net.pt2", Options(args={"depth": 3}))) == "net.pt2 is built already: --arg does not reach it"


def test_a_damaged_program_is_refused(
    program: torch.export.ExportedProgram, folder: Path, refusal: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    content = (folder / "net.pt2").read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2]):
        (folder / "net.pt2").write_bytes(damaged)
        error = refusal("net.pt2")
        assert str(error).startswith("reading net.pt2 failed: ")
        assert "torch.export.save" in error.hint
    assert not caplog.records
