"""Comments ``# netaudit: ignore[...]`` put into python sources. What python reads of a file stays as it was, to the byte and the line."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .graph import Site
from .suppress import LAYOUT, MARK, ignores_in

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_BLANK = " \t\f"
NO_CODE = "there is no code on this line"


class NotPythonError(ValueError):
    """A source in which no comment can be placed; the message says why."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A source with its comments: where they stand, with the codes that were asked for there.

    ``refused``: why there is none for a line that was asked for.
    """

    data: bytes
    comments: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where comments may stand: the rows of each statement, comments by row, rows that end within a string or in a backslash."""

    statements: tuple[tuple[int, int], ...]
    comments: Mapping[int, tokenize.TokenInfo]
    closed: frozenset[int]

    def row(self, line: int) -> int | None:
        """The row of a comment that is about a line: its own, else the last one of its statement. None where there is no code."""
        whole = next((last for first, last in self.statements if first <= line <= last), None)
        return whole if line in self.closed else None if whole is None else line


def placed(data: bytes, wanted: Mapping[int, Collection[str]], reason: str = "") -> Placed:
    """The source with comments about ``wanted``: codes by the line that they are found at.

    A comment stands behind the line, or where none can, inside a string or before a backslash, behind the statement, which it is
    then about as a whole. A comment that is there is kept; one of ours is given the codes that it lacks. Encoding, line endings,
    tabs and all code stay as they are.

    Raises:
        NotPythonError: the source is not python, or has an encoding that its bytes or the reason do not fit.
    """
    encoding, text = _decoded(data)
    rows = [(found[1], found[2]) for found in _LINE.finditer(text) if found[0]]
    tokens = _tokens([body for body, _ in rows])
    layout = _layout([body for body, _ in rows], tokens)
    asked: dict[int, set[str]] = {}
    refused: dict[int, str] = {}
    for line, codes in wanted.items():
        row = layout.row(line)
        if row is None:
            refused[line] = NO_CODE
        else:
            asked.setdefault(row, set()).update(codes)
    for row, codes in asked.items():
        body, end = rows[row - 1]
        rows[row - 1] = _commented(body, layout.comments.get(row), codes, reason), end
    result = _encoded("".join(body + end for body, end in rows), encoding)
    _prove(data, result, tokens, [body for body, _ in rows], {line: wanted[line] for line in wanted if line not in refused})
    return Placed(result, {row: tuple(sorted(asked[row])) for row in sorted(asked)}, refused)


def _decoded(data: bytes) -> tuple[str, str]:
    try:
        ast.parse(data)
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotPythonError(f"it cannot be read as python: {error}") from error
    if text.encode(encoding) != data:  # an encoding that writes one character in several ways
        raise NotPythonError(f"its bytes do not survive being read and written as {encoding}")
    return encoding, text


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise NotPythonError(f"its encoding, {encoding}, has no {text[error.start]!r}: give a reason without") from error


def _tokens(bodies: Iterable[str]) -> tuple[tokenize.TokenInfo, ...]:
    """The tokens of a source by its rows; lines end as they do for python, not at every character that ends one elsewhere."""
    lines = iter([f"{body}\n" for body in bodies])
    try:
        return tuple(tokenize.generate_tokens(lambda: next(lines, "")))
    except (tokenize.TokenError, SyntaxError) as error:
        raise NotPythonError(f"it cannot be split into tokens: {error}") from error


def _layout(bodies: list[str], tokens: Sequence[tokenize.TokenInfo]) -> _Layout:
    comments = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
    broken = {row for row, body in enumerate(bodies, 1) if body.endswith("\\") and row not in comments}
    return _Layout(tuple(_statements(tokens)), comments, frozenset(_inside(tokens) | broken))


def _statements(tokens: Iterable[tokenize.TokenInfo]) -> Iterator[tuple[int, int]]:
    """First and last row of each statement; of one with a body, of its head."""
    start: int | None = None
    for token in tokens:
        if token.type == tokenize.NEWLINE and start is not None:
            yield start, token.start[0]
            start = None
        elif token.type not in LAYOUT and start is None:
            start = token.start[0]


def _inside(tokens: Iterable[tokenize.TokenInfo]) -> set[int]:
    """Rows that end within a token: a comment there would be a part of it."""
    found: set[int] = set()
    opened: list[int] = []  # f-strings, which are several tokens from python 3.12 on
    for token in tokens:
        found.update(range(token.start[0], token.end[0]))
        name = tokenize.tok_name[token.type]
        if name.endswith("STRING_START"):
            opened.append(token.start[0])
        elif name.endswith("STRING_END"):
            found.update(range(opened.pop(), token.end[0]))
    return found


def _commented(body: str, comment: tokenize.TokenInfo | None, codes: Collection[str], reason: str) -> str:
    """A line with a comment about codes; the line itself when one is there already."""
    mark = None if comment is None else MARK.search(comment.string)
    words = f" {reason}" if reason else ""
    if comment is None or mark is None:
        return f"{body.rstrip(_BLANK)}  # netaudit: ignore[{', '.join(sorted(codes))}]{words}"
    known = [word.strip() for word in (mark["rules"] or "").split(",") if word.strip()]
    missing = sorted(set(codes) - set(known))
    if not known or not missing:  # without codes it is about every rule
        return body
    at = comment.start[1]
    head, tail = body[: at + mark.end("rules")], body[at + mark.end("rules") :]
    if not mark["reason"].strip():
        tail = f"]{words}"
    return f"{head.rstrip(f'{_BLANK},')}, {', '.join(missing)}{tail}"


def _prove(
    before: bytes, after: bytes, tokens: Iterable[tokenize.TokenInfo], bodies: list[str], wanted: Mapping[int, Collection[str]]
) -> None:
    """Only comments are new, and each of them is understood; anything else is a mistake of ours, and nothing may be written then."""
    if _dumped(before) != _dumped(after) or _code(tokens) != _code(_tokens(bodies)):
        raise AssertionError("a comment would change the code")
    known = ignores_in("", "".join(f"{body}\n" for body in bodies))
    for line, code in ((line, code) for line, codes in wanted.items() for code in codes):
        if not any(i.covers(Site("", line)) and (not i.selectors or code in i.selectors) for i in known):
            raise AssertionError(f"the comment about {code} in line {line} would not be understood")


def _dumped(data: bytes) -> str:
    return ast.dump(ast.parse(data), include_attributes=True)


def _code(tokens: Iterable[tokenize.TokenInfo]) -> list[tuple[int, str, tuple[int, int]]]:
    """All tokens but comments, with their places; those of line ends move with the comments before them."""
    moving = (tokenize.NEWLINE, tokenize.NL)
    return [(t.type, t.string, (t.start[0], -1) if t.type in moving else t.start) for t in tokens if t.type != tokenize.COMMENT]
