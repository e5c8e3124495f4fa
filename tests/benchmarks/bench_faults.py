"""The fault benchmark: models with a known fault, healthy ones that look faulty, and repaired twins of the faulty ones.

usage: python tests/benchmarks/bench_faults.py DIR [--out findings.json] [--only CASE ...] [--level warning] [--timeout 120]

DIR holds ``cases/*.py``, ``cases_fixed/*.py`` (the twins, under the same names) and ``labels.json``: for every case a label (fault,
advisory, healthy), its slug, category and culprit modules; for every twin an entry of ``fixed_twins``. Each model is audited in a process
of its own. Definitions, at a level (warning if not given):

recall          faults with a finding, a model that was not traced (NA001) among them
minimal pairs   faults with a twin, of which a code is found in the faulty version and not in the repaired one
localised       faults with culprits of which a finding names one: its module is the culprit, lies in it, or has it as a part
false alarms    healthy cases, and twins, with a finding
advisory        documented smells without measured harm: with a finding of any severity, and at the level
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

from netaudit.audit import Settings, audit_subject
from netaudit.errors import NetauditError
from netaudit.finding import SEVERITIES, TargetReport
from netaudit.intake.subject import Options
from netaudit.intake.target import load
from netaudit.pack import Catalog, installed

SPLITS: Mapping[str, str] = {"cases": "cases", "fixed": "cases_fixed"}


@dataclass(frozen=True, slots=True)
class Found:
    """One finding: what the scores look at, and its message."""

    severity: str
    path: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found of one model, what was left unchecked, and the seconds it took; ``failed`` when there is no answer."""

    findings: tuple[Found, ...] = ()
    unchecked: tuple[str, ...] = ()
    seconds: float = 0.0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of a case."""

    label: str
    slug: str
    category: str
    culprits: tuple[str, ...]
    needs: str


Answers = Mapping[str, Mapping[str, Answer]]


# running ----------------------------------------------------------------------------------------------------------------


def answer(path: Path, catalog: Catalog, timeout: float) -> Answer:
    """The audit of one file in a process of its own, which is ended when it takes too long."""
    context = multiprocessing.get_context("fork")  # torch and the rules are loaded already, the models are not
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(path, catalog, sender))
    began = time.perf_counter()
    process.start()
    sender.close()
    try:
        found: Answer | None = receiver.recv() if receiver.poll(timeout) else None
        failed = f"not done after {timeout:g} seconds" if found is None else ""
    except EOFError:
        found, failed = None, "the process ended without an answer"
    if found is None:
        process.kill()
    process.join()
    return found if found is not None else Answer(failed=failed, seconds=time.perf_counter() - began)


def _child(path: Path, catalog: Catalog, sender: Connection) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    began = time.perf_counter()
    try:
        reports = [audit_subject(subject, catalog, Settings()) for subject in load(str(path), Options())]
    except NetauditError as error:
        sender.send(Answer(failed=error.message))
        return
    except Exception:
        sender.send(Answer(failed=traceback.format_exc().strip().rpartition("\n")[2]))
        return
    sender.send(_answered(reports, time.perf_counter() - began))


def _answered(reports: Iterable[TargetReport], seconds: float) -> Answer:
    reports = tuple(reports)
    findings = tuple(Found(f.severity, f.module, f.code, f.message) for r in reports for f in r.findings)
    return Answer(findings, tuple(text for r in reports for text in _unchecked(r)), seconds)


def _unchecked(report: TargetReport) -> Iterator[str]:
    yield from report.problems
    yield from (f"no transfer for {op}" for op in report.coverage.unknown)
    missing = report.coverage.params - report.coverage.forecast
    if missing and not report.coverage.broken:
        yield f"no forecast for {missing} of {report.coverage.params} parameters"


def answers_of(folder: Path, only: Sequence[str], timeout: float) -> Answers:
    """The answers of both splits, by case."""
    catalog = installed()
    result: dict[str, dict[str, Answer]] = {}
    for split, name in SPLITS.items():
        result[split] = {}
        for path in sorted((folder / name).glob("*.py")):
            if not only or path.stem in only:
                result[split][path.stem] = one = answer(path, catalog, timeout)
                print(f"{split:5s} {path.stem} {one.seconds:5.1f} s  {told(one)}", file=sys.stderr, flush=True)
    return result


def told(one: Answer) -> str:
    """An answer in one line."""
    said = ", ".join(f"{f.severity[0]} {f.rule} {f.path}".strip() for f in one.findings)
    return one.failed or "; ".join(filter(None, [said or "nothing", *one.unchecked]))


def document(answers: Answers) -> str:
    """The findings as scoring scripts read them: a case without an answer is left out."""
    return json.dumps(
        {
            split: {
                case: [{"severity": f.severity, "path": f.path, "rule": f.rule} for f in one.findings]
                for case, one in found.items()
                if not one.failed
            }
            for split, found in answers.items()
        },
        indent=1,
    )


# scoring ----------------------------------------------------------------------------------------------------------------


def labels_of(folder: Path) -> tuple[Mapping[str, Label], frozenset[str]]:
    """The labels by case, and the cases with a twin."""
    data = json.loads((folder / "labels.json").read_text(encoding="utf-8"))

    def label(case: Mapping[str, Any]) -> Label:
        return Label(case["label"], case["slug"], case["category"], tuple(case["culprits"] or ()), case["info_needed"] or "")

    return {name: label(case) for name, case in data["cases"].items()}, frozenset(data["fixed_twins"])


def names_culprit(path: str, culprits: Iterable[str]) -> bool:
    """Whether a module is a culprit, lies inside one, or has one as a part of its path."""
    return any(f".{culprit}." in f".{path}." for culprit in culprits)


@dataclass(frozen=True, slots=True)
class Scored:
    """The cases that count for each score, and those that made it, at one level."""

    labels: Mapping[str, Label]
    twins: frozenset[str]
    answers: Answers
    level: str

    def raised(self, case: str, split: str = "cases") -> tuple[Found, ...]:
        """The findings at the level or above."""
        counted = SEVERITIES[: SEVERITIES.index(self.level) + 1]
        return tuple(f for f in self.answers[split].get(case, Answer()).findings if f.severity in counted)

    def labelled(self, label: str) -> tuple[str, ...]:
        """The cases with a label that were asked for."""
        return tuple(case for case, known in self.labels.items() if known.label == label and case in self.answers["cases"])

    @property
    def asked_twins(self) -> tuple[str, ...]:
        """The twins that were asked for."""
        return tuple(sorted(self.twins & set(self.answers["fixed"])))

    @property
    def hits(self) -> tuple[str, ...]:
        """The faults with a finding."""
        return tuple(case for case in self.labelled("fault") if self.raised(case))

    @property
    def paired(self) -> tuple[str, ...]:
        """The faults of which a code disappears in the repaired twin."""
        rules = {case: {f.rule for f in self.raised(case)} - {f.rule for f in self.raised(case, "fixed")} for case in self.hits}
        return tuple(case for case in self.hits if case in self.asked_twins and rules[case])

    @property
    def localised(self) -> tuple[str, ...]:
        """The faults with culprits of which a finding names one."""
        faults = ((case, self.labels[case].culprits) for case in self.labelled("fault"))
        return tuple(case for case, culprits in faults if any(names_culprit(f.path, culprits) for f in self.raised(case)))

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """Each score: its name, how many made it, of how many."""
        faults, healthy, advisory = (self.labelled(label) for label in ("fault", "healthy", "advisory"))
        yield "recall on faults", len(self.hits), len(faults)
        yield "minimal pairs", len(self.paired), sum(case in self.asked_twins for case in faults)
        yield "localised", len(self.localised), sum(bool(self.labels[case].culprits) for case in faults)
        yield "false alarms, healthy", sum(bool(self.raised(case)) for case in healthy), len(healthy)
        yield "false alarms, repaired twins", sum(bool(self.raised(case, "fixed")) for case in self.asked_twins), len(self.asked_twins)
        yield "advisory, any severity", sum(bool(self.answers["cases"][case].findings) for case in advisory), len(advisory)
        yield f"advisory, {self.level} or above", sum(bool(self.raised(case)) for case in advisory), len(advisory)
        every = [one for found in self.answers.values() for one in found.values()]
        yield "no answer", sum(bool(one.failed) for one in every), len(every)
        yield "not wholly checked", sum(bool(one.unchecked) for one in every), len(every)


# printing ---------------------------------------------------------------------------------------------------------------


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield tabulate(found, headers=headers, tablefmt="github", disable_numparse=True)
        yield ""


def tables(scored: Scored) -> Iterator[str]:
    """The scores, then every case that is not as it should be, then the rules."""
    yield from _table(
        ("score", "cases", "of", "share"),
        ((name, part, whole, f"{part / whole:.0%}" if whole else "") for name, part, whole in scored.rows()),
    )
    labels, faults = scored.labels, scored.labelled("fault")
    missed = [case for case in faults if case not in scored.hits]
    yield from _table(
        ("missed fault", "slug", "category", "what a checker must look at", "what was found"),
        ((c, labels[c].slug, labels[c].category, labels[c].needs, told(scored.answers["cases"][c])) for c in missed),
    )
    alarms = [(case, "cases", labels[case].slug) for case in scored.labelled("healthy")]
    alarms += [(case, "fixed", f"{labels[case].slug}, repaired") for case in scored.asked_twins]
    yield from _table(
        ("false alarm", "slug", "rule", "module", "message"),
        ((case, slug, f.rule, f.path, f.message) for case, split, slug in alarms for f in scored.raised(case, split)),
    )
    elsewhere = [c for c in scored.hits if labels[c].culprits and c not in scored.localised]
    yield from _table(
        ("not localised", "slug", "culprits", "what was found"),
        ((c, labels[c].slug, ", ".join(labels[c].culprits), told(scored.answers["cases"][c])) for c in elsewhere),
    )
    kept = [c for c in scored.hits if c in scored.asked_twins and c not in scored.paired]
    yield from _table(
        ("found in the twin too", "slug", "in the twin"), ((c, labels[c].slug, told(scored.answers["fixed"][c])) for c in kept)
    )
    yield from _table(
        ("not wholly checked", "split", "what"),
        (
            (case, split, one.failed or "; ".join(one.unchecked))
            for split, found in scored.answers.items()
            for case, one in found.items()
            if one.failed or one.unchecked
        ),
    )
    yield from _table(("rule", "fault", "advisory", "healthy", "repaired twin"), _by_rule(scored))


def _by_rule(scored: Scored) -> Iterator[tuple[object, ...]]:
    """On how many models of each kind a rule is raised, whatever its severity."""
    kinds = ("fault", "advisory", "healthy")
    counts: Counter[tuple[str, str]] = Counter()
    for case, one in scored.answers["cases"].items():
        counts.update((rule, scored.labels[case].label) for rule in {f.rule for f in one.findings})
    for one in scored.answers["fixed"].values():
        counts.update((rule, "twin") for rule in {f.rule for f in one.findings})
    yield from ((rule, *(counts[rule, kind] for kind in (*kinds, "twin"))) for rule in sorted({rule for rule, _ in counts}))


def main() -> None:
    """Audit the folder and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, help="write the findings here, as JSON")
    parser.add_argument("--only", nargs="*", default=[], metavar="CASE")
    parser.add_argument("--level", choices=SEVERITIES, default="warning")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS")
    args = parser.parse_args()
    if not (args.folder / "labels.json").is_file():
        parser.error(f"{args.folder} holds no labels.json")
    torch.set_num_threads(1)
    began = time.perf_counter()
    labels, twins = labels_of(args.folder)
    answers = answers_of(args.folder, args.only, args.timeout)
    if args.out:
        args.out.write_text(document(answers), encoding="utf-8")
    print("\n".join(tables(Scored(labels, twins, answers, args.level))))
    print(f"{sum(len(found) for found in answers.values())} models in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
