"""From a subject to an fx graph of ATen calls: the ladder of front ends, and what each one loses."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule

from netaudit.errors import TraceError
from netaudit.intake.functions import marked_functions
from netaudit.intake.hollow import is_hollow
from netaudit.intake.usercode import shown
from netaudit.intake.wrap import Alone, Flat, WithLoss, leaves_of

from .subject import Subject


@dataclass(frozen=True, slots=True)
class Leaf:
    """A placeholder or attribute of the fx graph and the tensor it stands for. ``kind``: input, parameter, constant."""

    node: str
    kind: str
    name: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Traced:
    """An fx graph with its leaves; ``has_loss`` says that the first of the graph's results is the loss.

    ``generators`` are the seeded random generators that the code made for itself, by placeholder: draws from them are
    constants (labels of a random teacher, a fixed projection).
    """

    module: GraphModule
    leaves: tuple[Leaf, ...]
    has_loss: bool
    tracer: str
    notes: tuple[str, ...]
    generators: Mapping[str, torch.Generator] = field(default_factory=dict)


def trace(subject: Subject, *, mode: str = "train") -> Traced:
    """Trace a subject: ``torch.export`` without decompositions, then ``make_fx`` with real values on one path.

    The loss is traced with the model when the target has one; when it does not trace, the model is traced alone and a note
    says so. The model's state (buffers, mode, random generator) is as before afterwards.

    Raises:
        TraceError: no front end could trace the model; the message names the user's line.
    """
    if subject.program is not None:
        return _from_program(subject.program)
    notes: list[str] = []
    with undisturbed(subject.model, mode), _quiet():
        if subject.loss is not None:
            try:
                return _ladder(WithLoss(subject), leaves_of(subject.inputs), True, notes)
            except TraceError as error:
                notes.append(f"the loss did not trace, the model was audited alone: {error.message}")
        return _ladder(Alone(subject), leaves_of((subject.args, dict(subject.kwargs))), False, notes)


# the ladder -------------------------------------------------------------------------------------------------------------


def _ladder(wrapper: Flat, flat: tuple[Tensor, ...], has_loss: bool, notes: Sequence[str]) -> Traced:
    try:
        return _export(wrapper, flat, has_loss, notes)
    except (Exception, SystemExit) as error:  # whatever torch.export or the model raises: the next rung decides
        first = error
    if any(is_hollow(t) for t in wrapper.parameters()):  # make_fx runs the model, which takes values
        stray = "fake tensor in the exported program" in str(first)
        why = "a weight is used that is not in model.parameters(): in a list of layers?" if stray else _reason(first)
        raise TraceError(f"torch.export failed on the meta device: {why}", "leave out --meta, for a smaller model") from first
    try:
        return _make_fx(wrapper, flat, has_loss, [*notes, f"one path only: torch.export failed ({_reason(first)})"])
    except (Exception, SystemExit) as error:
        raise TraceError(_reason(error), "run the model on these inputs yourself, or give other inputs with --input") from error


def _export(wrapper: Flat, flat: tuple[Tensor, ...], has_loss: bool, notes: Sequence[str]) -> Traced:
    said = io.StringIO()
    with marked_functions(), torch.fx.traceback.preserve_node_meta(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        program = torch.export.export(wrapper, flat, strict=False)
    _refuse_open_sizes(program.graph_module)
    sys.stderr.write(said.getvalue())  # the user's own prints; a failed export's dumps of the graph are dropped
    named = dict(wrapper.named_parameters(remove_duplicate=False)) | dict(wrapper.named_buffers(remove_duplicate=False))
    leaves = _program_leaves(program, named, flat, wrapper.names)
    return Traced(program.graph_module, leaves, has_loss, "torch.export", tuple(notes), _generators(program))


def _refuse_open_sizes(module: GraphModule) -> None:
    """A size that depends on the data (what ``nonzero`` returns) has no number in an exported program.

    Raises:
        TraceError: there is one; a path traced with real values knows it.
    """
    values = (node.meta.get("val") for part in module.modules() if isinstance(part, GraphModule) for node in part.graph.nodes)
    tensors = (leaf for value in values for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor))
    if any(isinstance(size, torch.SymInt) and size.node.maybe_as_int() is None for tensor in tensors for size in tensor.shape):
        raise TraceError("a size depends on the data")


def _generators(program: Any) -> dict[str, torch.Generator]:
    specs = (spec for spec in program.graph_signature.input_specs if spec.kind == InputKind.CUSTOM_OBJ)
    found = {spec.arg.name: program.constants.get(spec.target) for spec in specs}
    return {name: value for name, value in found.items() if isinstance(value, torch.Generator)}


def _from_program(program: torch.export.ExportedProgram) -> Traced:
    named = dict(program.named_parameters()) | dict(program.named_buffers())
    args, kwargs = program.example_inputs or ((), {})
    flat = leaves_of((args, kwargs))
    leaves = _program_leaves(program, named, flat, ())
    return Traced(program.graph_module, leaves, False, "exported program", ())


def _program_leaves(program: Any, named: Mapping[str, Tensor], flat: Sequence[Tensor], names: Sequence[str]) -> tuple[Leaf, ...]:
    inputs, own = iter(flat), iter(names)
    leaves = []
    for spec in program.graph_signature.input_specs:
        node = spec.arg.name
        if spec.kind == InputKind.PARAMETER:
            leaves.append(Leaf(node, "parameter", _own_name(spec.target), named[spec.target]))
        elif spec.kind == InputKind.BUFFER:
            tensor = named.get(spec.target, program.constants.get(spec.target))
            leaves.append(Leaf(node, "constant", _own_name(spec.target), tensor))
        elif spec.kind == InputKind.CONSTANT_TENSOR:
            leaves.append(Leaf(node, "constant", _own_name(spec.target), program.constants[spec.target]))
        elif spec.kind == InputKind.USER_INPUT:
            tensor = next(inputs, None)
            if tensor is not None:
                leaves.append(Leaf(node, "input", next(own, node), tensor))
    return tuple(leaves)


def _own_name(target: str) -> str:
    return target.removeprefix("model.")


class _Callable:
    """make_fx records the module stack only for callables that carry ``_orig_mod``."""

    def __init__(self, module: nn.Module) -> None:
        self._orig_mod = module

    def __call__(self, *flat: Tensor) -> Any:
        return self._orig_mod(*flat)


def _make_fx(wrapper: Flat, flat: tuple[Tensor, ...], has_loss: bool, notes: Sequence[str]) -> Traced:
    from torch.fx.experimental.proxy_tensor import make_fx  # seconds to import, and rarely needed

    with marked_functions(), torch.fx.traceback.preserve_node_meta():
        module = make_fx(
            _Callable(wrapper),
            pre_dispatch=True,
            tracing_mode="real",
            _error_on_data_dependent_ops=False,
            record_module_stack=True,
            record_stack_traces=True,
        )(*flat)
    return Traced(module, _attribute_leaves(module, wrapper, flat), has_loss, "make_fx", tuple(notes))


def _attribute_leaves(module: GraphModule, wrapper: Flat, flat: Sequence[Tensor]) -> tuple[Leaf, ...]:
    """make_fx holds parameters as attributes of its own: they are known by identity."""
    names = {id(t): ("parameter", _own_name(n)) for n, t in reversed(list(wrapper.named_parameters(remove_duplicate=False)))}
    inputs = iter(zip(flat, wrapper.names, strict=True))
    leaves = []
    for node in module.graph.nodes:
        if node.op == "placeholder":
            tensor, own = next(inputs)
            leaves.append(Leaf(node.name, "input", own, tensor))
        elif node.op == "get_attr":
            value = getattr(module, node.target, None)
            if isinstance(value, Tensor):
                kind, name = names.get(id(value), ("constant", node.target))
                leaves.append(Leaf(node.name, kind, name, value))
    return tuple(leaves)


# surroundings -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def undisturbed(model: nn.Module, mode: str) -> Iterator[None]:
    """Mode, buffers and the random generator restored afterwards: make_fx really runs the model."""
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers() if not is_hollow(buffer)}
    with torch.random.fork_rng(devices=[]):
        model.train(mode == "train")
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    if name in buffers and buffers[name].shape == buffer.shape:
                        buffer.copy_(buffers[name])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A failed export prints graph dumps and warnings; the user's prints belong on stderr, stdout is for results."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def _reason(error: BaseException) -> str:
    """What an exception says, in one line, with the user's innermost line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
    if "data-dependent" in text:
        text = "a branch or a size depends on the data"
    return _place(error) + text


def _place(error: BaseException) -> str:
    """``file:line: `` of the innermost frame that is neither torch's nor Python's nor ours; empty when there is none."""
    place = ""
    frame = error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        python = file.startswith(_PYTHON) and "site-packages" not in file
        if not python and not file.startswith((_TORCH, _OWN, "<")):
            place = f"{shown(file)}:{frame.tb_lineno}: "
        frame = frame.tb_next
    return place


_PYTHON = sysconfig.get_path("stdlib") + os.sep
_TORCH = os.path.dirname(torch.__file__) + os.sep
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
