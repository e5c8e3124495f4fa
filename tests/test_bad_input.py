"""Broken targets of many kinds: one clear message, the right exit code, no traceback. What starts slowly is in ``test_cli.py``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from netaudit.cli import _run

HEADER = "import os, sys\nfrom dataclasses import dataclass\nimport torch\nfrom torch import nn\n"
INPUTS = "def example_inputs(): return torch.randn(2, 4)\n"


def net(body: str, layer: str = "nn.Linear(4, 4)", inputs: str = INPUTS) -> str:
    """A model whose ``forward`` is the body."""
    lines = body.replace("\n", "\n        ")
    made = f"class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = {layer}\n"
    return HEADER + made + f"    def forward(self, x):\n        {lines}\ndef build(): return Net()\n" + inputs


def built(expression: str, inputs: str = INPUTS) -> str:
    """A model that the expression makes."""
    return HEADER + f"def build(): return {expression}\n" + inputs


def fed(expression: str) -> str:
    """A linear layer and its input."""
    return built("nn.Linear(4, 4)", f"def example_inputs(): return {expression}\n")


OUTPUTS = "forward() must return tensors, alone or in tuples, mappings or dataclasses; it returned "
LOOP = "while True:\n    try:\n        while True: pass\n    except Exception: pass"

# name -> (text of model.py, exit code, what must be said)
MODELS = {
    "build raises what is no Exception": (HEADER + "class E(BaseException): pass\ndef build(): raise E('x')\n", 2, "model.py:6: E: x"),
    "build is a generator": (HEADER + "def build():\n    yield nn.Linear(4, 4)\n", 2, "build() of model.py returned a generator"),
    "forward exits": (net("sys.exit(4)"), 3, "model.py:10: SystemExit: 4"),
    "forward recurs": (net("return self(x)"), 3, "model.py:10: RecursionError"),
    "a generator comes out": (net("return (self.a(x) for _ in range(2))"), 3, OUTPUTS + "a generator"),
    "forward yields": (net("yield self.a(x)"), 3, OUTPUTS + "a generator"),
    "an object comes out": (net("return type('Out', (), {'y': self.a(x)})()"), 3, OUTPUTS + "an Out"),
    "nothing comes out": (net("self.a(x)"), 3, OUTPUTS + "None"),
    "an array comes out": (net("return self.a(x).detach().numpy()"), 3, OUTPUTS + "a ndarray"),
    "a number comes out": (net("return self.a(x).sum().item()"), 3, OUTPUTS + "a float"),
    "an empty tuple comes out": (net("return ()"), 3, OUTPUTS + "a tuple"),
    "lazy layers": (built("nn.LazyLinear(4)"), 2, "lazy parameters, whose shape is not known yet: weight"),
    "a module inside itself": (
        HEADER + "def build():\n    m = nn.Sequential(nn.Linear(4, 4))\n    m.add_module('own', m)\n    return m\n" + INPUTS,
        2,
        "has a module that contains itself",
    ),
    "a sparse input": (fed("torch.eye(4).to_sparse()"), 2, "hold a sparse_coo tensor"),
    "a nested input": (fed("torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)])"), 2, "hold a nested tensor"),
    "complex weights": (
        built("nn.Linear(4, 4, dtype=torch.complex64)", "def example_inputs(): return torch.randn(2, 4, dtype=torch.complex64)\n"),
        3,
        "no forecast for 2 parameters",
    ),
    "a model on meta": (built("nn.Linear(4, 4, device='meta')"), 3, "torch.export failed on the meta device"),
    "too large a model": (built("nn.Linear(10**9, 10**9)"), 2, "allocate"),
}

# the same, of models that are odd but sound
ODD = {
    "nested outputs": net("return ((self.a(x), (x, [self.a(x)])), None, 3, 'text', {'y': self.a(x), 1: None})"),
    "a dataclass comes out": f"{HEADER}@dataclass\nclass Out:\n    y: torch.Tensor\n" + net("return Out(self.a(x))"),
    "no parameters": built("nn.ReLU()"),
    "integers only": net("return x + 1", layer="nn.Identity()", inputs="def example_inputs(): return torch.arange(4)\n"),
    "half": built("nn.Linear(4, 4).half()", "def example_inputs(): return torch.randn(2, 4).half()\n"),
    "float64": built("nn.Linear(4, 4).double()", "def example_inputs(): return torch.randn(2, 4).double()\n"),
    "float8": net("return x @ self.a.float()", layer="nn.Parameter(torch.ones(4, 4).to(torch.float8_e4m3fn), requires_grad=False)"),
    "all frozen": built("nn.Linear(4, 4).requires_grad_(False)"),
    "a carriage return in every line": net("return self.a(x)").replace("\n", "\r\n"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, text: str, name: str = "model.py") -> str:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return name


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = _run(arguments)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "Traceback" not in said
    assert "internal error" not in said
    return code, said


@pytest.mark.parametrize("name", MODELS)
def test_a_broken_model_gets_one_clear_message(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    text, expected, words = MODELS[name]
    code, said = outcome(capsys, "check", written(folder, text))
    assert (code, words in " ".join(said.split())) == (expected, True), said  # lines are filled to the width of the page


@pytest.mark.parametrize("name", ODD)
def test_an_odd_model_is_audited(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, said = outcome(capsys, "check", written(folder, ODD[name]))
    assert (code, "0 unknown" in said) == (0, True), said


@pytest.mark.parametrize("body", ["while True: pass", LOOP], ids=["hangs", "hangs and takes exceptions for retries"])
def test_a_forward_that_hangs_is_ended(folder: Path, capsys: pytest.CaptureFixture[str], body: str) -> None:
    code, said = outcome(capsys, "check", written(folder, net(body)), "--timeout", "2")
    assert code == 2
    assert "model.py: not done after 2 seconds" in said


GOOD = net("return self.a(x)")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "json=here"), "here cannot be written: it is a folder"),
        (("-o", "json=/proc/netaudit.json"), "/proc/netaudit.json cannot be written: No such file or directory"),
        (("--seed", "9" * 30), "is too large"),
        (("--min-coverage", "2"), "--min-coverage 2 is not a share"),
        (("--min-coverage", "nan"), "--min-coverage nan is not a share"),
        (("--timeout", "-1"), "greater than or equal to 0"),
        (("--weights", "here"), "here holds no .safetensors file"),
    ],
)
def test_a_wrong_value_is_said(folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str) -> None:
    (folder / "here").mkdir()
    code, said = outcome(capsys, "check", written(folder, GOOD), *arguments)
    assert code == 2
    assert words in said


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "odd.py is neither a file nor a folder"),
        (lambda path: os.symlink("nowhere", path), "odd.py is neither a file nor a folder"),
        (lambda path: path.write_bytes(bytes(range(256))), "importing odd.py failed"),
        (lambda path: path.write_bytes(b""), "there is no model to audit in odd.py"),
        (lambda path: path.write_text(GOOD, encoding="utf-16"), "importing odd.py failed"),
        (lambda path: torch.save(nn.Linear(2, 2).state_dict(), path.with_suffix(".pt")), "there is no file or folder odd.py"),
    ],
    ids=["a pipe", "a link to nothing", "bytes", "nothing", "another encoding", "weights alone"],
)
def test_what_is_no_python_file_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], object], words: str
) -> None:
    make(folder / "odd.py")
    code, said = outcome(capsys, "check", "odd.py")
    assert code == 2
    assert words in said
    assert "did you mean 'odd.py'" not in said


def test_names_that_are_not_ascii_are_printed_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Ж модель").mkdir()
    text = GOOD.replace("Net", "Réseau").replace("self.a", "self.couché").replace("return self.couché(x)", "return self.couché(x).detach()")
    code, said = outcome(capsys, "check", written(folder, text, "Ж модель/modèle.py"))
    assert code == 1
    assert "`couché.weight` gets no gradient" in said
    assert "Ж модель/modèle.py:" in said


def test_a_pass_that_fails_is_said_when_it_is_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = outcome(capsys, "forecast", written(folder, fed("torch.randn(2, 4).double()")), "--measure")
    assert code == 2
    assert "running model.py failed" in said
    assert "must have the same dtype" in said


def test_what_the_loss_does_not_reach_is_measured_as_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD + "def loss(model, inputs): return model(inputs).detach().sum()\n"
    _, said = outcome(capsys, "forecast", written(folder, text), "--measure")
    row = next(line.split() for line in said.splitlines() if line.startswith("a.weight"))
    assert row[-2:] == ["0", "zero"]


def test_a_layer_without_outputs_is_no_crash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = outcome(capsys, "check", written(folder, net("return self.a(x)", layer="nn.Linear(4, 0)")))
    assert code == 1
    assert "gets no gradient" in said


def test_another_project_of_the_name_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    other = folder / "site" / "netaudit-0.6.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: netaudit\nVersion: 0.6.1\n")
    monkeypatch.syspath_prepend(other.parent)
    assert _run(["version"]) == 2
    said = capsys.readouterr()
    assert "another project, `netaudit` 0.6.1" in said.err
    assert "pip uninstall" in said.err
    assert not said.out
