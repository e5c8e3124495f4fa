"""Everything known of a node, as text: what is proved of it and why, what is forecast, where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isinf, log10

from netaudit.effect import Jacobian
from netaudit.errors import TargetError, did_you_mean
from netaudit.facts import Facts
from netaudit.flow import Flow
from netaudit.graph import Node, Operand, Where
from netaudit.signal import Interval, Signal, above

from .numbers import at_most, dimensions, short

KINDS = {
    "exact": "exact: the supremum itself",
    "upper": "an upper bound, not always attained",
    "conditional": "holds on the proved range of the operand",
    "infinite": "there is no finite bound",
    "unknown": "nothing is known",
}


def explain(target: str, facts: Facts, flow: Flow, wanted: str) -> str:
    """The node of a name, or every call of a module path or of an op.

    Raises:
        TargetError: no node, module or op has that name.
    """
    found = _find(facts, wanted)
    return "\n".join(line for node in found for line in (*_node(target, facts, flow, node), ""))


def _find(facts: Facts, wanted: str) -> tuple[Node, ...]:
    calls = [node for node in facts.graph.nodes if node.name in facts.effects]
    for choose in (
        lambda n: n.name == wanted,
        lambda n: n.where.module == wanted,
        lambda n: n.op in (wanted, f"aten.{wanted}", f"netaudit.{wanted}"),
    ):
        chosen = tuple(node for node in calls if choose(node))
        if chosen:
            return chosen
    known = [*(n.name for n in calls), *(n.where.module for n in calls), *(n.op.removeprefix("aten.") for n in calls)]
    raise TargetError(f"no node, module or op is called {wanted!r}", did_you_mean(wanted, known) or "`netaudit nodes` lists them")


def _node(target: str, facts: Facts, flow: Flow, node: Node) -> Iterator[str]:
    transfer, signal = facts.transfers.get(node.op), facts.signals[node.name]
    yield f"{node.name}   {node.op}   {dimensions(node.shape)} {node.dtype}   {target}"
    yield from _where(node.where)
    if node.folded:
        yield f"  recognised from {len(node.folded)} calls: {', '.join(n.op.removeprefix('aten.') for n in node.folded)}"
    if transfer is None:
        yield "  no transfer describes this op: nothing is known of it"
    else:
        yield f"  what        {transfer.doc.strip().splitlines()[0]}"
        yield f"  source      {transfer.source}"
        yield f"  degree      {transfer.degree or 'not homogeneous'}"
        yield f"  kinks       {transfer.kinks or 'none'}"
    yield "proved (every input, these weights)"
    for slot, (operand, jac) in enumerate(zip(node.operands, facts.effects[node.name].jac, strict=True)):
        if jac is not None:
            yield from _jacobian(facts, slot, operand, jac)
    yield f"  output      {_range(signal)}"
    yield "forecast (random inputs and weights)"
    yield f"  output      {_moments(signal)}"
    gradient = flow.nodes[node.name]
    yield f"  gradient    rms {'?' if gradient.forecast is None else short(gradient.forecast)}; proved l2 norm <= {at_most(gradient.bound)}"


def _where(where: Where) -> Iterator[str]:
    if where.module:
        yield f"  module      {where.module}" + (f" ({where.module_type})" if where.module_type else "")
    for label, site in (("built at", where.created), ("called at", where.called)):
        if site is not None:
            yield f"  {label:<11} {site.file}:{site.line}"


def _jacobian(facts: Facts, slot: int, operand: Operand, jac: Jacobian) -> Iterator[str]:
    name = operand if isinstance(operand, str) else f"{operand}"
    known = f", {_range(facts.signals[operand])}" if isinstance(operand, str) else ""
    yield f"  by operand {slot} ({name}{known})"
    lip = "0" if jac.lip == 0 else at_most(inf if isinf(jac.lip) else log10(jac.lip))
    yield f"    ||J||_2 <= {lip}   {KINDS[jac.kind]}"
    for label, text in (
        ("because", jac.why),
        ("Jacobian", ", ".join(sorted(jac.tags))),
        ("slope", "" if jac.slope is None else f"f' in {Interval(*jac.slope)}"),
        ("spectrum", jac.spectrum),
        ("null space", jac.nullspace),
        ("attained at", jac.attained),
    ):
        if text:
            yield f"    {label:<11} {text}"


def _range(signal: Signal) -> str:
    parts = [] if signal.range == Interval() else [f"in {signal.range}"]
    if signal.rows is not None and not isinf(signal.rows.bound):
        parts.append(f"||row||_2 <= {above(signal.rows.bound)} over axes {signal.rows.axes}")
    return ", ".join(parts) or "no proved range"


def _moments(signal: Signal) -> str:
    if signal.moments is None:
        return "unknown"
    return f"rms {signal.moments.mean_square**0.5:.4g}, mean {signal.moments.mean:.4g}"
