"""Which of the user's lines made a call."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache

import torch

from netaudit.graph import Site, Where
from netaudit.intake.usercode import shown

from .calls import Call

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_TORCH = os.path.dirname(torch.__file__) + os.sep
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def where(call: Call, created: Mapping[str, Site]) -> Where:
    """The module whose forward made the call, the innermost line outside torch and netaudit, and where the module was built."""
    path, kind = _module(call)
    return Where(path, kind, called_at(call.stack), _creation(path, created))


def _module(call: Call) -> tuple[str, str]:
    for path, kind in reversed(call.modules):
        own = path.removeprefix("model").removeprefix(".") if path.split(".")[0] == "model" else path
        if path:
            return own.split("@")[0], kind
    return "", ""


def _creation(path: str, created: Mapping[str, Site]) -> Site | None:
    """Where the module was constructed; a module made by torch's own code stands for the nearest parent of the user's."""
    while path:
        if path in created:
            return created[path]
        path = path.rpartition(".")[0]
    return created.get("")


@lru_cache(maxsize=65536)
def called_at(stack: str) -> Site | None:
    """The innermost frame of a stack trace that is neither torch's nor ours."""
    for file, line in reversed(_FRAME.findall(stack)):
        if not file.startswith((_TORCH, _OWN, "<")):
            return Site(shown(file), int(line))
    return None
