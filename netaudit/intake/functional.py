"""In-place calls and writes through views, turned into pure calls: each write makes a new version of the tensor it changes.

Export's training IR is not functional: after ``relu_(x)`` or ``y[:, 0] = h`` the old name of ``x`` (``y``) means the new
value. Every tensor is known by its base and the chain of views that leads to it. A write to a view puts the new part back
into the base (``slice_scatter``, or the inverse view); a later read of another view of that base takes it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.utils._pytree as pytree

from .calls import Call, Value

aten = torch.ops.aten


@dataclass(slots=True)
class _Alias:
    """A value as a chain of views of a base; ``current`` names it as of ``version`` of the base."""

    base: Value
    chain: tuple[Call, ...]
    current: Value
    version: int = 0


@dataclass(slots=True)
class _Memory:
    """What each value is called now. Mutable: it is the symbol table of one pass."""

    out: list[Call] = field(default_factory=list)
    aliases: dict[Value, _Alias] = field(default_factory=dict)
    versions: dict[Value, int] = field(default_factory=dict)
    bases: dict[Value, Value] = field(default_factory=dict)
    fakes: dict[str, Any] = field(default_factory=dict)
    fresh: int = 0


def functionalise(calls: Sequence[Call], results: Sequence[Value], leaves: Mapping[str, Any]) -> tuple[tuple[Call, ...], tuple[Value, ...]]:
    """Pure calls with the same values, and the results by their current names. ``leaves`` gives shapes and dtypes."""
    memory = _Memory(fakes=dict(leaves))
    sliced, results = _split_pieces(calls, results)
    for call in sliced:
        _step(memory, call)
    current = tuple(_read(memory, value) for value in results)  # may take views anew: before the calls are closed
    return tuple(memory.out), current


def _step(memory: _Memory, call: Call) -> None:
    written = _written(call)
    if written is not None:
        _write(memory, call, written)
        return
    args, kwargs = _renamed(memory, call.args), _renamed(memory, dict(call.kwargs))
    memory.out.append(replace(call, args=args, kwargs=kwargs))
    memory.fakes[call.name] = call.fake
    made = Value(call.name)
    source = call.args[0] if call.args else None
    if isinstance(source, Value) and _is_view(call, memory.fakes.get(source.name)):
        parent = _alias_of(memory, source)
        memory.aliases[made] = _Alias(parent.base, (*parent.chain, call), made, memory.versions.get(parent.base, 0))


def _renamed(memory: _Memory, tree: Any) -> Any:
    return pytree.tree_map(lambda v: _read(memory, v) if isinstance(v, Value) else v, tree, is_leaf=lambda v: isinstance(v, Value))


def _alias_of(memory: _Memory, value: Value) -> _Alias:
    if value not in memory.aliases:
        memory.aliases[value] = _Alias(value, (), value)
    return memory.aliases[value]


def _read(memory: _Memory, value: Value) -> Value:
    """The current name of a value: its views are taken anew when the base has changed since."""
    if value.output is not None or value not in memory.aliases:
        return value
    alias = memory.aliases[value]
    version = memory.versions.get(alias.base, 0)
    if alias.version != version:
        current = memory.bases[alias.base]
        for view in alias.chain:
            current = _emit(
                memory,
                replace(view, args=(current, *_renamed(memory, view.args[1:])), kwargs=_renamed(memory, dict(view.kwargs))),
            )
        alias.current, alias.version = current, version
    return alias.current


def _emit(memory: _Memory, call: Call) -> Value:
    """Append a call under a fresh name derived from the old one."""
    memory.fresh += 1
    name = f"{call.name}.v{memory.fresh}"
    memory.out.append(replace(call, name=name))
    memory.fakes[name] = call.fake
    return Value(name)


def _write(memory: _Memory, call: Call, written: Value) -> None:
    """``f_(x, ...)`` becomes ``n = f(x, ...)``; n is then put back, view by view, into the base."""
    alias = _alias_of(memory, written)
    stages = _stages(memory, alias)
    pure = _copied(memory, call, written) if call.packet == "aten.copy_" else _pure(memory, call)
    memory.out.append(pure)
    memory.fakes[pure.name] = pure.fake
    current = Value(pure.name)
    for before, view in zip(reversed(stages[:-1]), reversed(alias.chain), strict=True):
        current = _put_back(memory, before, view, current, call)
    version = memory.versions.get(alias.base, 0) + 1
    memory.versions[alias.base] = version
    memory.bases[alias.base] = current
    alias.current, alias.version = Value(pure.name), version
    memory.aliases[Value(call.name)] = alias
    _alias_of(memory, alias.base)


def _stages(memory: _Memory, alias: _Alias) -> list[Value]:
    """The values along the chain before the write: the base, each view of it, the written one."""
    current = memory.bases.get(alias.base, alias.base)
    stages = [current]
    for position, view in enumerate(alias.chain):
        if position == len(alias.chain) - 1:
            stages.append(alias.current)
        else:
            current = _emit(memory, replace(view, args=(current, *view.args[1:])))
            stages.append(current)
    return stages


def _put_back(memory: _Memory, before: Value, view: Call, part: Value, cause: Call) -> Value:
    """The inverse of one view: the tensor before it, with the part replaced."""
    name, args = view.packet, view.args[1:]
    fake = memory.fakes.get(before.name)
    made = Call(f"{cause.name}.base", None, (), {}, fake, cause.stack, cause.modules, cause.regions)
    if name in _SCATTERS:
        return _emit(memory, replace(made, target=_SCATTERS[name], args=(before, part, *args)))
    if name in ("aten.transpose", "aten.t", "aten.permute"):
        inverse: Any = args
        if name == "aten.permute":
            order = [int(a) for a in args[0]]
            inverse = ([order.index(i) for i in range(len(order))],)
        return _emit(memory, replace(made, target=view.target, args=(part, *inverse)))
    if _count(fake) == _count(memory.fakes.get(part.name)):
        return _emit(memory, replace(made, target=aten.view_as.default, args=(part, before)))
    return _emit(memory, replace(made, target=unsupported_write, args=(before, part)))


def unsupported_write(*_: Any) -> Any:
    """Stands for a write through a view that cannot be undone (``expand``): an op without a transfer, counted as such."""
    raise NotImplementedError("a write through an expanded view")


_SCATTERS = {
    "aten.select": aten.select_scatter.default,
    "aten.slice": aten.slice_scatter.default,
    "aten.diagonal": aten.diagonal_scatter.default,
}


def _count(fake: Any) -> int:
    return int(fake.numel()) if isinstance(fake, torch.Tensor) else -1


def _copied(memory: _Memory, call: Call, written: Value) -> Call:
    """``copy_(x, source)`` as the source cast and broadcast to ``x``: aten.copy has no derivative."""
    source = _read(memory, call.args[1])
    have, want = memory.fakes.get(source.name), memory.fakes.get(written.name)
    if isinstance(have, torch.Tensor) and isinstance(want, torch.Tensor) and have.dtype != want.dtype:
        source = _emit(memory, replace(call, target=aten.to.dtype, args=(source, want.dtype), kwargs={}, fake=have.to(want.dtype)))
    shape = [int(n) for n in call.fake.shape]
    return replace(call, target=aten.expand.default, args=(source, shape), kwargs={})


# what a schema says -----------------------------------------------------------------------------------------------------


def _written(call: Call) -> Value | None:
    """The tensor that a call changes, if it changes one."""
    if not call.is_aten or not call.target._schema.is_mutable:
        return None
    for position, argument in enumerate(call.target._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = call.kwargs.get(argument.name, call.args[position] if position < len(call.args) else None)
            if isinstance(value, Value):
                return value
    return None


def _is_view(call: Call, source: Any) -> bool:
    """Whether the result shares memory with the first argument; a change of dtype is always a copy."""
    if not call.is_aten or all(r.alias_info is None for r in call.target._schema.returns):
        return False
    return not isinstance(source, torch.Tensor) or not isinstance(call.fake, torch.Tensor) or source.dtype == call.fake.dtype


def _pure(memory: _Memory, call: Call) -> Call:
    """The functional counterpart of a mutating call."""
    name = call.target._schema.name.split("::")[1]
    overload = call.target._overloadname
    namespace = getattr(torch.ops, call.target.namespace)
    kwargs = _renamed(memory, {k: v for k, v in call.kwargs.items() if k != "out"})
    plain = name if overload.endswith("out") else name.rstrip("_") if not name.startswith("__i") else name.replace("__i", "__")
    packet = getattr(namespace, plain, None)
    wanted = overload.removesuffix("_out") if overload != "out" else _without_out(call, packet)
    other = getattr(namespace, f"{plain}_functional", None)  # of normal_, for aten.normal takes tensors of means
    found = (getattr(one, name, None) for one, name in ((packet, wanted), (packet, "default"), (packet, "Tensor"), (other, "default")))
    target = next((one for one in found if one is not None), call.target)
    return replace(call, target=target, args=_renamed(memory, call.args), kwargs=kwargs)


def _without_out(call: Call, packet: Any) -> str:
    """The overload with the arguments of a call that writes into ``out``: of ``div`` it is Tensor, default divides numbers."""
    wanted = [(a.name, str(a.type)) for a in call.target._schema.arguments if not a.is_out]
    schemas = ((name, getattr(packet, name)._schema) for name in (packet.overloads() if packet is not None else ()))
    return next((name for name, schema in schemas if [(a.name, str(a.type)) for a in schema.arguments] == wanted), "default")


_SPLITS = {
    "aten.split",
    "aten.split_with_sizes",
    "aten.chunk",
    "aten.unbind",
    "aten.tensor_split",
    "aten.unsafe_split",
    "aten.unsafe_chunk",
}


def _split_pieces(calls: Sequence[Call], results: Sequence[Value]) -> tuple[list[Call], list[Value]]:
    """``getitem(split(x), i)`` as a slice of ``x``: one tensor out per call. The results are renamed likewise."""
    splits = {call.name: call for call in calls if call.packet in _SPLITS}
    made: dict[Value, Value] = {}
    result: list[Call] = []

    def piece(value: Any) -> Any:
        if not isinstance(value, Value) or value.name not in splits or value.output is None:
            return value
        if value not in made:
            slice_of = _as_slice(splits[value.name], value.output, piece)  # pieces of pieces are made first
            result.append(slice_of)
            made[value] = Value(slice_of.name)
        return made[value]

    for call in calls:
        if call.name in splits:
            continue
        mapped = pytree.tree_map(piece, (call.args, dict(call.kwargs)), is_leaf=lambda v: isinstance(v, Value))
        result.append(replace(call, args=mapped[0], kwargs=mapped[1]))
    renamed = [piece(value) for value in results]
    return result, renamed


def _as_slice(split: Call, index: int, piece: Callable[[Any], Any]) -> Call:
    arguments = dict(zip([a.name for a in split.target._schema.arguments], split.args, strict=False)) | dict(split.kwargs)
    source = piece(arguments["self"])
    dim = int(arguments.get("dim", 0))
    fakes = split.fake
    fake = fakes[index]
    name = f"{split.name}_{index}"
    if split.packet == "aten.unbind":
        return replace(split, name=name, target=aten.select.int, args=(source, dim, index), kwargs={}, fake=fake)
    start = sum(int(f.shape[dim]) for f in fakes[:index])
    stop = start + int(fake.shape[dim])
    return replace(split, name=name, target=aten.slice.Tensor, args=(source, dim, start, stop), kwargs={}, fake=fake)
