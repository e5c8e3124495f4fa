"""The calls of an fx graph as a flat list: subgraphs inlined, regions marked, pieces of several outputs named."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode
from torch.fx.node import map_arg

from netaudit.graph import CUSTOM_FUNCTION, SAMPLED_BACKWARD


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph: the call that made it, and which of its outputs."""

    name: str
    output: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One ATen call. ``fake`` carries shape and dtype; ``stack`` and ``modules`` say where it was made."""

    name: str
    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    fake: Any = None
    stack: str = ""
    modules: tuple[tuple[str, str], ...] = ()
    regions: frozenset[str] = frozenset()

    @property
    def is_aten(self) -> bool:
        """Whether the target is an operator with a schema."""
        return isinstance(self.target, torch._ops.OpOverload)

    @property
    def packet(self) -> str:
        """``aten.relu_`` for ``aten.relu_.default``; the bare name for anything else."""
        if self.is_aten:
            return str(self.target.overloadpacket).replace("::", ".")
        return getattr(self.target, "__name__", str(self.target))


def flatten(module: GraphModule) -> tuple[tuple[Call, ...], tuple[Value, ...], Mapping[str, Any]]:
    """The calls in order, the graph's results, and the fake tensor of every placeholder and attribute."""
    walk = _Walk()
    results = walk.run(module, {}, frozenset(), "")
    return tuple(walk.calls), tuple(v for v in results if isinstance(v, Value)), walk.leaves


_PLUMBING = ("aten._assert", "aten.sym_constrain", "profiler.", "aten._assert_tensor_metadata", "aten._assert_async")


class _Walk:
    """Collects calls while walking nested graph modules; one instance per trace."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.leaves: dict[str, Any] = {}
        self._names: set[str] = set()

    def run(self, module: GraphModule, bound: Mapping[str, Any], regions: frozenset[str], prefix: str) -> tuple[Any, ...]:
        env: dict[FxNode, Any] = {}
        for node in module.graph.nodes:
            if node.op == "placeholder":
                env[node] = bound[node.name] if node.name in bound else self._leaf(node)
            elif node.op == "get_attr":
                env[node] = self._attribute(module, node)
            elif node.op == "call_function":
                regions = self._call(node, env, regions, prefix)
            elif node.op == "output":
                return tuple(_mapped(node.args[0], env))
        return ()

    def _leaf(self, node: FxNode) -> Value:
        self.leaves[node.name] = node.meta.get("val")
        return Value(node.name)

    def _attribute(self, module: GraphModule, node: FxNode) -> Any:
        value: Any = module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        if isinstance(value, GraphModule):
            return value
        self.leaves[node.name] = value
        return Value(node.name)

    def _call(self, node: FxNode, env: dict[FxNode, Any], regions: frozenset[str], prefix: str) -> frozenset[str]:
        """Record one node; returns the regions that hold from here on (make_fx has flat enter and exit calls)."""
        target: Any = node.target
        args = _mapped(node.args, env)
        name = getattr(target, "__name__", str(target))
        if target is operator.getitem:
            env[node] = _piece(args[0], args[1])
        elif name == "wrap_with_set_grad_enabled":
            inner = regions - {"no_grad"} if args[0] else regions | {"no_grad"}
            env[node] = self._inline(node, args[1], args[2:], inner)
        elif name == "wrap_with_autocast":
            inner = regions | {f"autocast:{_dtype_name(args[1])}"} if args[2] else _without_autocast(regions)
            env[node] = self._inline(node, args[4], args[5:], inner)
        elif args and isinstance(args[0], GraphModule):  # activation checkpointing and its like: the body is what runs
            env[node] = self._inline(node, args[0], args[1:], regions)
        elif name == "_set_grad_enabled":
            return regions - {"no_grad"} if args[0] else regions | {"no_grad"}
        elif name == "_enter_autocast":
            return regions | {f"autocast:{_dtype_name(args[1])}"}
        elif name == "_exit_autocast":
            return _without_autocast(regions)
        elif not str(target).startswith(_PLUMBING):
            env[node] = self._record(node, args, _mapped(node.kwargs, env), regions, prefix)
        return regions

    def _inline(self, node: FxNode, body: GraphModule, args: tuple[Any, ...], regions: frozenset[str]) -> tuple[Any, ...]:
        places = [n.name for n in body.graph.nodes if n.op == "placeholder"]
        return self.run(body, dict(zip(places, args, strict=False)), regions, f"{node.name}.")

    def _record(self, node: FxNode, args: Any, kwargs: Any, regions: frozenset[str], prefix: str) -> Value:
        name = node.name if node.name not in self._names else prefix + node.name
        self._names.add(name)
        marks = node.meta.get("custom") or {}
        custom = {CUSTOM_FUNCTION + marks[CUSTOM_FUNCTION]} if CUSTOM_FUNCTION in marks else set()
        custom |= {SAMPLED_BACKWARD} if marks.get(SAMPLED_BACKWARD) else set()
        self.calls.append(
            Call(
                name,
                node.target,
                tuple(args),
                dict(kwargs),
                node.meta.get("val"),
                node.meta.get("stack_trace") or "",
                tuple((path, _type_name(kind)) for path, kind in (node.meta.get("nn_module_stack") or {}).values()),
                regions | custom,
            )
        )
        return Value(name)


def _mapped(value: Any, env: Mapping[FxNode, Any]) -> Any:
    return map_arg(value, lambda node: env[node])


def _piece(whole: Any, index: Any) -> Any:
    if isinstance(whole, Value):
        return Value(whole.name, index)
    return whole[index]


def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _without_autocast(regions: frozenset[str]) -> frozenset[str]:
    return frozenset(r for r in regions if not r.startswith("autocast:"))


def _type_name(kind: Any) -> str:
    return kind.rsplit(".", 1)[-1] if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
