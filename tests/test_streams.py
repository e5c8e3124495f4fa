"""Standard output holds results and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOISY = """
import atexit, ctypes, os, subprocess, sys, threading
import torch
from torch import nn

def shout(word):
    os.write(1, word.encode() + b" from os\\n")
    print(word, "from print", flush=True)
    sys.__stdout__.write(word + " from the first stdout\\n")
    subprocess.run(["echo", word, "from a child"], check=True)
    ctypes.CDLL(None).puts(word.encode() + b" from C")

class Loud(nn.Linear):
    def forward(self, x):
        shout("forward")
        return super().forward(x)

shout("import")
atexit.register(shout, "exit")
def build(): return Loud(4, 4)
def example_inputs(): return torch.randn(2, 4)
"""


def shell(command: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    words = {**os.environ, "N": f"{sys.executable} -m netaudit", **env}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=cwd, env=words, timeout=120, check=False)


def test_whatever_a_model_prints_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(NOISY)
    done = shell("$N check model.py -o json -o concise=a.txt", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"]["status"] == "clean"
    for word in ("import", "forward", "exit"):
        for place in ("os", "print", "the first stdout", "a child", "C"):
            assert f"{word} from {place}" in done.stderr
    assert (tmp_path / "a.txt").read_text() == ""


@pytest.mark.parametrize("command", ["$N rule NA201 >&-", "$N rule NA201 >&- 2>&-", "$N rule NA201 2>&-", "$N rule --all | head -1"])
def test_a_stream_that_is_closed_is_no_error(command: str) -> None:
    done = shell(command)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_in_one_line() -> None:
    done = shell("$N rule --all > /dev/full")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "netaudit: the output cannot be written: No space left on device")


def test_what_the_encoding_cannot_hold_is_escaped() -> None:
    done = shell("$N rule --help", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "Traceback" not in shell("$N rule NA201", PYTHONIOENCODING="ascii").stderr
