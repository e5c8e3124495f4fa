"""The cache: reports survive JSON, an entry is whole or not there, and what has changed is not answered from it."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.cache import Plan, Store, cleaned, state_of, store_at, watching
from netaudit.cache.codec import NotKeptError, decode, encode
from netaudit.cache.replay import keep, looked_up
from netaudit.cache.store import MOST, STALE
from netaudit.errors import ConfigError
from netaudit.finding import Coverage, Evidence, Finding, Magnitude, NodeRow, ParamRow, Remedy, Report, Step, Suppressed, TargetReport
from netaudit.graph import Ref, Site, Where
from netaudit.report import FORMATS, Style
from netaudit.training import Group, Optimizer, Schedule, Training

NUMBERS = st.floats(allow_nan=False) | st.none()  # NaN is not equal to itself; it has a test of its own
st.register_type_strategy(float, st.floats(allow_nan=False))
WORDS = st.lists(st.text(), max_size=2).map(tuple)
ARGS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.builds(Ref, st.text()),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)


def reports() -> st.SearchStrategy[TargetReport]:
    """Reports with every field drawn, changes of remedies among them."""
    from netaudit import change

    kinds = [v for v in vars(change).values() if isinstance(v, type) and v.__module__ == change.__name__]
    changes = st.one_of(
        [st.from_type(kind) if kind is not change.WithArg else st.builds(kind, nodes=WORDS, name=st.text(), value=ARGS) for kind in kinds]
    )
    remedy = st.builds(Remedy, changes=st.lists(changes, max_size=2).map(tuple), resolves=st.none() | st.booleans())
    finding = st.builds(
        Finding,
        where=...,
        evidence=...,
        help=st.lists(remedy, max_size=2).map(tuple),
        path=st.lists(st.from_type(Step), max_size=2).map(tuple),
    )
    settings_of = st.dictionaries(
        st.text(), st.none() | st.booleans() | st.floats(allow_nan=False) | st.tuples(NUMBERS, NUMBERS), max_size=2
    )
    group = st.builds(Group, settings=settings_of, schedule=st.none() | st.from_type(Schedule))
    optimizer = st.builds(Optimizer, groups=st.lists(group, max_size=2).map(tuple), site=...)
    return st.builds(
        TargetReport,
        inputs=st.lists(st.tuples(st.text(), st.text(), st.lists(st.integers()).map(tuple)), max_size=2).map(tuple),
        training=st.builds(Training, optimizers=st.lists(optimizer, max_size=2).map(tuple), precision=..., clip=...),
        coverage=st.builds(Coverage, unknown=st.dictionaries(st.text(), st.integers(), max_size=2), broken=...),
        findings=st.lists(finding, max_size=2).map(tuple),
        suppressed=st.lists(st.builds(Suppressed, finding=finding, site=...), max_size=1).map(tuple),
        spent=st.frozensets(st.tuples(st.text(), st.text()), max_size=2),
        nodes=st.lists(st.from_type(NodeRow), max_size=2).map(tuple),
        params=st.lists(st.from_type(ParamRow), max_size=2).map(tuple),
        seconds=st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=2),
    )


@settings(max_examples=60, deadline=None)
@given(reports())
def test_a_report_survives_json(report: TargetReport) -> None:
    text = json.dumps(encode(report), allow_nan=False)
    again = decode(json.loads(text))
    assert again == report
    assert repr(again) == repr(replace(report, spent=again.spent))  # 1 and 1.0, True and 1 are equal, but not the same


def test_nan_survives() -> None:
    step = Step("a", "b", proved=float("nan"), forecast=float("-inf"))
    found = Finding("NA1", "x", "info", "m", "t", path=(step,))
    again = decode(json.loads(json.dumps(encode(TargetReport("t", findings=(found,))), allow_nan=False)))
    assert repr(again.findings[0].path) == repr((step,))


def test_what_is_no_plain_value_is_not_kept() -> None:
    with pytest.raises(NotKeptError, match="object"):
        encode(TargetReport("t", seconds={"a": object()}))  # type: ignore[dict-item]  # the point


@pytest.mark.parametrize(
    "value", [None, 1, [], {}, {"Finding": []}, {"os": ["x"]}, {"TargetReport": [1]}, {"Site": ["f", 1]}, {"float": "x"}]
)
def test_what_was_not_written_is_not_read(value: object) -> None:
    with pytest.raises(NotKeptError):
        decode(value)


def sample() -> TargetReport:
    where = Where("body.0", "Linear", Site("model.py", 9), Site("model.py", 6))
    evidence = Evidence("share", -4.0, -6.7, -10.4, None, "independent")
    remedy = Remedy("do this", "0.8", resolves=True)
    finding = Finding(
        "NA201", "vanishing", "error", "says", "model.py", "body", where, "since", evidence, (Step("a", "b", -1.0, None),), (remedy,)
    )
    size = Magnitude(-1.5, "forecast")
    node = NodeRow("n", "aten.linear", "body.0", where, (2, 4), "float32", Magnitude(None, "unbounded"), ("linear",), size, size, size)
    return TargetReport("model.py", "torch.export", findings=(finding,), coverage=Coverage(3, 2, {"aten.x": 1}), nodes=(node,))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_prints_a_kept_report_as_the_first_one(name: str) -> None:
    first = Report((sample(),), "0.1.0", "2.13.0", ("netaudit_rules",))
    again = replace(first, targets=tuple(decode(json.loads(json.dumps(encode(t)))) for t in first.targets))
    assert FORMATS[name](again, Style(full=True)) == FORMATS[name](first, Style(full=True))


# files ------------------------------------------------------------------------------------------------------------------


def test_a_value_is_read_as_written_and_the_folder_hides_itself(tmp_path: Path) -> None:
    store = store_at(tmp_path / "cache")
    assert store.read("kind", "key") is None
    store.write("kind", "key", {"a": [1, "x"]})
    assert store.read("kind", "key") == {"a": [1, "x"]}
    assert (tmp_path / "cache" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / "cache" / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_every_damaged_entry_is_a_miss(tmp_path: Path) -> None:
    store = Store(tmp_path / "c" / "1")
    store.write("kind", "key", ["some", "text", 1.5])
    path = next((tmp_path / "c" / "1" / "kind").glob("*.json"))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert store.read("kind", "key") is None, cut
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert store.read("kind", "key") is None, position
    store.write("kind", "key", 2)
    assert store.read("kind", "key") == 2


def test_where_nothing_can_be_written_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = store_at(tmp_path / "file" / "cache")
    store.write("kind", "key", 1)
    assert store.read("kind", "key") is None


def _writes(folder: Path, seed: int) -> None:
    store = store_at(folder)
    for k in range(200):
        store.write("kind", "key", [seed, "x" * (1000 + 7 * k)])


def test_many_writers_leave_a_whole_entry(tmp_path: Path) -> None:
    writers = [multiprocessing.get_context("fork").Process(target=_writes, args=(tmp_path / "c", seed)) for seed in range(4)]
    for writer in writers:
        writer.start()
    store, seen = store_at(tmp_path / "c"), 0
    while any(writer.is_alive() for writer in writers):
        value = store.read("kind", "key")
        assert value is None or not seen or isinstance(value, list)
        if value is not None:
            seen += 1
            assert set(value[1]) == {"x"}  # type: ignore[index]  # a list, as above
        else:
            assert not seen, "an entry that was there is gone"
    assert seen
    assert not list((tmp_path / "c").rglob("*.tmp"))


ENDLESS = "import sys; from netaudit.cache import store_at\ns = store_at()\nwhile True: s.write('k', 'key', 'x' * 5_000_000)"


def test_a_killed_writer_leaves_no_half_entry(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS], cwd=tmp_path)
    store = store_at(tmp_path / ".netaudit_cache")
    while store.read("k", "key") is None:
        time.sleep(0.01)
    writer.kill()
    writer.wait()
    assert store.read("k", "key") == "x" * 5_000_000
    left = list(tmp_path.rglob("*.tmp"))
    for path in left:
        os.utime(path, (time.time() - 2 * STALE,) * 2)
    store.write("k", "other", 1)
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_oldest_entries_go(tmp_path: Path) -> None:
    store = store_at(tmp_path / "c")
    folder = tmp_path / "c" / "1" / "kind"
    folder.mkdir(parents=True)
    for k in range(MOST):
        (folder / f"{k}.json").write_text("")
        os.utime(folder / f"{k}.json", (k, k))
    store.write("kind", "new", 1)
    assert store.read("kind", "new") == 1
    assert len(list(folder.iterdir())) == MOST * 3 // 4
    assert not (folder / "0.json").exists()


def test_only_a_cache_is_cleaned(tmp_path: Path) -> None:
    store_at(tmp_path / "c").write("kind", "key", 1)
    files, size = cleaned(tmp_path / "c")
    assert files == 3
    assert size > 0
    assert not (tmp_path / "c").exists()
    assert cleaned(tmp_path / "c") == (0, 0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="left alone"):
        cleaned(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


# what a result depends on -----------------------------------------------------------------------------------------------


def test_the_state_follows_every_part_of_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("1")
    Path("sub").mkdir()
    plan = Plan(("netaudit_rules",), ("a.py", "absent.toml"), ("sub",), ("WIDTH",))
    seen = {state_of(plan, {})}

    def changes(environment: dict[str, str] | None = None) -> bool:
        before = len(seen)
        seen.add(state_of(plan, environment or {}))
        return len(seen) > before

    assert not changes()
    Path("a.py").write_text("2")
    assert changes()
    Path("absent.toml").write_text("")
    assert changes()
    Path("sub/new.py").write_text("")
    assert changes()
    assert changes({"WIDTH": "3"})
    assert changes({"PYTHONPATH": "x"})
    assert not changes({"HOME": "elsewhere"})
    site = tmp_path / "site"
    (site / "thing-1.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(site))
    assert changes()
    Path("a.py").write_text("1")
    Path("absent.toml").unlink()
    Path("sub/new.py").unlink()
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(site)])
    assert not changes(), "as at first"


def test_a_result_is_found_for_the_state_it_was_made_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store, plan = store_at(tmp_path / "c"), Plan(files=("a.py",))
    for text in ("one", "two"):
        Path("a.py").write_text(text)
        assert looked_up(store, "t", "k", {}) is None
        keep(store, "t", "k", plan, text, {})
    for text in ("one", "two"):  # as when a branch is left and come back to
        Path("a.py").write_text(text)
        assert looked_up(store, "t", "k", {}) == text
    assert looked_up(store, "t", "other", {}) is None


def test_branches_that_import_different_files_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = store_at(tmp_path / "c")
    branches = {"one": Plan(files=("a.py",)), "two": Plan(files=("a.py", "b.py")), "three": Plan(files=("a.py", "c.py"))}
    for name, plan in branches.items():
        Path("a.py").write_text(name)
        keep(store, "t", "k", plan, name, {})
    for name in (*branches, *branches):
        Path("a.py").write_text(name)
        assert looked_up(store, "t", "k", {}) == name
    keep(store, "t", "k", Plan(files=("a.py", "d.py")), "four", {})
    Path("a.py").write_text("one")
    assert looked_up(store, "t", "k", {}) is None, "only so many are remembered"


MODEL = """
import os, json
import helper_of_this_test
from pathlib import Path
WIDTH = os.environ.get("WIDTH_OF_THIS_TEST", "3")
DATA = json.loads(Path(__file__).with_name("data.json").read_text())
Path(__file__).with_name("log.txt").write_text("written")
CHILD = {**os.environ}
"""


def test_what_a_model_reads_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("model_of_this_test.py").write_text(MODEL)
    Path("helper_of_this_test.py").write_text("import colorsys\nimport json\n")
    Path("data.json").write_text("{}")
    for _ in range(2):  # afresh, then with bytecode and a module that is loaded already
        with watching() as seen:
            exec(
                compile(Path("model_of_this_test.py").read_text(), str(tmp_path / "model_of_this_test.py"), "exec"),
                {"__file__": str(tmp_path / "m.py")},
            )
        plan = seen.plan(("netaudit_rules",), tmp_path)
        assert plan is not None
        assert set(plan.files) == {"data.json", "helper_of_this_test.py", "model_of_this_test.py"}
        assert plan.variables == ("WIDTH_OF_THIS_TEST",)
    sys.modules.pop("helper_of_this_test")


@pytest.mark.parametrize(("beside", "known"), [(False, False), (True, True)])
def test_a_checkpoint_read_behind_pythons_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, beside: bool, known: bool) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text("from safetensors.torch import load_file")
    if beside:
        Path("w.safetensors").write_text("")
    with watching() as seen:
        Path("m.py").read_text()
    plan = seen.plan((), tmp_path)
    assert (plan is not None) == known
    assert plan is None or set(plan.files) == {"m.py", "w.safetensors"}


def test_the_environment_works_as_before() -> None:
    before = dict(os.environ)
    with watching():
        assert dict(os.environ) == before
        assert os.environ.get("NO_SUCH_VARIABLE_AT_ALL") is None
        assert "PATH" in os.environ
        os.environ["SET_BY_THIS_TEST"] = "1"
        assert os.environ.pop("SET_BY_THIS_TEST") == "1"
    assert dict(os.environ) == before
