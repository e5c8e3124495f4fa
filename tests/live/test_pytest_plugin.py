"""The fixture ``netaudit``, in a real run of pytest."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
import torch

pytest_plugins = ["pytester"]

INSTALLED = any(entry.value == "netaudit.pytest_plugin" for entry in entry_points(group="pytest11"))
PLUGIN = [] if INSTALLED else ["-p", "netaudit.pytest_plugin"]
"""An installation from before the entry point was added has to be told."""

TESTS = """
import torch
from torch import nn

def deep():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), *[m for _ in range(12) for m in (nn.Linear(64, 64), nn.Sigmoid())], nn.Linear(64, 10))

def test_healthy(netaudit):
    report = netaudit.check(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(4, 8))
    assert report.ok

def test_deep(netaudit):
    netaudit.check(deep(), torch.randn(4, 32), loss=lambda model, x: model(x).logsumexp(1).mean())
"""


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """What torch imports when it first traces a model: a run of pytester forgets new modules, and some cannot be imported twice."""
    import netaudit

    netaudit.audit(torch.nn.Linear(2, 2), torch.randn(2, 2))


def outcomes(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(TESTS)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *PLUGIN, *arguments)


def test_a_finding_fails_the_test_with_the_report(pytester: pytest.Pytester) -> None:
    run = outcomes(pytester)
    run.assert_outcomes(passed=1, failed=1)
    run.stdout.fnmatch_lines(["*NA201* vanishing-gradient*", "*28 of 28 parameters forecast*"])
    run.stdout.no_fnmatch_line("*raise_for_findings*")
    failures = run.stdout.str().partition("short test summary info")[0]  # which repeats whole messages where CI is set
    assert failures.count("28 of 28 parameters forecast") == 1, "the report is printed once"


def test_the_configuration_counts(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml('[tool.netaudit]\nselect = ["NA1"]\n')
    outcomes(pytester).assert_outcomes(passed=2)


def test_the_level_counts(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml('[tool.netaudit]\nselect = ["NA203"]\n')  # a warning here
    outcomes(pytester, "--netaudit-fail-level", "error").assert_outcomes(passed=2)


def test_a_wrong_level_is_refused(pytester: pytest.Pytester) -> None:
    assert outcomes(pytester, "--netaudit-fail-level", "fatal").ret == pytest.ExitCode.USAGE_ERROR


def test_pytest_starts_without_torch() -> None:
    program = "import sys, netaudit.pytest_plugin; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
