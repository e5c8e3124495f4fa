"""Tensors that ask for a gradient and that ``model.parameters()`` does not list: held in lists, attributes, closures, buffers."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from netaudit.graph import Site, Unregistered, Where
from netaudit.intake.hollow import is_hollow
from netaudit.intake.sites import created
from netaudit.intake.subject import Subject
from netaudit.intake.trace import Leaf
from netaudit.intake.usercode import is_installed

DEEPEST = 5
"""How many containers inside one another are looked into."""
MOST = 20_000
"""How many objects are looked at before the search gives up: a model may hold a data set."""
_OWN = frozenset(vars(nn.Module())) | {"_netaudit_site"}


@dataclass(frozen=True, slots=True)
class _Found:
    """A tensor outside ``parameters()``: how the user's code reaches it, the module that holds it, and where it was built."""

    tensor: Tensor
    name: str
    holder: str
    where: Where


def unregistered(subject: Subject, leaves: Sequence[Leaf]) -> tuple[Unregistered, ...]:
    """The constants of a trace that ask for a gradient, and no parameter of the model does.

    torch.export lifts a tensor that it does not know as a copy without ``requires_grad`` on the same memory, so tensors are
    told by their address.
    """
    suspects = [leaf for leaf in leaves if leaf.kind == "constant" and leaf.tensor.is_floating_point() and not is_hollow(leaf.tensor)]
    if not suspects or subject.program is not None:
        return ()
    known = {found.tensor.data_ptr(): found for found in _search(subject) if not is_hollow(found.tensor)}
    trained = {id(p) for optimizer in subject.optimizers for group in optimizer.param_groups for p in group["params"]}
    result = []
    for leaf in suspects:
        found = known.get(leaf.tensor.data_ptr()) if leaf.tensor.numel() else None
        if found is None and not leaf.tensor.requires_grad:
            continue
        found = found or _Found(leaf.tensor, leaf.name, "the code", Where())
        shape = tuple(found.tensor.shape)
        is_leaf, optimised = found.tensor.is_leaf, id(found.tensor) in trained
        result.append(Unregistered(leaf.node, found.name, shape, found.holder, found.where, is_leaf, optimised))
    return tuple(result)


def _search(subject: Subject) -> Iterator[_Found]:
    """Every stray tensor that the model's attributes, its ``forward`` methods and the loss can reach; the nearest name wins."""
    model = subject.model
    walk = _Walk({id(p) for p in model.parameters()}, {id(m) for m in model.modules()})
    places = list(model.named_modules())
    for path, module in places:
        place = Where(path, type(module).__name__, None, subject.created.get(path))
        for name, buffer in module.named_buffers(recurse=False):
            yield from walk.visit(buffer, _joined(path, name), "a buffer", place, 0)
        for name, value in vars(module).items():
            if name not in _OWN:
                own = Where(_joined(path, name), type(value).__name__, None, place.created)
                yield from walk.visit(value, _joined(path, name), _kind(value), own, 0)
    for path, module in places:
        place = Where(path, type(module).__name__, None, subject.created.get(path))
        yield from walk.function(type(module).forward, "forward", place, 0)
    if subject.loss is not None:
        yield from walk.function(subject.loss, "the loss", Where(), 0)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return "an attribute"
    if isinstance(value, nn.Module):
        return "an attribute that nn.Module does not see"
    return f"a {type(value).__name__}"


class _Walk:
    """One search: what was seen already is not looked at again. Mutable, one instance per model."""

    def __init__(self, parameters: set[int], modules: set[int]) -> None:
        self._registered, self._seen, self._left = parameters, set(modules), MOST

    def visit(self, value: Any, name: str, holder: str, where: Where, depth: int) -> Iterator[_Found]:
        """The stray tensors in a value."""
        if isinstance(value, (int, float, str, bool, bytes, type(None), type, torch.dtype)) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._left -= 1
        if self._left < 0 or depth > DEEPEST:
            return
        if isinstance(value, Tensor):
            if value.requires_grad and id(value) not in self._registered:
                yield _Found(value, name, holder, where)
        elif isinstance(value, nn.Module):
            yield from self._module(value, name, holder, where)
        elif isinstance(value, (FunctionType, MethodType, functools.partial)):
            yield from self.function(value, holder, where, depth)
        else:
            for key, item in _items(value):
                yield from self.visit(item, name + key, holder, where, depth + 1)

    def _module(self, module: nn.Module, name: str, holder: str, where: Where) -> Iterator[_Found]:
        sites = created(module)
        for path, tensor in module.named_parameters():
            if tensor.requires_grad and id(tensor) not in self._registered:
                own = path.rpartition(".")[0]
                place = Where(where.module, where.module_type, None, _nearest(sites, own) or where.created)
                yield _Found(tensor, f"{name}.{path}", holder, place)

    def function(self, function: Any, holder: str, where: Where, depth: int) -> Iterator[_Found]:
        """The stray tensors that a function of the user's closes over, or takes from the globals of its file."""
        if isinstance(function, functools.partial):
            for item in (*function.args, *function.keywords.values()):
                yield from self.visit(item, "partial", holder, where, depth + 1)
        plain = getattr(getattr(function, "func", function), "__func__", getattr(function, "func", function))
        code = getattr(plain, "__code__", None)
        if not isinstance(plain, FunctionType) or not isinstance(code, CodeType) or is_installed(code.co_filename):
            return
        for name, content in inspect.getclosurevars(plain).nonlocals.items():
            yield from self.visit(content, name, f"the closure of {holder}", where, depth + 1)
        for name in sorted(_names(code)):
            if name in plain.__globals__:
                yield from self.visit(plain.__globals__[name], name, f"a global of {holder}", where, depth + 1)


def _names(code: CodeType) -> frozenset[str]:
    """The globals that a function and those defined inside it may read."""
    inner = (_names(c) for c in code.co_consts if isinstance(c, CodeType))
    return frozenset(code.co_names).union(*inner)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container, or an object of the user's, holds."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", item) for key, item in list(value.items()))
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{i}]", item) for i, item in enumerate(list(value)))
    elif hasattr(value, "__dict__") and not _is_foreign(value):
        yield from ((f".{key}", item) for key, item in list(vars(value).items()))


def _is_foreign(value: object) -> bool:
    """Whether an object is of a library's class or a python module: what those hold is not the model's."""
    home = sys.modules.get(type(value).__module__)
    file = getattr(home, "__file__", None)
    return file is None or is_installed(file)


def _nearest(sites: Mapping[str, Site], path: str) -> Site | None:
    while path:
        if path in sites:
            return sites[path]
        path = path.rpartition(".")[0]
    return sites.get("")
