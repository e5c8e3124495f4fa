"""Real inputs from a file: tensors alone, read without running code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from netaudit.errors import TargetError, did_you_mean
from netaudit.intake.checkpoint import unpickled
from netaudit.intake.shards import opened
from netaudit.intake.usercode import kind_of, one_line, shown

KINDS = (".pt", ".pth", ".safetensors", ".npz")
_UNNAMED = re.compile(r"arr_\d+")  # what numpy calls the arrays that savez is given by position
_FORMS = "save a tensor, a tuple of them, or a dict of named ones"


def read(path: Path) -> object:
    """The batch in a file, on the CPU: a tensor, a tuple of arguments, or a mapping by name; nothing in it is differentiated.

    Raises:
        TargetError: there is no such file, it is damaged, or it holds something that is no tensor.
    """
    if not path.is_file():
        near = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise TargetError(f"there is no file {shown(path)}", did_you_mean(path.name, near) or f"--data takes {', '.join(KINDS)}")
    match path.suffix:
        case ".npz":
            return _arrays(path)
        case ".safetensors":
            return dict(opened(path))
        case ".pt" | ".pth":
            return _tensors(unpickled(path, "loading it would run code: save tensors alone"), "", shown(path))
        case other:
            raise TargetError(f"{shown(path)} is no file of inputs", did_you_mean(other, KINDS) or f"known: {', '.join(KINDS)}")


def _arrays(path: Path) -> object:
    """The arrays of an ``.npz``: by name, or by position where numpy named them."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = list(stored.files)
            found = {name: _tensor(stored[name], name, shown(path)) for name in names}
    except TargetError:
        raise
    except Exception as error:  # a damaged zip raises whatever its reader met first
        if "allow_pickle" in str(error) and path.read_bytes()[:2] == b"PK":
            raise TargetError(f"{shown(path)} holds an array of objects", f"reading it would run code: {_FORMS}") from error
        raise TargetError(
            f"{shown(path)} is damaged, or not of numpy.savez: {one_line(str(error))}", "was it copied completely?"
        ) from error
    if not found:
        raise TargetError(f"{shown(path)} holds no array", _FORMS)
    return tuple(found.values()) if all(map(_UNNAMED.fullmatch, names)) else found


def _tensor(array: np.ndarray, name: str, where: str) -> Tensor:
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise TargetError(f"{name!r} in {where} holds {array.dtype}, which is no number that torch knows", "save numbers") from error


def _tensors(value: object, place: str, where: str) -> object:
    """The value with its tensors detached; sequences become tuples.

    Raises:
        TargetError: a part of it is neither a tensor nor a container of them; the message says which.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping) and value and all(isinstance(key, str) for key in value):
        return {key: _tensors(one, f"{place}[{key!r}]", where) for key, one in value.items()}
    if isinstance(value, tuple | list) and value:
        return tuple(_tensors(one, f"{place}[{index}]", where) for index, one in enumerate(value))
    kind = "an empty container" if isinstance(value, Mapping | tuple | list) and not value else f"{kind_of(value)}, no tensor"
    raise TargetError(f"{place} in {where} is {kind}" if place else f"{where} holds {kind}", _FORMS)
