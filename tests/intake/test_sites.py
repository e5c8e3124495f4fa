"""Which line constructed a module."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from netaudit.graph import Site
from netaudit.intake.sites import created, forget, recording
from netaudit.intake.subject import Subject

Write = Callable[..., Path]
Only = Callable[..., Subject]


def lines(subject: Subject) -> dict[str, int]:
    assert {site.file for site in subject.created.values()} <= {"model.py"}
    return {path: site.line for path, site in subject.created.items()}


def test_each_module_has_the_line_of_its_constructor_call(write: Write, only: Only) -> None:
    write("""
        class Block(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.norm = nn.LayerNorm(width)
                self.mlp = nn.Sequential(
                    nn.Linear(width, width),
                    nn.GELU(),
                )

            def forward(self, x):
                return x + self.mlp(self.norm(x))

        class Net(nn.Module):
            def __init__(self, width=8):
                super().__init__()
                self.blocks = nn.ModuleList(
                    [Block(width) for _ in range(2)]
                )
                self.body = nn.Sequential(*[layer for _ in range(2) for layer in (nn.Linear(width, width), nn.ReLU())])

            def forward(self, x):
                for block in self.blocks:
                    x = block(x)
                return self.body(x)

        def build():
            return Net()
    """)
    assert lines(only()) == {
        "": 29,
        "blocks": 18,
        "blocks.0": 19,
        "blocks.0.norm": 6,
        "blocks.0.mlp": 7,
        "blocks.0.mlp.0": 8,
        "blocks.0.mlp.1": 9,
        "blocks.1": 19,
        "blocks.1.norm": 6,
        "blocks.1.mlp": 7,
        "blocks.1.mlp.0": 8,
        "blocks.1.mlp.1": 9,
        "body": 21,
        "body.0": 21,
        "body.1": 21,
        "body.2": 21,
        "body.3": 21,
    }


def test_a_class_that_netaudit_calls_itself_has_no_line(write: Write, only: Only) -> None:
    write("""
        class Net(nn.Linear):
            def __init__(self):
                super().__init__(3, 3)
    """)
    assert lines(only()) == {}


def test_copies_have_the_line_of_their_original(write: Write, only: Only) -> None:
    write("""
        def build():
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            return nn.TransformerEncoder(layer, 3)
    """)
    found = lines(only())
    assert found.pop("") == 5
    assert found.pop("layers") == 5
    assert {path.split(".")[1] for path in found} == {"0", "1", "2"}
    assert set(found.values()) == {4}


def test_shared_modules_have_a_line_under_every_path(write: Write, only: Only) -> None:
    write("""
        def build():
            layer = nn.Linear(3, 3)
            return nn.Sequential(layer, nn.Tanh(), layer)
    """)
    assert lines(only()) == {"": 5, "0": 4, "1": 5, "2": 4}


def test_parametrisations_and_dataclasses_have_the_line_of_the_user(write: Write, only: Only) -> None:
    write("""
        from dataclasses import dataclass

        @dataclass(eq=False)
        class Net(nn.Module):
            width: int = 4

            def __post_init__(self):
                super().__init__()
                self.layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(self.width, self.width))

            def forward(self, x):
                return self.layer(x)

        model = Net()
    """)
    found = lines(only())
    assert found[""] == 16
    assert {line for path, line in found.items() if path.startswith("layer")} == {11}


def test_the_constructor_is_put_back_after_an_exception() -> None:
    original = nn.Module.__init__
    seen = []

    def fail() -> None:
        seen.append(nn.Module.__init__)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), recording():
        fail()
    assert seen != [original]
    assert nn.Module.__init__ is original


def test_recordings_nest() -> None:
    original = nn.Module.__init__
    with recording():
        with recording():
            inner = nn.Linear(2, 2)
        outer = nn.Linear(2, 2)
    assert nn.Module.__init__ is original
    assert created(inner)[""].line + 1 == created(outer)[""].line


def test_threads_take_turns() -> None:
    original = nn.Module.__init__
    models: list[nn.Module] = []

    def work() -> None:
        for _ in range(20):
            with recording():
                models.append(nn.Sequential(nn.Linear(2, 2)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert nn.Module.__init__ is original
    assert len({created(model)["0"] for model in models}) == 1


def test_a_loaded_model_carries_no_marks(write: Write, only: Only) -> None:
    write("def build():\n    return nn.Sequential(nn.Linear(3, 3))\n")
    subject = only()
    assert len(subject.created) == 2
    assert created(subject.model) == {}


def test_nothing_stays_on_the_modules() -> None:
    with recording():
        model = nn.Sequential(nn.Linear(2, 2))
    assert isinstance(created(copy.deepcopy(model))["0"], Site)
    forget(model)
    assert created(model) == {}
    assert not [name for module in model.modules() for name in vars(module) if "netaudit" in name]
