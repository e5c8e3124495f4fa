"""The structure of the code: who may import whom, who may print, how large things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "netaudit"
PACK = ROOT / "rules" / "netaudit_rules"

# In this order: a room imports only rooms above it.
ROOMS = (
    "clock", "graph", "errors", "git", "training", "change", "measured", "finding", "baseline", "diff", "causes", "suppress", "ignoring",
    "check", "doubt", "claims", "moments", "signal", "effect", "verbs", "pack", "choose", "facts", "trust", "flow", "paths", "tables",
    "edit", "remedy", "settings", "config", "cache", "lock", "norms", "intake", "certify", "probe", "audit", "report", "results", "live",
    "integrations",
    "pytest_plugin", "manual", "testing", "cli", "__main__",
)  # fmt: skip
WITH_TORCH = {"norms", "intake", "certify", "probe", "audit", "live", "integrations", "testing"}
PRINTING = {"cli", "__main__"}
TOO_LONG = 300


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts)


def _imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Absolute names of the modules a file imports, those for type checking only left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(n) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) for n in ast.walk(node)
    }
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _absolute(path, node)


def _absolute(path: Path, node: ast.ImportFrom) -> Iterator[str]:
    if not node.level:
        yield node.module or ""
        return
    package = path.relative_to(path.parents[len(path.relative_to(ROOT).parts) - 1]).with_suffix("").parts[: -node.level]
    base = ".".join((*package, *([node.module] if node.module else [])))
    yield from ([base] if node.module else [f"{base}.{alias.name}" for alias in node.names])


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", list(_files(CORE)), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    own = path.relative_to(CORE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    above = ROOMS[: ROOMS.index(own) + 1]
    for module in _imports(path):
        if module.startswith("netaudit.") and _room(module) != "__version__":
            assert _room(module) in above, f"{own} imports {module}, which is below it"


def test_every_room_is_listed() -> None:
    found = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in _files(CORE)} - {"__init__"}
    assert found <= set(ROOMS), found - set(ROOMS)


@pytest.mark.parametrize("path", list(_files(CORE)), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_never_imports_a_pack(path: Path) -> None:
    assert not [m for m in _imports(path) if m.startswith("netaudit_rules")]


@pytest.mark.parametrize("path", list(_files(PACK)), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_built_in_pack_has_no_privileges(path: Path) -> None:
    for module in _imports(path):
        assert not module.startswith("netaudit."), f"a pack imports from netaudit alone, not {module}"
        assert module != "torch", "transfers and checks are free of torch"


@pytest.mark.parametrize("path", list(_files(CORE)), ids=lambda p: str(p.relative_to(ROOT)))
def test_torch_has_a_few_homes(path: Path) -> None:
    own = path.relative_to(CORE).parts[0].removesuffix(".py")
    uses = {m.split(".")[0] for m in _imports(path, top_level_only=own not in WITH_TORCH)}
    if own not in WITH_TORCH:
        assert "torch" not in uses


@pytest.mark.parametrize("path", [*_files(CORE), *_files(PACK)], ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if path.is_relative_to(CORE) and path.relative_to(CORE).parts[0].removesuffix(".py") in PRINTING:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("print", "sys.exit", "exit", "sys.stdout.write"), f"{path}:{node.lineno}: {name}"


@pytest.mark.parametrize("path", [*_files(CORE), *_files(PACK)], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_bare_exception_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: bare except"


LIGHT = "import sys, netaudit.{room}; sys.exit('torch' in sys.modules)"


@pytest.mark.parametrize("room", [r for r in ROOMS if r not in WITH_TORCH | {"__main__"}])
def test_light_rooms_do_not_import_torch(room: str) -> None:
    assert subprocess.run([sys.executable, "-c", LIGHT.format(room=room)], check=False).returncode == 0


def test_public_names_load() -> None:
    import netaudit

    assert len(netaudit.__all__) == len(set(netaudit.__all__))
    for name in netaudit.__all__:
        assert getattr(netaudit, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        netaudit.no_such_name  # noqa: B018  # the access is the test


def test_all_graph_use_is_in_flow() -> None:
    users = {path.name for path in _files(CORE) if any(m.split(".")[0] == "networkx" for m in _imports(path))}
    assert users <= {"flow.py"}


def test_checks_load_without_numpy_and_torch() -> None:
    """``netaudit rule NA201`` answers at once: what a check needs of the analysis it imports when it runs."""
    program = (
        "import sys, importlib, pkgutil\n"
        "import netaudit_rules.checks as checks\n"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(checks.__path__, 'netaudit_rules.checks.')]\n"
        "print([name for name in ('numpy', 'torch', 'networkx') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
