"""The certificate of a network, for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from tabulate import tabulate

from netaudit.finding import Magnitude
from netaudit.tables import proved

from . import documents, plain, schema
from .numbers import dimensions, magnitude, short, size_model
from .plain import abridged

if TYPE_CHECKING:  # torch stays out of this room
    from netaudit.certify import Ball, Certified, NetworkBound, NodeBound

SHOWN = 24
"""Rows of the table of calls without ``--full``."""


def text(target: str, found: Certified, ball: Ball | None, *, full: bool) -> str:
    """Bound, what of it is attained, the gap, which calls were covered how, and the calls themselves."""
    return "\n".join(_lines(target, found, ball, full=full)) + "\n"


def _lines(target: str, found: Certified, ball: Ball | None, *, full: bool) -> Iterator[str]:
    shapes = ", ".join(f"{name} {dimensions(shape)}" for name, _, shape in found.inputs)
    sources = ", ".join(found.bound.sources) or "nothing"
    yield f"{target}: Lipschitz constant in l2 from {sources} to the output ({shapes}; {found.mode} mode)"
    yield ""
    rows = [_row("global", "every input", found.bound, found.measured)]
    if found.local is not None and ball is not None:
        rows.append(_row("local", f"{ball.norm} ball of {ball.radius:g} around the example", found.local, found.local_measured))
    yield tabulate(
        rows,
        headers=("", "holds for", "proved <=", "measured >=", "gap", "composition alone <="),
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "left", "right", "right", "right", "right"),
    )
    yield ""
    for segment in (found.local or found.bound).segments:
        how = "certificate matrix" if segment.method == "certificate" else "composition of norms"
        yield f"  {segment.first} .. {segment.last}: {segment.calls} calls by {how}"
    if found.bound.unknown:
        ops = sorted({found.facts.nodes[name].op for name in found.bound.unknown})
        yield f"  incomplete: nothing is known of {', '.join(ops)}"
    for note in _notes(found):
        yield f"  note: {note}"
    yield ""
    yield from _table(found, full=full)
    yield ""
    yield f"proved: every input, float64 with outward rounding, the weights as given; measured: seed {found.seed}, cpu, float64"


def _notes(found: Certified) -> list[str]:
    """What is to be said of the subject and of its bounds, each once."""
    return list(dict.fromkeys((*found.notes, *found.bound.notes, *(found.local.notes if found.local else ()))))


def _row(kind: str, domain: str, bound: NetworkBound, measured: float | None) -> tuple[str, ...]:
    known = measured is not None and measured > -inf
    gap = "?" if not known or bound.log10 == inf else short(bound.log10 - (measured or 0.0)) + "x"
    whole, composed = (magnitude(_proved(log, known=not bound.unknown)) for log in (bound.log10, bound.composition))
    return kind, domain, whole, short(measured) if known else "?", gap, composed


def _proved(log: float, *, known: bool) -> Magnitude:
    """A proved size from its log10; where it is infinite only for want of knowledge, it is unknown."""
    return proved(log) if known or log < inf else Magnitude(None, "unknown")


def _table(found: Certified, *, full: bool) -> Iterator[str]:
    bound = found.local or found.bound
    yield tabulate(
        abridged([_node(found, node) for node in bound.nodes], SHOWN, full=full),
        headers=("module", "op", "own <=", "from input <=", "by"),
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "left", "right", "right", "left"),
    )


def _node(found: Certified, node: NodeBound) -> tuple[str, ...]:
    known = found.facts.nodes[node.name]
    own, through = (magnitude(size) for size in _sizes(found, node))
    return known.where.module, known.op.removeprefix("aten."), own, through, node.by


def _sizes(found: Certified, node: NodeBound) -> tuple[Magnitude, Magnitude]:
    """A call's own constant, and that of the map from the input to it."""
    return _proved(node.own, known=node.known), _proved(node.through, known=not found.bound.unknown)


# JSON -------------------------------------------------------------------------------------------------------------------


def document(results: Sequence[tuple[str, Certified]]) -> str:
    """The certificates of targets as JSON."""
    return plain.document([_model(target, found) for target, found in results])


def _model(target: str, found: Certified) -> documents.CertifiedModel:
    return documents.CertifiedModel(
        id=target,
        mode=found.mode,
        norm="l2",
        seed=found.seed,
        inputs=[schema.Input(name=name, dtype=dtype, shape=list(shape)) for name, dtype, shape in found.inputs],
        sources=list(found.bound.sources),
        outputs=list(found.bound.outputs),
        notes=_notes(found),
        **{"global": _bound(found.bound, found.measured)},
        nodes=[_node_model(found, node) for node in found.bound.nodes],
        local=None if found.local is None else _bound(found.local, found.local_measured),
    )


def _bound(bound: NetworkBound, measured: float | None) -> documents.BoundModel:
    found = measured is not None and measured > -inf
    return documents.BoundModel(
        bound=size_model(_proved(bound.log10, known=not bound.unknown)),
        lower=size_model(Magnitude(measured, "measured") if found else Magnitude(None, "unknown")),
        composition=size_model(_proved(bound.composition, known=not bound.unknown)),
        segments=[documents.SegmentModel(first=s.first, last=s.last, calls=s.calls, method=s.method) for s in bound.segments],
    )


def _node_model(found: Certified, node: NodeBound) -> documents.CertifiedNode:
    known = found.facts.nodes[node.name]
    own, through = _sizes(found, node)
    return documents.CertifiedNode(
        id=node.name,
        op=known.op,
        module=known.where.module,
        kind=node.kind,
        lipschitz=size_model(own),
        through=size_model(through),
        by=node.by,
    )
