"""Checks: what is worth saying about a model. They read facts and flow; they compute no bound."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from .errors import PackError
from .finding import Evidence, Remedy, Severity, Step
from .graph import Graph, Where
from .measured import Claim
from .suppress import Outcome
from .training import Training

if TYPE_CHECKING:  # a rule can be explained without numpy
    from .facts import Facts
    from .flow import Flow

Need: TypeAlias = Literal["graph", "weights", "inputs", "loss", "training", "dtype", "probe", "ignores"]
HEADINGS = ("Why", "How it is found", "Flagged", "Clean", "References")
"""The sections of a check's docstring, in this order; Flagged and Clean hold runnable models."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A call that drops entries: the module whose ``forward`` makes it, the function, and the share that is dropped."""

    module: str
    function: str
    p: float


def _none() -> tuple[Drop, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Audit:
    """What a check may look at.

    ``flow`` is the gradient at initialisation; ``later`` the same once zero-initialised parameters that receive a gradient
    have moved off zero (None when there are none): what is zero in the first and not in the second is a transient zero.
    ``ignores`` says what became of the comments that suppress findings, for checks that need it: they run after all others.
    ``guessed``: nobody gave the inputs, so that their sizes say nothing.
    ``drops_in_evaluation`` runs the model's python once more, in evaluation mode and without values: ask it only when needed.
    """

    target: str
    facts: Facts
    flow: Flow
    later: Flow | None = None
    training: Training = Training()
    mode: str = "train"
    ignores: tuple[Outcome, ...] = ()
    guessed: bool = False
    drops_in_evaluation: Callable[[], tuple[Drop, ...]] = _none

    @property
    def graph(self) -> Graph:
        """The model."""
        return self.facts.graph


@dataclass(frozen=True, slots=True)
class Remark:
    """What a check yields: one finding, before it gets its code, name and fingerprint.

    ``severity`` overrides the check's own; ``siblings`` name further places with the same cause; ``key`` tells apart two
    remarks about one module.
    """

    message: str
    module: str = ""
    where: Where = Where()
    severity: Severity | None = None
    reason: str = ""
    evidence: Evidence = Evidence()
    path: tuple[Step, ...] = ()
    help: tuple[Remedy, ...] = ()
    siblings: tuple[str, ...] = ()
    key: str = ""
    claim: Claim | None = None


Body: TypeAlias = Callable[[Audit], Iterator[Remark]]


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its code, its name (the defect), its usual severity, what it needs, and its text.

    ``yields_to``: checks that say of the same place what this one only sees a sign of; see ``netaudit.causes``.
    """

    code: str
    name: str
    severity: Severity
    needs: frozenset[Need]
    body: Body
    doc: str
    preview: bool = False
    yields_to: tuple[str, ...] = ()

    def __call__(self, audit: Audit) -> Iterator[Remark]:
        """Run the check."""
        return self.body(audit)

    @property
    def summary(self) -> str:
        """The first line of the text."""
        return self.doc.partition("\n")[0]


def check(
    code: str, *, severity: Severity, needs: Iterable[Need] = ("graph",), preview: bool = False, yields_to: Iterable[str] = ()
) -> Callable[[Body], Check]:
    """Declare a function as a check. Its name becomes the check's: ``vanishing_gradient`` -> ``vanishing-gradient``.

    ``yields_to``: codes of checks whose findings stand for this one's where both speak of one place.

    Raises:
        PackError: the docstring is missing.
    """

    def declare(body: Body) -> Check:
        doc = inspect.getdoc(body)
        if not doc:
            raise PackError(f"check {code} has no docstring", f"write one with the headings {', '.join(HEADINGS)}")
        return Check(code, body.__name__.replace("_", "-"), severity, frozenset(needs), body, doc, preview, tuple(yields_to))

    return declare


@dataclass(frozen=True, slots=True)
class Sections:
    """A check's text, by heading."""

    summary: str
    parts: dict[str, str] = field(default_factory=dict)


def sections(doc: str) -> Sections:
    """Split a check's docstring at its headings (a line that is a heading followed by a colon)."""
    summary, _, rest = doc.partition("\n")
    parts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in rest.splitlines():
        heading = line.rstrip().removesuffix(":")
        if line.rstrip().endswith(":") and heading in HEADINGS:
            current = parts.setdefault(heading, [])
        elif current is not None:
            current.append(line)
    return Sections(summary, {heading: inspect.cleandoc("\n".join(lines)).strip() for heading, lines in parts.items()})
