"""Comments and overrides by which findings do not count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netaudit.finding import Finding
from netaudit.graph import Site, Where
from netaudit.suppress import Ignore, Override, idle_overrides, ignores_in, outcomes, suppressed

CODES = ("NA101", "NA201", "NA202", "NA301")
LINES = st.integers(1, 6)
SELECTORS = st.lists(st.sampled_from((*CODES, "NA2", "NA999")), max_size=3, unique=True).map(tuple)


def names(selector: str) -> frozenset[str]:
    return frozenset(code for code in CODES if code.startswith(selector))


def finding(code: str, called: int | None, created: int | None, module: str = "") -> Finding:
    sites = [None if line is None else Site("m.py", line) for line in (called, created)]
    return Finding(code, "name", "warning", "", "m.py", module, Where(module, "", *sites))


FINDINGS = st.lists(
    st.builds(finding, st.sampled_from(CODES), st.none() | LINES, st.none() | LINES, st.sampled_from(["", "a", "a.b", "c"])), max_size=6
)
IGNORES = st.lists(st.builds(lambda line, words: Ignore(Site("m.py", line), line, words), LINES, SELECTORS), max_size=4)
OVERRIDES = st.lists(st.builds(Override, st.sampled_from(["a.*", "a", "*", "d"]), SELECTORS), max_size=2)


# what is read -----------------------------------------------------------------------------------------------------------


def test_rules_and_reason_are_read() -> None:
    (one,) = ignores_in("m.py", "x = 1  # netaudit: ignore[NA201, NA3] by design\n")
    assert (one.site, one.first, one.selectors, one.reason) == (Site("m.py", 1), 1, ("NA201", "NA3"), "by design")


def test_a_comment_behind_another_one_counts() -> None:
    (one,) = ignores_in("m.py", "x = 1  # noqa: E501 # netaudit: ignore[NA201]\n")
    assert one.selectors == ("NA201",)


def test_a_comment_without_brackets_is_about_every_rule() -> None:
    bare, empty = ignores_in("m.py", "x = 1  # netaudit: ignore NA201\ny = 2  # netaudit: ignore[]\n")
    assert (bare.selectors, bare.reason) == ((), "NA201")
    assert empty.selectors == ()


def test_other_words_are_no_comments_of_ours() -> None:
    assert ignores_in("m.py", "x = 1  # netaudit: ignored[NA201]\ny = 2  # netaudit ignore[NA201]\n") == ()


@given(st.sampled_from(['"""{}"""', "'{}'", 'f"{}"', "r'''\n{}\n'''"]), st.sampled_from(["# netaudit: ignore[NA201]", "#netaudit:ignore"]))
def test_a_string_that_looks_like_a_comment_is_none(quotes: str, text: str) -> None:
    assert ignores_in("m.py", f"x = {quotes.format(text)}\n") == ()


STATEMENT = """x = call(
    one,  # netaudit: ignore[NA101]
    two,
)  # netaudit: ignore[NA201]
y = 2
"""


def test_behind_a_statement_it_is_about_all_its_lines_and_inside_about_its_own() -> None:
    inner, outer = ignores_in("m.py", STATEMENT)
    assert (inner.first, inner.site.line) == (2, 2)
    assert (outer.first, outer.site.line) == (1, 4)


def test_on_a_line_of_its_own_it_is_about_that_line() -> None:
    (one,) = ignores_in("m.py", "x = 1\n# netaudit: ignore[NA201]\ny = 2\n")
    assert (one.first, one.site.line) == (2, 2)


@given(st.lists(st.sampled_from(["x = 1", "def f():\n    pass", "y = [\n  1,\n]", "", "# words", "s = '# netaudit: ignore'"]), max_size=6))
def test_comments_are_found_wherever_statements_stand_around_them(lines: list[str]) -> None:
    source = "\n".join([*lines, "z = 3  # netaudit: ignore[NA201]", *lines])
    (one,) = ignores_in("m.py", source)
    line = source.count("\n", 0, source.index("z = 3")) + 1
    assert (one.first, one.site.line) == (line, line)


@given(st.text(max_size=60))
def test_any_text_is_read_without_a_word(text: str) -> None:
    ignores_in("m.py", text)


# what is suppressed -----------------------------------------------------------------------------------------------------


@given(FINDINGS, IGNORES, OVERRIDES)
def test_every_finding_counts_or_is_suppressed_by_what_covers_it(
    findings: list[Finding], ignores: list[Ignore], overrides: list[Override]
) -> None:
    kept, gone = suppressed(findings, ignores, overrides, names)
    assert sorted(map(id, (*kept, *(s.finding for s in gone)))) == sorted(map(id, findings))
    for one in findings:
        beside = [i for i in ignores if i.site.line in {s.line for s in (one.where.called, one.where.created) if s}]
        commented = any(not i.selectors or any(one.code.startswith(w) for w in i.selectors) for i in beside)
        inside = {"*": True, "a": one.module == "a", "a.*": one.module in ("a", "a.b"), "d": False}
        overridden = any(inside[o.module] and any(one.code.startswith(w) for w in o.selectors) for o in overrides)
        by = next((s.by for s in gone if s.finding is one), "")
        assert (by == "comment") == commented
        assert by.startswith("override") == (overridden and not commented)


@given(FINDINGS, IGNORES)
def test_a_selector_is_spent_or_idle_or_unknown(findings: list[Finding], ignores: list[Ignore]) -> None:
    ran = frozenset(CODES)
    for outcome in outcomes(ignores, findings, ran, names):
        for selector in outcome.ignore.selectors:
            of_use = any(code.startswith(selector) for code in outcome.spent)
            assert [of_use, selector in outcome.idle, selector in outcome.unknown].count(True) == 1
        if not outcome.ignore.selectors:
            assert bool(outcome.spent) != (outcome.idle == ("",))


@given(FINDINGS, IGNORES)
def test_what_did_not_run_is_not_idle(findings: list[Finding], ignores: list[Ignore]) -> None:
    assert not any(outcome.idle for outcome in outcomes(ignores, findings, frozenset(), names))


@given(FINDINGS, IGNORES, OVERRIDES)
def test_an_idle_override_makes_no_difference(findings: list[Finding], ignores: list[Ignore], overrides: list[Override]) -> None:
    kept, gone = suppressed(findings, ignores, overrides, names)
    idle = idle_overrides(overrides, gone, frozenset(CODES), names)
    assert suppressed(findings, ignores, [o for o in overrides if o not in idle], names)[0] == kept
    for override in overrides:
        if override not in idle and any(names(s) for s in override.selectors):
            assert suppressed(findings, [], [override], names)[1]


def test_an_override_of_all_below_is_about_the_module_itself() -> None:
    assert Override("encoder.*", ()).covers("encoder")
    assert Override("encoder.*", ()).covers("encoder.layers.0")
    assert not Override("encoder.*", ()).covers("encoders")
    assert not Override("encoder", ()).covers("encoder.layers.0")
