"""The difference of two reports, as text and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from tabulate import tabulate

from netaudit.baseline import KINDS, Known
from netaudit.diff import CHANGES, Change, Difference, Pair

from .numbers import at_most, short

SHOWN: tuple[Change, ...] = ("worse", "new", "fixed", "better")


def text(difference: Difference) -> str:
    """A line a change, worst first; what is the same is counted."""
    rows = [_row(pair) for pair in difference.pairs if pair.change in SHOWN]
    table = tabulate(rows, tablefmt="plain", disable_numparse=True)
    lines = [line.rstrip() for line in table.splitlines()] if rows else []
    return "\n".join([*lines, *_ending(difference)]) + "\n"


def markdown(difference: Difference) -> str:
    """For a comment on a pull request."""
    rows = [tuple(cell.replace("|", "\\|") for cell in _row(pair)) for pair in difference.pairs if pair.change in SHOWN]
    table = tabulate(rows, headers=("change", "rule", "where", "size", ""), tablefmt="github", disable_numparse=True)
    title = "### netaudit: " + (_counts(difference) or "nothing to compare")
    return "\n\n".join([title, *([table] if rows else []), *_ending(difference)]) + "\n"


DIFFERENCES: Mapping[str, Callable[[Difference], str]] = {"text": text, "markdown": markdown}


def _counts(difference: Difference) -> str:
    told = Counter(pair.change for pair in difference.pairs)
    return ", ".join(f"{told[change]} {change}" for change in CHANGES if told[change])


def _row(pair: Pair) -> tuple[str, ...]:
    found = pair.shown
    place = f"{found.target} {found.module}".rstrip()
    if pair.before is not None and pair.after is not None and pair.before.module != pair.after.module:
        place += f" (was {pair.before.module or pair.before.target})"
    return pair.change, f"{found.code} {found.name}", place, *_size(pair)


def _size(pair: Pair) -> tuple[str, str]:
    """The size of what is found, before and after, and of which kind it is: proved, forecast or measured."""
    kind = next((k for k in KINDS if k in _both(pair.before, pair.after)), None)
    if kind is None:
        return "", _severity(pair)
    old, new = (_number(one, kind) for one in (pair.before, pair.after))
    return " -> ".join(part for part in (old, new) if part), kind + (f", {severity}" if (severity := _severity(pair)) else "")


def _both(before: Known | None, after: Known | None) -> set[str]:
    sizes = [set(one.sizes) for one in (before, after) if one is not None]
    return set.intersection(*sizes)


def _number(found: Known | None, kind: str) -> str:
    if found is None:
        return ""
    return f"<= {at_most(found.sizes[kind])}" if kind == "proved" else short(found.sizes[kind])


def _severity(pair: Pair) -> str:
    if pair.before is None or pair.after is None:
        return pair.shown.severity
    return "" if pair.before.severity == pair.after.severity else f"{pair.before.severity} -> {pair.after.severity}"


def _ending(difference: Difference) -> Iterator[str]:
    same = sum(pair.change == "same" for pair in difference.pairs)
    before, after = difference.before, difference.after
    nodes, params = after.nodes - before.nodes, after.parameters - before.parameters
    changed = "".join(f" · {what} {change:+,}" for what, change in (("calls", nodes), ("parameter entries", params)) if change)
    yield f"same     {same}{changed}"
    if difference.incomplete:
        yield "not everything was checked in the second report: what it does not find may be there all the same"
