"""The page: what it promises of any report, hostile ones too, and how it behaves in a real browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from math import log10
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from netaudit.finding import (
    Coverage,
    Evidence,
    Finding,
    Magnitude,
    NodeRow,
    ParamRow,
    Remedy,
    Report,
    Step,
    Suppressed,
    TargetReport,
)
from netaudit.graph import Site, Where
from netaudit.measured import Measured, NodeMeasured, Spread
from netaudit.report import FORMATS, Style
from netaudit.report.html import figure, notebook
from netaudit.report.html.lanes import MOST_LANES, SHAPES, Edge, drawn
from netaudit.report.html.profile import path, profile, spans
from netaudit.report.html.tree import route, tree
from netaudit.report.json import model
from netaudit.report.svg import OPEN, SHADES, UNKNOWN, ZERO, bar, decades, shade, ticks

HOSTILE = "</script><script>alert(1)</script><img src=http://evil/ onerror=alert(1)>\"'&`x`"


def forecast(log: float | None, error: float | None = None) -> Magnitude:
    return Magnitude(log, "forecast", error)


def proved(log: float | None) -> Magnitude:
    return Magnitude(log, "proved")


def node(place: int, calls: int, module: str, op: str = "aten.linear", dtype: str = "float32") -> NodeRow:
    where = Where(module, "Linear", Site("model.py", 20 + place), Site("model.py", 3))
    back = place - calls + 1
    return NodeRow(
        f"call_{place}", op, module, where, (8, 64), dtype, proved(0.04), ("linear",), forecast(-0.2), proved(0.2 * back),
        forecast(0.5 * back - 1.5, 0.3), f"call_{place + 1}" if place + 1 < calls else "", 1.0,
        (f"call_{place - 1}",) if place else (),
    )  # fmt: skip


def target(calls: int, modules: int, name: str = "model.py:Net") -> TargetReport:
    nodes = tuple(node(i, calls, f"blocks.{i * modules // calls}.layer") for i in range(calls))
    params = tuple(
        ParamRow(f"blocks.{i}.layer.weight", (64, 64), i != 1, proved(1.0), forecast(-3.0), forecast(-1.0)) for i in range(modules)
    )
    covered = Coverage(calls, calls, {}, modules, modules)
    return TargetReport(
        name, tracer="torch.export", inputs=(("x", "float32", (8, 64)),), inputs_from="example_inputs()", cotangent="traced loss",
        coverage=covered, nodes=nodes, params=params, heads=(f"call_{calls - 1}",),
    )  # fmt: skip


def finding(text: str = "`blocks.0` gets almost no gradient", steps: int = 12) -> Finding:
    blocks = tuple(Step(f"blocks.{i}", f"blocks.{i}", -0.2 * (steps - i), -0.5 * (steps - i)) for i in range(steps))
    return Finding(
        "NA201", "vanishing-gradient", "error", text, "model.py:Net", "blocks.0", Where("blocks.0", "Block", None, Site("model.py", 3)),
        "the first reason\nthe second, with `code`", Evidence("S", -5.0, forecast=-9.8, assumptions="mean-field"), blocks,
        (Remedy("relu in place of `sigmoid`", "S becomes 1.9", resolves=True), Remedy("wait", "", resolves=None)),
        ("blocks.1", "blocks.2"), "na1:0123456789abcdef",
    )  # fmt: skip


def report(*targets: TargetReport) -> Report:
    return Report(targets, "0.0.0", "0.0.0", ("netaudit_rules",))


def page(of: Report) -> str:
    return FORMATS["html"](of, Style())


SMALL = report(replace(target(6, 3), findings=(finding(),)))
EMPTY = report(TargetReport("model.py", problems=("the model was not traced",)))
CASES = {
    "small": SMALL,
    "nothing traced": EMPTY,
    "no targets": report(),
    "clean": report(target(3, 3)),
    "two": report(target(3, 3, "a.py"), replace(target(5, 2, "b.py"), findings=(finding(),))),
    "unknown op": report(replace(target(4, 2), coverage=Coverage(4, 3, {"aten.mystery": 1}, 2, 1))),
    "hostile": report(
        replace(
            target(4, 2, HOSTILE),
            findings=(replace(finding(HOSTILE), module=HOSTILE, reason=HOSTILE, siblings=(HOSTILE,), help=(Remedy(HOSTILE, HOSTILE),)),),
            suppressed=(Suppressed(finding(HOSTILE), HOSTILE, HOSTILE),),
            nodes=tuple(replace(node(i, 2, HOSTILE, HOSTILE), where=Where(HOSTILE, HOSTILE)) for i in range(2)),
            params=(ParamRow(HOSTILE, (2,), True, proved(0.0), forecast(0.0), forecast(0.0)),),
            notes=(HOSTILE,),
            problems=(HOSTILE,),
            guess=HOSTILE,
        )
    ),
}


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  # the parser's own signature
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.raw.setdefault(self.inside, []).append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def embedded(self) -> Any:
        """The JSON report, as a reader of the page takes it out."""
        whole = json.loads(self.raw["script"][0])
        return json.loads(gzip.decompress(base64.b64decode(whole))) if isinstance(whole, str) else whole


def outer_selectors(css: str) -> list[str]:
    """The selectors of the rules that no other rule holds, those inside a media query too."""
    found, open_rules, word = [], 0, ""
    for letter in css:
        if letter == "{" and not open_rules and not word.strip().startswith("@"):
            found.append(word.strip())
        if letter in "{}":
            media = letter == "{" and word.strip().startswith("@") and not open_rules
            open_rules = max(open_rules + (0 if media else 1 if letter == "{" else -1), 0)
        word = "" if letter in "{};" else word + letter
    return found


# what holds for any report ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_loaded_and_nothing_runs_but_our_own(name: str) -> None:
    parsed = Parsed(page(CASES[name]))
    assert not {tag for tag, _ in parsed.tags} & {"link", "img", "iframe", "object", "embed", "base", "form"}
    for tag, attrs in parsed.tags:
        assert not [key for key in attrs if key.startswith("on") or key == "style"], (tag, attrs)
        for key in ("src", "href", "xlink:href", "action"):
            assert (attrs.get(key) or "#").startswith("#"), (tag, attrs)
    assert len(parsed.raw["script"]) == 2, "the data and the code, nothing a report brought along"
    (policy,) = [attrs["content"] or "" for _, attrs in parsed.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for text in (parsed.raw["style"][0], parsed.raw["script"][1]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "@import" not in parsed.raw["style"][0]
    assert "url(" not in parsed.raw["style"][0]
    assert len(parsed.raw["script"][1]) < 10_000


@pytest.mark.parametrize("name", CASES)
def test_the_json_is_the_json_report(name: str) -> None:
    found = Parsed(page(CASES[name])).embedded()
    assert found == model(CASES[name]).model_dump(mode="json")


@pytest.mark.parametrize("name", CASES)
def test_elements_are_balanced_and_ids_unique(name: str) -> None:
    text = page(CASES[name])
    for tag in ("section", "details", "summary", "div", "ul", "dl", "table", "svg", "article", "macro"):
        assert len(re.findall(rf"<{tag}[\s>]", text)) == text.count(f"</{tag}>"), tag
    ids = [attrs["id"] for _, attrs in Parsed(text).tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"] for tag, attrs in Parsed(text).tags if tag == "a"}
    assert targets <= {f"#{name}" for name in ids}


@pytest.mark.parametrize("name", CASES)
def test_the_fragment_has_no_scripts_and_keeps_its_style_to_itself(name: str) -> None:
    parsed = Parsed(notebook(CASES[name]))
    assert "script" not in parsed.raw
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"script", "html", "body", "link", "button"}
    assert not [attrs for _, attrs in parsed.tags if "id" in attrs], "two cells may show two reports"
    for selector in outer_selectors(parsed.raw["style"][0]):
        assert all(".netaudit" in one for one in selector.split(",")), selector


def test_what_is_hostile_is_shown_as_text() -> None:
    parsed = Parsed(page(CASES["hostile"]))
    assert "alert(1)" in parsed.text
    assert not [attrs for _, attrs in parsed.tags if "onerror" in attrs]
    drawn = figure(CASES["hostile"].targets[0], alone=True)
    assert "alert" in "".join(ET.fromstring(drawn).itertext())


# what is said -----------------------------------------------------------------------------------------------------------


def test_what_was_not_checked_is_never_called_clean() -> None:
    for name in ("nothing traced", "unknown op"):
        assert "Clean" not in page(CASES[name])
    assert "Not checked" in Parsed(page(EMPTY)).text
    assert "aten.mystery" in Parsed(page(CASES["unknown op"])).text
    assert "1 of 2 parameters have no forecast" in Parsed(page(CASES["unknown op"])).text
    assert "Clean" in page(CASES["clean"])
    assert "Nothing was checked" in page(CASES["no targets"])


def test_a_finding_has_its_three_kinds_of_evidence_apart() -> None:
    text = Parsed(page(SMALL)).text
    assert "proved nothing proved forecast 1.6e-10 measured not measured" in text
    whole = replace(finding(), evidence=Evidence("S", -5.0, -6.7, -9.8, -9.5))
    text = Parsed(page(report(replace(target(6, 3), findings=(whole,))))).text
    assert "proved ≤ 2.0e-07 forecast 1.6e-10 measured 3.2e-10" in text


def test_findings_stand_with_the_most_severe_first() -> None:
    kinds = ("info", "error", "warning")
    found = tuple(replace(finding(f"this is {kind}"), severity=kind) for kind in kinds)  # type: ignore[arg-type]  # closed words
    text = Parsed(page(report(replace(target(6, 3), findings=found)))).text
    assert text.index("this is error") < text.index("this is warning") < text.index("this is info")


def test_a_long_path_shows_its_ends_and_folds_the_rest() -> None:
    text = page(report(replace(target(6, 3), findings=(finding(steps=200),))))
    assert "blocks.0</th>" in text
    assert "blocks.199</th>" in text
    assert "52 more blocks (140 others are in the JSON)" in text


def test_measured_columns_appear_with_the_first_measurement() -> None:
    plain = target(4, 2)
    measured = replace(plain.nodes[0], rms_measured=Magnitude(0.5, "measured"), gradient_measured=Magnitude(-2.0, "measured"))
    text = page(report(replace(plain, nodes=(measured, *plain.nodes[1:]))))
    assert "not measured" in figure(plain)
    assert "Nothing was measured" in page(report(plain))
    assert "Nothing was measured" not in text
    assert "<td>3.2" in text
    assert '<path class="seen"' in text


def test_a_small_report(snapshot: SnapshotAssertion) -> None:
    text = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page(SMALL), flags=re.DOTALL)
    assert re.sub(r"sha256-[^']*", "sha256-...", text) == snapshot


def test_the_same_report_gives_the_same_bytes() -> None:
    assert page(SMALL) == page(SMALL)


def large() -> TargetReport:
    """500 calls in blocks of 12, each block with a shortcut around it."""
    found = target(500, 250, "package.models:Transformer")
    paths = [f"model.layers.{i // 12}.block.part_{i % 12}" for i in range(500)]
    rows = zip(found.nodes, paths, strict=True)
    nodes = [
        replace(row, module=path, operands=row.operands + ((f"call_{i - 11}",) * (i % 12 == 11))) for i, (row, path) in enumerate(rows)
    ]
    params = tuple(replace(row, name=f"{path}.weight") for row, path in zip(found.params, paths, strict=False))
    return replace(found, nodes=tuple(nodes), params=params, findings=tuple(finding(steps=60) for _ in range(3)))


def probed(found: TargetReport, seed: int = 0) -> TargetReport:
    """The same with a measurement of every call, over several runs."""
    draw = random.Random(seed)

    def spread(around: float | None) -> Spread:
        low, middle, high = sorted((around or 0.0) + draw.gauss(0.0, 0.1) for _ in range(3))
        return Spread(middle, low, high)

    seen = {row.id: NodeMeasured(spread(row.rms.log10), draw.random(), 0.0, spread(row.gradient.log10)) for row in found.nodes}
    nodes = tuple(
        replace(
            row, rms_measured=Magnitude(seen[row.id].rms.middle, "measured"), gradient_measured=Magnitude(spread(-3.0).middle, "measured")
        )
        for row in found.nodes
    )
    return replace(found, nodes=nodes, measured=Measured("cpu", "float32", (0, 1, 2), "example_inputs()", seen))


def test_five_hundred_calls_fit() -> None:
    text = page(report(large()))
    assert len(text.encode()) < 300_000
    assert text.count("<tr><td>") >= 750
    assert len(Parsed(text).embedded()["targets"][0]["nodes"]) == 500


def test_five_hundred_calls_that_were_measured_fit() -> None:
    assert len(page(report(probed(large()))).encode()) < 360_000  # the numbers of a probe, as JSON and in the tables, weigh 60 kB


# numbers behind the drawings --------------------------------------------------------------------------------------------


def test_shares_are_norms_against_where_the_gradient_starts() -> None:
    """With unit RMS at an output of 512 entries its norm is sqrt(512), and the share there is one."""
    found = target(4, 4)
    last = replace(found.nodes[-1], gradient=forecast(0.0), gradient_bound=proved(0.5 * log10(512)))
    points = profile(replace(found, nodes=(*found.nodes[:-1], last)))
    assert points[-1].forecast.log10 == pytest.approx(0.0)
    assert points[-1].proved.log10 == pytest.approx(0.0)
    assert points[0].forecast.log10 == pytest.approx(found.nodes[0].gradient.log10)


def test_the_path_follows_the_users_that_carry_most() -> None:
    found = target(5, 5)
    skips = (replace(found.nodes[0], via="call_3"), *found.nodes[1:])
    assert path(replace(found, nodes=skips)) == ("call_0", "call_3", "call_4")
    loop = (replace(found.nodes[0], via="call_1"), replace(found.nodes[1], via="call_0"))
    assert path(replace(found, nodes=loop)) == ("call_0", "call_1")
    assert path(TargetReport("none")) == ()


def test_integers_have_no_place_along_the_depth() -> None:
    ids = node(0, 2, "tokens", dtype="int64")
    assert [p.row.id for p in profile(report(replace(target(2, 2), nodes=(ids, node(1, 2, "body")))).targets[0])] == ["call_1"]


def test_labels_tell_enough_modules_apart() -> None:
    deep = replace(target(60, 1), nodes=tuple(node(i, 60, f"model.layers.{i // 10}.attn") for i in range(60)))
    fine, above = spans(profile(deep))
    assert [span.name for span in fine] == [f"model.layers.{i}" for i in range(6)]
    assert [span.name for span in above] == ["model.layers"]


def test_the_tree_counts_what_is_inside() -> None:
    found = tree(replace(target(12, 3), params=(*target(12, 3).params, ParamRow("spare.weight", (7,), True, *[proved(None)] * 3))))
    assert found is not None
    assert (found.calls, found.entries) == (12, 3 * 64 * 64 + 7)
    blocks, spare = found.children
    assert [child.path for child in blocks.children] == ["blocks.0", "blocks.1", "blocks.2"]
    assert blocks.share == blocks.children[0].share
    assert (spare.path, spare.calls) == ("spare", 0)


def connected(*operands: tuple[str, ...], modules: str = "") -> TargetReport:
    """Calls that take the values of others; the gradient goes back by the last user."""
    names = modules.split() or [f"part_{i}" for i in range(len(operands))]
    rows = target(len(operands), 1).nodes
    users = {of: f"call_{i}" for i, taken in enumerate(operands) for of in taken}
    nodes = tuple(
        replace(row, module=name, operands=taken, via=users.get(row.id, "")) for row, name, taken in zip(rows, names, operands, strict=True)
    )
    return replace(target(len(operands), 1), nodes=nodes, params=())


def test_a_shortcut_is_a_line_of_its_own_and_the_path_is_thick() -> None:
    """x -> f -> g -> x + g: the sum takes x from a lane, which the gradient goes back by."""
    root = tree(connected((), ("call_0",), ("call_1",), ("call_0", "call_2")))
    assert root is not None
    assert [child.marks for child in root.children] == ["d s1 p1", "t d f1 p1", "t d f1 p1", "t e1 p1"]
    assert (root.lanes, root.hidden) == (1, 0)
    assert route(root) == ("part_0", "part_3")


def test_values_from_outside_a_module_enter_from_above_and_leave_below() -> None:
    """A block of two modules, x + b(a(x)), between others."""
    found = connected((), ("call_0",), ("call_1",), ("call_0", "call_2"), ("call_3",), modules="stem block.a block.b block head")
    root = tree(found)
    assert root is not None
    stem, block, head = root.children
    assert (stem.marks, block.marks, head.marks) == ("D", "T D", "T")
    assert [child.marks for child in block.children] == ["t d f1 p1", "t d f1 p1", "t D e1 p1"]
    assert [child.op for child in block.children] == ["", "", "linear"]


def test_a_module_that_runs_again_is_a_row_again() -> None:
    found = connected((), ("call_0",), ("call_1",), modules="shared other shared")
    root = tree(
        replace(
            found, params=(ParamRow("shared.weight", (7,), True, *[proved(None)] * 3),), findings=(replace(finding(), module="shared"),)
        )
    )
    assert root is not None
    assert [(c.name, c.again, c.entries, len(c.said)) for c in root.children] == [
        ("shared", False, 7, 1),
        ("other", False, 0, 0),
        ("shared", True, 0, 0),
    ]


EDGES = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(
            st.tuples(st.integers(-1, n), st.integers(-1, n), st.booleans())
            .filter(lambda e: e[0] < e[1] and e[:2] != (-1, n))
            .map(lambda e: Edge(*e)),
            max_size=20,
            unique_by=lambda e: (e.start, e.stop),
        ),
    )
)


def read(rows: Sequence[str], lanes: int) -> set[tuple[int, int, bool]]:
    """The connections that a reader sees, who knows what the classes look like and nothing else."""
    marks = [row.split() for row in rows]
    return set(straight(marks)).union(*(along(marks, lane) for lane in range(1, lanes + 1)))


def straight(marks: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, bool]]:
    """Lines from row to row, each of which has two ends."""
    for up, down, on in (("t", "d", False), ("T", "D", True)):
        for row, held in enumerate(marks):
            if up in held:
                assert row == 0 or down in marks[row - 1]
                yield row - 1, row, on
            if down in held:
                assert row + 1 == len(marks) or up in marks[row + 1]
                yield row, row + 1, on


def along(marks: Sequence[Sequence[str]], lane: int) -> Iterator[tuple[int, int, bool]]:
    """Lines in a lane: in from above or from a row, past others, to some of them or out below."""
    start: int | None = -1
    shape, on = "", False
    for row, held in enumerate(marks):
        (shape,) = [mark[0] for mark in held if mark[1:] == str(lane) and mark[0] in SHAPES] or [""]
        if shape == "s" or row == 0:
            on = f"p{lane}" in held
        start = row if shape == "s" else start if shape else None
        assert not shape or (start is not None and on == (f"p{lane}" in held)), "a line that comes from nowhere, or changes"
        if start is not None and shape in "eg":
            yield start, row, on
        start = None if shape == "e" else start
    if start is not None and shape:
        yield start, len(marks), on


@given(EDGES)
def test_what_is_drawn_is_what_is_connected(case: tuple[int, list[Edge]]) -> None:
    count, edges = case
    found = drawn(count, edges)
    wanted = {(edge.start, edge.stop, edge.on) for edge in edges}
    seen = read(found.classes, found.lanes)
    assert seen <= wanted
    assert len(wanted) == len(seen) + found.hidden
    assert found.lanes <= MOST_LANES
    assert not found.hidden or len(edges) > MOST_LANES


def test_the_path_is_drawn_however_dense_the_rest() -> None:
    edges = [Edge(i, j, (i, j) == (0, 29)) for j in range(30) for i in range(j)]
    found = drawn(30, edges)
    assert found.hidden > 0
    assert (0, 29, True) in read(found.classes, found.lanes)


@given(st.floats(-500.0, 500.0))
def test_colours_are_blue_below_one_and_orange_above(log: float) -> None:
    name = shade(forecast(log))
    assert name in SHADES
    assert SHADES.index(name) - 5 == 0 or (SHADES.index(name) > 5) == (log > 0)


def test_a_bound_that_rules_nothing_out_has_no_colour() -> None:
    assert shade(proved(3.0)) == shade(Magnitude(None, "unbounded")) == OPEN
    assert shade(proved(-8.0)) == shade(forecast(-8.0))
    assert shade(Magnitude(None, "unknown")) == UNKNOWN
    assert shade(proved(None)) == ZERO


@given(st.lists(st.floats(-300.0, 300.0), max_size=5))
def test_an_axis_holds_its_values_and_few_labels(values: list[float]) -> None:
    low, high = decades(values)
    assert high - low >= 2
    assert all(low <= value <= high for value in values)
    marks = list(ticks(low, high))
    assert 1 <= len(marks) <= 6
    assert all(low <= mark <= high for mark in marks)


@given(st.tuples(*[st.one_of(st.none(), st.floats(-400.0, 400.0))] * 3))
def test_bars_stay_inside_their_frame(sizes: tuple[float | None, ...]) -> None:
    drawn = bar(forecast(sizes[0]), proved(sizes[1]), Magnitude(sizes[2], "measured"), (-6.0, 0.0))
    places = re.findall(r'(?:M| h|cx=")([\d.-]+)', drawn)
    assert len(places) == sum(size is not None for size in sizes)
    assert all(0 <= float(place) <= 200 for place in places)


def test_a_figure_alone_is_a_drawing_of_its_own() -> None:
    drawn = figure(target(30, 5), alone=True)
    root = ET.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme:dark" in drawn
    assert "model.py:Net" in drawn
    assert figure(TargetReport("none")) == ""


def test_error_bars_and_runs_are_drawn_where_they_are_known() -> None:
    plain = target(4, 2)
    assert figure(plain).count('class="band"') == 4, "two panels and their legends"
    certain = replace(plain, nodes=tuple(replace(row, rms=forecast(None), gradient=forecast(None)) for row in plain.nodes))
    assert figure(certain).count('class="band"') == 2
    assert 'class="whisker"' not in figure(plain)
    assert figure(probed(plain)).count('class="whisker"') == 4
    assert "least and largest run" in figure(probed(plain))


@given(st.floats(-30.0, 30.0), st.floats(0.0, 20.0))
def test_an_error_bar_stays_on_its_axis_and_holds_the_forecast(log: float, error: float) -> None:
    rows = tuple(replace(row, rms=forecast(log, error)) for row in target(3, 1).nodes)
    drawing = figure(replace(target(3, 1), nodes=rows))
    bars, lines = (re.findall(rf'<path class="{name}" d="M([^"]*)"', drawing) for name in ("band", "curve"))
    heights = [float(place.split()[1]) for place in bars[1].removesuffix("z").split("L")]
    (middle,) = {float(place.split()[1]) for place in re.split("[ML]", lines[1].replace("h.1", "")) if place}
    assert min(heights) - 0.1 <= middle <= max(heights) + 0.1
    grid = [float(y) for y in re.findall(r'<path class="grid" d="M[\d.]+ ([\d.]+)L', drawing)]
    assert max(heights) - min(heights) <= 118.2, grid


def test_no_other_command_waits_for_the_templates() -> None:
    program = "import sys, netaudit.cli, netaudit.report\nsys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def luminance(colour: str) -> float:
    """That of WCAG 2.1, from the hexadecimal digits."""
    digits = colour.removeprefix("#")
    whole = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(whole[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


TEXT = [(ink, ground) for ink in ("ink", "soft", "faint") for ground in ("bg", "card", "sunk")]
TEXT += [(tone, f"{tone}-bg") for tone in ("error", "warning", "info", "good", "open")]


@pytest.mark.parametrize(("ink", "ground"), TEXT)
def test_text_can_be_read_in_light_and_dark(ink: str, ground: str) -> None:
    style = Parsed(page(SMALL)).raw["style"][0]
    for light_or_dark in (0, 1):
        one, other = (re.findall(rf"--{name}:(#\w+)", style)[light_or_dark] for name in (ink, ground))
        darker, lighter = sorted((luminance(one), luminance(other)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


# in a browser -----------------------------------------------------------------------------------------------------------


def complaints(browser: Any) -> list[Any]:
    kinds = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
    return [event for event in browser.events if event["method"] in kinds]


def requests(browser: Any) -> list[str]:
    return [event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("name", CASES)
def test_a_browser_has_nothing_to_complain_of(name: str, browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(CASES[name]), encoding="utf-8")
    browser.open(file)
    assert browser.run("document.styleSheets.length") == 1
    assert complaints(browser) == []
    assert requests(browser) == [file.as_uri()]


def test_every_line_of_the_graph_is_drawn(browser: Any, tmp_path: Path) -> None:
    """A class is a layer of the row's background, or two where a line turns; lines are as high as the row with what it holds."""
    operands = [(), ("call_0",), ("call_1", "call_0"), ("call_2",), ("call_3", "call_1", "call_0")]
    nodes = connected(*operands, modules="a.x a.y b.x b.y c")
    file = tmp_path / "report.html"
    file.write_text(page(report(nodes)), encoding="utf-8")
    browser.open(file)
    browser.run("document.querySelectorAll('.graph details').forEach(d => d.open = true)")
    layers = "getComputedStyle(li, '::before').backgroundImage.split('linear-gradient').length - 1"
    rows = browser.run(f"[...document.querySelectorAll('.graph li')].map(li => [li.className, {layers}])")
    assert len(rows) == 8
    for classes, count in rows:
        assert count == sum(1 if mark[0] in "tdTDf" else 2 if mark[0] in "seg" else 0 for mark in classes.split())
    heights = "[getComputedStyle(li, '::before').height, li.getBoundingClientRect().height + 1].map(parseFloat)"
    for line, row in browser.run(f"[...document.querySelectorAll('.graph li')].map(li => {heights})"):
        assert line == pytest.approx(row, abs=0.1)
    thick = browser.run("getComputedStyle(document.querySelector('.graph .p1'), '::before').backgroundSize")
    assert "3px" in thick


def test_the_keyboard_folds_modules(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(SMALL), encoding="utf-8")
    browser.open(file)
    browser.run("document.querySelector('.graph summary').focus()")
    browser.press("Enter")
    assert browser.run("document.querySelector('.graph details').open") is False


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Any:
    rows = target(9, 3)
    sizes = (proved(0.1), Magnitude(None, "unbounded"), proved(-3.0), Magnitude(None, "unknown"), proved(400.0), proved(None))
    nodes = tuple(replace(n, lipschitz=sizes[i % 6], shape=(8, 10 * (9 - i))) for i, n in enumerate(rows.nodes))
    file = tmp_path / "report.html"
    file.write_text(page(report(replace(rows, nodes=nodes, findings=(finding(),)))), encoding="utf-8")
    browser.open(file)
    return browser


COLUMN = "[...document.querySelectorAll('table.calls tbody tr')].map(row => row.cells[{}].textContent.trim())"
HEAD = "document.querySelectorAll('table.calls thead th')[{}]"


def test_a_click_sorts_by_size_and_another_turns_it_round(shown: Any) -> None:
    shown.run(HEAD.format(4) + ".querySelector('button').click()")
    rising = shown.run(COLUMN.format(4))
    assert rising == ["0", "1.0e-03", "1.0e-03", "1.3", "1.3", "10^400", "inf", "inf", "?"]
    assert shown.run(HEAD.format(4) + ".getAttribute('aria-sort')") == "ascending"
    shown.run(HEAD.format(4) + ".querySelector('button').click()")
    assert shown.run(COLUMN.format(4)) == [*reversed(rising[:-1]), "?"], "what is not known stays last"
    assert complaints(shown) == []


def test_shapes_sort_by_their_number_of_entries(shown: Any) -> None:
    shown.run(HEAD.format(3) + ".querySelector('button').click()")
    assert shown.run(COLUMN.format(3)) == [f"8x{10 * i}" for i in range(1, 10)]


def test_the_keyboard_sorts_too(shown: Any) -> None:
    shown.run("document.querySelector('#t1-calls details').open = true")
    shown.run(HEAD.format(0) + ".querySelector('button').focus()")
    shown.press("Enter")
    shown.press("Enter")
    assert shown.run(COLUMN.format(0)) == [str(i) for i in range(9, 0, -1)]
    shown.press("Tab")
    assert shown.run("document.activeElement.textContent") == "module"


def test_a_filter_hides_rows(shown: Any) -> None:
    shown.run("(f => { f.value = 'BLOCKS.1'; f.dispatchEvent(new Event('input')) })(document.querySelector('input.filter'))")
    visible = "[...document.querySelectorAll('table.calls tbody tr')].filter(row => !row.hidden).length"
    assert shown.run(visible) == 3


def test_dark_is_dark(shown: Any) -> None:
    colours = []
    for scheme in ("light", "dark"):
        shown.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours.append(shown.run("getComputedStyle(document.body).backgroundColor"))
    shown.call("Emulation.setEmulatedMedia", features=[])
    light, dark = (sum(int(n) for n in re.findall(r"\d+", colour)) for colour in colours)
    assert dark < 150
    assert light > 600


def test_a_phone_does_not_scroll_sideways(shown: Any) -> None:
    shown.call("Emulation.setDeviceMetricsOverride", width=360, height=800, deviceScaleFactor=2, mobile=True)
    width = shown.run("document.documentElement.scrollWidth")
    shown.call("Emulation.clearDeviceMetricsOverride")
    assert width <= 360


def test_without_scripts_everything_is_still_there(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(SMALL), encoding="utf-8")
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(file)
    text = browser.call("DOM.getDocument", depth=0)["root"]["nodeId"]
    outer = browser.call("DOM.getOuterHTML", nodeId=text)["outerHTML"]
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    parsed = Parsed(outer)
    assert sum(tag == "tr" for tag, _ in parsed.tags) > 9
    assert "relu in place of" in parsed.text
    assert "button" not in {tag for tag, attrs in parsed.tags if "hidden" not in attrs}


def test_a_packed_report_can_be_unpacked_by_the_page(browser: Any, tmp_path: Path) -> None:
    large = report(target(200, 40))
    file = tmp_path / "report.html"
    file.write_text(page(large), encoding="utf-8")
    assert isinstance(json.loads(Parsed(page(large)).raw["script"][0]), str)
    browser.open(file)
    browser.run("URL.createObjectURL = blob => { window.held = blob; return '#' }; document.querySelector('#download').click()")
    held = browser.run(
        "new Promise(done => { const wait = () => window.held ? window.held.text().then(done) : setTimeout(wait, 20); wait() })"
    )
    assert json.loads(held) == model(large).model_dump(mode="json")
    assert complaints(browser) == []
