"""Findings that the user has accepted: comments beside the code, and overrides by module in the configuration."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from .finding import Finding, Suppressed
from .graph import Site

MARK = re.compile(r"#\s*netaudit:\s*ignore(?![\w-])(?:\[(?P<rules>[^\]]*)\])?(?P<reason>.*)")
"""A comment that suppresses, wherever it stands in a comment of python's."""
LAYOUT = (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER)
"""Tokens that no statement starts with."""
Names: TypeAlias = Callable[[str], frozenset[str]]
"""The codes of the rules that a selector names; none when it names no rule."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """A comment ``# netaudit: ignore[NA201] reason``; without brackets it is about every rule.

    It is about the line that it stands on; behind the end of a statement of several lines, about all of them. ``ordinal`` counts the
    comments of a file.
    """

    site: Site
    first: int
    selectors: tuple[str, ...] = ()
    reason: str = ""
    ordinal: int = 0

    def covers(self, site: Site | None) -> bool:
        """Whether it is about what is at a site."""
        return site is not None and site.file == self.site.file and self.first <= site.line <= self.site.line


@dataclass(frozen=True, slots=True)
class Override:
    """Rules that do not count for modules whose path matches a glob; ``encoder.*`` matches ``encoder``, too."""

    module: str
    selectors: tuple[str, ...]

    def covers(self, module: str) -> bool:
        """Whether it is about a module."""
        return fnmatchcase(module, self.module) or (self.module.endswith(".*") and fnmatchcase(module, self.module[:-2]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a comment: the codes that it suppressed, its selectors that suppressed nothing, those that name no rule.

    ``idle`` holds only what was looked for: a rule that did not run may have had something to say. For a comment without selectors
    it is ``("",)`` when nothing was suppressed.
    """

    ignore: Ignore
    spent: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def key(self, selector: str) -> str:
        """A name for the comment's word about a selector that survives edits elsewhere in the file."""
        return f"{self.ignore.ordinal}:{selector}"


def ignores_in(file: str, source: str) -> tuple[Ignore, ...]:
    """The comments of a python file; none when it is not python. Strings that look like comments are none."""
    found: list[Ignore] = []
    try:
        for first, token in _comments(source):
            mark = MARK.search(token.string)
            if mark is not None:
                words = tuple(word.strip() for word in (mark["rules"] or "").split(",") if word.strip())
                found.append(Ignore(Site(file, token.start[0]), first, words, mark["reason"].strip(" :-"), len(found)))
    except (tokenize.TokenError, SyntaxError):
        return ()
    return tuple(found)


def _comments(source: str) -> Iterator[tuple[int, tokenize.TokenInfo]]:
    """Every comment with the first line that it is about."""
    statement: int | None = None
    waiting: tokenize.TokenInfo | None = None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if waiting is not None:
            ends_statement = token.type == tokenize.NEWLINE and statement is not None
            yield (statement if ends_statement and statement is not None else waiting.start[0]), waiting
        waiting = token if token.type == tokenize.COMMENT else None
        if token.type == tokenize.NEWLINE:
            statement = None
        elif token.type not in LAYOUT and statement is None:
            statement = token.start[0]
    if waiting is not None:
        yield waiting.start[0], waiting


def suppressed(
    findings: Iterable[Finding], ignores: Sequence[Ignore], overrides: Sequence[Override], names: Names
) -> tuple[tuple[Finding, ...], tuple[Suppressed, ...]]:
    """Findings that count, and those that do not with the comment or the override that says so."""
    kept, gone = [], []
    for finding in findings:
        ignore = next((i for i in ignores if _ignores(i, finding, names)), None)
        override = next((o for o in overrides if o.covers(finding.module) and _named(o.selectors, finding, names)), None)
        if ignore is not None:
            gone.append(Suppressed(finding, "comment", ignore.reason, ignore.site))
        elif override is not None:
            gone.append(Suppressed(finding, f"override {override.module}"))
        else:
            kept.append(finding)
    return tuple(kept), tuple(gone)


def _ignores(ignore: Ignore, finding: Finding, names: Names) -> bool:
    beside = ignore.covers(finding.where.called) or ignore.covers(finding.where.created)
    return beside and (not ignore.selectors or _named(ignore.selectors, finding, names))


def _named(selectors: Iterable[str], finding: Finding, names: Names) -> bool:
    return any(finding.code in names(selector) for selector in selectors)


def outcomes(ignores: Iterable[Ignore], findings: Sequence[Finding], ran: frozenset[str], names: Names) -> tuple[Outcome, ...]:
    """What became of every comment, from all findings before any is suppressed. ``ran``: the codes of the rules that were asked."""
    result = []
    for ignore in ignores:
        beside = [f for f in findings if _ignores(ignore, f, names)]
        spent = tuple(sorted({f.code for f in beside}))
        unknown = tuple(s for s in ignore.selectors if not names(s))
        idle = tuple(s for s in ignore.selectors if names(s) & ran and not any(f.code in names(s) for f in beside))
        result.append(Outcome(ignore, spent, idle if ignore.selectors or spent or not ran else ("",), unknown))
    return tuple(result)


def idle_overrides(overrides: Iterable[Override], gone: Sequence[Suppressed], ran: frozenset[str], names: Names) -> tuple[Override, ...]:
    """Overrides of rules that ran, which suppressed nothing in any target."""

    def is_used(override: Override) -> bool:
        return any(override.covers(s.finding.module) and _named(override.selectors, s.finding, names) for s in gone)

    return tuple(o for o in overrides if not is_used(o) and any(names(selector) & ran for selector in o.selectors))
