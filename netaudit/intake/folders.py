"""The files of a folder that may hold a model."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from netaudit.cache.state import python_files
from netaudit.errors import TargetError
from netaudit.intake.usercode import failure

_LIBRARIES = {"torch", "torchvision", "timm", "transformers", "lightning", "pytorch_lightning"}


def model_files(folder: Path) -> tuple[Path, ...]:
    """The python files under a folder that may hold a model, sorted; only these are run when a folder is audited.

    Such a file imports torch, or a library on top of it, and defines ``build`` or a class with a base. Not looked into:
    hidden folders, virtual environments, installed packages, and tests (``tests/``, ``test_*.py``, ``*_test.py``,
    ``conftest.py``).

    Raises:
        TargetError: a file cannot be parsed.
    """
    return tuple(path for path in map(folder.joinpath, python_files(folder)) if _may_hold_model(path))


def _may_hold_model(path: Path) -> bool:
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise TargetError(f"reading {path.name} {failure(error)}", "mend the file, or name the files to audit") from error
    defines = any(
        (isinstance(item, ast.FunctionDef) and item.name == "build") or (isinstance(item, ast.ClassDef) and item.bases)
        for item in tree.body
    )
    return defines and not _LIBRARIES.isdisjoint(_imported(tree))


def _imported(tree: ast.Module) -> Iterator[str]:
    """The first names of everything that the file imports, wherever it does."""
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            yield from (alias.name.split(".")[0] for alias in item.names)
        elif isinstance(item, ast.ImportFrom) and item.module and not item.level:
            yield item.module.split(".")[0]
