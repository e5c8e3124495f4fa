"""Weights from a file, without running code from it and without loading half of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from netaudit.errors import TargetError, did_you_mean
from netaudit.intake.hollow import is_hollow
from netaudit.intake.shards import Stored, is_sharded, opened
from netaudit.intake.usercode import kind_of, one_line, shown

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_NESTED = ("state_dict", "model_state_dict", "model")  # where training scripts keep the weights among other things
_SHOWN = 3


def load_weights(model: nn.Module, path: Path) -> Mapping[str, torch.Tensor]:
    """Copy the tensors of a checkpoint into ``model``; names and shapes must agree, dtypes are converted.

    A name may be missing if it is another name of a tensor that is there (tied weights), or BatchNorm's counter,
    which old checkpoints lack. Everything is compared before anything is copied.

    Returns:
        What belongs to parameters without values, by name: it is read whenever it is asked for.

    Raises:
        TargetError: the file cannot be read, or does not fit the model.
    """
    found = _read(path)
    expected = model.state_dict(keep_vars=True)
    _compare(expected, found.headers if isinstance(found, Stored) else found, shown(path))
    hollow = {name for name, tensor in expected.items() if isinstance(tensor, torch.Tensor) and is_hollow(tensor)}
    try:
        model.load_state_dict({name: found[name] for name in found if name not in hollow}, strict=False)  # what may be missing was settled
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise TargetError(f"{shown(path)} could not be loaded: {one_line(str(error))}") from error
    return _of_parameters(found, hollow)


def _of_parameters(found: Mapping[str, object], names: set[str]) -> Mapping[str, torch.Tensor]:
    """The part of a checkpoint that belongs to these names, unread where it is in shards."""
    if isinstance(found, Stored):
        return found.only(names)
    return {name: tensor for name, tensor in found.items() if name in names and isinstance(tensor, torch.Tensor)}


def _read(path: Path) -> Mapping[str, object] | Stored:
    if is_sharded(path) and path.exists():
        return opened(path)
    if not path.is_file():
        names = [near.name for near in path.parent.iterdir()] if path.parent.is_dir() else []
        raise TargetError(
            f"there is no file {shown(path)}", did_you_mean(path.name, names) or "--weights takes a file, an index or a folder of shards"
        )
    if path.suffix == ".safetensors":
        return opened(path)
    if path.suffix in PICKLED:
        return _pickled(path)
    known = ", ".join((".safetensors", *PICKLED))
    raise TargetError(f"{shown(path)} is not a checkpoint that netaudit reads", f"known: {known}")


def unpickled(path: Path, advice: str) -> object:
    """What a file of ``torch.save`` holds, read by torch's safe unpickler, which runs no code; on the CPU.

    Raises:
        TargetError: it is damaged, or holds what only code could make: ``advice`` says what to do then.
    """
    try:
        data: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged pickle raises is anything
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            raise TargetError(f"{shown(path)} holds more than tensors: {code[1]}", advice) from error
        # torch's own message advises to switch the safe unpickler off
        raise TargetError(f"{shown(path)} is damaged, or not of torch.save", "was it copied completely?") from error
    return data


def _pickled(path: Path) -> Mapping[str, object]:
    """The state dict in a file of ``torch.save``."""
    data = unpickled(path, "loading it would run code: save model.state_dict(), best with safetensors")
    inner = [data[key] for key in _NESTED if isinstance(data, Mapping) and isinstance(data.get(key), Mapping)]
    state = inner[0] if inner else data
    if not isinstance(state, Mapping) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise TargetError(f"{shown(path)} holds no state dict but {kind_of(state)}", "save model.state_dict()")
    return {str(key): value for key, value in state.items()}


def _compare(expected: Mapping[str, object], found: Mapping[str, object], where: str) -> None:
    """Say everything that does not agree, in one error."""
    tied = {id(value) for name, value in expected.items() if name in found}
    absent = [name for name in expected if name not in found]
    missing = [name for name in absent if id(expected[name]) not in tied and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in found if name not in expected]
    wrong = [_difference(name, expected[name], found[name]) for name in expected if name in found]
    problems = [
        *_problem("missing", missing, unexpected),
        *_problem("unexpected", unexpected, missing),
        *_problem("of another shape", [text for text in wrong if text], []),
    ]
    if problems:
        raise TargetError(f"{where} does not fit the model: {'; '.join(problems)}", _advice(missing, unexpected))


def _problem(kind: str, names: list[str], others: list[str]) -> Iterable[str]:
    """``4 missing: fc.weight (did you mean 'fc1.weight'?), ... and 1 more``, or nothing."""
    if names:
        first = [name + (f" ({close})" if (close := did_you_mean(name, others)) else "") for name in names[:_SHOWN]]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"{len(names)} {kind}: {', '.join(first)}{more}"


def _difference(name: str, expected: object, found: object) -> str:
    if not isinstance(expected, torch.Tensor) or isinstance(expected, UninitializedParameter | UninitializedBuffer):
        return ""  # extra state of a module, or a lazy parameter: these take what they are given
    if not isinstance(found, torch.Tensor):
        return f"{name} ({kind_of(found)})"
    shapes = list(found.shape), list(expected.shape)
    return "" if shapes[0] == shapes[1] else f"{name} ({shapes[0]}, the model has {shapes[1]})"


def _advice(missing: list[str], unexpected: list[str]) -> str:
    """The commonest cause: a wrapper put its prefix before every name."""
    for prefix in ("module.", "model.", "_orig_mod."):
        if missing and {name.removeprefix(prefix) for name in unexpected if name.startswith(prefix)} >= set(missing):
            return f"every name begins with {prefix!r}, which a wrapper put there: save the state dict of the model inside"
    return "is it the checkpoint of this model, with the same arguments (--arg)?"
