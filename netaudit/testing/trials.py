"""Everything a pack claims, as a list of trials: its ops on their cases, its checks on their own examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType

from netaudit.audit import Settings
from netaudit.check import HEADINGS, Check, sections
from netaudit.pack import Catalog, collect, installed
from netaudit.testing.axioms import broken_axioms
from netaudit.testing.case import Applied, Case, applied
from netaudit.testing.claiming import probed, untrue
from netaudit.testing.examples import codes, examples
from netaudit.testing.probing import refuted
from netaudit.testing.sampling import misjudged
from netaudit.testing.search import Found, loose, search, unsound

NEEDED = tuple(heading for heading in HEADINGS if heading != "References")
"""The sections without which a check is not explained."""
MODELS = ("Flagged", "Clean")
"""The sections that hold models."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One claim, and how it is tried. Calling it gives what is wrong, in sentences: nothing when the claim holds."""

    id: str
    body: Callable[[], Iterable[str]]

    def __call__(self) -> tuple[str, ...]:
        """Try the claim."""
        return tuple(self.body())

    def __str__(self) -> str:
        return self.id


def trials(pack: ModuleType, cases: Iterable[Case] = (), *, exempt: Mapping[str, str] | None = None) -> tuple[Trial, ...]:
    """Every trial of a pack, beside the packs that are installed; it need not be one of them.

    Args:
        pack: the module that the entry point names.
        cases: calls of the ops that it has transfers for, each op at least once.
        exempt: ops that no case can reach, with the reason.

    Raises:
        PackError: the pack contradicts itself or an installed one.
    """
    own, catalog, table = collect([pack]), installed(beside=(pack,)), tuple(cases)
    return (
        Trial(f"{pack.__name__}-cases", lambda: _without_case(own, table, exempt or {})),
        Trial(f"{pack.__name__}-texts", lambda: _without_text(own)),
        *(trial for case in table for trial in trials_of_case(case, catalog)),
        *(trial for check in own.checks.values() for trial in trials_of_check(check, catalog)),
    )


def _without_case(own: Catalog, cases: Iterable[Case], exempt: Mapping[str, str]) -> Iterator[str]:
    called = {case.op for case in cases}
    yield from (f"no case calls {op}" for op in own.transfers if op not in called and op not in exempt)
    yield from (f"{op} is exempt, and has a case" for op in exempt if op in called)
    yield from (f"{op} is exempt, and has no transfer" for op in exempt if op not in own.transfers)


def _without_text(own: Catalog) -> Iterator[str]:
    for op, transfer in own.transfers.items():
        yield from (f"{op} has no {what}" for what, text in (("text", transfer.doc), ("source", transfer.source)) if not text)


# ops --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _AtWork:
    """A case traced, and searched, once for all its trials."""

    case: Case
    catalog: Catalog | None

    @cached_property
    def op(self) -> Applied:
        return applied(self.case, self.catalog)

    @cached_property
    def found(self) -> Found:
        return search(self.op)


def trials_of_case(case: Case, catalog: Catalog | None = None) -> tuple[Trial, ...]:
    """A transfer on one call: the axioms, the model against samples, no bound exceeded or refuted, no exact bound out of reach."""
    work = _AtWork(case, catalog)
    return (
        Trial(f"{case.id}-axioms", lambda: broken_axioms(work.op)),
        Trial(f"{case.id}-samples", lambda: misjudged(work.op)),
        Trial(f"{case.id}-soundness", lambda: unsound(work.op, work.found)),
        Trial(f"{case.id}-tightness", lambda: loose(work.op, work.found)),
        Trial(f"{case.id}-probe", lambda: refuted(work.op)),
    )


# checks -----------------------------------------------------------------------------------------------------------------


def trials_of_check(check: Check, catalog: Catalog | None = None) -> tuple[Trial, ...]:
    """A check's text: its headings in order, each model under Flagged found and what is claimed of it measured, each under Clean not."""
    models = [(heading, i, source) for heading in MODELS for i, source in enumerate(examples(check).get(heading, ()))]
    return (
        Trial(f"{check.code}-headings", partial(_headings, check)),
        *(Trial(f"{check.code}-{heading}-{i}", partial(_judged, check, heading, source, catalog)) for heading, i, source in models),
    )


def _headings(check: Check) -> Iterator[str]:
    parts = list(sections(check.doc).parts)
    yield from (f"{check.code} has no section {heading!r}" for heading in NEEDED if heading not in parts)
    if parts != [heading for heading in HEADINGS if heading in parts]:
        yield f"the sections of {check.code} stand in the order {', '.join(parts)}; it is {', '.join(HEADINGS)}"
    yield from (f"{check.code} has no model under {heading}" for heading in MODELS if not examples(check).get(heading))


def _judged(check: Check, heading: str, source: str, catalog: Catalog | None) -> Iterator[str]:
    if heading == "Clean":
        found = codes(source, catalog=catalog, settings=Settings(preview=True))
    else:
        told = probed(source, catalog)
        found = frozenset(finding.code for finding in told)
        yield from (f"{text}:\n{source}" for text in untrue(told))
    if (check.code in found) is not (heading == "Flagged"):
        yield f"{check.code} judges a model under {heading} otherwise (found: {', '.join(sorted(found)) or 'nothing'}):\n{source}"
