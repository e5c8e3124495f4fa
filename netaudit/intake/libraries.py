"""The optional libraries: imported when a target asks for them, and mended where a build lacks its compiled part."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from types import ModuleType

import torch

from netaudit.errors import TargetError
from netaudit.intake.usercode import user_code

# torchvision describes these two to the fake-tensor mode while it is imported, whether its compiled operators are
# there or not. A build without them (or for another torch) therefore cannot even be imported, though nearly all of
# its models never call them. A schema without a kernel is enough for the import; calling it still fails, and says so.
_SCHEMAS = ("nms", "qnms")
_SCHEMA = "{}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def library(name: str) -> ModuleType:
    """An optional library by name; timm and transformers import torchvision, which is therefore looked after first.

    Raises:
        TargetError: it is not installed, or cannot be imported.
    """
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        raise TargetError(f"{name} is not installed", f"pip install {name}")
    with user_code(f"importing {name}"):
        _import_torchvision()
        return importlib.import_module(name)


def _import_torchvision() -> None:
    """Import torchvision if it is installed, declaring its operators if only their schemas are missing."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _declare()
        importlib.import_module("torchvision")


@cache  # the schemas live as long as the object that declares them
def _declare() -> torch.library.Library:
    fragment = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # torch's stub
    for name in _SCHEMAS:
        fragment.define(_SCHEMA.format(name))  # type: ignore[no-untyped-call]  # torch's stub
    return fragment
