"""The documentation tells the truth: every command in it is parsed by the real command line, and run where it can be run.

What the fences of a page mean, from top to bottom, in a folder of the page's own that holds the examples:

* with ``title="FILE"``: a file that the commands below find;
* ``sh``: commands, which must end with exit code 0 or 1;
* ``text`` that begins with ``$ netaudit``: a command and what it prints, line for line (``...`` stands for any number of lines);
* ``python`` without a title: a program, in the namespace of those above it, whose tests are called at the end;
* ``toml``: a configuration of netaudit, or other TOML; ``json``: JSON.

A comment ``<!-- not run: REASON -->`` in front of a fence keeps it from being run, not from being parsed;
``<!-- numbers differ: REASON -->`` marks an excerpt, which is compared without its numbers.
"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import re
import shlex
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_it import MarkdownIt

from netaudit.cli import _run
from netaudit.cli.app import app
from netaudit.config import load_config
from netaudit.pytest_plugin import Checker

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = {"packs.md": ROOT / "tests" / "test_packs.py", "ci.md": ROOT / "tests" / "ci" / "test_docs.py"}
"""Pages that are followed by tests of their own: here their commands are parsed."""
FASTER = {"certify": ("--budget", "1")}
"""Options that are added when a command is run, where the time it is given is no matter."""
REASON = re.compile(r"<!-- (not run|numbers differ): (\S.*\S) -->")


@dataclass(frozen=True)
class Fence:
    """A fenced block: its language, the file it is, the line it begins at, and what the comment in front of it says."""

    language: str
    title: str
    text: str
    line: int
    remark: str
    reason: str


def fences(page: Path) -> Iterator[Fence]:
    """The blocks of a page in order."""
    remark = reason = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            remark, reason = next(iter(REASON.findall(token.content)), ("", ""))
        elif token.type == "fence":
            language, _, rest = token.info.partition(" ")
            title = re.fullmatch(r'title="([^"]+)"', rest)
            assert title or not rest, f"{page}: {token.info!r} is not understood"
            yield Fence(language, title[1] if title else "", token.content, (token.map or [0])[0] + 1, remark, reason)
            remark = reason = ""
        elif token.type == "paragraph_open":
            remark = reason = ""


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell script, as words; what a shell would do between them is left to it."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = next((i for i, word in enumerate(words) if word in ("&&", "||", ";", "|")), len(words))
            yield words[:end]
            words = words[end + 1 :]


def arguments(words: list[str]) -> list[str] | None:
    """What netaudit is given in a command; None when it is another program's."""
    for place, word in enumerate(words):
        before = words[place - 1] if place else "run"
        if Path(word).name == "netaudit" and (before in ("run", "-m") or "=" in before):
            return words[place + 1 :]
    return None


def parsed(given: list[str]) -> None:
    """Whether the options and arguments of a command exist, and have values of the right kind: if not, typer raises."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("netaudit", list(given), resilient_parsing=True)
    while hasattr(command, "commands"):
        name, command, given = command.resolve_command(context, list(given))
        assert command is not None, f"there is no command {name}"
        context = command.make_context(name, list(given), parent=context, resilient_parsing=hasattr(command, "commands"))


EXAMPLES = [pytest.param(page, fence, id=f"{page.name}:{fence.line}") for page in PAGES for fence in fences(page)]


@pytest.mark.parametrize(("page", "fence"), [one for one in EXAMPLES if one.values[1].language in ("sh", "text")])  # type: ignore[union-attr]
def test_every_command_that_is_shown_exists(page: Path, fence: Fence) -> None:
    lines = [line.removeprefix("$ ") for line in fence.text.splitlines() if fence.language == "sh" or line.startswith("$ ")]
    for words in commands("\n".join(lines)):
        given = arguments(words)
        if given is not None:
            parsed(given)
        elif page.name not in ELSEWHERE:
            assert fence.remark == "not run", f"{words[0]} is not netaudit: say in a comment why it is not run"


def test_what_does_not_exist_is_noticed() -> None:
    for wrong in (["chek", "model.py"], ["check", "model.py", "--optimiser", "adam"], ["check", "--seed", "one"]):
        with pytest.raises(Exception, match=r"(?i)no such|invalid|no command|valid integer"):
            parsed(wrong)


def known_options(command: Any) -> Iterator[str]:
    """The options of a command and of those below it."""
    for param in command.params:
        yield from (*param.opts, *param.secondary_opts)
    for below in getattr(command, "commands", {}).values():
        yield from known_options(below)


OTHERS = {"--help", "--netaudit-fail-level", "--no-deps", "--index-url"}
"""Options of typer, of pytest (``tests/live/test_pytest_plugin.py`` uses it) and of pip."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
    assert named - set(known_options(typer.main.get_command(app))) - OTHERS == set()


# running it -------------------------------------------------------------------------------------------------------------


@dataclass
class Reader:
    """Someone who does what a page says, from top to bottom, in a folder."""

    page: Path
    folder: Path
    names: dict[str, Any]

    def follow(self, fence: Fence) -> None:
        """Do what a fence says."""
        if fence.title:
            (self.folder / fence.title).write_text(fence.text, encoding="utf-8")
            linecache.checkcache()
        if fence.remark == "not run":
            return
        match fence.language:
            case "sh":
                for words in commands(fence.text):
                    given = arguments(words)
                    assert given is not None
                    self.run(given)
            case "text" if fence.text.startswith("$ netaudit "):
                self.compare(fence)
            case "python" if not fence.title:
                exec(compile(fence.text, f"{self.page.name}:{fence.line}", "exec"), self.names)
            case "toml":
                configured(fence.text)
            case "json":
                json.loads(fence.text)

    def run(self, given: list[str]) -> str:
        """What a command prints."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _run([*given, *FASTER.get(given[0], ())])
        assert code in (0, 1), f"netaudit {' '.join(given)}: {code}\n{out.getvalue()}{err.getvalue()}"
        return out.getvalue()

    def compare(self, fence: Fence) -> None:
        """A command prints what is shown."""
        command, *shown = fence.text.splitlines()
        is_excerpt = fence.remark == "numbers differ"
        seen = numberless if is_excerpt else str.rstrip
        printed = iter([seen(line) for line in self.run(shlex.split(command)[2:]).splitlines()])
        exactly = not is_excerpt
        for line in shown:
            if line.startswith("..."):
                exactly = False
            elif exactly:
                assert next(printed, "the end") == seen(line)
            else:  # an iterator is used up as it is searched: the lines come in this order
                assert seen(line) in printed, line
                exactly = not is_excerpt
        assert not exactly or next(printed, None) is None, "more is printed than is shown; end with ... if that is meant"


def numberless(line: str) -> str:
    """A line without its numbers and its spacing, which depend on the machine and on what is left out."""
    return re.sub(r"\d[\d.]*(e[-+]\d+)?x?", "#", " ".join(re.sub(r"-{3,}", "---", line).split()))


def configured(text: str) -> None:
    """A configuration is accepted; other TOML is TOML."""
    if "netaudit" in tomllib.loads(text).get("tool", {}):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "pyproject.toml").write_text(text, encoding="utf-8")
            load_config(Path(folder))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name)
def test_a_page_can_be_followed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    if page.name == "README.md":  # its commands are about a model like the one of that page
        (tmp_path / "model.py").write_text(next(f.text for f in fences(ROOT / "docs" / "targets.md") if f.title == "model.py"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "model", raising=False)  # that of another test
    reader = Reader(page, tmp_path, {"netaudit": __import__("netaudit")})
    for fence in fences(page):
        reader.follow(fence)
    for name, test in reader.names.items():
        if name.startswith("test_"):
            test(Checker(tmp_path, None))
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]  # another page has a model.py of its own


def test_a_wrong_session_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader(ROOT / "docs" / "index.md", tmp_path, {})
    said = reader.run(["version"])
    reader.follow(Fence("text", "", f"$ netaudit version\n{said}", 1, "", ""))
    for wrong in ("", "netaudit 7.0.0\n", f"{said}more\n", f"{said}...\nmore\n"):
        with pytest.raises(AssertionError):
            reader.follow(Fence("text", "", f"$ netaudit version\n{wrong}", 1, "", ""))


def test_pages_that_are_not_followed_here_are_followed_elsewhere() -> None:
    for name, test in ELSEWHERE.items():
        assert f'"{name}"' in test.read_text(encoding="utf-8")


# what hangs together ----------------------------------------------------------------------------------------------------


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert {page.name for page in PAGES[1:]} - {"index.md"} <= set(re.findall(r"\]\(([\w.]+)\)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link
