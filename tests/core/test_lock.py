"""The lock as a value: what is written is read, one fact has one text, and nothing changes without being told."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from netaudit.errors import ConfigError
from netaudit.lock import Entry, Lock, Verdict, changes, exit_code, read, text_of, told
from netaudit.lock.sources import digest

QUICK = settings(deadline=None, derandomize=True, max_examples=60, phases=(Phase.generate, Phase.shrink))
OWN = "0.1.0"

words = st.text("abc/é ", min_size=1, max_size=6).filter(lambda word: not word.startswith("/"))
hashes = st.text("0123456789abcdef", min_size=4, max_size=4)
counts = st.fixed_dictionaries({k: st.integers(0, 3) for k in ("error", "warning", "info", "suppressed", "baselined")})
verdicts = st.builds(Verdict, st.integers(0, 3), counts, st.lists(words, max_size=2).map(lambda lines: tuple(sorted(lines))))


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    files = draw(st.dictionaries(words, hashes, min_size=1, max_size=4))
    some = st.lists(st.sampled_from(sorted(files)), unique=True).map(lambda names: tuple(sorted(names)))
    folders = st.dictionaries(words, st.lists(words, unique=True, max_size=2).map(lambda names: tuple(sorted(names))), max_size=1)
    targets = draw(st.lists(words, min_size=1, max_size=3, unique=True))
    entries = tuple(Entry(target, draw(some), draw(folders), draw(verdicts)) for target in sorted(targets))
    packs = draw(st.dictionaries(words, words, max_size=1))
    arguments = tuple(draw(st.lists(words, max_size=2)))
    return Lock(OWN, "2.13.0", packs, arguments, draw(hashes), files, entries)


def sealed(lock: Lock) -> Lock:
    return replace(lock, entries=tuple(replace(entry, seal=lock.seal(entry)) for entry in lock.entries))


@QUICK
@given(lock=locks())
def test_what_is_written_is_read(lock: Lock, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lock") / "netaudit.lock"
    path.write_bytes(text_of(lock).encode())
    assert read(path) == sealed(lock)
    path.write_bytes(text_of(lock).replace("\n", "\r\n").encode())
    assert read(path) == sealed(lock), "git may have written it"


@QUICK
@given(lock=locks(), data=st.data())
def test_a_lock_has_one_text(lock: Lock, data: st.DataObject) -> None:
    files = dict(data.draw(st.permutations(list(lock.files.items()))))
    entries = tuple(data.draw(st.permutations(list(lock.entries))))
    assert text_of(replace(lock, files=files, entries=entries)) == text_of(lock)


@QUICK
@given(lock=locks(), other=locks())
def test_a_seal_covers_everything_but_the_version_of_torch(lock: Lock, other: Lock) -> None:
    """A text that was put together of two locks is told, whatever it takes from which."""
    mixed = [
        replace(lock, arguments=other.arguments),
        replace(lock, settings=other.settings),
        replace(lock, packs=other.packs),
        replace(lock, netaudit="0.0.9"),
        replace(lock, entries=lock.entries[:1]),
        replace(lock, files={**lock.files, **{name: other.files[name] for name in lock.files.keys() & other.files.keys()}}),
        *(replace(lock, entries=(replace(lock.entries[0], verdict=e.verdict), *lock.entries[1:])) for e in other.entries),
        *(replace(lock, entries=(replace(lock.entries[0], folders=e.folders), *lock.entries[1:])) for e in other.entries),
    ]
    for one in mixed:
        rests_on = lock.entries[0].files
        same = one == lock or (replace(one, files=lock.files) == lock and all(one.files[f] == lock.files[f] for f in rests_on))
        assert (one.seal(one.entries[0]) == lock.seal(lock.entries[0])) == same
    assert replace(lock, torch="3").seal(lock.entries[0]) == lock.seal(lock.entries[0])


# hashes -----------------------------------------------------------------------------------------------------------------


@QUICK
@given(lines=st.lists(st.binary(max_size=6).filter(lambda line: not set(line) & {0, 10, 13}), max_size=4))
def test_text_has_one_hash_whatever_ends_its_lines(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("text")
    (folder / "lf").write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / "crlf").write_bytes(b"".join(line + b"\r\n" for line in lines))
    assert digest(folder / "crlf") == digest(folder / "lf") == hashlib.sha256((folder / "lf").read_bytes()).hexdigest()[:32]


def test_what_is_not_text_is_hashed_as_it_is(tmp_path: Path) -> None:
    for name, data in (("a", b"\0a\r\nb"), ("b", b"\0a\nb")):
        (tmp_path / name).write_bytes(data)
        assert digest(tmp_path / name) == hashlib.sha256(data).hexdigest()[:32]
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_a_pointer_of_git_lfs_stands_for_its_file(tmp_path: Path) -> None:
    data = b"\x10\0\0\0" * 5000
    (tmp_path / "model.safetensors").write_bytes(data)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(data).hexdigest()}\nsize {len(data)}\n"
    (tmp_path / "pointer").write_text(pointer)
    assert digest(tmp_path / "pointer") == digest(tmp_path / "model.safetensors")
    (tmp_path / "pointer").write_text(pointer + "more\n")
    assert digest(tmp_path / "pointer") != digest(tmp_path / "model.safetensors"), "a text that only looks like one"


def test_a_file_that_is_not_there_has_no_hash_and_an_empty_one_has(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    assert digest(tmp_path / "__init__.py")
    assert not digest(tmp_path / "other.py")


# comparing --------------------------------------------------------------------------------------------------------------

SOURCES = {"model.py": "import net\n", "net/__init__.py": "", "net/body.py": "WIDTH = 8\n", "nets/a.py": "A = 1\n"}
USED = {"model.py": ("model.py", "net/__init__.py", "net/body.py"), "nets": ("nets/a.py", "net/body.py")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def locked(folder: Path, *codes: int) -> Lock:
    none = dict.fromkeys(("error", "warning", "info", "suppressed", "baselined"), 0)
    entries = tuple(
        Entry(target, tuple(sorted(files)), {"nets": ("a.py",)} if target == "nets" else {}, Verdict(code, none))
        for (target, files), code in zip(USED.items(), codes or (0, 0), strict=True)
    )
    return sealed(Lock(OWN, "2.13.0", {}, (), "", {name: digest(folder / name) for name in SOURCES}, entries))


def write(name: str, text: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return do


EDITS: dict[str, tuple[Callable[[Path], None], list[tuple[str, str, tuple[str, ...]]], int]] = {
    "nothing": (lambda _: None, [], 0),
    "its bytes again": (write("model.py", SOURCES["model.py"]), [], 0),
    "line ends": (write("net/body.py", "WIDTH = 8\r\n"), [], 0),
    "one target": (write("model.py", "import net  # \n"), [("changed", "model.py", ("model.py",))], 3),
    "both targets": (write("net/body.py", "WIDTH = 9\n"), [("changed", "net/body.py", ("model.py", "nets"))], 3),
    "deleted": (lambda f: (f / "net/body.py").unlink(), [("gone", "net/body.py", ("model.py", "nets"))], 3),
    "a target deleted": (lambda f: (f / "model.py").unlink(), [("gone", "model.py", ("model.py",))], 2),
    "a new file": (write("nets/b.py", ""), [("new", "nets/b.py", ("nets",))], 3),
    "a new test": (write("nets/test_b.py", ""), [], 0),
    "a file beside": (write("b.py", ""), [], 0),
    "gone from a folder": (lambda f: (f / "nets/a.py").unlink(), [("gone", "nets/a.py", ("nets",))], 3),
    "a folder gone": (
        lambda f: shutil.rmtree(f / "nets"),
        [("gone", "nets/a.py", ("nets",)), ("gone", "nets", ("nets",))],
        2,
    ),
    "settings": (write("netaudit.toml", "preview = true"), [("changed", "the settings of netaudit", ("model.py", "nets"))], 3),
    "other settings": (write("pyproject.toml", "[tool.ruff]"), [], 0),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_change_is_told_with_its_targets(project: Path, name: str) -> None:
    lock = locked(project)
    edit, expected, code = EDITS[name]
    edit(project)
    found = changes(lock, project, OWN)
    assert [(change.kind, change.what, change.targets) for change in found] == expected
    assert exit_code(lock, found) == code
    text = told(lock, found, Path("netaudit.lock"))
    assert ("stale" in text) == bool(expected)
    assert all(what in text for _, what, _ in expected)


def test_a_lock_holds_wherever_the_repository_lies(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    lock = locked(project)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "repository"
    shutil.copytree(project, elsewhere)
    assert locked(elsewhere) == lock
    assert not changes(lock, elsewhere, OWN)


def test_a_merge_of_two_locks_that_git_takes_for_clean_is_told(project: Path) -> None:
    """One branch changes one file, the other one another: their lines do not touch, and nobody audited both together."""
    before = locked(project)
    write("model.py", "import net  # one\n")(project)
    one = locked(project)
    write("net/body.py", "WIDTH = 9\n")(project)
    both = locked(project)
    merged = replace(one, files={**one.files, "net/body.py": both.files["net/body.py"]})
    assert {change.kind for change in changes(merged, project, OWN)} == {"edited"}
    assert not changes(both, project, OWN)
    assert before.entries[0].seal != one.entries[0].seal != both.entries[0].seal, "the line in which git sees the conflict"


def test_versions_are_compared_where_they_are_known(project: Path) -> None:
    lock = locked(project)
    assert [change.what for change in changes(lock, project, "0.2.0")] == ["netaudit: 0.1.0 made the lock, this is 0.2.0"]
    pytest_version = pytest.__version__
    known, other, unknown = (replace(lock, packs=packs) for packs in ({"pytest": pytest_version}, {"pytest": "0"}, {"no-such-pack": "1"}))
    assert not changes(sealed(known), project, OWN)
    assert [change.what for change in changes(sealed(other), project, OWN)] == [
        f"pytest: 0 when the lock was made, {pytest_version} is installed"
    ]
    assert not changes(sealed(unknown), project, OWN)
    assert "unknown  version of no-such-pack, 1: not installed here" in told(sealed(unknown), (), Path("netaudit.lock"))


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, 1), 1), ((1, 3), 3), ((3, 0), 3)])
def test_the_verdicts_that_were_locked_decide_when_nothing_changed(project: Path, codes: tuple[int, int], expected: int) -> None:
    lock = locked(project, *codes)
    found = changes(lock, project, OWN)
    assert exit_code(lock, found) == expected
    assert ("not wholly checked" in told(lock, found, Path("netaudit.lock"))) == (3 in codes)


# files that are no lock -------------------------------------------------------------------------------------------------


def test_a_lock_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no lock .*netaudit\.lock") as caught:
        read(tmp_path / "netaudit.lock")
    assert "netaudit lock TARGET" in caught.value.hint


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a list": (lambda _: [], "is not a lock"),
    "something else": (lambda _: {"name": "x"}, "is not a lock"),
    "older": (lambda d: {**d, "netaudit-lock": 0}, "of version 0, and this netaudit reads 1"),
    "newer": (lambda d: {**d, "netaudit-lock": 2}, "of version 2"),
    "no files": (lambda d: {k: v for k, v in d.items() if k != "files"}, "'files' is missing"),
    "no targets": (lambda d: {**d, "targets": {}}, "holds no target"),
    "absolute": (lambda d: {**d, "files": {**d["files"], "/dev/zero": "0"}}, "/dev/zero is an absolute path"),
    "a number": (lambda d: {**d, "arguments": [1]}, "arguments: expected text"),
    "unhashed": (lambda d: {**d, "files": {}}, "has no hash"),
    "true": (lambda d: {**d, "targets": {"m": {**d["targets"]["nets"], "exit-code": True}}}, "exit-code of m: expected a whole number"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_lock_says_what_is_wrong(project: Path, name: str) -> None:
    path = project / "netaudit.lock"
    change, said = BROKEN[name]
    path.write_text(json.dumps(change(json.loads(text_of(locked(project))))))
    with pytest.raises(ConfigError, match=said) as caught:
        read(path)
    assert caught.value.hint


def test_the_marks_of_a_merge_are_told(project: Path) -> None:
    path = project / "netaudit.lock"
    path.write_text("<<<<<<< HEAD\n" + text_of(locked(project)))
    with pytest.raises(ConfigError, match="not JSON") as caught:
        read(path)
    assert "merge" in caught.value.hint


@QUICK
@given(data=st.data())
def test_a_damaged_lock_is_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("damaged") / "netaudit.lock"
    document = json.loads(text_of(data.draw(locks())))
    at = document
    while isinstance(at, dict) and at:
        key = data.draw(st.sampled_from(sorted(at)))
        if data.draw(st.booleans()) or not isinstance(at[key], dict):
            at[key] = data.draw(st.sampled_from([None, 1, "x", [], {}, [[]], {"x": 1}, -1.5]))
            break
        at = at[key]
    path.write_text(json.dumps(document))
    try:
        lock = read(path)
    except ConfigError:
        return
    told(lock, changes(lock, path.parent, OWN), path)
