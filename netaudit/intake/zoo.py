"""The model zoos: how a model is built by name without a download, and what it is fed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from netaudit.errors import TargetError, did_you_mean
from netaudit.intake import hf
from netaudit.intake.libraries import library
from netaudit.intake.spec import Spec

ZOOS = ("torchvision", "timm", "hf")
BATCH = 8  # batch normalisation over fewer samples is degenerate where maps are 1 x 1
SIDE = 224
FLOW = 128  # the least that RAFT takes
_TORCHVISION = "torchvision.models."
# Where 224 x 224 is not what a family of torchvision is made for, and the clips (frames, height, width) of its video
# models.
_SIDES = {"Inception3": 299, "QuantizableInception3": 299}
_CLIPS = {"video.mvit": (16, 224, 224), "video.s3d": (16, 224, 224)}
_CLIP = (8, 112, 112)

Arrange: TypeAlias = Callable[[tuple[torch.Tensor, ...]], tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Known:
    """Inputs known of a family of models; ``arrange`` makes the arguments of the tensors where names do not suffice."""

    specs: tuple[Spec, ...]
    source: str
    arrange: Arrange | None = None


def maker(zoo: str, name: str, args: Mapping[str, object]) -> Callable[[], object]:
    """A function that builds the model ``name`` of a zoo, with fresh weights.

    Raises:
        TargetError: the library is not installed, or does not know the model.
    """
    if zoo == "hf":
        return hf.maker(name, args)
    models = library(zoo).models if zoo == "torchvision" else library(zoo)
    names = models.list_models()
    # A tag in timm's name.tag names weights; a list without tags is what people mistype.
    if (name.partition(".")[0] if zoo == "timm" else name) not in names:
        raise TargetError(f"{zoo} has no model {name!r}", did_you_mean(name, names) or f"it has {len(names)}, like {names[0]}")
    if zoo == "timm":
        return lambda: models.create_model(name, pretrained=False, **args)
    # Detection and segmentation load a pretrained backbone unless told not to.
    weights = [key for key in inspect.signature(models.get_model_builder(name)).parameters if key.startswith("weights")]
    return lambda: models.get_model(name, **dict.fromkeys(weights), **args)


def known_inputs(model: nn.Module) -> Known | None:
    """What a model of a zoo is fed, whoever built it; None for any other model."""
    if hf.is_pretrained(model):
        specs = hf.specs(model)
        return Known(specs, "transformers config") if specs else None
    family = type(model).__module__
    if family.startswith(_TORCHVISION):
        return _torchvision(model, family.removeprefix(_TORCHVISION))
    if family.startswith("timm.models."):
        described = getattr(model, "pretrained_cfg", None) or {}
        return Known((_image(*_built_for(model, described)),), "timm default_cfg") if described.get("input_size") else None
    return None


def _built_for(model: nn.Module, described: Mapping[str, Any]) -> tuple[int, ...]:
    """What a timm model takes where it was built for other channels (``in_chans``) or another size (``img_size``).

    The channels are those of the convolution that reads the image, by timm's own word: others may stand before it in the model.
    """
    size, named = tuple(described["input_size"]), described.get("first_conv") or ()
    layers = dict(model.named_modules())
    readers = [layers.get(name) for name in ([named] if isinstance(named, str) else named)]
    channels = next((layer.in_channels for layer in readers if isinstance(layer, nn.Conv2d)), size[0])
    built: object = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return (channels, *(built if isinstance(built, tuple) else size[1:]))


def _torchvision(model: nn.Module, family: str) -> Known:
    source, kind = "torchvision", family.partition(".")[0]
    if kind == "detection":
        image = Spec("", "f32", (3, SIDE, SIDE))
        return Known((image, image), source, _detection_batch)
    if kind == "video":
        return Known((_image(3, *_CLIPS.get(family, _CLIP)),), source)
    if kind == "optical_flow":
        return Known((_image(3, FLOW, FLOW), _image(3, FLOW, FLOW)), source)
    built: object = getattr(model, "image_size", None)
    side = built if isinstance(built, int) else _SIDES.get(type(model).__name__, SIDE)
    return Known((_image(3, side, side),), source)


def _image(*sizes: int) -> Spec:
    return Spec("", "f32", (BATCH, *sizes))


def _detection_batch(images: tuple[torch.Tensor, ...]) -> tuple[object, ...]:
    """A detector's arguments: a list of images and, for its losses, one object in the middle of each."""
    box = torch.tensor([[SIDE / 4, SIDE / 4, 3 * SIDE / 4, 3 * SIDE / 4]])
    target = {
        "boxes": box,
        "labels": torch.ones(1, dtype=torch.int64),
        "masks": torch.ones(1, SIDE, SIDE, dtype=torch.uint8),
        "keypoints": torch.cat([box.new_full((1, 17, 2), SIDE / 2), box.new_ones(1, 17, 1)], dim=-1),
    }
    return list(images), [target for _ in images]
