"""A third party's pack: installed by pip into a folder, found by its entry point, heard by every command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ACME = ROOT / "examples" / "acme_pack"
GUIDE = ROOT / "docs" / "packs.md"

MODEL = """
import torch
from torch import nn
from acme import Squareplus

def build():
    return nn.Sequential(nn.Linear(16, 16), Squareplus(b={b}), nn.Linear(16, 4))

def example_inputs():
    return torch.randn(8, 16)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack, built and installed into a folder of its own, without a network."""
    folder = tmp_path_factory.mktemp("acme")
    source, target = folder / "source", folder / "site"
    shutil.copytree(ACME, source, ignore=shutil.ignore_patterns("__pycache__"))  # a build leaves files beside its source
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(target))
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def python(site: Path | None, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Python in a process that sees the folder beside what is installed, or does not."""
    paths = [str(site) if site else "", os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=env, timeout=120, check=False)


def run(site: Path | None, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python(site, "-m", "netaudit", *arguments, cwd=cwd)


def installed_by_hand(site: Path, name: str, entry: str, **files: str) -> Path:
    """A folder with modules and the metadata that declares one of them a pack."""
    for module, text in files.items():
        (site / f"{module}.py").write_text(text, encoding="utf-8")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[netaudit.packs]\n{entry}\n", encoding="utf-8")
    return site


def test_its_rule_is_explained_and_listed_without_torch(site: Path) -> None:
    page = run(site, "rule", "ACM001")
    assert page.returncode == 0, page.stderr
    assert page.stdout.startswith("linear-squareplus (ACM001)\ninfo")
    assert "arXiv 2112.11687" in page.stdout
    listed = run(site, "rule", "--all").stdout
    assert "ACM001" in listed
    assert "NA201" in listed
    assert run(site, "rule", "linear-squarplus").stderr.count("did you mean 'linear-squareplus'") == 1
    light = "import sys; from netaudit.pack import installed; installed(checks_only=True); sys.exit('torch' in sys.modules)"
    assert python(site, "-c", light).returncode == 0


def test_its_transfer_and_its_check_are_heard_by_an_audit(site: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL.format(b=900.0), encoding="utf-8")
    done = run(site, "check", "model.py", "-o", "json", "--fail-level", "info", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert {f["code"] for f in report["findings"]} == {"ACM001"}
    (target,) = report["targets"]
    assert target["coverage"]["unknown"] == {}
    (node,) = (n for n in target["nodes"] if n["op"] == "acme.squareplus")
    assert node["lipschitz"] == {"log10": 0.0, "status": "proved", "error": None}
    assert node["rms"]["status"] == "forecast"


def test_without_the_pack_the_op_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL.format(b=4.0), encoding="utf-8")
    shutil.copy(ACME / "acme.py", tmp_path)  # the layer alone
    done = run(None, "check", "model.py", cwd=tmp_path)
    assert done.returncode == 3
    assert "no transfer for acme.squareplus" in done.stdout


def test_its_own_tests_pass(site: Path) -> None:
    done = python(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ACME / "tests"))
    assert done.returncode == 0, done.stdout


def test_the_pack_has_no_privileges() -> None:
    for path in (ACME / "acme_rules").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) (netaudit\.|torch)", "".join(p for p in text.split('"""')[::2]), re.MULTILINE), path


CLASH = '''
from netaudit import check

@check("NA201", severity="info")
def mine(audit):
    """Somebody else's code."""
    return iter(())
'''


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"rival": CLASH}, ("NA201 has two checks", "netaudit_rules", "rival", "remove one of them")),
        ({"rival": "import nowhere_at_all"}, ("pack 'rival' (rival) cannot be imported", "nowhere_at_all", "uninstall")),
        ({}, ("pack 'rival' (rival) cannot be imported", "No module named 'rival'")),
        ({"rival": CLASH.replace('"""Somebody else\'s code."""', "pass")}, ("check NA201 has no docstring",)),
    ],
    ids=["a code that is taken", "an import that fails", "an entry point to nothing", "a check without a text"],
)
def test_a_broken_pack_is_named_in_one_message(tmp_path: Path, files: dict[str, str], words: tuple[str, ...]) -> None:
    done = run(installed_by_hand(tmp_path, "rival", "rival = rival", **files), "rule", "NA201")
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


# the guide --------------------------------------------------------------------------------------------------------------

_BLOCK = re.compile(r"(?:^`examples/acme_pack/([\w/.]+)`:\n\n)?^(```+)(\w+)\n(.*?)^\2$", re.DOTALL | re.MULTILINE)
BLOCKS = [(path, language, text) for path, _, language, text in _BLOCK.findall(GUIDE.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("path", "text"), [(path, text) for path, _, text in BLOCKS if path])
def test_the_guide_shows_the_files_of_the_example(path: str, text: str) -> None:
    assert text == (ACME / path).read_text(encoding="utf-8")


def test_the_snippets_of_the_guide_run(site: Path) -> None:
    snippets = [text for path, language, text in BLOCKS if language == "python" and not path]
    done = python(site, "-c", "\n".join(snippets))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0.8536 conditional\n[0.207106, 1.20711]\n"
