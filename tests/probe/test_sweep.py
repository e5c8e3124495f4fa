"""The coordinate check: exponents against closed forms and against theory, and what is said where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, log10, nan, sqrt
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from netaudit.cli.app import app
from netaudit.errors import ConfigError, NetauditError, TargetError
from netaudit.intake.lower import lower
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load
from netaudit.intake.trace import trace
from netaudit.measured import Coordinates, Growth, Slope
from netaudit.probe.coordinates.fit import matched, slope
from netaudit.probe.coordinates.points import module_outputs
from netaudit.probe.machine import forward, machine_of
from netaudit.report.documents import json_schema
from netaudit.report.sweep import text

# fitting ----------------------------------------------------------------------------------------------------------------


def test_a_slope_and_its_error_are_those_of_least_squares() -> None:
    values, sizes = [3.0, 10.0, 50.0, 64.0, 900.0], [-1.0, 0.2, 0.1, 1.5, 1.7]
    (exponent, _), covariance = np.polyfit(np.log10(values), sizes, 1, cov=True)
    found = slope(values, sizes)
    assert found is not None
    assert found.exponent == pytest.approx(exponent)
    assert found.error == pytest.approx(sqrt(covariance[0, 0]))


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 2.0])
def test_a_power_is_found_exactly_and_what_is_no_number_is_left_out(exponent: float) -> None:
    values = [64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0]
    sizes = [-3.0 + exponent * log10(value) for value in values]
    found = slope([*values, 3.0, 5.0, 7.0], [*sizes, nan, -inf, None])
    assert found is not None
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert found.error == pytest.approx(0.0, abs=1e-9)


def test_two_values_have_no_error_and_one_has_no_slope() -> None:
    assert slope([1.0, 10.0], [0.0, 1.0]) == Slope(1.0, None)
    assert slope([1.0, 10.0], [0.0, -inf]) is None


@pytest.mark.parametrize(
    ("exponent", "error", "trend"),
    [(0.5, 0.1, "grows"), (-1.0, None, "vanishes"), (0.1, 0.1, "steady"), (0.3, 0.1, "unclear"), (0.1, 0.3, "unclear")],
)
def test_a_trend_follows_from_the_exponent_and_its_error(exponent: float, error: float | None, trend: str) -> None:
    assert Slope(exponent, error).trend == trend


def test_the_last_of_a_stack_is_compared_with_the_last() -> None:
    models = [["first", *(f"body.{i}.fc.0" for i in range(depth)), "head"] for depth in (2, 4, 8)]
    labels, lost = matched(models)
    assert [one["body.last.fc.0"] for one in labels] == ["body.1.fc.0", "body.3.fc.0", "body.7.fc.0"]
    assert list(labels[0]) == ["first", "body.0.fc.0", "body.last.fc.0", "head"]
    assert lost == 0 + 2 + 6


def test_stacks_of_one_length_are_compared_member_by_member() -> None:
    labels, lost = matched([["0", "1", "2"], ["0", "1", "2"]])
    assert [list(one) for one in labels] == [["0", "1", "2"]] * 2
    assert lost == 0


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = x + self.inner(x)
        return found


def test_the_output_of_a_module_is_what_its_forward_returned() -> None:
    model, x = nn.Sequential(Block(), Block(), nn.Linear(4, 2)), torch.randn(3, 4)
    seen: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda _m, _a, out, name=name: seen.__setitem__(name, out))
    subject = Subject("model", model, (x,), {}, x, "test", loss=lambda model, x: model(x).square().mean())
    lowered = lower(trace(subject), subject)
    seen.clear()
    model(x)
    ends = module_outputs(lowered.graph)
    assert set(ends) == {"0.inner", "0", "1.inner", "1", "2"}  # the model ends with its last module
    machine = machine_of(lowered, torch.device("cpu"))
    values = forward(replace(machine, graph=replace(machine.graph, outputs=tuple(ends.values()), loss=None)), {})
    for module, end in ends.items():
        assert torch.equal(values[end], seen[module]), module


# whole runs -------------------------------------------------------------------------------------------------------------

LINEAR = """
import torch
from torch import nn


class Net(nn.Module):
    '''f = v . W x with W all ones and v all 1 / n: every size is known in closed form.'''

    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(2, width, bias=False)
        self.head = nn.Linear(width, 1, bias=False)
        nn.init.ones_(self.first.weight)
        nn.init.constant_(self.head.weight, 1 / width)

    def forward(self, x):
        return self.head(self.first(x))


def build(width: int = 4): return Net(width)
def example_inputs(): return torch.tensor([[1.0, 2.0]])
def loss(model, inputs): return model(inputs).square().sum() / 2
def optimizer(model): return torch.optim.SGD(model.parameters(), lr=LR)
"""
LR = 1e-3

MLP = """
import torch
from torch import nn


class MLP(nn.Module):
    def __init__(self, width, mup):
        super().__init__()
        self.first, self.middle, self.head = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 16)
        for layer in (self.first, self.middle, self.head):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        if mup:
            nn.init.normal_(self.head.weight, std=1 / width)
        self.width, self.mup = width, mup

    def forward(self, x):
        return self.head(self.middle(self.first(x).relu()).relu())


def build(width: int = 64, mup: bool = False, broken: int = 0):
    if width == broken:
        raise RuntimeError("too wide")
    return MLP(width, mup)


def example_inputs(): return torch.randn(4, 8)
def loss(model, inputs): return (model(inputs) - 1).square().mean()


def optimizer(model):
    shrunk = 64 / model.width if model.mup else 1
    wide = [model.middle.weight, model.head.weight]
    rest = [p for p in model.parameters() if all(p is not w for w in wide)]
    return torch.optim.Adam([{"params": rest}, {"params": wide, "lr": 1e-6 * shrunk}], lr=1e-6)
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write model.py in a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def written(source: str) -> None:
        Path("model.py").write_text(source)

    return written


def invoke(*arguments: str, output: str = "json") -> tuple[int, str]:
    words = ["probe", "model.py", "--device", "cpu", "-o", output, *arguments]
    done = CliRunner().invoke(app, words, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert isinstance(done.return_value, int)
    return done.return_value, done.stdout


def check(*arguments: str) -> tuple[int, Mapping[str, Any]]:
    """Exit code and JSON of a coordinate check, in this process; the JSON is valid."""
    code, printed = invoke(*arguments)
    document = json.loads(printed)
    jsonschema.validate(document, json.loads(json_schema("sweep")))
    (target,) = document["targets"]
    return code, target


def exponents(target: Mapping[str, Any], quantity: str) -> Mapping[str, float]:
    return {row["name"]: row["slope"]["exponent"] for row in target["rows"] if row["quantity"] == quantity and row["slope"]}


def test_every_number_is_the_one_of_the_closed_form(write: Callable[[str], None]) -> None:
    """``h = W x = 3``, ``f = v . h = 3``, and ``df`` is what one SGD step on ``f^2 / 2`` makes of it."""
    write(LINEAR.replace("LR", str(LR)))
    widths = (8.0, 32.0, 128.0)
    code, target = check("--sweep", "width=8,32,128", "--sweep-steps", "1")
    assert code == 0
    f, h, x2 = 3.0, 3.0, 5.0
    truth: Mapping[tuple[str, str], Callable[[float], float]] = {
        ("activation", "first"): lambda n: h,
        ("activation", "head"): lambda n: f,
        ("gradient", "first"): lambda n: f / n,
        ("gradient", "head"): lambda n: f,
        ("sensitivity", "first.weight"): lambda n: sqrt(2 * n) * f / n * sqrt(n * x2),
        ("sensitivity", "head.weight"): lambda n: n**-0.5 * f * h * sqrt(n),
        ("change", "first"): lambda n: LR * f / n * x2,
        # both factors move: (v - LR f h)(h - LR f x2 / n) summed over n entries, less f
        ("change", "head"): lambda n: f - n * (1 / n - LR * f * h) * (h - LR * f * x2 / n),
    }
    assert {(row["quantity"], row["name"]) for row in target["rows"]} == set(truth)
    for row in target["rows"]:
        sizes = [log10(truth[row["quantity"], row["name"]](n)) for n in widths]
        assert [one["log10"] for one in row["sizes"]] == pytest.approx(sizes, abs=1e-3), row["name"]
        assert row["slope"]["exponent"] == pytest.approx(np.polyfit(np.log10(widths), sizes, 1)[0], abs=2e-3), row["name"]


@pytest.mark.parametrize(
    ("mup", "change"),
    [("False", {"first": 0.0, "middle": 1.0, "head": 1.5}), ("True", {"first": 0.0, "middle": 0.0, "head": 0.0})],
    ids=["standard", "mup"],
)
def test_adam_needs_a_smaller_rate_for_larger_widths_unless_it_is_scaled(
    write: Callable[[str], None], mup: str, change: Mapping[str, float]
) -> None:
    """Yang & Hu 2021, section 5: an Adam step is a sign, and along the activations n of them add up to n.

    What the middle moves by has the signs of the head's weights, of size ``n^-.5``: the head adds n of them up to ``n^1.5``. Rates are
    so small that steps add up linearly. The tolerance is half the distance to the next exponent that theory has.
    """
    write(MLP)
    words = ("--arg", f"mup={mup}", "--seeds", "3", "--sweep-steps", "1", "--dtype", "float64")
    code, target = check("--sweep", "width=128,512,2048", *words)
    assert code == 0
    assert [value["seeds"] for value in target["values"]] == [[0, 1, 2]] * 3
    found = exponents(target, "change")
    assert found == pytest.approx(change, abs=0.25)
    activations = {"first": 0.0, "middle": 0.0, "head": -0.5 if mup == "True" else 0.0}
    assert exponents(target, "activation") == pytest.approx(activations, abs=0.25)


def test_sgd_moves_the_output_as_n_and_hidden_layers_as_the_root(write: Callable[[str], None]) -> None:
    """``dv = -lr g h`` gives ``n``; ``g / n^.5`` reaches the middle, whose step meets ``h . h = n``: ``n^.5``; the first has ``n^-.5``."""
    write(MLP)
    words = ("--seeds", "3", "--sweep-steps", "1", "--optimizer", "sgd", "--lr", "1e-6", "--dtype", "float64")
    _, target = check("--sweep", "width=128,512,2048", *words)
    assert exponents(target, "change") == pytest.approx({"first": -0.5, "middle": 0.5, "head": 1.0}, abs=0.25)
    assert target["values"][0]["training"] == "SGD, lr 1e-06 (--optimizer)"


def test_the_target_and_its_optimiser_are_stepped_on_copies(write: Callable[[str], None]) -> None:
    """The same steps by torch itself, on a model of the same seed."""
    write(MLP)
    _, target = check("--sweep", "width=16,32", "--sweep-steps", "3", "--lr", "0.01", "--seed", "5")
    (subject,) = load("model.py", Options(args={"width": 32}, seed=5))
    assert subject.loss is not None
    (optimizer,) = subject.optimizers
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    before = subject.model(*subject.args).detach()
    for _ in range(3):
        optimizer.zero_grad()
        subject.loss(subject.model, subject.inputs).backward()  # type: ignore[no-untyped-call]  # torch's stub
        optimizer.step()
    moved = float((subject.model(*subject.args).detach() - before).square().mean().sqrt())
    (row,) = (row for row in target["rows"] if (row["quantity"], row["name"]) == ("change", "head"))
    assert row["sizes"][1]["log10"] == pytest.approx(log10(moved), abs=1e-3)


def test_depth_is_compared_at_both_ends_of_a_stack(write: Callable[[str], None]) -> None:
    """``y = (I / 2)^depth x``: the last output halves with every layer, and so does the gradient at the first."""
    write(
        "import torch\nfrom torch import nn\n"
        "def build(depth: int = 2):\n"
        "    body = nn.Sequential(*[nn.Linear(3, 3, bias=False) for _ in range(depth)])\n"
        "    for layer in body: nn.init.eye_(layer.weight).data.div_(2)\n"
        "    return body\n"
        "def example_inputs(): return torch.ones(1, 3)\n"
        "def loss(model, inputs): return model(inputs).sum()\n"
    )
    code, target = check("--sweep", "depth=2,4,8")
    assert code == 0
    sizes = {(row["quantity"], row["name"]): [10 ** one["log10"] for one in row["sizes"]] for row in target["rows"]}
    assert sizes["activation", "last"] == pytest.approx([0.5**n for n in (2, 4, 8)], rel=1e-3)
    assert sizes["activation", "0"] == pytest.approx([0.5] * 3, rel=1e-3)
    assert sizes["gradient", "0"] == pytest.approx([0.5 ** (n - 1) for n in (2, 4, 8)], rel=1e-3)
    assert any("nothing says how it is trained" in note for note in target["notes"])


def test_a_value_that_fails_is_said_and_the_others_are_kept(write: Callable[[str], None]) -> None:
    write(MLP)
    code, target = check("--sweep", "width=8,16,32", "--arg", "broken=16")
    assert code == 3
    assert [value["seeds"] for value in target["values"]] == [[0], [], [0]]
    (problem,) = target["problems"]
    assert problem.startswith("width=16, seed 0: build() of model.py failed at model.py:")
    assert "too wide" in problem
    assert all(row["sizes"][1]["status"] == "unknown" and row["slope"]["error"] is None for row in target["rows"])


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("--sweep", "widht=8,16"), TargetError, ("no argument 'widht'", "did you mean 'width'?")),
        (("--sweep", "width=8"), ConfigError, ("one value", "width=8,16,32")),
        (("--sweep", "width=8,8"), ConfigError, ("the value 8 twice", "--seeds")),
        (("--sweep", "width=8,many"), ConfigError, ("'many' is no positive number", "width=64,128,256")),
        (("--sweep", "width=8,-8"), ConfigError, ("'-8' is no positive number", "width=64,128,256")),
        (("--sweep", "width"), ConfigError, ("names no values", "depth=12,24,48")),
        (("--sweep", "width=8,16", "--arg", "width=4"), TargetError, ("--arg width is given twice", "once")),
        (("--sweep", "width=8,16", "--study", "modes"), ConfigError, ("no study", "leave out")),
        (("--sweep", "width=8,16", "--optimizer", "adamm"), ConfigError, ("no optimiser", "did you mean 'adam'?")),
    ],
)
def test_what_cannot_be_swept_gets_one_clear_error(
    write: Callable[[str], None], arguments: Sequence[str], error: type[NetauditError], said: Sequence[str]
) -> None:
    write(MLP)
    with pytest.raises(error) as caught:
        invoke(*arguments)
    whole = f"{caught.value.message} ({caught.value.hint})"
    assert all(part in whole for part in said), whole


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--optimizer", "lion", "--lr", "1e-3"), "torch has no Lion"),
        (("--optimizer", "muon", "--lr", "1e-3"), "torch makes no Muon of it"),
        (("--optimizer", "sgd"), "nothing says the learning rate of SGD"),
        (("--optimizer", "lbfgs", "--lr", "1"), "a step of LBFGS failed"),
        (("--optimizer", "sgd", "--lr", "1", "--cotangent", "unit"), "no loss to train on"),
    ],
)
def test_a_step_that_cannot_be_made_is_a_problem_and_the_rest_is_measured(
    write: Callable[[str], None], arguments: Sequence[str], said: str
) -> None:
    write(MLP)
    code, target = check("--sweep", "width=8,16", *arguments)
    assert code == 3
    assert any(said in problem for problem in target["problems"])
    assert exponents(target, "activation")
    assert not exponents(target, "change")


def test_an_interrupt_keeps_what_there_is(write: Callable[[str], None]) -> None:
    write(MLP.replace("raise RuntimeError", "raise KeyboardInterrupt"))
    code, target = check("--sweep", "width=8,16,32", "--arg", "broken=32")
    assert code == 130
    assert target["partial"]
    assert [len(value["seeds"]) for value in target["values"]] == [1, 1, 0]
    assert exponents(target, "activation")
    code, printed = invoke("--sweep", "width=8,16,32", "--arg", "broken=32", output="full")
    assert code == 130
    assert "the sweep was interrupted: what is measured is a part" in printed


def test_a_report_fits_on_80_columns_and_says_what_grows(write: Callable[[str], None]) -> None:
    write(MLP)
    code, printed = invoke("--sweep", "width=16,32,64,128,256,512", output="full")
    assert code == 0
    assert max(map(len, printed.splitlines())) <= 80
    assert "change in 3 steps: 2 of 3 grow, " in printed
    assert "the best learning rate of a small model is too large for a large one" in " ".join(printed.split())
    assert printed.splitlines()[4].split() == ["module", "16", "32", "64", "256", "512", "exponent"]  # five of six values


def test_siblings_are_one_row_with_the_range_of_their_exponents() -> None:
    rows = tuple(Growth("activation", f"blocks.{i}.mlp.{j}", (0.0, i / 12), Slope(i / 12, None)) for i in range(13) for j in (0, 2))
    printed = text(Coordinates("m", "width", (1.0, 10.0), ((0,), (0,)), 0, ("", ""), "cpu", "float32", "x", "loss", rows), full=False)
    (line,) = (line for line in printed.splitlines() if line.startswith("blocks.*.mlp.2 x13"))
    assert line.endswith("+0.00 to +1.00")
    assert "activations: 20 of 26 grow" in printed
