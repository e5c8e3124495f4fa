"""The settings of a project."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netaudit.config import Config, TargetConfig, load_config
from netaudit.errors import ConfigError

Put = Callable[..., Path]

EVERYTHING = """
[tool.netaudit]
select = ["NA2", "NA301"]
ignore = ["NA405"]
extend-select = ["ACME"]
preview = true
fail-level = "error"
exit-zero = true
min-coverage = 0.9
mode = "eval"
output = ["full", "sarif=out.sarif"]

[tool.netaudit.targets.gpt]
target = "model.py:GPT"
inputs = ["ids=i64[2,64]<100>"]
args = { depth = 12, norm = "rms" }
weights = "gpt.safetensors"

[tool.netaudit.targets.vit]
target = "timm:vit_tiny_patch16_224"

[[tool.netaudit.overrides]]
module = "backbone.*"
ignore = ["NA201"]

[tool.netaudit.training]
optimizer = "adamw"
lr = 3e-4
weight-decay = 0
momentum = 0.9
betas = [0.9, 0.95]
eps = 1e-8
warmup = 100
steps = 10_000
clip = 1.0
schedule = "cosine"
schedule-steps = 100
clip-value = 0.5
precision = "mixed-bf16"
batch-size = 32
accumulation = 4
scaler = true
ema = 0.999
"""


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Write a file below the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "pyproject.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_setting_is_read(put: Put) -> None:
    path = put(EVERYTHING)
    config = load_config()
    assert config.path == path
    assert config.select == ("NA2", "NA301")
    assert (config.ignore, config.extend_select, config.output) == (("NA405",), ("ACME",), ("full", "sarif=out.sarif"))
    assert (config.preview, config.exit_zero, config.fail_level, config.mode) == (True, True, "error", "eval")
    assert config.min_coverage == 0.9
    assert config.targets["gpt"] == TargetConfig(
        target="model.py:GPT",
        inputs=("ids=i64[2,64]<100>",),
        args={"depth": 12, "norm": "rms"},
        weights="gpt.safetensors",
    )
    assert config.targets["vit"].target == "timm:vit_tiny_patch16_224"
    assert [(override.module, override.ignore) for override in config.overrides] == [("backbone.*", ("NA201",))]
    assert config.training.model_dump() == {
        "optimizer": "adamw",
        "lr": 3e-4,
        "weight_decay": 0.0,
        "momentum": 0.9,
        "betas": (0.9, 0.95),
        "eps": 1e-8,
        "warmup": 100,
        "steps": 10_000,
        "schedule": "cosine",
        "schedule_steps": 100,
        "clip": 1.0,
        "clip_value": 0.5,
        "precision": "mixed-bf16",
        "batch_size": 32,
        "accumulation": 4,
        "scaler": True,
        "ema": 0.999,
    }


def test_without_a_file_the_defaults_hold(put: Put, tmp_path: Path) -> None:
    put("[project]\nname = 'x'\n")
    config = load_config(tmp_path)
    assert config == Config()
    assert (config.path, config.fail_level, config.min_coverage, config.mode) == (None, "warning", 1.0, "train")
    assert set(config.training.model_dump().values()) == {None}


def test_the_nearest_file_with_settings_wins(put: Put, tmp_path: Path) -> None:
    outer = put("[tool.netaudit]\nselect = ['outer']\n")
    put("[tool.other]\n", "a/pyproject.toml")
    inner = put("select = ['inner']\n", "a/b/netaudit.toml")
    put("[tool.netaudit]\nselect = ['beside']\n", "a/b/pyproject.toml")
    (tmp_path / "a/b/c").mkdir()
    for start, path in (("a/b/c", inner), ("a/b", inner), ("a", outer), (".", outer)):
        assert load_config(tmp_path / start).path == path
    assert load_config(tmp_path / "a/b/c").select == ("inner",)


def test_underscores_are_taken_for_hyphens(put: Put) -> None:
    put("[tool.netaudit]\nfail_level = 'error'\n[tool.netaudit.training]\nbatch_size = 2\n")
    config = load_config()
    assert (config.fail_level, config.training.batch_size) == ("error", 2)


def test_paths_are_relative_to_their_file(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {
        "a": "model.py:Net",
        "b": "net.pt2",
        "c": "hf:bert",
        "d": "nets",
        "e": "pkg.mod:factory",
        "f": "timm:resnet18",
        "g": f"{tmp_path}/model.py",
    }
    put("".join(f"[tool.netaudit.targets.{name}]\ntarget = '{text}'\nweights = 'w.pt'\n" for name, text in targets.items()))
    (tmp_path / "nets").mkdir()
    (tmp_path / "x/y").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "x/y")
    assert {name: entry.target for name, entry in load_config().targets.items()} == {
        "a": "../../model.py:Net",
        "b": "../../net.pt2",
        "c": "hf:../../bert",
        "d": "../../nets",
        "e": "pkg.mod:factory",
        "f": "timm:resnet18",
        "g": f"{tmp_path}/model.py",
    }
    assert load_config().targets["a"].weights == "../../w.pt"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "selct = []",
            "unknown key tool.netaudit.selct: did you mean 'select'?",
            "known here: select, ignore, extend-select",
        ),
        ("fail_levle = 'error'", "unknown key tool.netaudit.fail_levle: did you mean 'fail-level'?", "known here"),
        ("quite-other = 1", "unknown key tool.netaudit.quite-other", "known here"),
        ("select = 'NA1'", "tool.netaudit.select: expected a list, found 'NA1' (a string)", 'write ["NA1"]'),
        ("select = [1]", "tool.netaudit.select.0: expected a string, found 1 (an integer)", ""),
        ("preview = 'yes'", "tool.netaudit.preview: expected a boolean, found 'yes' (a string)", ""),
        ("exit-zero = 1", "tool.netaudit.exit-zero: expected a boolean, found 1 (an integer)", ""),
        ("min-coverage = '1'", "tool.netaudit.min-coverage: expected a number, found '1' (a string)", ""),
        (
            "min-coverage = 2",
            "tool.netaudit.min-coverage: expected a number less than or equal to 1, found 2 (an integer)",
            "",
        ),
        ("min-coverage = nan", "tool.netaudit.min-coverage: expected a finite number, found nan (a number)", ""),
        (
            "mode = 'trian'",
            "tool.netaudit.mode: expected 'train' or 'eval', found 'trian' (a string)",
            "did you mean 'train'?",
        ),
        (
            "fail-level = 'warn'",
            "tool.netaudit.fail-level: expected 'error', 'warning' or 'info', found 'warn' (a string)",
            "did you mean 'warning'?",
        ),
        ("training = 3", "tool.netaudit.training: expected a table, found 3 (an integer)", ""),
        (
            "training.learning-rate = 1",
            "unknown key tool.netaudit.training.learning-rate",
            "known here: optimizer, lr,",
        ),
        (
            "training.weight-deacy = 1",
            "unknown key tool.netaudit.training.weight-deacy: did you mean 'weight-decay'?",
            "known here",
        ),
        ("training.lr = -1", "tool.netaudit.training.lr: expected a number greater than 0, found -1 (an integer)", ""),
        ("training.ema = 1", "tool.netaudit.training.ema: expected a number less than 1, found 1 (an integer)", ""),
        (
            "training.precision = 'fp61'",
            "tool.netaudit.training.precision: expected 'fp32', 'fp16', 'bf16', 'mixed-fp16' or 'mixed-bf16', found 'fp61' (a string)",
            "did you mean 'fp16'?",
        ),
        ("training.steps = 1.5", "tool.netaudit.training.steps: expected an integer, found 1.5 (a number)", ""),
        ("training.betas = [0.9]", "tool.netaudit.training.betas: the list has the wrong length", "two numbers"),
        (
            "training.betas = [0.9, 0.9, 0.9]",
            "tool.netaudit.training.betas: the list has the wrong length",
            "two numbers",
        ),
        ("targets.a = 'model.py'", "tool.netaudit.targets.a: expected a table, found 'model.py' (a string)", ""),
        ("targets.a.args = {}", "tool.netaudit.targets.a.target is missing", "every table in targets needs it"),
        (
            "targets.a = {target = 'm.py', weigths = ''}",
            "unknown key tool.netaudit.targets.a.weigths: did you mean 'weights'?",
            "known here: target",
        ),
        (
            "overrides = [{module = 'a.*'}]",
            "tool.netaudit.overrides.0.ignore is missing",
            "every table in overrides needs it",
        ),
        ("overrides = {module = 'a.*', ignore = []}", "tool.netaudit.overrides: expected a list, found a table", ""),
    ],
)
def test_a_setting_that_is_not_valid_is_refused(put: Put, text: str, message: str, hint: str) -> None:
    put(f"[tool.netaudit]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert str(caught.value) == f"pyproject.toml: {message}"
    assert hint in caught.value.hint


def test_errors_of_netaudit_toml_name_keys_as_they_stand_there(put: Put) -> None:
    put("training.lr = 'x'\n", "netaudit.toml")
    with pytest.raises(ConfigError, match=r"^netaudit\.toml: training\.lr: expected a number, found 'x'"):
        load_config()


def test_several_errors_are_listed_and_many_counted(put: Put) -> None:
    put("[tool.netaudit]\nselect = [1, 2, 3, 4, 5, 6, 7]\n")
    with pytest.raises(ConfigError) as caught:
        load_config()
    lines = str(caught.value).splitlines()
    assert lines[0] == "pyproject.toml: tool.netaudit.select.0: expected a string, found 1 (an integer)"
    assert (len(lines), lines[-1]) == (6, "and 2 more")


@pytest.mark.parametrize(("text", "line"), [("[tool.netaudit\n", 1), ("[tool.netaudit]\nselect = [\n'a'\n", 4), ("a = 1\na = 2\n", 2)])
def test_what_is_not_toml_is_refused_with_its_line(put: Put, tmp_path: Path, text: str, line: int) -> None:
    put(text, "sub/pyproject.toml")
    with pytest.raises(ConfigError, match=rf"^sub/pyproject\.toml:{line}: "):
        load_config(tmp_path / "sub")


def test_other_unreadable_files_are_refused(put: Put) -> None:
    path = put("[tool]\nnetaudit = 3\n")
    with pytest.raises(ConfigError, match=r"tool\.netaudit: expected a table, found 3"):
        load_config()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"pyproject\.toml cannot be read"):
        load_config()


@given(st.text(max_size=20))
def test_no_unknown_key_is_taken(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    if key.replace("_", "-") in {name.replace("_", "-") for name in Config.model_fields}:
        return
    folder = tmp_path_factory.mktemp("config")
    quoted = key.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in {*'"\\', *map(chr, range(32)), "\x7f"}})
    (folder / "netaudit.toml").write_text(f'"{quoted}" = 1\n', encoding="utf-8", newline="")
    with pytest.raises(ConfigError, match="unknown key"):
        load_config(folder)


def test_settings_do_not_import_torch() -> None:
    program = "import sys, netaudit.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
