"""What several checks share: module paths, what stands behind views and casts, how numbers are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import TYPE_CHECKING

from netaudit import Audit, Node, ParamInfo, Site, Where

if TYPE_CHECKING:
    from netaudit import Facts

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


def home(facts: Facts, name: str) -> str:
    """The module that a call belongs to: of what the root module itself applied, the nearest submodule behind it."""
    node = facts.nodes[name]
    while not node.where.module and node.inputs:
        node = facts.nodes[node.inputs[0]]
    return node.where.module


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
