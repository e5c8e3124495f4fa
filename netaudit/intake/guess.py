"""Inputs guessed from the first layers that have parameters, and kept only if the model accepts them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from netaudit.errors import TargetError
from netaudit.intake.spec import Spec, draw, word
from netaudit.intake.subject import Inputs
from netaudit.intake.usercode import user_code

IMAGES = (224, 64, 32, 28, 256, 128, 96, 84, 48, 16)  # ImageNet first, then what small models are written for
VOLUMES = ((8, 112, 112), (16, 64, 64), (16, 16, 16))
SIGNALS = (64, 256, 1024, 16000, 128, 16)
TOKENS = (64, 16, 128, 8)
LAYERS = 4  # how many first layers are tried: registration order is mostly, not always, execution order


@dataclass(frozen=True, slots=True)
class Offer:
    """What a layer tells of its input: in words, as shapes to try in order, and as a bound if it takes integers."""

    words: str
    shapes: tuple[tuple[int, ...], ...]
    bound: int | None = None


def guessed(model: nn.Module, label: str, name: str, seed: int) -> Inputs:
    """A batch of one tensor that the model accepts, for its argument ``name`` (empty: its first).

    Each attempt is one forward in evaluation mode without gradients, after which modes and buffers are put back. Being
    accepted is no proof of being meant: ``guess`` says in a sentence what was taken and from which layer.

    Raises:
        TargetError: no layer tells what it takes, or no attempt is accepted.
    """
    failed: TargetError | None = None
    for path, layer, offer in _first_layers(model):
        for shape in offer.shapes:
            spec = Spec(name, _dtype(layer) if offer.bound is None else "i64", shape, offer.bound)
            tensors = draw([spec], seed)
            try:
                _attempt(model, tensors, f"a forward pass with {spec}")
            except TargetError as error:
                failed = failed or error
                continue
            source = f"{path or 'the model'} ({type(layer).__name__}, {offer.words})"
            return Inputs(tensors, {}, tensors, "guess", f"inputs guessed from {source}: {spec}")
    hint = f"give them, like --input {Spec(name, 'f32', (8, 32))}, or define example_inputs()"
    if failed is None:
        raise TargetError(f"no inputs are known for {label}, and none of its layers tells what it takes", hint)
    raise TargetError(f"no inputs are known for {label}, and none could be guessed: {failed.message}", hint) from failed


def _first_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Offer]]:
    count = 0
    for path, layer in model.named_modules():
        offer = None if _is_lazy(layer) else _offer(layer)
        if offer is not None and count < LAYERS:
            count += 1
            yield path, layer, offer


def _offer(layer: nn.Module) -> Offer | None:
    """What a layer tells, for the layers that models begin with; None for any other."""
    match layer:
        case nn.Linear():
            width = layer.in_features
            return Offer(f"{width} features", ((8, width), (2, 16, width), (width,)))
        case nn.Embedding() | nn.EmbeddingBag():
            count = layer.num_embeddings
            return Offer(f"{count} embeddings", (*((2, size) for size in TOKENS), (8,)), count)
        case nn.RNNBase():
            return _sequence(layer.input_size, layer.batch_first)
        case nn.TransformerEncoderLayer():
            return _sequence(layer.self_attn.embed_dim, layer.self_attn.batch_first)
        case nn.LayerNorm():
            shape = tuple(layer.normalized_shape)
            return Offer(f"normalised over {list(shape)}", ((8, *shape), (2, 16, *shape)))
        case _:
            return _spatial(layer)


def _spatial(layer: nn.Module) -> Offer | None:
    match layer:
        case nn.Conv1d() | nn.ConvTranspose1d():
            return _channels(layer.in_channels, tuple((size,) for size in SIGNALS))
        case nn.Conv2d() | nn.ConvTranspose2d():
            return _channels(layer.in_channels, tuple((size, size) for size in IMAGES))
        case nn.Conv3d() | nn.ConvTranspose3d():
            return _channels(layer.in_channels, VOLUMES)
        case nn.BatchNorm1d():
            return Offer(f"{layer.num_features} features", ((8, layer.num_features), (2, layer.num_features, 64)))
        case nn.BatchNorm2d():
            return _channels(layer.num_features, tuple((size, size) for size in IMAGES))
        case _:
            return None


def _channels(channels: int, sizes: tuple[tuple[int, ...], ...]) -> Offer:
    return Offer(f"{channels} channel{'s'[: channels > 1]}", tuple((2, channels, *size) for size in sizes))


def _sequence(width: int, batch_first: bool) -> Offer:
    # The other order is not tried: it would be accepted as well, and would mean another model.
    return Offer(f"{width} features", ((2, 16, width) if batch_first else (16, 2, width),))


def _is_lazy(layer: nn.Module) -> bool:
    """Whether the layer takes its sizes from its first input: nothing can be read off it."""
    return any(isinstance(parameter, UninitializedParameter) for parameter in layer.parameters())


def _dtype(layer: nn.Module) -> str:
    return next((word(parameter.dtype) for parameter in layer.parameters()), "f32")


def _attempt(model: nn.Module, tensors: tuple[torch.Tensor, ...], what: str) -> None:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with _untouched(model), user_code(what), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(*(tensor.to(device) for tensor in tensors))


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, with modes and buffers put back: an attempt that fails half-way may have moved them."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                if buffer.shape == before.shape:
                    buffer.copy_(before)
