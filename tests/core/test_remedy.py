"""How remedies are tried: what helps is shown with its outcome, what does not is dropped, what was not tried says so."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

import pytest

from netaudit.change import Change, Removed, ScaledBranch
from netaudit.check import Audit
from netaudit.effect import Effect, Jacobian, Transfer
from netaudit.facts import Facts, Leaves, derive
from netaudit.finding import Finding, Remedy
from netaudit.flow import Flow, flow
from netaudit.graph import Graph, Node
from netaudit.moments import independent, of
from netaudit.pack import Catalog
from netaudit.remedy import TRIED, Bench, Judge, remedied
from netaudit.signal import Signal

SHAPE = (4,)


def times(factor: float) -> Transfer:
    def body(node: Node, x: Signal, *_: Signal) -> Effect:
        rest = (None,) * (len(node.operands) - 1)
        moments = None if x.moments is None else of(independent(node.shape, factor**2 * x.moments.mean_square))
        return Effect(Signal(node.shape, moments=moments), (Jacobian(abs(factor)), *rest), lambda g: (g.scaled(factor), *rest))

    return Transfer((f"t.times{factor:g}",), body)


def mul(node: Node, x: Signal, y: Signal) -> Effect:
    factor = y.range.hi
    return Effect(Signal(node.shape, moments=x.moments), (Jacobian(abs(factor)), None), lambda g: (g.scaled(factor), None))


CATALOG = Catalog({op: t for t in (times(1e-4), times(1e-9), times(1e4), Transfer(("aten.mul",), mul)) for op in t.ops})
CHAIN = Graph(
    (
        Node("x", "input", shape=SHAPE),
        Node("a", "t.times0.0001", ("x",), shape=SHAPE),
        Node("b", "t.times1e-09", ("a",), shape=SHAPE),
    ),
    {},
    ("x",),
    ("b",),
)
LEAVES = Leaves({"x": Signal(SHAPE, moments=of(independent(SHAPE)))})


def swept(graph: Graph, leaves: Leaves) -> tuple[Facts, Flow, Flow | None]:
    facts = derive(graph, leaves, CATALOG)
    return facts, flow(facts), None


def judge(limit: float, *remedies: Remedy) -> Judge:
    """Finds a gradient of the input below a limit, an error below a thousandth of it, and one that is large."""

    def found(audit: Audit) -> tuple[Sequence[Finding], Sequence[str]]:
        size = audit.flow.nodes["x"].forecast
        assert size is not None
        findings = []
        if size < log10(limit):
            findings.append(Finding("T1", "small", "error" if size < log10(limit) - 3 else "warning", "small", "t", help=remedies))
        if size > 2:
            findings.append(Finding("T2", "large", "warning", "large", "t"))
        return findings, ()

    return found


def outcomes(*remedies: Remedy, limit: float = 1e-3) -> tuple[Remedy, ...]:
    facts, now, _ = swept(CHAIN, LEAVES)
    audit, judged = Audit("t", facts, now), judge(limit, *remedies)
    found, _ = judged(audit)
    (finding,) = remedied(found, found, Bench(audit, LEAVES, swept, judged))
    return finding.help


def scaled(factor: float) -> Remedy:
    return Remedy(f"times {factor:g}", changes=(ScaledBranch(("b",), factor),))


def test_what_helps_is_shown_with_its_outcome_and_first() -> None:
    found = outcomes(Remedy("read a book"), scaled(0.5), scaled(1e11))
    assert [(r.text, r.outcome, r.resolves) for r in found] == [
        ("times 1e+11", "the finding disappears", True),
        ("read a book", "", None),
    ]


def test_what_makes_it_milder_is_shown_for_what_it_is() -> None:
    (found,) = outcomes(Remedy("without b", changes=(Removed(("b",)),)), limit=1e-2)
    assert (found.outcome, found.resolves) == ("still T1", False)


def test_what_does_not_help_is_dropped() -> None:
    assert outcomes(scaled(0.5)) == ()


def test_a_remedy_that_brings_another_finding_is_dropped() -> None:
    assert outcomes(scaled(1e16)) == ()


@pytest.mark.parametrize("change", [Removed(("nowhere",)), Removed(("x",))])
def test_what_cannot_be_made_is_advice(change: Change) -> None:
    (found,) = outcomes(Remedy("try", changes=(change,)))
    assert (found.outcome, found.resolves) == ("", None)


def test_a_few_are_tried_and_the_rest_say_that_they_were_not() -> None:
    found = outcomes(*(scaled(10.0**n) for n in range(11, 11 + TRIED + 2)))
    tried = [remedy for remedy in found if remedy.resolves is not None]
    assert len(tried) <= TRIED
    assert [r.outcome for r in found if r.resolves is None] == [f"not re-analysed: {TRIED} remedies a target are"] * 2


def test_what_makes_a_check_crash_is_advice() -> None:
    """A check that crashes on the changed model finds nothing there: that is no sign that nothing is left to find."""
    facts, now, _ = swept(CHAIN, LEAVES)
    audit, remedy = Audit("t", facts, now), scaled(1e11)
    found, _ = judge(1e-3, remedy)(audit)
    ((shown,),) = (finding.help for finding in remedied(found, found, Bench(audit, LEAVES, swept, lambda _: ((), ("T1 crashed",)))))
    assert shown == remedy
