"""What is said when the user's code fails: what, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netaudit.errors import TargetError
from netaudit.intake.subject import Options
from netaudit.intake.usercode import one_line, user_code

Write = Callable[..., Path]
Refusal = Callable[..., TargetError]

BUILD = "def build():\n    return nn.Linear(4, 4)\n"  # lines 3 and 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "importing model.py failed at model.py:3: SyntaxError: invalid syntax: def f(:"),
        (
            "def f():\n    raise ValueError('boom\\nmore')\nf()\n",
            "importing model.py failed at model.py:4: ValueError: boom more",
        ),
        (
            "import nowhere_to_be_found\n",
            "importing model.py failed at model.py:3: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("import os\nos.chdir('/')\nraise KeyError\n", "importing model.py failed at model.py:5: KeyError"),
        ("nn.Linear('a', 1)\n", "importing model.py failed at model.py:3: TypeError: "),
        ("raise KeyError\n", "importing model.py failed at model.py:3: KeyError"),
        ("import sys\nsys.exit(3)\n", "importing model.py called sys.exit(3) at model.py:4"),
        (
            "import argparse\nargparse.ArgumentParser().parse_args(['--x'])\n",
            "importing model.py called sys.exit(2) at model.py:4",
        ),
        (
            "def build():\n    return 1 / 0\n",
            "build() of model.py failed at model.py:4: ZeroDivisionError: division by zero",
        ),
        ("def build():\n    raise SystemExit\n", "build() of model.py called sys.exit(None) at model.py:4"),
        ("def build():\n    return 3\n", "build() of model.py returned an int, not a torch.nn.Module"),
        ("def build():\n    pass\n", "build() of model.py returned None, not a torch.nn.Module"),
        ("def build(depth):\n    pass\n", "build() of model.py needs argument (depth); its signature is build(depth)"),
        (
            "class Net(nn.Linear):\n    def __init__(self):\n        self.x = nn.Linear(1, 1)\n",
            "Net of model.py failed at model.py:5: AttributeError: cannot assign module before Module.__init__() call",
        ),
        (
            BUILD + "def example_inputs():\n    return 1 / 0\n",
            "example_inputs() of model.py failed at model.py:6: ZeroDivisionError: division by zero",
        ),
        (
            BUILD + "def example_inputs():\n    return 3\n",
            "example_inputs() of model.py returned an int, which forward() cannot be called with",
        ),
        (BUILD + "def example_inputs():\n    pass\n", "example_inputs() of model.py returned None"),
        (BUILD + "def example_inputs(batch):\n    pass\n", "example_inputs() of model.py needs argument (batch)"),
        (
            BUILD + "def example_inputs():\n    return torch.ones(2, 4).numpy()\n",
            "example_inputs() of model.py returned a ndarray, ",
        ),
        (
            BUILD + "def example_inputs():\n    return (torch.ones(2, 4).numpy(),)\n",
            "the inputs of model.py (example_inputs()) hold a numpy.ndarray",
        ),
        (
            BUILD + "def example_inputs():\n    return {'inptu': torch.ones(2, 4)}\n",
            "the inputs of model.py (example_inputs()) do not fit: forward() has no argument 'inptu': did you mean 'input'?",
        ),
        (
            BUILD + "def example_inputs():\n    return torch.ones(2), 3\n",
            "the inputs of model.py (example_inputs()) do not fit: forward() takes one positional argument, and 2 were given",
        ),
        (
            BUILD + "def optimizer(model):\n    return torch.optim.SGD(model.parameters(), lr=-1)\n",
            "optimizer() of model.py failed at model.py:6: ValueError: Invalid learning rate: -1",
        ),
        (BUILD + "def optimizer(model):\n    pass\n", "optimizer() of model.py returned None"),
        (BUILD + "def optimizer(model):\n    return [3]\n", "optimizer() of model.py returned a list with an int"),
        (BUILD + "def optimizer():\n    pass\n", "optimizer() of model.py cannot be called as optimizer(model)"),
        (
            BUILD + "def loss(prediction):\n    pass\n",
            "loss(prediction) of model.py cannot be called as loss(model, inputs)",
        ),
        (
            BUILD + "def scheduler(a, b):\n    pass\n",
            "scheduler(a, b) of model.py cannot be called as scheduler(optimizer)",
        ),
    ],
)
def test_a_failure_names_what_ran_and_the_users_line(write: Write, refusal: Refusal, text: str, message: str) -> None:
    write(text)
    error = refusal()
    assert str(error).startswith(message)
    assert "\n" not in str(error)
    assert error.hint


@pytest.mark.parametrize(
    ("target", "args", "message", "hint"),
    [
        ("model.py:Nett", {}, "model.py has no 'Nett'", "did you mean 'Net'?"),
        ("model.py:Quite", {}, "model.py has no 'Quite'", "it defines Net"),
        ("model.py:Net.smal", {}, "model.py has no 'Net.smal'", "did you mean 'small'?"),
        ("model.py:number", {}, "model.py:number is an int", "name a module"),
        (
            "model.py:Net",
            {"dept": 3},
            "model.py:Net has no argument 'dept': did you mean 'depth'?; its signature is Net(width, depth=2)",
            "--arg",
        ),
        ("model.py:Net", {}, "model.py:Net needs argument (width); its signature is Net(width, depth=2)", "--arg"),
        ("model.py:instance", {"depth": 3}, "model.py:instance is built already: --arg does not reach it", "factory"),
        ("model.py:text", {}, "model.py:text returned a str, not a torch.nn.Module", "return the model itself"),
        ("netaudit_no_such:f", {}, "there is no module 'netaudit_no_such'", "is it installed"),
        ("modell:f", {}, "there is no module 'modell'", "did you mean 'model'?"),
        ("torch.nn.modles:f", {}, "there is no module 'torch.nn.modles'", "did you mean 'modules'?"),
        ("torch.nn:Liner", {}, "torch.nn has no 'Liner'", "did you mean 'Linear'?"),
    ],
)
def test_a_name_that_makes_no_model_is_refused(
    write: Write, refusal: Refusal, target: str, args: dict[str, object], message: str, hint: str
) -> None:
    write("""
        class Net(nn.Module):
            def __init__(self, width, depth=2):
                super().__init__()
            def forward(self, x):
                return x
            @classmethod
            def small(cls):
                return cls(4)
        instance = Net(4)
        number = 3
        def text():
            return ""
    """)
    error = refusal(target, Options(args=args))
    assert str(error) == message
    assert hint in error.hint


def test_the_cause_is_kept(write: Write, refusal: Refusal) -> None:
    write("def build():\n    return 1 / 0\n")
    assert isinstance(refusal().__cause__, ZeroDivisionError)


def test_a_failure_in_a_neighbour_names_the_neighbour(write: Write, refusal: Refusal) -> None:
    write("raise ValueError('no')\n", "netaudit_test_broken.py")
    write("import netaudit_test_broken\n")
    assert str(refusal()) == "importing model.py failed at netaudit_test_broken.py:3: ValueError: no"


@pytest.mark.parametrize(
    "code",
    ["layer.weight.sum().item()", "layer.weight.tolist()", "layer.weight.detach().numpy()", "1 if layer.weight.max() > 0 else 2", "1 / 0"],
)
def test_a_failure_on_the_meta_device_says_so(write: Write, refusal: Refusal, code: str) -> None:
    write(f"def build():\n    layer = nn.Linear(400, 400)\n    layer.scale = {code}\n    return layer\n")
    error = refusal(options=Options(meta=True))
    assert str(error).startswith("on the meta device, build() of model.py failed at model.py:5: ")
    assert "leave out --meta" in error.hint


def test_long_messages_are_folded_and_cut() -> None:
    assert one_line("a\n  b\n\nc") == "a b c"
    assert len(one_line("word " * 1000)) == 300


def test_an_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt), user_code("importing model.py"):
        raise KeyboardInterrupt
