"""Loading is repeatable and leaves the process as it was."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from netaudit.errors import TargetError
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load

Write = Callable[..., Path]
Only = Callable[..., Subject]

RANDOM = """
import random
import numpy as np

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.offsets = [random.random(), np.random.rand()]

    def forward(self, x):
        return self.layer(x)

def example_inputs():
    return torch.randn(2, 4)
"""

MEDDLING = """
import os, random, sys
os.chdir("/")
os.environ["HF_HUB_OFFLINE"] = "no"
sys.path.append("nowhere")
sys.argv.append("--more")
torch.manual_seed(123)
random.seed(123)
torch.set_grad_enabled(False)
print("printed at import")

def build():
    os.chdir("/")
    print("printed by build")
    {body}
"""


@pytest.fixture(autouse=True)
def own_state() -> None:
    """Generators in a state that no seeding leaves behind."""
    torch.manual_seed(999)
    random.seed(999)
    np.random.seed(999)


def state() -> tuple[object, ...]:
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        repr(np.random.get_state()),
        os.getcwd(),
        list(sys.path),
        list(sys.argv),
        dict(os.environ),
        torch.is_grad_enabled(),
        nn.Module.__init__,
        sys.stdout,
    )


@pytest.mark.parametrize(
    ("body", "fails"),
    [("return nn.Linear(4, 4)", False), ("raise ValueError", True), ("sys.exit()", True), ("return 3", True)],
)
def test_the_process_is_as_before(write: Write, capfd: pytest.CaptureFixture[str], body: str, fails: bool) -> None:
    write(MEDDLING.format(body=body))
    before = state()
    if fails:
        with pytest.raises(TargetError, match=r"build\(\) of model\.py"):
            load("model.py", Options())
    else:
        load("model.py", Options())
    assert state() == before
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["printed at import", "printed by build"]


def test_a_syntax_error_leaves_the_process_as_before(write: Write) -> None:
    write("def f(:\n")
    before = state()
    with pytest.raises(TargetError):
        load("model.py", Options())
    assert state() == before


def test_the_same_seed_builds_the_same_model(write: Write, only: Only) -> None:
    write(RANDOM)
    one, two, other = (only(options=Options(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(one.model.get_parameter("layer.weight"), two.model.get_parameter("layer.weight"))
    assert one.model.offsets == two.model.offsets
    assert torch.equal(one.args[0], two.args[0])  # type: ignore[arg-type]  # tensors
    assert not torch.equal(one.model.get_parameter("layer.weight"), other.model.get_parameter("layer.weight"))
    assert one.model.offsets != other.model.offsets


def test_what_a_file_draws_at_import_is_seeded_too(write: Write, only: Only) -> None:
    write(RANDOM + "model = Net()\n")
    one, two, other = (only(options=Options(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(one.model.get_parameter("layer.weight"), two.model.get_parameter("layer.weight"))
    assert one.model.offsets == two.model.offsets != other.model.offsets


def test_loaded_modules_of_the_same_name_stay(write: Write, only: Only, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("netaudit_test_host")
    theirs.__file__ = "/elsewhere/netaudit_test_host.py"
    monkeypatch.setitem(sys.modules, "netaudit_test_host", theirs)
    write("WIDTH = 3\n", "netaudit_test_host.py")
    write("from netaudit_test_host import WIDTH\nmodel = nn.Linear(WIDTH, 1)\n")
    assert only().model.in_features == 3
    assert sys.modules["netaudit_test_host"] is theirs


def test_our_own_future_statements_do_not_reach_the_file(write: Write, only: Only) -> None:
    write("def width(n: int = 3):\n    return n\nassert width.__annotations__ == {'n': int}\nmodel = nn.Linear(3, 1)\n")
    assert only().model.in_features == 3


def test_inputs_do_not_depend_on_what_the_model_draws(write: Write, only: Only) -> None:
    write(RANDOM)
    first = only().args[0]
    write(RANDOM.replace("nn.Linear(4, 4)", "nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4))"))
    assert torch.equal(first, only().args[0])  # type: ignore[arg-type]  # tensors


def test_several_models_of_a_file_do_not_depend_on_each_other(write: Write) -> None:
    write(RANDOM + "class Wide(Net):\n    pass\n")
    alone = load("model.py:Wide", Options())[0]
    (_, beside) = load("model.py", Options())
    assert torch.equal(alone.model.get_parameter("layer.weight"), beside.model.get_parameter("layer.weight"))


def test_user_code_runs_with_gradients_and_offline(write: Write, only: Only) -> None:
    write("""
        import os

        def build():
            model = nn.Linear(2, 2)
            model.seen = torch.is_grad_enabled(), os.environ["HF_HUB_OFFLINE"], os.environ["TRANSFORMERS_OFFLINE"]
            return model
    """)
    with torch.no_grad():
        assert only().model.seen == (True, "1", "1")


def test_a_file_that_parses_arguments_gets_its_defaults(write: Write, only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["netaudit", "check", "model.py"])
    write("""
        import argparse

        parser = argparse.ArgumentParser()
        parser.add_argument("--width", type=int, default=6)
        options = parser.parse_args()
        model = nn.Linear(options.width, 1)
    """)
    assert only().model.in_features == 6


def test_a_guess_leaves_the_model_as_it_was(write: Write, only: Only) -> None:
    write("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = nn.BatchNorm1d(4)
                self.frozen = nn.Dropout().eval()
                self.register_buffer("calls", torch.zeros(()))
            def forward(self, x):
                self.calls += 1
                print("called")
                return self.norm(x)
    """)
    subject = only()
    assert subject.inputs_from == "guess"
    assert subject.model.calls == 0
    assert subject.model.get_buffer("norm.num_batches_tracked") == 0
    assert (subject.model.training, *(subject.model.get_submodule(path).training for path in ("norm", "frozen"))) == (
        True,
        True,
        False,
    )
