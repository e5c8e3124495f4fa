"""Models of transformers, built from a local configuration: nothing is downloaded and no remote code is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from netaudit.errors import TargetError, did_you_mean
from netaudit.intake.libraries import library
from netaudit.intake.signatures import required, signature_of
from netaudit.intake.spec import Spec
from netaudit.intake.usercode import shown, user_code

BATCH = 2
TOKENS = 64
SAMPLES = 16000  # one second of a waveform, at the rate that speech models expect
FRAMES = 256  # of a spectrogram, where the model does not fix their number
_LOCAL = "hf: takes a local folder or file: AutoConfig.from_pretrained(NAME).save_pretrained(FOLDER) makes one"


def maker(path: str, args: Mapping[str, object]) -> Callable[[], object]:
    """A function that builds the model of a configuration: the class it names first, else the bare model of its type.

    ``args`` replace fields of the configuration. Weights are float32 whatever dtype the checkpoint was stored in, and
    the cache of keys and values is off.

    Raises:
        TargetError: there is no such configuration, it needs remote code, or transformers does not know it.
    """
    where, data = _read(Path(path))
    if data.get("auto_map"):
        hint = "netaudit runs no code that comes with a checkpoint: build the model in a python file and audit that"
        raise TargetError(f"{where} needs remote code (auto_map)", hint)
    transformers = library("transformers")
    kind = str(data.get("model_type", ""))
    if kind not in transformers.CONFIG_MAPPING:
        close = did_you_mean(kind, transformers.CONFIG_MAPPING.keys()) or "is the installed transformers recent enough?"
        raise TargetError(f"{where} has model_type {kind!r}, which transformers does not know", close)
    fields = {key: value for key, value in data.items() if key not in ("dtype", "torch_dtype", "model_type")}
    with user_code(f"reading {where}"):
        config_class = transformers.CONFIG_MAPPING[kind]
        plain = config_class.from_dict(fields)
    known = {*plain.to_dict(), *plain.attribute_map}
    for name in args:
        if name not in known:
            raise TargetError(f"{where} has no field {name!r}", did_you_mean(name, known) or "see the model's configuration")
    build = _architecture(fields.get("architectures"), where)
    return lambda: build(_without_cache(config_class.from_dict({**fields, **args})))


def is_pretrained(model: nn.Module) -> bool:
    """Whether the model is one of transformers; the library is not imported to find out."""
    transformers = sys.modules.get("transformers")
    return transformers is not None and isinstance(model, transformers.PreTrainedModel)


def has_stock_inputs(model: nn.Module) -> bool:
    """Whether ``dummy_inputs`` is the one of the base class: token ids, for a vision model too."""
    transformers = sys.modules.get("transformers")
    if transformers is None or not isinstance(model, transformers.PreTrainedModel):
        return False
    return getattr(type(model), "dummy_inputs", None) is transformers.PreTrainedModel.dummy_inputs


def specs(model: nn.Module) -> tuple[Spec, ...] | None:
    """The inputs that follow from a model's configuration, or None when they do not.

    They are the main input and what else ``forward`` requires; the decoder's tokens if there is a decoder; the images
    of a model that compares them with texts.
    """
    config: object = getattr(model, "config", None)
    signature = signature_of(model.forward)
    accepted = signature.parameters if signature is not None else {}
    names = [str(getattr(model, "main_input_name", ""))]
    names += [parameter.name for parameter in required(signature)] if signature is not None else []
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted:
        names.append("decoder_input_ids")
    if "return_loss" in accepted:  # the contrastive loss of CLIP and its kin
        names += [name for name in ("pixel_values",) if name in accepted]
    found = [_spec(name, config) if name in accepted else None for name in dict.fromkeys(names)]
    known = tuple(spec for spec in found if spec is not None)
    return known if len(known) == len(found) else None


def _read(path: Path) -> tuple[str, Mapping[str, object]]:
    """The configuration at a path, and its name as printed."""
    file = path / "config.json" if path.is_dir() else path
    if not path.exists():
        raise TargetError(f"there is no folder or file {shown(path)}", f"netaudit downloads nothing; {_LOCAL}")
    if not file.is_file():
        raise TargetError(f"{shown(path)} holds no config.json", _LOCAL)
    try:
        data: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"{shown(file)} is not JSON: {error}", _LOCAL) from error
    if not isinstance(data, dict):
        raise TargetError(f"{shown(file)} is not a configuration: it holds no table", _LOCAL)
    return shown(file), data


def _architecture(names: object, where: str) -> Callable[[object], object]:
    transformers = library("transformers")
    if not isinstance(names, list) or not names:
        from_config: Callable[[object], object] = transformers.AutoModel.from_config
        return from_config
    with user_code(f"looking up {names[0]}"):
        found: Callable[[object], object] | None = getattr(transformers, str(names[0]), None)
    if found is None:
        close = did_you_mean(str(names[0]), dir(transformers)) or "take 'architectures' out for the bare model of its type"
        raise TargetError(f"{where} names the architecture {names[0]!r}, which transformers does not know", close)
    return found


def _without_cache(config: object) -> object:
    """The configuration with the cache off, in its parts too: cached keys are no part of training."""
    parts = [config, *(part for part in vars(config).values() if hasattr(part, "use_cache"))]
    for part in parts:
        if getattr(part, "use_cache", False):
            part.use_cache = False
    return config


def _spec(name: str, config: object) -> Spec | None:
    """One input, from the fields of a configuration; None for one that they do not determine."""
    match name:
        case "input_ids" | "decoder_input_ids":
            return _tokens(name, config)
        case "pixel_values":
            return _pixels(name, getattr(config, "vision_config", None) or config)
        case "input_values":
            bins, frames, channels = (_number(config, field) for field in ("num_mel_bins", "max_length", "audio_channels"))
            if bins and frames:  # the audio spectrogram transformer takes its spectrogram under this name
                return Spec(name, "f32", (BATCH, frames, bins))
            return Spec(name, "f32", (BATCH, channels, SAMPLES) if channels else (BATCH, SAMPLES))
        case "input_features":
            return _spectrogram(name, getattr(config, "audio_config", None) or config)
        case _:
            return None


def _tokens(name: str, config: object) -> Spec | None:
    text: object = getattr(config, "text_config", None) or config
    vocabulary = _number(text, "vocab_size")
    places = _number(text, "max_position_embeddings") or _number(text, "n_positions") or TOKENS + 2
    # Two places less than there are: RoBERTa's begin after its padding token.
    return Spec(name, "i64", (BATCH, max(1, min(TOKENS, places - 2))), vocabulary) if vocabulary else None


def _pixels(name: str, config: object) -> Spec:
    size: object = getattr(config, "image_size", None)
    sides = (224, 224)
    if isinstance(size, int):
        sides = (size, size)
    elif isinstance(size, list | tuple):
        sides = (int(size[0]), int(size[-1]))
    elif isinstance(size, Mapping):
        sides = (int(size["height"]), int(size["width"]))
    frames = _number(config, "num_frames")
    return Spec(name, "f32", (BATCH, *((frames,) if frames else ()), _number(config, "num_channels") or 3, *sides))


def _spectrogram(name: str, config: object) -> Spec | None:
    features = _number(config, "input_feat_per_channel") or _number(config, "feature_projection_input_dim")
    bins, places = _number(config, "num_mel_bins"), _number(config, "max_source_positions")
    if bins and places and not features:  # Whisper and its kin: a convolution of stride 2 before the positions
        return Spec(name, "f32", (BATCH, bins, 2 * places))
    return Spec(name, "f32", (BATCH, FRAMES, features or bins or 0)) if features or bins else None


def _number(config: object, field: str) -> int | None:
    value: object = getattr(config, field, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
