"""Two JSON reports compared: what is worse, new, fixed, and the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from .baseline import KINDS, WORDS, Entries, Known, beyond, is_worse
from .errors import ConfigError
from .finding import Baseline

Change: TypeAlias = Literal["worse", "new", "fixed", "better", "same"]
CHANGES: tuple[Change, ...] = ("worse", "new", "fixed", "better", "same")
COUNTED: tuple[Change, ...] = ("worse", "new")
Renamed: TypeAlias = Callable[[Known, Known], bool]


@dataclass(frozen=True, slots=True)
class Pair:
    """A finding before and after; None where there is none."""

    change: Change
    before: Known | None
    after: Known | None

    @property
    def shown(self) -> Known:
        """The finding as it is now, or as it was."""
        found = self.after or self.before
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Sizes:
    """A model in numbers."""

    nodes: int = 0
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """All pairs, the sizes of both reports, and the targets that were not wholly checked in the second one."""

    pairs: tuple[Pair, ...]
    before: Sizes = Sizes()
    after: Sizes = Sizes()
    incomplete: bool = False

    @property
    def is_worse(self) -> bool:
        """Whether something is new or worse."""
        return any(pair.change in COUNTED for pair in self.pairs)


def load(path: Path) -> Mapping[str, Any]:
    """A JSON report.

    Raises:
        ConfigError: it is not there, or is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "netaudit check TARGET --output json=FILE makes a report") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}", "netaudit check TARGET --output json=FILE makes a report") from error
    entries_of(data, str(path))
    assert isinstance(data, dict)
    return data


def entries_of(report: object, where: str) -> Entries:
    """The findings of a JSON report of any version.

    Raises:
        ConfigError: it is no report.
    """
    found = report.get("findings") if isinstance(report, dict) and "schema_version" in report else None
    if not isinstance(found, list):
        raise ConfigError(f"{where} is not a JSON report of netaudit", "netaudit check TARGET --output json=FILE makes one")
    try:
        return tuple(map(_entry, found))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{where} holds a finding that cannot be read: {error}", "was it made by netaudit?") from error


def _entry(row: Mapping[str, Any]) -> Known:
    evidence = row["evidence"]
    sizes = {kind: float(evidence[kind]) for kind in KINDS if evidence.get(kind) is not None}
    code, name, severity, fingerprint, target, module = (str(row[key]) for key in WORDS)
    return Known(code, name, severity, fingerprint, target, module, beyond(evidence.get("threshold"), sizes), sizes)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    """What became of every finding: matched by fingerprint, what is left by rule and module, then across a rename."""
    old, new = entries_of(before, "the first report"), entries_of(after, "the second report")
    pairs = [_judged(a, b) for a, b in _matched(old, new, _renamed(before, after))]
    order = sorted(pairs, key=lambda pair: (CHANGES.index(pair.change), pair.shown.target, pair.shown.code, pair.shown.module))
    incomplete = after.get("run", {}).get("status") == "incomplete"
    return Difference(tuple(order), _sizes(before), _sizes(after), incomplete)


STATES: Mapping[Change, Baseline] = {"new": "new", "worse": "worse", "better": "unchanged", "same": "unchanged"}


def states(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[Baseline, ...], int]:
    """What every finding of the second report is beside the first one, in its order, and how many of the first there are no more."""
    pairs = difference(before, after).pairs
    left = [pair for pair in pairs if pair.after is not None]
    gone = len(pairs) - len(left)
    found = []
    for entry in entries_of(after, "the second report"):
        pair = next(pair for pair in left if pair.after == entry)
        left.remove(pair)
        found.append(STATES[pair.change])
    return tuple(found), gone


def _matched(old: Entries, new: Entries, renamed: Renamed) -> Iterator[tuple[Known | None, Known | None]]:
    left, right = list(old), list(new)
    for key, allowed in ((_by_fingerprint, _always), (_by_place, _always), (_by_position, renamed)):
        for a in tuple(left):
            b = next((other for other in right if key(other) == key(a) and allowed(a, other)), None)
            if b is not None:
                left.remove(a)
                right.remove(b)
                yield a, b
    yield from ((a, None) for a in left)
    yield from ((None, b) for b in right)


def _always(_before: Known, _after: Known) -> bool:
    return True


def _by_fingerprint(entry: Known) -> object:
    return entry.fingerprint


def _by_place(entry: Known) -> object:
    return entry.code, entry.target, entry.module


def _by_position(entry: Known) -> object:
    """What a rename leaves: the rule, how deep the module lies, and its place in sequences."""
    parts = entry.module.split(".")
    return entry.code, len(parts), tuple(part for part in parts if part.isdigit())


def _renamed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Renamed:
    """Whether two findings may be of one place with two names: the old name is not there any more, and the new one was not before."""
    old, new = _modules(before), _modules(after)

    def allowed(a: Known, b: Known) -> bool:
        if a.target != b.target:
            return a.target not in new and b.target not in old
        return a.module not in new.get(a.target, ()) and b.module not in old.get(b.target, ())

    return allowed


def _modules(report: Mapping[str, Any]) -> dict[str, set[str]]:
    """The paths of all modules of every target, and of its parameters: a finding may be about either."""
    found = {}
    for target in report.get("targets", ()):
        names = [node.get("module", "") for node in target.get("nodes", ())] + [p.get("name", "") for p in target.get("parameters", ())]
        found[target.get("id", "")] = {name[:end] for name in names for end in (*(k for k, c in enumerate(name) if c == "."), len(name))}
    return found


def _judged(before: Known | None, after: Known | None) -> Pair:
    if before is None or after is None:
        return Pair("new" if before is None else "fixed", before, after)
    change: Change = "worse" if is_worse(after, before) else "better" if is_worse(before, after) else "same"
    return Pair(change, before, after)


def _sizes(report: Mapping[str, Any]) -> Sizes:
    targets: Sequence[Mapping[str, Any]] = report.get("targets", [])
    nodes = sum(len(t.get("nodes", ())) for t in targets)
    return Sizes(nodes, sum(_count(p.get("shape", ())) for t in targets for p in t.get("parameters", ())))


def _count(shape: Iterable[int]) -> int:
    result = 1
    for n in shape:
        result *= n
    return result
