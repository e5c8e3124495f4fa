"""What every format promises, whatever a report holds: it can be read, it loses no finding, it says what was not checked."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from syrupy.assertion import SnapshotAssertion

from netaudit.finding import Coverage, Evidence, Finding, Remedy, Report, Step, Suppressed, TargetReport
from netaudit.graph import Site, Where
from netaudit.report import FORMATS, Style
from netaudit.report.documents import json_schema
from netaudit.report.markdown import LIMIT

MACHINE = ("json", "jsonl", "sarif", "github", "gitlab", "junit", "markdown")
SARIF = jsonschema.Draft4Validator(json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8")))
REPORT = json.loads(json_schema())
WHOLE = jsonschema.Draft202012Validator(REPORT)
FINDING = jsonschema.Draft202012Validator({"$defs": REPORT["$defs"], **REPORT["$defs"]["FindingModel"]})
LEVELS = {"error": "error", "warning": "warning", "note": "info"}
GITLAB = {"critical": "error", "major": "warning", "info": "info"}
COMMANDS = {"error": "error", "warning": "warning", "notice": "info"}

QUICK = settings(deadline=None, derandomize=True, phases=(Phase.generate, Phase.shrink))  # explaining a failure takes minutes

# reports ----------------------------------------------------------------------------------------------------------------

NASTY = (
    "]]>", "a|b", "x\ny", "\r\n::error::injected", "%0A", "<script>alert(1)</script>", "`a|b`", "``x`", "é 漢字 🙂", "\x00\x1b[31m",
    "# not a heading", "1. one", "- item", "a\\|b", "\u2028", "&lt;", "*x* _y_ [z](w)", "file=a,line=3::", "</details>", "$x$", "~~s~~",
    " ",
)  # fmt: skip
texts = st.lists(st.sampled_from(NASTY) | st.text(max_size=8), min_size=1, max_size=3).map("".join)
words = st.sampled_from(("", "body", "body.0", "a|b", "blöck.1"))
sites = st.none() | st.builds(Site, st.sampled_from(("a b.py", "m/é.py", "timm/x.py")), st.integers(1, 99))
wheres = st.builds(Where, words, st.just("Linear"), sites, sites)
logs = st.none() | st.floats(-400, 400) | st.sampled_from((float("-inf"), float("inf")))
evidences = st.builds(Evidence, words, logs, logs, logs, logs, texts)
codes = st.sampled_from(("NA201", "NA206", "NA001", "XY123"))
findings = st.builds(
    Finding, codes, st.just("some-name"), st.sampled_from(("error", "warning", "info")), texts, st.just("t"), words, wheres, texts,
    evidences, st.lists(st.builds(Step, texts, words, logs, logs, logs), max_size=3).map(tuple),
    st.lists(st.builds(Remedy, texts, texts), max_size=2).map(tuple), st.lists(texts, max_size=2).map(tuple),
    st.sampled_from(("", "na1:00", "na1:01")), st.just(""), baseline=st.sampled_from(("", "new", "worse")),  # what counts
)  # fmt: skip
suppressions = st.builds(Suppressed, findings, st.sampled_from(("comment", "override a.*")), st.just("") | texts, sites)
coverages = st.sampled_from((Coverage(), Coverage(4, 4, {}, 2, 2), Coverage(4, 3, {"aten.x": 1}, 2, 1), Coverage(0, 0, {}, 3, 0)))


def target(name: str) -> st.SearchStrategy[TargetReport]:
    own = st.lists(findings, max_size=4).map(lambda found: tuple(_of(name, one) for one in found))
    return st.builds(
        TargetReport, st.just(name), notes=st.lists(texts, max_size=1).map(tuple), coverage=coverages, findings=own,
        suppressed=st.lists(suppressions, max_size=2).map(tuple), problems=st.lists(texts, max_size=2).map(tuple),
        file=st.sampled_from(("", "m/net.py")), nodes=st.just(()), params=st.just(()),
    )  # fmt: skip


def _of(name: str, one: Finding) -> Finding:
    return Finding(**{slot: getattr(one, slot) for slot in Finding.__slots__ if slot != "target"}, target=name)


reports = st.builds(
    Report,
    st.sampled_from((("a.py",), ("a.py", "timm:b c"), ())).flatmap(lambda names: st.tuples(*map(target, names))),
    st.just("0.1.0"), st.just("2.13.0"), st.just(("netaudit_rules",)), idle_overrides=st.lists(texts, max_size=1).map(tuple),
)  # fmt: skip


def many(count: int, targets: int = 1) -> Report:
    """As many findings as asked for, of all severities, with long messages."""
    severities = ("info", "warning", "error")
    found = [
        Finding("NA201", "n", severities[i % 3], f"number {i} " + "long " * 60, "a.py", f"m.{i}", reason="because " * 200)  # type: ignore[arg-type]
        for i in range(count)
    ]
    rest = tuple(TargetReport(f"b{i}.py") for i in range(targets - 1))
    return Report((TargetReport("a.py", findings=tuple(found), coverage=Coverage(1, 1)), *rest), "0", "0", ())


def severities(report: Report) -> Counter[str]:
    return Counter(finding.severity for finding in report.findings)


# reading them back ------------------------------------------------------------------------------------------------------


def read_json(text: str) -> Counter[str]:
    document = json.loads(text)
    WHOLE.validate(document)
    return Counter(finding["severity"] for finding in document["findings"])


def read_jsonl(text: str) -> Counter[str]:
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    kinds = [line.pop("type") for line in lines]
    assert kinds == sorted(kinds, key=("finding", "suppressed", "target", "run").index)
    assert kinds[-1] == "run"
    for kind, line in zip(kinds, lines, strict=True):
        if kind == "finding":
            FINDING.validate(line)
    return Counter(line["severity"] for kind, line in zip(kinds, lines, strict=True) if kind == "finding")


def read_sarif(text: str) -> Counter[str]:
    log = json.loads(text)
    SARIF.validate(log)
    assert len(log["runs"]) <= 20
    results = [result for run in log["runs"] for result in run["results"]]
    for run in log["runs"]:
        assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == sorted({r["ruleId"] for r in run["results"]})
        assert all(run["tool"]["driver"]["rules"][r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])
        assert len({"baselineState" in result for result in run["results"]}) <= 1
    for place in _locations(log):  # GitHub refuses a file over one location without a relative file
        uri = urlsplit(place["physicalLocation"]["artifactLocation"]["uri"])
        assert not uri.scheme
        assert uri.path
        assert not unquote(uri.path).startswith("/")
    return Counter(LEVELS[result["level"]] for result in results if not result.get("suppressions"))


def _locations(value: object) -> list[dict[str, dict[str, dict[str, str]]]]:
    if isinstance(value, list):
        return [found for item in value for found in _locations(item)]
    if not isinstance(value, dict):
        return []
    here = [value] if "physicalLocation" in value or "logicalLocations" in value else []
    return here + [found for item in value.values() for found in _locations(item)]


def commands(text: str) -> list[tuple[str, Mapping[str, str], str]]:
    """What GitHub's runner makes of a step's output: lines that begin with ``::``, split and unescaped as it does."""
    found: list[tuple[str, Mapping[str, str], str]] = []
    for line in re.split("[\r\n]+", text):
        if not line.strip().startswith("::"):
            continue
        command, _, message = line.strip()[2:].partition("::")
        name, _, properties = command.partition(" ")
        pairs = dict(part.partition("=")[::2] for part in properties.split(","))
        found.append((name, {key: unescape(value) for key, value in pairs.items()}, unescape(message)))
    return found


def unescape(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def read_github(text: str) -> Counter[str]:
    return Counter(COMMANDS[name] for name, properties, _ in commands(text) if "not wholly" not in properties["title"])


def read_gitlab(text: str) -> Counter[str]:
    entries = json.loads(text)
    assert len({entry["fingerprint"] for entry in entries}) == len(entries)
    for entry in entries:
        assert {"description", "check_name", "fingerprint", "severity", "location"} <= entry.keys()
        assert entry["location"]["path"]
        assert entry["location"]["lines"]["begin"] >= 1
    return Counter(GITLAB[entry["severity"]] for entry in entries if entry["severity"] != "blocker")


def read_junit(text: str) -> Counter[str]:
    root = ET.fromstring(text)
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"), ("tests", "testcase")):
        assert int(root.attrib[name]) == len(root.findall(f".//{tag}")) == sum(int(suite.attrib[name]) for suite in root)
    failed = Counter(failure.attrib["type"] for failure in root.iter("failure"))
    return failed + Counter("info" for out in root.iter("system-out") if (out.text or "").startswith("info: "))


def tables(text: str) -> list[list[list[str]]]:
    """The tables that a Markdown parser finds: rows of cells, as text."""
    found: list[list[list[str]]] = []
    inside = False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        inside = (inside or token.type == "table_open") and token.type != "table_close"
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif inside and token.type == "inline":
            found[-1][-1].append("".join(child.content for child in token.children or ()))
    return found


def read_markdown(text: str) -> Counter[str]:
    wanted = [table for table in tables(text) if table[0][0] == "severity"]
    assert all(len(row) == 4 for table in wanted for row in table)
    return Counter(row[0].split()[0] for table in wanted for row in table[1:])


READERS: Mapping[str, Callable[[str], Counter[str]]] = {
    "json": read_json, "jsonl": read_jsonl, "sarif": read_sarif, "github": read_github, "gitlab": read_gitlab, "junit": read_junit,
    "markdown": read_markdown,
}  # fmt: skip


# properties -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MACHINE)
@settings(QUICK, max_examples=40)
@given(report=reports)
def test_a_report_can_be_read_back_with_every_finding(name: str, report: Report) -> None:
    text = FORMATS[name](report, Style())
    assert READERS[name](text) == severities(report)
    assert text == FORMATS[name](report, Style())
    assert "\n" not in text or text.endswith("\n")


@pytest.mark.parametrize("name", MACHINE)
@settings(QUICK, max_examples=20)
@given(report=reports)
def test_quiet_loses_no_finding_and_nothing_unchecked(name: str, report: Report) -> None:
    text = FORMATS[name](report, Style(quiet=True))
    assert READERS[name](text) == severities(report)
    assert bool(unchecked_in(name, text)) == bool(report.incomplete)


@pytest.mark.parametrize("name", MACHINE)
@settings(QUICK, max_examples=20)
@given(report=reports)
def test_what_was_not_checked_is_said(name: str, report: Report) -> None:
    assert bool(unchecked_in(name, FORMATS[name](report, Style()))) == bool(report.incomplete)


def unchecked_in(name: str, text: str) -> int:
    """How often a format says that a target was not wholly checked."""
    match name:
        case "json":
            return int(json.loads(text)["run"]["status"] == "incomplete")
        case "jsonl":
            return int(json.loads(text.split("\n")[-2])["run"]["status"] == "incomplete")
        case "sarif":
            runs = json.loads(text)["runs"]
            failed = [run["invocations"][0] for run in runs if not run["invocations"][0]["executionSuccessful"]]
            assert all(any(n["level"] == "error" for n in one["toolExecutionNotifications"]) for one in failed)
            return len(failed)
        case "github":
            return sum("not wholly" in properties["title"] for _, properties, _ in commands(text))
        case "gitlab":
            return sum(entry["severity"] == "blocker" for entry in json.loads(text))
        case "junit":
            return len(ET.fromstring(text).findall(".//error"))
        case _:
            return text.count("**not wholly checked**")


@settings(QUICK, max_examples=40)
@given(report=reports)
def test_concise_is_one_line_a_finding(report: Report) -> None:
    lines = FORMATS["concise"](report, Style(quiet=True)).split("\n")[:-1]
    problems = sum("incomplete: " in line for line in lines)
    assert len(lines) >= len(report.findings) + bool(report.incomplete)
    assert len(lines) <= len(report.findings) + max(problems, len(report.incomplete))


@settings(QUICK, max_examples=40)
@given(report=reports)
def test_a_command_of_github_says_what_the_finding_says(report: Report) -> None:
    said = [(properties.get("title", ""), message) for _, properties, message in commands(FORMATS["github"](report, Style()))]
    for finding in report.findings:
        folded = " ".join(printed(finding.message).split())
        assert any(title == f"{finding.code} {finding.name}" and folded in message for title, message in said)


def printed(message: str, layout: str = "\x1c\x1d\x1e\x1f\x85") -> str:
    """A message whose control characters are written as Python writes them, but for those that are layout."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) == "Cc" and c not in "\t\n\r\v\f" + layout else c for c in message)


@settings(QUICK, max_examples=40)
@given(report=reports)
def test_no_line_is_invented(report: Report) -> None:
    known = {(site.file, site.line) for f in report.findings for site in (f.where.created, f.where.called) if site is not None}
    for _, properties, _ in commands(FORMATS["github"](report, Style())):
        assert "line" not in properties or (properties["file"], int(properties["line"])) in known
    for entry in json.loads(FORMATS["gitlab"](report, Style())):
        place = (entry["location"]["path"], entry["location"]["lines"]["begin"])
        assert place in known or entry["description"].endswith("(no line is known: line 1 stands in)")
    for run in json.loads(FORMATS["sarif"](report, Style()))["runs"]:
        for result in run["results"]:
            place = result["locations"][0]["physicalLocation"]
            line = place.get("region", {}).get("startLine")
            assert line is None or result.get("suppressions") or (unquote(place["artifactLocation"]["uri"]), line) in known


@settings(QUICK, max_examples=100)
@given(message=texts)
def test_markdown_shows_text_as_it_is(message: str) -> None:
    report = Report((TargetReport("a.py", findings=(Finding("NA201", "n", "info", message, "a.py"),)),), "0", "0", ())
    (found,) = [table for table in tables(FORMATS["markdown"](report, Style())) if table[0][0] == "severity"]
    assert found[1][3].replace("`", "").split() == printed(message).replace("`", "").split()


# sizes ------------------------------------------------------------------------------------------------------------------


def test_github_shows_ten_of_a_kind_and_counts_the_rest() -> None:
    text = FORMATS["github"](many(200), Style())
    assert read_github(text) == {"error": 10, "warning": 10, "info": 10}
    assert text.splitlines()[-1].startswith("netaudit: 170 more")


@pytest.mark.parametrize("name", ["sarif", "gitlab", "junit", "jsonl"])
def test_two_hundred_findings(name: str) -> None:
    report = many(200)
    assert READERS[name](FORMATS[name](report, Style())) == severities(report)


def test_markdown_fits_a_comment_and_the_worst_stay() -> None:
    text = FORMATS["markdown"](many(200, targets=900), Style())
    assert len(text) <= LIMIT
    assert text.startswith("### netaudit: 66 errors, 67 warnings, 67 info\n")
    assert set(read_markdown(text)) == {"error"}
    left = [int(number) for number in re.findall(r"(\d+) more findings", text)]
    assert left[0] == 200 - read_markdown(text).total()
    assert left[1] == 200 - text.count("<details>")
    assert "more targets" in text


def test_full_markdown_has_everything() -> None:
    report = many(200)
    text = FORMATS["markdown"](report, Style(full=True))
    assert read_markdown(text) == severities(report)
    assert text.count("<details>") == 200


def test_more_targets_than_github_takes_runs_share_one() -> None:
    (run,) = json.loads(FORMATS["sarif"](many(3, targets=21), Style()))["runs"]
    assert run["automationDetails"]["id"] == "netaudit/"
    assert len(run["artifacts"]) == 21


@pytest.mark.parametrize("name", MACHINE)
def test_a_report_without_findings(name: str) -> None:
    text = FORMATS[name](Report((TargetReport("a.py", coverage=Coverage(1, 1)),), "0", "0", ()), Style())
    assert not READERS[name](text)
    assert "error" not in re.sub(r'"?errors?"?[:=] ?"?0"?', "", text)


# examples ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MACHINE)
def test_a_snapshot_of_everything(name: str, full_report: Report, snapshot: SnapshotAssertion) -> None:
    text = FORMATS[name](full_report, Style())
    READERS[name](text)
    if name == "sarif":  # the text of rules is that of their docstrings
        log = json.loads(text)
        for rule in (rule for run in log["runs"] for rule in run["tool"]["driver"]["rules"]):
            rule.update({key: "..." for key in ("help", "fullDescription", "shortDescription") if key in rule})
        text = json.dumps(log, indent=1, sort_keys=True)
    assert text == snapshot


# people -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 140])
@settings(QUICK, max_examples=20)
@given(report=reports)
def test_full_fits_the_page_and_loses_no_word(width: int, report: Report) -> None:
    """Longer lines are those that hold a word as long as they are, or places and rows of paths, which are not broken."""
    text = FORMATS["full"](report, Style(width=width))
    for line in text.split("\n"):
        unbroken = line.startswith((" --> ", " " * 10)) or max(map(len, line.split()), default=0) > width - 20
        assert len(line) <= width or unbroken, line
    said = "".join(text.split())
    for finding in report.findings:
        assert "".join(printed(finding.message, layout="").split()) in said
