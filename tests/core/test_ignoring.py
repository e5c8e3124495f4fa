"""Comments are put where they are understood, and nothing else of a source changes: not a byte of its code, whatever it looks like."""

from __future__ import annotations

import ast
import marshal
import re
import tokenize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.graph import Site
from netaudit.ignoring import NO_CODE, NotPythonError, placed
from netaudit.suppress import ignores_in

PIECES = (
    "x = 1",
    "x = 1; y = 2 ;",
    "x = 1   \t ",
    "x = 1  # noqa: E501",
    "x = 1#no space",
    "x = 1  # ends in a backslash \\",
    "x = 1  # type: ignore[assignment]",
    "x = 1  # netaudit: ignore[NA101] as it was",
    "x = 1  #netaudit:ignore[ NA101 , vanishing-gradient, ]",
    "x = 1  # netaudit: ignore",
    "x = 1  # netaudit: ignore[]  all of them",
    "x = 1  # netaudit: ignored[NA101]",
    "x = '# netaudit: ignore[NA101]'",
    "x = 'a # b' \\\n    'c'",
    "x = 1 + \\\n  2 + \\\n\t3",
    "x = (1,\n  2,  # two\n\n  # alone\n  3)",
    'x = f(\n  """a\n\n# no comment""", 1,\n  b"\\n")',
    "x = f'{x!r:>{1}} # {x}'",
    'x = f"""{\nx}\n# {x}\n"""',
    '"""A string that is a statement,\nof two lines."""',
    "if x:\n\ty = [\n\t\t1,\n\t]\nelse: pass",
    "@d(\n  1)\nclass A(B,\n  C): x = 1",
    "async def f(a, *,\n    b=1):  # about f\n    '''doc\n    '''\n    return await a",
    "def f(): return (yield)",
    "match x:\n  case [\n    1, *_]: y = 1",
    "größe = 'ß€'",
    "# a comment alone",
    "# netaudit: ignore[NA101] alone",
    "",
    "   ",
    "\x0c",
    "x = 'a form feed \x0c, a separator \x1c, \x85 and \u2028'",
    "lambda: (\n)",
    "del x",
)
CODES = st.frozensets(st.sampled_from(["NA101", "NA201", "NA301"]), min_size=1)
REASONS = st.sampled_from(["", "a study", "because # of ] this", "warum: größe"])


@st.composite
def sources(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
    encoding, head = draw(st.sampled_from([("utf-8", ""), ("utf-8-sig", ""), ("cp1252", "#!python\n# -*- coding: cp1252 -*-")]))
    text = "\n".join([*([head] if head else []), *pieces]) + draw(st.sampled_from(["", "\n", "\n\n"]))
    ends = ["\n", "\r\n", *(["\r"] if not head else [])]  # python's own tokenize finds no encoding behind a lone carriage return
    text = text.replace("\n", draw(st.sampled_from(ends)))
    return text.encode(encoding, errors="replace")


def rows(data: bytes) -> list[bytes]:
    return re.split(rb"\r\n|\r|\n", data)


@settings(max_examples=200, deadline=None)
@given(sources(), st.dictionaries(st.integers(1, 30), CODES, max_size=6), REASONS)
def test_only_comments_are_new_and_each_is_understood(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, wanted: dict[int, frozenset[str]], reason: str
) -> None:
    found = placed(data, wanted, reason)
    path = tmp_path_factory.getbasetemp() / "source.py"
    path.write_bytes(found.data)
    assert marshal.dumps(compile(found.data, "f", "exec")) == marshal.dumps(compile(data, "f", "exec"))
    assert re.findall(rb"\r\n|\r|\n", found.data) == re.findall(rb"\r\n|\r|\n", data)
    with tokenize.open(path) as stream:
        known = ignores_in("f", stream.read())
    for line in wanted.keys() - found.refused.keys():
        for code in wanted[line]:
            assert any(i.covers(Site("f", line)) and (not i.selectors or code in i.selectors) for i in known), (line, code)
    simple = [
        n for n in ast.walk(ast.parse(data)) if isinstance(n, ast.expr | ast.stmt) and not hasattr(n, "body") and not hasattr(n, "cases")
    ]
    assert not [line for line in found.refused if any(n.lineno <= line <= (n.end_lineno or 0) for n in simple)], "it is code"
    assert set(found.refused.values()) <= {NO_CODE}
    for before, after in zip(rows(data), rows(found.data), strict=True):
        kept = re.sub(rb"[ \t\f,]*\].*", b"", before) if b"netaudit:" in before else before.rstrip(b" \t\f")
        assert before == after or (
            after.startswith(kept) and b"# netaudit: ignore[" in after.replace(b"#netaudit:ignore", b"# netaudit: ignore")
        )
    assert placed(found.data, wanted, reason).data == found.data, "the second time there is nothing to add"


@pytest.mark.parametrize(
    ("before", "line", "after"),
    [
        ("x = 1", 1, "x = 1  # netaudit: ignore[NA105, NA201] why"),
        ("x = 1  # noqa", 1, "x = 1  # noqa  # netaudit: ignore[NA105, NA201] why"),
        ("x = 1  # netaudit: ignore[NA301] old", 1, "x = 1  # netaudit: ignore[NA301, NA105, NA201] old"),
        ("x = 1  # netaudit: ignore[NA201]  # noqa", 1, "x = 1  # netaudit: ignore[NA201, NA105]  # noqa"),
        ("x = 1  # netaudit: ignore[NA201]", 1, "x = 1  # netaudit: ignore[NA201, NA105] why"),
        ("x = (1,\n     2)", 1, "x = (1,  # netaudit: ignore[NA105, NA201] why\n     2)"),
        ("x = 1 + \\\n    2", 1, "x = 1 + \\\n    2  # netaudit: ignore[NA105, NA201] why"),
        ('x = """\n"""', 1, 'x = """\n"""  # netaudit: ignore[NA105, NA201] why'),
    ],
)
def test_where_a_comment_goes(before: str, line: int, after: str) -> None:
    assert placed(before.encode(), {line: {"NA201", "NA105"}}, "why").data.decode() == after


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"x = (", "cannot be read as python"),
        (b"# coding: no-such\n", "cannot be read as python"),
        (b"#!python\r# coding: cp1252\rx = '\xdf'", "cannot be read as python"),
        (b"x = 1\x00", "cannot be read as python"),
        (b"x = '\xff'", "cannot be read as python"),
        (b"# coding: cp932\nx = '\x87\x90'", "do not survive"),
        (b"# coding: latin-1\nx = 1", "has no"),
    ],
)
def test_what_cannot_be_written_is_not(data: bytes, said: str) -> None:
    with pytest.raises(NotPythonError, match=said):
        placed(data, {1: {"NA201"}, 2: {"NA201"}}, "€")


def test_a_line_without_code_is_refused() -> None:
    found = placed(b"x = 1\n\n# alone\n", {2: {"NA201"}, 3: {"NA201"}, 9: {"NA201"}})
    assert found.data == b"x = 1\n\n# alone\n"
    assert found.refused == {2: NO_CODE, 3: NO_CODE, 9: NO_CODE}
