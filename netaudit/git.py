"""Commits of the git repository around the working directory: what a name stands for, and the files of one in a folder of their own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, did_you_mean

_SILENT = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.splitIndex=false", "core.untrackedCache=false")
"""Nothing of the user's is run, and nothing is written beside the index."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: as it was ``named``, its hash, whole and ``short``; the ``top`` of the work tree, and where ``below`` it we are."""

    named: str
    hash: str
    short: str
    top: Path
    below: Path

    def __str__(self) -> str:
        """As people read it: ``main (3e8677c)``."""
        return self.named if self.hash.startswith(self.named) else f"{self.named} ({self.short})"


def commit(name: str) -> Commit:
    """The commit that a name stands for.

    Raises:
        ConfigError: git is not installed, this is no work tree of it, or it knows no such commit.
    """
    top = _said("rev-parse", "--show-toplevel", about=name)
    below = _said("rev-parse", "--show-prefix", about=name)
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if not name or found.returncode:
        raise ConfigError(f"git knows no commit {name!r}", _near(name))
    whole = found.stdout.strip()
    return Commit(name, whole, _said("rev-parse", "--short", whole, about=name), Path(top), Path(below))


def is_tracked(path: Path) -> bool:
    """Whether git has a file of the work tree in its index."""
    return _git("ls-files", "--error-unmatch", "--", str(path)).returncode == 0


@contextmanager
def checked_out(of: Commit) -> Iterator[Path]:
    """The files of a commit in a temporary folder, which is deleted afterwards, whatever happens.

    They are read with an index of their own: the user's work tree, index, stash, branches and list of work trees stay as they are.
    Submodules are empty folders.

    Raises:
        ConfigError: git cannot write them.
    """
    folder = _said("rev-parse", "--absolute-git-dir", about=of.named)
    with tempfile.TemporaryDirectory(prefix="netaudit-", ignore_cleanup_errors=True) as place:
        tree = Path(place).resolve() / "tree"
        (tree / of.below).mkdir(parents=True)
        settings = [part for setting in _SILENT for part in ("-c", setting)]
        where = (f"--git-dir={folder}", f"--work-tree={tree}")
        done = _git(*settings, *where, "read-tree", "--reset", "-u", of.hash, at=tree, GIT_INDEX_FILE=f"{tree.parent / 'index'}")
        if done.returncode:
            raise ConfigError(f"the files of {of} cannot be checked out: {_first(done.stderr)}", f"git checkout {of.named} may say more")
        yield tree


def _said(*arguments: str, about: str) -> str:
    done = _git(*arguments)
    if done.returncode:
        hint = "run netaudit in a repository that has it" if "not a git repository" in done.stderr else "see git status"
        raise ConfigError(f"the commit {about!r} cannot be looked up: {_first(done.stderr)}", hint)
    return done.stdout.rstrip("\n")


def _git(*arguments: str, at: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    # A hook of git's runs with the index of the commit that is being made, which is none of ours.
    environment: Mapping[str, str] = {k: v for k, v in os.environ.items() if k not in ("GIT_INDEX_FILE", "GIT_PREFIX")}
    said = {**environment, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", **variables}
    try:
        return subprocess.run(  # noqa: S603  # no shell; what the user names stands behind --end-of-options
            ["git", *arguments],  # noqa: S607  # git is where the path says
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=at,
            env=said,
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigError("git is not installed, or not on the path", "install it, or compare with --baseline") from error


def _first(text: str) -> str:
    return next((line.removeprefix("fatal: ").removeprefix("error: ") for line in text.splitlines() if line.strip()), "git says nothing")


def _near(name: str) -> str:
    known = _git("for-each-ref", "--format=%(refname:short)").stdout.split()
    remote = next((ref for ref in known if name and ref.endswith(f"/{name}")), "")
    close = f"did you mean {remote!r}?" if remote else did_you_mean(name, known)
    if close:
        return close
    if _git("rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        return f"this clone is shallow: git fetch --depth=1 origin {name}, or fetch-depth: 0 of actions/checkout"
    return "name a branch, a tag or a commit"
