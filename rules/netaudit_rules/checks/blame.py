"""What a gradient that is too small or too large is put down to: a run of nodes, on its way back or on the way of the activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10, prod
from typing import TYPE_CHECKING, Literal, TypeAlias

from netaudit import Audit, Node, Severity, Step, Where, against_usual, backward_run, blocks, entry, forward_path, forward_run, rms
from netaudit_rules.checks.common import module_of, owner_site, scientific

if TYPE_CHECKING:
    from netaudit import Facts, Flow, Run

SENSITIVITY = "S = ||W||_F ||G||_F is the change of the loss for a 100 % change of the weight"
_NORMS = "layer_norm native_layer_norm rms_norm group_norm instance_norm batch_norm l2_normalize"
NORMALISERS = frozenset(f"{family}.{name}" for family in ("aten", "netaudit") for name in _NORMS.split())
"""Calls whose output does not depend on the scale of their operand: a large one makes no gradient of a gain large."""
HOLDS = 0.8
"""The share of a run's change that a module must hold to be named instead of the one around it."""

Way: TypeAlias = Literal["backward", "forward", "weight"]


CERTAIN = 2.0
"""Decades beyond a limit that make it an error: beyond any error of the forecast seen on small models."""
MADE_UP = 2.0
"""Decades more that are asked for where no loss was traced: the gradient at the outputs has a made-up size then."""


def graded(flow: Flow, excess: float) -> Severity:
    """How bad it is to be so many decades beyond a limit."""
    beyond = excess - (MADE_UP if flow.seed == "unit" else 0.0)
    return "error" if beyond > CERTAIN else "warning" if beyond > 0.0 else "info"


@dataclass(frozen=True, slots=True)
class Blame:
    """What a parameter's gradient is put down to.

    ``path``: the nodes from the call that uses the parameter to the loss. ``way``: whether the gradient on that path makes it
    so, the activations that enter the call, or the weight's own size. ``run``: the nodes that explain it, ``text`` in words.
    """

    path: tuple[str, ...]
    module: str
    where: Where
    way: Way
    run: Run | None = None
    text: str = ""


def blame(audit: Audit, param: str, sign: float) -> Blame:
    """Where a gradient that is too large (``sign`` 1) or too small (-1) comes from.

    ``G_W`` is a product of the gradient at the weight's call, of the values that enter it, and S has the weight's size too.
    Each is compared, in decades, with its usual size: ``1 / sqrt(n)``, 1, and ``1 / sqrt(fan_in)`` (1 for a table). The one
    furthest off, in the direction of the fault, is followed: the gradient back from the loss, the values forward from the input.
    """
    info = audit.graph.params[param]
    path = tuple(audit.flow.path(info.node)[1:])
    call, operand = entry(audit.facts, info.node, path)
    if call is not None and audit.facts.nodes[call].op in NORMALISERS:
        operand = None
    sizes: Mapping[Way, float | None] = {
        "backward": None if call is None else against_usual(audit.flow, call),
        "forward": None if operand is None else rms(audit.facts, operand),
        "weight": _weight_size(audit, param, looked_up=operand is None),
    }
    reference: Mapping[Way, float] = {"backward": audit.flow.reference, "forward": 0.0, "weight": 0.0}
    off = {way: sign * (size - reference[way]) for way, size in sizes.items() if size is not None and size - reference[way] != inf}
    way: Way = max(off, key=lambda w: off[w]) if off else "backward"
    run: Run | None = None
    if way == "backward":
        run = backward_run(audit.flow, path)
    elif way == "forward" and operand is not None:
        run = forward_run(audit.facts, forward_path(audit.facts, operand))
    return _blamed(audit, param, path, way, run)


def _weight_size(audit: Audit, param: str, *, looked_up: bool) -> float | None:
    """log10 of the RMS of a matrix against ``1 / sqrt(fan_in)``, or 1 for a table; None for other parameters.

    What a gain or a bias is usually like is not known.
    """
    info = audit.graph.params[param]
    size = rms(audit.facts, info.node)
    if size is None or size == -inf or len(info.shape) < 2:
        return None
    return size if looked_up else size + 0.5 * log10(max(prod(info.shape[1:]), 1))


def _own_size(audit: Audit, param: str) -> str:
    size = rms(audit.facts, audit.graph.params[param].node)
    return "" if size is None else f"the weight's own RMS is {scientific(size)}"


# naming -----------------------------------------------------------------------------------------------------------------


def _blamed(audit: Audit, param: str, path: tuple[str, ...], way: Way, run: Run | None) -> Blame:
    own, nodes = module_of(param), audit.facts.nodes
    if run is None or not run.nodes:
        where = owner_site(audit, own, nodes[path[0]].where if path else audit.graph.params[param].where)
        return Blame(path, own, where, way, None, _own_size(audit, param) if way == "weight" else "")
    module = _module(audit.facts, run) or own
    where = owner_site(audit, module, nodes[run.nodes[0]].where)
    return Blame(path if way == "backward" else (), module, where, way, run, _told(audit.facts, run, way))


def _module(facts: Facts, run: Run) -> str:
    """The module that holds most of the change of a run, or, where the model itself makes most of it, that stands around it."""
    modules = [facts.nodes[name].where.module for name in run.nodes]
    if len(modules) == 1 and modules[0]:
        return modules[0]
    free = sum(change for module, change in zip(modules, run.changes, strict=True) if not module)
    return _beside(facts, run) if len(modules) == 1 or not run.change or free / run.change > 0.5 else _holder(modules, run.changes)


def _holder(modules: Sequence[str], weights: Sequence[float]) -> str:
    """The deepest module that holds ``HOLDS`` of the weight of some; where no module does, the one that holds most of all."""
    prefix = ""
    while True:
        best, part = _best_child(modules, weights, prefix)
        if not best or part < HOLDS:
            return prefix or best
        prefix = best


def _best_child(modules: Sequence[str], weights: Sequence[float], prefix: str) -> tuple[str, float]:
    """The child of a module that holds most of the weight, with its share."""
    sums: dict[str, float] = {}
    for module, weight in zip(modules, weights, strict=True):
        inside = not prefix or module.startswith(prefix + ".")
        rest = module[len(prefix) :].strip(".") if inside else ""
        if rest:
            child = f"{prefix}.{rest.split('.')[0]}".strip(".")
            sums[child] = sums.get(child, 0.0) + weight / sum(weights)
    best = max(sums, key=lambda child: sums[child], default="")
    return best, sums.get(best, 0.0)


def _beside(facts: Facts, run: Run) -> str:
    """The module of most calls of a run, and of those that feed what no module makes in it: branches of sums, operands of a loss."""
    found = [module for name in run.nodes if (module := facts.nodes[name].where.module)]
    waiting, seen = list(run.nodes), set(run.nodes)
    while waiting:
        for name in facts.nodes[waiting.pop()].inputs:
            if name in seen or not facts.nodes[name].inputs:
                continue
            seen.add(name)
            if facts.nodes[name].where.module:
                found.append(facts.nodes[name].where.module)
            else:
                waiting.append(name)
    return _holder(found, [1.0] * len(found))


def _told(facts: Facts, run: Run, way: Way) -> str:
    """A run in words: which calls, and by how much they multiply the gradient (against its usual size) or the activations."""
    ends = list(dict.fromkeys(_named(facts.nodes[name]) for name in (run.nodes[0], run.nodes[-1])))
    place, many = " to ".join(ends), len(run.nodes) > 1
    calls = f"{place} ({len(run.nodes)} calls)" if many else place
    if way == "backward" and run.change == -inf:
        return f"the gradient becomes 0 at {calls}"
    what = "the gradient on its way back" if way == "backward" else "the activations on their way in"
    verb = "multiply" if many else "multiplies"
    return f"{calls} {verb} {what} by {scientific(run.change)}; the whole path by {scientific(run.total)}"


def _named(node: Node) -> str:
    if node.where.module:
        return f"`{node.where.module}`"
    if node.op == "input":
        return "the input"
    site = node.where.called
    return f"`{node.op.partition('.')[2] or node.op}`" + (f" at {site.file}:{site.line}" if site is not None else "")


def steps(flow: Flow, path: Sequence[str]) -> tuple[Step, ...]:
    """The share of the gradient at the end of a path that reaches each block on it, proved and forecast (log10)."""
    if not path:
        return ()
    end = path[-1]
    result = []
    for block in blocks(flow.facts, path):
        first = block.nodes[0]
        bound = flow.nodes[first].bound - flow.nodes[end].bound
        size, whole = flow.norm(first), flow.norm(end)
        label = block.module or flow.facts.nodes[first].op
        forecast = None if size is None or whole is None else size - whole
        result.append(Step(label, block.module, bound if abs(bound) < float("inf") else None, forecast))
    return tuple(result)
