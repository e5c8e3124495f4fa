"""What several checks share: module paths, the path a gradient takes, what stands behind views and casts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from netaudit import Audit, Node, ParamInfo, Site, Step, Where

if TYPE_CHECKING:
    from netaudit import Facts, Flow

_MOVING = """
view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as contiguous clone alias to _to_copy type_as float double
half
permute transpose t numpy_T swapaxes movedim slice select narrow expand expand_as index_select lift_fresh_copy detach
"""
MOVES = frozenset(f"aten.{name}" for name in _MOVING.split())
"""Ops that only move, keep or repeat entries."""


def common_module(modules: Iterable[str]) -> str:
    """The deepest module that holds all of the given ones."""
    paths = [m.split(".") for m in modules if m]
    if not paths:
        return ""
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def module_of(param: str) -> str:
    """The module that owns a parameter."""
    return param.rpartition(".")[0]


def behind_moves(facts: Facts, name: str) -> Node:
    """The node that computed a value, seen through ops that only move entries."""
    node = facts.nodes[name]
    while node.op in MOVES and node.inputs:
        node = facts.nodes[node.inputs[0]]
    return node


def owner_site(audit: Audit, module: str, fallback: Where) -> Where:
    """Where a module was built and first called: from the first node inside it that knows."""
    for node in audit.graph.nodes:
        inside = node.where.module == module or node.where.module.startswith(module + ".") or not module
        if inside and node.where.created is not None and node.op not in ("input", "constant"):
            called = node.where.called or _called_inside(audit, module)
            return Where(module, node.where.module_type if node.where.module == module else "", called, node.where.created)
    return Where(module, fallback.module_type, fallback.called, fallback.created)


def _called_inside(audit: Audit, module: str) -> Site | None:
    nodes = (n for n in audit.graph.nodes if n.where.module.startswith(module) and n.where.called is not None)
    return next((n.where.called for n in nodes), None)


NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive nodes of a path that belong to one module."""

    module: str
    module_type: str
    nodes: tuple[str, ...]


def blocks(facts: Facts, path: Sequence[str]) -> tuple[Block, ...]:
    """A path of nodes grouped by the module that made them, in the order of the path."""
    result: list[Block] = []
    for name in path:
        where = facts.nodes[name].where
        if result and result[-1].module == where.module:
            result[-1] = Block(where.module, where.module_type, (*result[-1].nodes, name))
        else:
            result.append(Block(where.module, where.module_type, (name,)))
    return tuple(result)


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


def culprit(flow: Flow, path: Sequence[str], share: float = 0.8) -> str:
    """The deepest module whose calls account for most of the change of the gradient's norm along a path.

    Where the gradient becomes exactly zero, the call at which it does; where no module holds the share, the one that holds
    most.
    """
    norms = [flow.norm(name) for name in path]
    dead = [i for i, n in enumerate(norms) if n == NEVER]
    if dead and dead[-1] + 1 < len(path):
        return flow.facts.nodes[path[dead[-1] + 1]].where.module
    if len(path) < 2:
        return flow.facts.nodes[path[0]].where.module if path else ""
    known = [0.0 if n is None else n for n in norms]
    changes = [(flow.facts.nodes[name].where.module, b - a) for name, a, b in zip(path[1:], known[:-1], known[1:], strict=True)]
    total = sum(change for _, change in changes)
    prefix = ""
    while True:
        sums: dict[str, float] = {}
        for module, change in changes:
            rest = module.removeprefix(prefix).strip(".") if module.startswith(prefix) else ""
            if rest:
                child = f"{prefix}.{rest.split('.')[0]}".strip(".")
                sums[child] = sums.get(child, 0.0) + change
        best = max(sums, key=lambda child: sums[child] * (1 if total > 0 else -1), default="")
        if not best or (sums[best] / total < share if total else True):
            return prefix or best
        prefix = best


SENSITIVITY = "S = ||W||_F ||G||_F is the change of the loss for a 100 % change of the weight"


@dataclass(frozen=True, slots=True)
class Blame:
    """The path that a parameter's gradient takes from the loss, the module on it that changed the gradient most, and its source."""

    path: tuple[str, ...]
    module: str
    where: Where


def blame(audit: Audit, param: str) -> Blame:
    """What a gradient that is too small or too large is put down to."""
    node = audit.graph.params[param]
    path = tuple(audit.flow.path(node.node)[1:])
    module = culprit(audit.flow, path) or module_of(param)
    return Blame(path, module, owner_site(audit, module, audit.facts.nodes[path[0]].where if path else node.where))


def is_matrix(shape: Sequence[int]) -> bool:
    """Whether a parameter varies along two axes or more: not a bias, a gain, a class token."""
    return sum(n > 1 for n in shape) >= 2


def trained(audit: Audit) -> Iterable[tuple[str, ParamInfo]]:
    """The parameters that are trained."""
    return ((name, info) for name, info in audit.graph.params.items() if info.trainable)


def scientific(log10: float, *, up: bool = False) -> str:
    """``10^x`` as people read it: 2.0e-07; ``up``: rounded up, for what is proved."""
    if log10 == float("-inf"):
        return "0"
    exponent = int(log10 // 1)
    digits = 2 if -2 <= exponent <= 3 else 1
    mantissa = 10 ** (log10 - exponent)
    mantissa = ceil(mantissa * 10**digits) / 10**digits if up else round(mantissa, digits)
    if mantissa >= 10:
        mantissa, exponent = mantissa / 10, exponent + 1
    return f"{mantissa:.1f}e{exponent:+03d}" if not -2 <= exponent <= 3 else f"{mantissa * 10.0**exponent:.3g}"
