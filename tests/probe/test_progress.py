"""Progress: bars on a terminal's stderr for what takes long, nothing anywhere else."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from netaudit.cli import _run
from netaudit.cli import progress as shown
from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.probe.machine import machine_of
from netaudit.probe.run import CALLS, Plan, runs

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "deep_sigmoid.py")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def terminal(patience: float = 0.0) -> Iterator[Terminal]:
    """stderr is a terminal, and patience is over at once. No fixture: pytest puts its own stderr in place between setup and test."""
    fake = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", fake)
        patch.setattr(shown, "PATIENCE", patience)
        patch.setenv("TERM", "xterm")
        yield fake
        assert sys.stderr is fake


def test_every_call_of_a_run_is_told_forward_and_backward() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), torch.randn(2, 4)
    subject = Subject("m", model, (x,), {}, x, "test")
    machine = machine_of(lower(trace(subject), subject), torch.device("cpu"))
    told: list[tuple[str, int, int]] = []
    runs(machine, Plan(progress=lambda *one: told.append(one)))
    (total,) = {total for _, _, total in told}
    assert {what for what, _, _ in told} == {CALLS}
    done = [done for _, done, _ in told]
    assert done == sorted(done)
    assert done[-1] == total
    assert len(told) == len(machine.leaves) + 2 * len(machine.calls) + 1  # here a gradient reaches every call


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("probe", EXAMPLE, "--gains", "all"), CALLS),
        (("probe", EXAMPLE, "--study", "modes", "--seeds", "2"), "other seeds"),
        (("probe", f"{EXAMPLE}:DeepSigmoid", "--sweep", "width=8,16"), "models of the sweep"),
    ],
    ids=["calls", "seeds", "sweep"],
)
def test_a_terminal_is_told_and_standard_output_is_not(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    with terminal() as screen:
        assert _run([*words, "--device", "cpu"]) == 0
    assert said in screen.getvalue()
    assert said not in capsys.readouterr().out


def test_what_is_no_terminal_gets_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "PATIENCE", 0.0)
    assert _run(["probe", EXAMPLE, "--device", "cpu"]) == 0
    assert capsys.readouterr().err == ""


def test_nothing_is_shown_of_what_is_over_soon() -> None:
    with terminal(patience=60.0) as screen, shown.progress() as tell:
        tell("work", 0, 2)
        tell("work", 2, 2)
    assert screen.getvalue() == ""


def test_bars_are_gone_after_an_interrupt() -> None:
    with terminal() as screen, pytest.raises(KeyboardInterrupt):
        _interrupted(screen)
    text = screen.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor was hidden, and is back


def _interrupted(screen: Terminal) -> None:
    with shown.progress() as tell:
        while "work" not in screen.getvalue():
            tell("work", 0, 2)
        raise KeyboardInterrupt
