"""Which rules run, and what a run as a whole says of comments and overrides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from .check import Check
from .errors import ConfigError, did_you_mean
from .finding import TargetReport
from .pack import Catalog
from .suppress import Names, Override, idle_overrides

UNUSED = "NA901"
"""The rule about comments that suppress nothing."""


class Selection(Protocol):
    """Which rules are asked for: selectors are codes, prefixes (``NA2``) and names."""

    @property
    def select(self) -> tuple[str, ...]:
        """Rules to run; all when there are none."""

    @property
    def extend_select(self) -> tuple[str, ...]:
        """Rules to run beside those."""

    @property
    def ignore(self) -> tuple[str, ...]:
        """Rules not to run."""

    @property
    def overrides(self) -> tuple[Override, ...]:
        """Rules that do not count for some modules."""

    @property
    def preview(self) -> bool:
        """Whether rules run that are not settled yet."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection as a plain value."""

    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    preview: bool = False


def selected(catalog: Catalog, chosen: Selection) -> tuple[Check, ...]:
    """The checks to run: codes, prefixes (``NA2``) or names; nothing selected means all that are not previews.

    A preview runs when previews are asked for, or when it is selected by its own code or name.

    Raises:
        ConfigError: a selector matches no check.
    """
    wanted = _matching(catalog, chosen.select or ("ALL",)) | _matching(catalog, chosen.extend_select)
    named = {c for word in (*chosen.select, *chosen.extend_select) for c in catalog.checks.values() if word.strip() in (c.code, c.name)}
    unwanted = _matching(catalog, chosen.ignore)
    for override in chosen.overrides:
        _matching(catalog, override.selectors)
    allowed = wanted if chosen.preview else {c for c in wanted if not c.preview or c in named}
    return tuple(sorted(allowed - unwanted, key=lambda c: c.code))


def naming(catalog: Catalog) -> Names:
    """Which codes a selector names."""
    return lambda word: frozenset(c.code for c in catalog.checks.values() if _names(word, c))


def _names(word: str, check: Check) -> bool:
    return bool(word) and (word == "ALL" or check.code.startswith(word.upper()) or check.name == word)


def _matching(catalog: Catalog, selectors: Iterable[str]) -> set[Check]:
    result: set[Check] = set()
    for selector in selectors:
        found = {c for c in catalog.checks.values() if _names(selector.strip(), c)}
        if not found:
            known = [*catalog.checks, *(c.name for c in catalog.checks.values())]
            raise ConfigError(
                f"no rule matches {selector!r}", did_you_mean(selector.strip(), known) or "`netaudit rule --all` lists the rules"
            )
        result |= found
    return result


# a run as a whole --------------------------------------------------------------------------------------------------------


def agreed(reports: Sequence[TargetReport]) -> tuple[TargetReport, ...]:
    """The reports of a run without what one target says of a comment and another one knows better.

    A comment that suppresses nothing in one model of a file may do so in the next; one that does so nowhere is told once.
    """
    spent = frozenset(key for report in reports for key in report.spent)
    told: set[tuple[str, str, str]] = set()
    result = []
    for report in reports:
        kept = []
        for finding in report.findings:
            site = finding.where.called
            key = (finding.code, site.file if site is not None else "", finding.key)
            if finding.code == UNUSED and (key[1:] in spent or key in told):
                continue
            told.add(key)
            kept.append(finding)
        result.append(replace(report, findings=tuple(kept)))
    return tuple(result)


def unused_overrides(reports: Sequence[TargetReport], catalog: Catalog, chosen: Selection) -> tuple[str, ...]:
    """The overrides that suppressed nothing in a run, in words; none of a run that was not complete."""
    if any(report.problems for report in reports):
        return ()
    ran = frozenset(c.code for c in selected(catalog, chosen))
    gone = [s for report in reports for s in report.suppressed]
    modules = {name for report in reports for row in report.nodes for name in _prefixes(row.module)}
    idle = idle_overrides(chosen.overrides, gone, ran, naming(catalog))
    return tuple(f"{o.module}: ignore {', '.join(o.selectors)}: {_why(o, modules)}" for o in idle)


def _why(override: Override, modules: Iterable[str]) -> str:
    if any(override.covers(module) for module in modules):
        return "nothing to suppress"
    close = did_you_mean(override.module.removesuffix(".*"), modules)
    return "no module has this path" + (f": {close}" if close else "")


def _prefixes(module: str) -> Iterator[str]:
    parts = module.split(".") if module else []
    return (".".join(parts[: k + 1]) for k in range(len(parts)))
