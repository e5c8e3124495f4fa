"""The files of a folder that may hold a model."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from netaudit.errors import TargetError
from netaudit.intake.usercode import failure

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "tests", "test"}
_LIBRARIES = {"torch", "torchvision", "timm", "transformers", "lightning", "pytorch_lightning"}


def model_files(folder: Path) -> tuple[Path, ...]:
    """The python files under a folder that may hold a model, sorted; only these are run when a folder is audited.

    Such a file imports torch, or a library on top of it, and defines ``build`` or a class with a base. Not looked into:
    hidden folders, virtual environments, installed packages, and tests (``tests/``, ``test_*.py``, ``*_test.py``,
    ``conftest.py``).

    Raises:
        TargetError: a file cannot be parsed.
    """
    return tuple(path for path in sorted(_python_files(folder)) if _may_hold_model(path))


def _python_files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_skipped(Path(place), name)]
        yield from (Path(place, name) for name in files if name.endswith(".py") and not _is_test(name))


def _is_skipped(place: Path, name: str) -> bool:
    return name in _SKIPPED or name.startswith(".") or (place / name / "pyvenv.cfg").exists()


def _is_test(name: str) -> bool:
    return name.startswith((".", "test_")) or name.endswith("_test.py") or name == "conftest.py"


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
