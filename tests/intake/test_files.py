"""Which models a file holds, and what goes with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from netaudit.errors import TargetError
from netaudit.intake.hollow import is_hollow
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load

Write = Callable[..., Path]
Only = Callable[..., Subject]
Refusal = Callable[..., TargetError]

NET = """
class Net(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.body = nn.Sequential(*[nn.Linear(4, 4) for _ in range(depth)])

    def forward(self, x):
        return self.body(x)
"""


def names(target: str = "model.py", options: Options | None = None) -> list[str]:
    return [subject.id for subject in load(target, options or Options())]


def test_the_protocol_of_a_file_is_taken_over(write: Write, only: Only) -> None:
    write(
        NET
        + """
def build():
    return Net(3)
def example_inputs(seed=0):
    return (torch.full((2, 4), float(seed)),)
def loss(model, inputs):
    return model(*inputs).square().mean()
def optimizer(model):
    return [torch.optim.SGD(model.parameters(), lr=0.1), torch.optim.Adam(model.parameters())]
def scheduler(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 10)
"""
    )
    subject = only(options=Options(seed=7))
    assert (subject.id, subject.file, subject.inputs_from, subject.guess) == (
        "model.py",
        "model.py",
        "example_inputs()",
        "",
    )
    assert len(list(subject.model.get_submodule("body").children())) == 3
    assert subject.inputs == subject.args
    assert torch.equal(torch.as_tensor(subject.args[0]), torch.full((2, 4), 7.0))
    assert subject.loss is not None
    assert subject.loss(subject.model, subject.inputs).ndim == 0
    assert [type(one).__name__ for one in subject.optimizers] == ["SGD", "Adam"]
    assert subject.optimizers[0].param_groups[0]["params"][0] is next(subject.model.parameters())
    assert subject.scheduler is not None
    assert isinstance(subject.scheduler(subject.optimizers[0]), torch.optim.lr_scheduler.StepLR)


@pytest.mark.parametrize(
    ("returned", "args", "kwargs"),
    [
        ("torch.ones(2, 4)", 1, []),
        ("(torch.ones(2, 4),)", 1, []),
        ("[torch.ones(2, 4)]", 1, []),
        ("{'x': torch.ones(2, 4)}", 0, ["x"]),
    ],
)
def test_inputs_come_as_a_tensor_a_tuple_or_a_table(write: Write, only: Only, returned: str, args: int, kwargs: list[str]) -> None:
    write(NET + f"def example_inputs():\n    return {returned}\n")
    subject = only()
    assert len(subject.args) == args
    assert list(subject.kwargs) == kwargs
    assert type(subject.inputs).__name__ == {"t": "Tensor", "(": "tuple", "[": "list", "{": "dict"}[returned[0]]


def test_without_build_every_whole_model_counts(write: Write) -> None:
    write(
        NET
        + """
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
    def forward(self, x):
        return self.layer(x)
class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([Part(), Part()])
    def forward(self, x):
        return self.parts[1](self.parts[0](x))
class Criterion(nn.Module):
    def forward(self, x):
        return x.mean()
class Base(nn.Module):
    pass
class Abstract(nn.Module):
    def __init__(self):
        raise NotImplementedError
    def forward(self, x):
        return x
class _Private(Net):
    pass
def make_model():
    return nn.Linear(4, 4)
def small() -> nn.Module:
    return nn.Linear(4, 2)
def main():
    raise SystemExit("main() was called")
def train(model=None):
    raise SystemExit("train() was called")
encoder = nn.Sequential(nn.Linear(4, 4))
assembled = nn.Sequential(encoder, nn.Sequential(nn.Linear(4, 4)))
again = assembled
"""
    )
    assert names() == ["model.py:Net", "model.py:Whole", "model.py:make_model", "model.py:small", "model.py:assembled"]


def test_an_instance_stands_for_its_class(write: Write, only: Only) -> None:
    write(NET + "model = Net(depth=5)\n")
    subject = only()
    assert subject.id == "model.py:model"
    assert len(subject.model.body) == 5  # type: ignore[arg-type]  # a Sequential


def test_arguments_choose_among_the_candidates(write: Write) -> None:
    write(NET + "class Other(Net):\n    def __init__(self):\n        super().__init__(1)\n")
    assert names() == ["model.py:Net", "model.py:Other"]
    (subject,) = load("model.py", Options(args={"depth": 3}))
    assert (subject.id, len(list(subject.model.modules()))) == ("model.py:Net", 5)


def test_a_file_without_a_model_says_what_it_found(write: Write, refusal: Refusal) -> None:
    write("""
        class Net(nn.Module):
            def __init__(self, width, depth):
                super().__init__()
            def forward(self, x):
                return x
        class Criterion(nn.Module):
            def forward(self, x):
                return x
        class Base(nn.Module):
            pass
        def make_net(width):
            return Net(width, 2)
        def main():
            pass
    """)
    error = refusal()
    assert str(error).splitlines() == [
        "there is no model to audit in model.py",
        "  class Net needs arguments (width, depth); its signature is Net(width, depth)",
        "  class Base has no forward()",
        "  function make_net needs argument (width); its signature is make_net(width)",
        "  function main is not called, since nothing says that it returns a module: annotate it with '-> nn.Module', or name it",
        "  class Criterion has no parameters",
    ]
    assert "--arg" in error.hint


@pytest.mark.parametrize(("name", "depth"), [("Net", 2), ("tall", 4), ("instance", 1), ("Net.of_five", 5), ("partial", 6)])
def test_a_name_is_a_class_a_factory_or_an_instance(write: Write, only: Only, name: str, depth: int) -> None:
    write(
        "import functools\n"
        + NET
        + "    @classmethod\n    def of_five(cls):\n        return cls(5)\n"
        + "def tall():\n    return Net(4)\ninstance = Net(1)\npartial = functools.partial(Net, depth=6)\n"
        + "def example_inputs():\n    return torch.ones(2, 4)\n"
        + "def loss(model, inputs):\n    return model(inputs).mean()\n"
    )
    subject = only(f"model.py:{name}")
    assert subject.id == f"model.py:{name}"
    assert len(subject.model.body) == depth  # type: ignore[arg-type]  # a Sequential
    assert subject.inputs_from == "example_inputs()"
    assert subject.loss is not None


def test_a_module_on_the_path_is_a_target(write: Write, only: Only) -> None:
    write("", "somepkg/__init__.py")
    write(NET + "def factory(depth):\n    return Net(depth)\n", "somepkg/nets.py")
    subject = only("somepkg.nets:factory", Options(args={"depth": 3}))
    assert subject.id == "somepkg.nets:factory"
    assert subject.file == "somepkg/nets.py"
    assert subject.created[""].line == 11


def test_a_package_may_load_its_parts_when_they_are_asked_for(write: Write, only: Only, refusal: Refusal) -> None:
    write(
        "def __getattr__(name):\n    if name == 'Lazy':\n        return nn.Linear(3, 3)\n"
        "    if name == 'Broken':\n        raise ImportError('no')\n    raise AttributeError(name)\n",
        "netaudit_test_lazy.py",
    )
    assert only("netaudit_test_lazy:Lazy").model.in_features == 3
    assert str(refusal("netaudit_test_lazy:Broken")).endswith("failed at netaudit_test_lazy.py:7: ImportError: no")
    assert "has no 'Lasy'" in str(refusal("netaudit_test_lazy:Lasy"))


def test_paths_are_printed_relative_to_the_working_directory(write: Write, only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(NET, "deep/model.py")
    assert only(f"{path}:Net").id == "deep/model.py:Net"
    (path.parent / "inner").mkdir()
    monkeypatch.chdir(path.parent / "inner")
    assert only("../model.py:Net").id == "../model.py:Net"
    assert only("../model.py:Net").created["body"].file == "../model.py"


def test_neighbours_are_imported_and_projects_kept_apart(write: Write) -> None:
    for project, width in (("one", 3), ("two", 5)):
        write(f"WIDTH = {width}\n", f"{project}/netaudit_test_utils.py")
        write(
            "from netaudit_test_utils import WIDTH\ndef build():\n    return nn.Linear(WIDTH, 1)\n",
            f"{project}/model.py",
        )
    subjects = [load(f"{project}/model.py", Options())[0] for project in ("one", "two", "one")]
    assert [subject.model.in_features for subject in subjects] == [3, 5, 3]


def test_a_file_of_a_package_may_import_from_it(write: Write, only: Only) -> None:
    write("", "netaudit_test_pkg/__init__.py")
    write("WIDTH = 6\n", "netaudit_test_pkg/sizes.py")
    write("from .sizes import WIDTH\ndef build():\n    return nn.Linear(WIDTH, 1)\n", "netaudit_test_pkg/model.py")
    subject = only("netaudit_test_pkg/model.py")
    assert subject.model.in_features == 6
    assert subject.id == "netaudit_test_pkg/model.py"


def test_a_file_may_be_called_like_a_library(write: Write, only: Only) -> None:
    import random

    write(NET, "random.py")
    write(NET, "torch.py")
    assert only("random.py:Net").id == "random.py:Net"
    assert only("torch.py:Net").id == "torch.py:Net"
    assert sys.modules["random"] is random
    assert sys.modules["torch"] is torch


def test_an_edit_is_seen_at_once(write: Write, only: Only) -> None:
    for width in (3, 5):
        write(f"def build():\n    return nn.Linear({width}, 1)\n")
        assert only().model.in_features == width


def test_a_compiled_model_is_audited_as_it_was_written(write: Write, only: Only) -> None:
    write(
        NET + "class Wrapper(nn.Module):\n    def __init__(self, model):\n        super().__init__()\n"
        "        self._orig_mod = model\nmodel = Net()\ncompiled = Wrapper(model)\n"
    )
    subject = only()
    assert subject.id == "model.py:model"
    assert "body.0.weight" in dict(subject.model.named_parameters())


def test_what_is_called_loss_but_is_a_module_is_not_the_protocol(write: Write, only: Only) -> None:
    write(NET + "loss = nn.MSELoss()\noptimizer = torch.optim.SGD(Net().parameters(), lr=0.1)\n")
    subject = only()
    assert subject.id == "model.py:Net"
    assert subject.loss is None
    assert subject.optimizers == ()


@pytest.mark.parametrize("code", ["def build():\n    return nn.Linear(1 << 20, 1 << 20)\n", "model = nn.Linear(1 << 20, 1 << 20)\n"])
def test_a_model_can_be_built_without_memory(write: Write, only: Only, code: str) -> None:
    write(code + "def example_inputs():\n    return torch.ones(2, 1 << 20)\n")
    subject = only(options=Options(meta=True))
    weight, bias = subject.model.parameters()
    assert (is_hollow(weight), is_hollow(bias)) == (True, True)
    assert set(subject.absent.laws) == {"weight", "bias"}
    assert isinstance(subject.args[0], torch.Tensor)
    assert not is_hollow(subject.args[0])
    assert isinstance(subject.model, nn.Linear)
