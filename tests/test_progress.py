"""What is being done is told on a terminal, while it lasts, and nowhere else."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from netaudit.cli import _run
from netaudit.cli import progress as shown
from netaudit.cli.progress import _telling, progress
from netaudit.progress import silent

MODEL = "import torch\nfrom torch import nn\ndef build(): return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))\n"
MODEL += "def example_inputs(): return torch.randn(2, 4)\n"


class Terminal(io.StringIO):
    """A terminal that remembers everything."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: pytest puts its own stderr in place between a fixture and the test."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setattr(shown, "PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    return made


def wait_for(text: str, terminal: Terminal) -> None:
    end = time.monotonic() + 20.0
    while text not in terminal.getvalue():
        assert time.monotonic() < end, terminal.getvalue()
        time.sleep(0.01)


def test_a_line_is_shown_while_it_lasts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress() as tell:
        tell("norms of weights", 3, 54)
        wait_for("3 of 54", terminal)
        assert "norms of weights" in terminal.getvalue()
        sys.stderr.write("a warning of the model's\n")
        wait_for("a warning of the model's", terminal)
    assert sys.stderr is terminal
    last = terminal.getvalue().rpartition("norms of weights")[2]
    assert "\x1b[2K" in last, "the line is erased"
    assert "\x1b[?25h" in last, "the cursor is shown again"
    assert capsys.readouterr().out == ""


def test_what_takes_no_time_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr(shown, "PATIENCE", 60.0)
    with progress() as tell:
        tell("tracing", 0, 0)
    assert terminal.getvalue() == ""


def _breaks(terminal: Terminal) -> None:
    with progress() as tell:
        tell("tracing", 0, 0)
        wait_for("tracing", terminal)
        raise ValueError("broken")


def test_an_error_takes_the_lines_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with pytest.raises(ValueError, match="broken"):
        _breaks(terminal)
    assert sys.stderr is terminal
    assert "\x1b[2K" in terminal.getvalue().rpartition("tracing")[2]


@pytest.mark.parametrize("why", ["quiet", "pipe", "dumb"])
def test_elsewhere_nobody_is_told(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    if why == "pipe":
        monkeypatch.setattr(sys, "stderr", io.StringIO())
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    with progress(quiet=why == "quiet") as tell:
        assert tell is silent
    assert terminal.getvalue() == ""


def test_lines_are_a_stack() -> None:
    bars = Bars(console=Console(file=io.StringIO()))
    tell = _telling(bars)

    def lines() -> list[tuple[str, float, float | None]]:
        return [(task.description, task.completed, task.total) for task in bars.tasks]

    tell("targets", 0, 2)
    tell("tracing", 0, 0)
    assert lines() == [("targets", 0, 2), ("tracing", 0, None)]
    tell("norms", 1, 3)
    assert lines() == [("targets", 0, 2), ("norms", 1, 3)], "what nobody counts ends where something else begins"
    tell("targets", 1, 2)
    assert lines() == [("targets", 1, 2)], "what was begun later, and broke off, is part of it"
    tell("norms", 2, 3)
    tell("norms", 3, 3)
    assert lines() == [("targets", 1, 2)]
    tell("targets", 2, 2)
    assert lines() == []


def test_a_check_says_what_it_is_doing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "b.py"):
        Path(name).write_text(MODEL)
    on_terminal(monkeypatch)
    monkeypatch.setattr(shown, "_telling", lambda _bars: lambda *said: told.append(said))
    assert _run(("check", "a.py", "b.py", "-o", "json=r.json", "--exit-zero")) == 0
    words = [what for what, _, _ in told]
    order = (
        "loading torch",
        "targets",
        "building a.py",
        "tracing",
        "norms of weights",
        "sweep forward",
        "sweep backward",
        "checks and remedies",
        "building b.py",
    )
    assert [words.index(word) for word in order] == sorted(words.index(word) for word in order)
    assert [said[1:] for said in told if said[0] == "norms of weights"] == [(0, 2), (1, 2), (2, 2)] * 2
