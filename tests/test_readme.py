"""What is particular to the README; its commands, sessions and programs are tested with those of the other pages (``test_docs.py``)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from netaudit.cli.app import EPILOG

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^\| `netaudit (\w+)", README, re.MULTILINE)


def printed(*arguments: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-m", "netaudit", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    return done.stdout


def block(language: str, start: str) -> str:
    return next(text for kind, text in BLOCKS if kind == language and text.startswith(start))


# what is shown ----------------------------------------------------------------------------------------------------------


def test_the_first_audit_is_printed_as_shown() -> None:
    lines = [line.rstrip() for line in printed("check", "examples/deep_sigmoid.py").splitlines()]
    assert lines == block("text", "error[NA201]").splitlines()


# what is named ----------------------------------------------------------------------------------------------------------


def test_the_table_lists_every_command() -> None:
    listed = printed("--help").partition("Commands:")[2].partition("exit codes")[0]
    assert set(COMMANDS) == set(re.findall(r"^  (\w+) ", listed, re.MULTILINE))


def test_the_exit_codes_are_those_of_the_help() -> None:
    codes = re.findall(r"^\| (\d+) \| ", README, re.MULTILINE)
    assert codes == re.findall(r"\b(\d+) ", EPILOG)


def test_the_hook_shown_exists() -> None:
    hooks = re.findall(r"- id: ([\w-]+)", block("yaml", "repos:"))
    assert len(hooks) == 2
    for hook in hooks:
        assert f"- id: {hook}\n" in (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.(?:md|py))`", README.partition("## More")[2]))))
def test_every_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).is_file()
