"""Folders as targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from netaudit.errors import TargetError
from netaudit.intake.subject import Options
from netaudit.intake.target import load

Write = Callable[..., Path]
Refusal = Callable[..., TargetError]

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)
"""


def test_a_folder_is_searched_for_models(write: Write, folder: Path) -> None:
    write(NET, "deep/inner/a.py")
    write("def build():\n    return nn.Linear(3, 3)\n", "deep/b.py")
    skipped = ("tests/c.py", "test_d.py", "e_test.py", "conftest.py", ".hidden/f.py", "venv/g.py", "node_modules/h.py")
    for name in skipped:
        write("raise SystemExit('ran a file that is to be skipped')\ndef build():\n    pass\n", f"deep/{name}")
    (folder / "deep/venv/pyvenv.cfg").touch()
    (folder / "deep/script.py").write_text("import torch\nraise SystemExit('ran a script')\n")
    (folder / "deep/plain.py").write_text("class A(int):\n    pass\nraise SystemExit('ran a file without torch')\n")
    (folder / "deep/helpers.py").write_text("import torch\nclass Data(torch.utils.data.Dataset):\n    pass\n")
    assert [subject.id for subject in load("deep", Options())] == ["deep/b.py", "deep/inner/a.py:Net"]


def test_a_folder_without_a_model_is_an_error(write: Write, folder: Path, refusal: Refusal) -> None:
    (folder / "deep").mkdir()
    assert "no model to audit in the folder deep" in str(refusal("deep"))
    (folder / "deep/broken.py").write_text("def f(:\n")
    assert "broken.py:1: SyntaxError" in str(refusal("deep"))
