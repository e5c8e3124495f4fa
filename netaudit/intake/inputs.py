"""What a model is fed: the sources of a batch, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import Signature
from pathlib import Path

import torch
from torch.utils import _pytree as pytree

from netaudit.errors import TargetError
from netaudit.intake import data, guess, hf, zoo
from netaudit.intake.files import hook
from netaudit.intake.signatures import misfit, positional, required, shown_signature, signature_of
from netaudit.intake.spec import Spec, draw, parse_specs
from netaudit.intake.subject import Built, Inputs, Options
from netaudit.intake.usercode import kind_of, reseed, shown, user_code

_SYNTAX = "give them with --input NAME=f32[8,32], or define example_inputs()"


def choose(built: Built, options: Options) -> Inputs:
    """The batch of the first source that has one; whatever the source, it fits the signature of ``forward``.

    The order: ``--data``, ``--input`` or the configuration, ``example_inputs()``, the program's own, ``example_input_array``,
    ``dummy_inputs``, what is known of models of the zoos, a guess from the first layer. Only a guess runs the model.

    Raises:
        TargetError: a source fails, its batch does not fit ``forward``, or there is none.
    """
    found = (
        _from_data(built, options)
        or _from_specs(built, options)
        or _from_file(built, options)
        or _from_program(built)
        or _from_attribute(built, "example_input_array")
        or _from_attribute(built, "dummy_inputs")
        or _from_zoo(built, options)
        or _from_guess(built, options)
    )
    refuse_misfit(built, found)
    return found


def _from_data(built: Built, options: Options) -> Inputs | None:
    """The batch of a file, in the form of ``example_inputs()`` where a loss will take it."""
    if options.data is None:
        return None
    if built.program is not None:
        raise TargetError(f"{built.id} is a program, which comes with its inputs", "leave out --data")
    source = f"--data {shown(options.data)}"
    found = _spread(data.read(Path(options.data)), source, source)
    refuse_misfit(built, found)
    return _for_loss(built, found, options)


def _from_specs(built: Built, options: Options) -> Inputs | None:
    if not options.inputs:
        return None
    found = _drawn(parse_specs(options.inputs), options.seed, options.inputs_from)
    refuse_misfit(built, found)
    return _for_loss(built, found, options)


def _for_loss(built: Built, found: Inputs, options: Options) -> Inputs:
    """The inputs with the batch as the file's ``loss`` takes it, if there is one."""
    example = _example(built, options.seed) if built.origin and hook(built.origin, "loss") else None
    return replace(found, given=_formed_like(example, found, signature_of(built.model.forward)))


def _drawn(specs: Sequence[Spec], seed: int, source: str) -> Inputs:
    """The batch that specifications describe: those without a name by position."""
    tensors = draw(specs, seed)
    args = tuple(tensor for spec, tensor in zip(specs, tensors, strict=True) if not spec.name)
    kwargs = {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True) if spec.name}
    return Inputs(args, kwargs, _given(args, kwargs), source)


def _formed_like(example: object, found: Inputs, signature: Signature | None) -> object:
    """The batch in the form that the file's ``loss`` expects: that of what its ``example_inputs`` returns."""
    if example is None or signature is None:
        return found.given
    by_name = signature.bind(*found.args, **found.kwargs).arguments
    if isinstance(example, Mapping):
        return dict(by_name)
    values = tuple(by_name.values())
    return values[0] if isinstance(example, torch.Tensor) and len(values) == 1 else values


def _from_file(built: Built, options: Options) -> Inputs | None:
    given = _example(built, options.seed)
    if given is None or built.origin is None:
        return None
    return _spread(given, "example_inputs()", f"example_inputs() of {built.id}")


def _example(built: Built, seed: int) -> object:
    """What ``example_inputs()`` of the file returns; None when there is no such function."""
    function = hook(built.origin, "example_inputs") if built.origin else None
    if function is None:
        return None
    signature = signature_of(function)
    kwargs = {"seed": seed} if signature is not None and "seed" in signature.parameters else {}
    what = f"example_inputs() of {built.id}"
    problem = misfit(signature, (), kwargs) if signature is not None else ""
    if problem:
        raise TargetError(f"{what} {problem}", "it is called without arguments, or with seed=0 if it has one of that name")
    reseed(seed)  # the same inputs whatever the model drew for its weights
    with user_code(what):
        given = function(**kwargs)
    if given is None:
        raise TargetError(f"{what} returned None", "return a tensor, a tuple of arguments, or a dict of named ones")
    return given


def _from_program(built: Built) -> Inputs | None:
    stored = built.program.example_inputs if built.program else None
    if stored is None:
        return None
    args, kwargs = stored
    return Inputs(tuple(args), dict(kwargs), _given(args, kwargs), ".pt2")


def _from_attribute(built: Built, name: str) -> Inputs | None:
    """The inputs that a model carries: Lightning's ``example_input_array``, transformers' ``dummy_inputs``."""
    if name == "dummy_inputs" and hf.has_stock_inputs(built.model):
        return None
    with user_code(f"{name} of {built.id}"):
        given: object = getattr(built.model, name, None)
    usable = isinstance(given, torch.Tensor | tuple | list | Mapping)
    return _spread(given, name, f"{name} of {built.id}") if usable else None


def _from_zoo(built: Built, options: Options) -> Inputs | None:
    known = zoo.known_inputs(built.model)
    if known is None:
        return None
    if known.arrange is None:
        return _drawn(known.specs, options.seed, known.source)
    args = known.arrange(draw(known.specs, options.seed))
    return Inputs(args, {}, args, known.source)


def _from_guess(built: Built, options: Options) -> Inputs:
    signature = signature_of(built.model.forward)
    needed = required(signature) if signature is not None else ()
    if signature is not None and not signature.parameters:
        return Inputs((), {}, (), "guess")
    if signature is not None and len(needed) > 1:
        call = shown_signature("forward", signature)
        example = " ".join(f"--input {parameter.name}=f32[8,32]" for parameter in needed)
        raise TargetError(f"{call} of {built.id} needs several inputs, and none is known", f"give each, like {example}")
    names = (*(parameter.name for parameter in needed), *(positional(signature) if signature is not None else ()), "")
    return guess.guessed(built.model, built.id, names[0], options.seed)


def given(built: Built, batch: object, source: str) -> Inputs:
    """The batch that a caller has in hand.

    Raises:
        TargetError: it is nothing that ``forward`` can be called with.
    """
    if isinstance(batch, torch.Tensor | tuple | list | Mapping):
        return _spread(batch, source, f"the {source} of {built.id}")
    hint = "give a tensor, a tuple of arguments, or a dict of named ones; put a batch of another type in a tuple"
    raise TargetError(f"the {source} of {built.id} are {kind_of(batch)}, which forward() cannot be called with", hint)


def _spread(given: object, source: str, what: str) -> Inputs:
    """Read a batch as arguments: a tensor is one, a tuple or list several, a mapping named ones."""
    if isinstance(given, torch.Tensor):
        return Inputs((given,), {}, given, source)
    if isinstance(given, Mapping) and all(isinstance(key, str) for key in given):
        return Inputs((), dict(given), given, source)
    if isinstance(given, tuple | list):
        return Inputs(tuple(given), {}, given, source)
    hint = "return a tensor, a tuple of arguments, or a dict of named ones; put a batch of another type in a tuple"
    raise TargetError(f"{what} returned {kind_of(given)}, which forward() cannot be called with", hint)


def _given(args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """A batch as one value: a tuple if all arguments are by position, else a table, by name or by number."""
    if not kwargs:
        return args
    return {**{str(index): value for index, value in enumerate(args)}, **kwargs}


def refuse_misfit(built: Built, found: Inputs) -> None:
    """Compare with the signature of ``forward``: an error here says more than the one that calling it would raise.

    Raises:
        TargetError: the batch does not fit, or holds what a model cannot be traced with.
    """
    signature = signature_of(built.model.forward)
    problem = misfit(signature, found.args, found.kwargs) if signature is not None else ""
    if problem and signature is not None:
        call = shown_signature("forward", signature)
        raise TargetError(f"the inputs of {built.id} ({found.source}) do not fit: forward() {problem}", f"{call}: {_SYNTAX}")
    for value in (*found.args, *found.kwargs.values()):
        if type(value).__module__ == "numpy":
            kind = f"numpy.{type(value).__name__}"
            raise TargetError(f"the inputs of {built.id} ({found.source}) hold a {kind}", "use torch.from_numpy(...)")
    for leaf in pytree.tree_leaves((found.args, dict(found.kwargs))):
        if isinstance(leaf, torch.Tensor) and (leaf.layout != torch.strided or leaf.is_nested):
            kind = "nested" if leaf.is_nested else str(leaf.layout).removeprefix("torch.")
            raise TargetError(f"the inputs of {built.id} ({found.source}) hold a {kind} tensor", "give a dense one, padded if need be")
