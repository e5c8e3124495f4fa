"""Models by name: torchvision, timm, transformers."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netaudit.errors import TargetError
from netaudit.intake import libraries
from netaudit.intake.subject import Options, Subject

Write = Callable[..., Path]
Only = Callable[..., Subject]
Refusal = Callable[..., TargetError]

META = Options(meta=True)  # shapes are all that most of these tests look at
TINY: Mapping[str, object] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "image_size": 16,
    "patch_size": 8,
}
WHISPER: Mapping[str, object] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "vocab_size": 50,
    "num_mel_bins": 8,
    "max_source_positions": 12,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def shapes(subject: Subject) -> list[tuple[int, ...]]:
    values = (*subject.args, *subject.kwargs.values())
    return [tuple(value.shape) for value in values if isinstance(value, Tensor)]


def needs(name: str) -> None:
    """Skip where the library is missing; its import may need mending, so importorskip would skip too often."""
    try:
        libraries.library(name)
    except TargetError as error:
        pytest.skip(str(error))


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", [(8, 3, 224, 224)]),
        ("vit_b_32", [(8, 3, 224, 224)]),
        ("inception_v3", [(8, 3, 299, 299)]),
        ("r3d_18", [(8, 3, 8, 112, 112)]),
        ("s3d", [(8, 3, 16, 224, 224)]),
        ("lraspp_mobilenet_v3_large", [(8, 3, 224, 224)]),
        ("raft_small", [(8, 3, 128, 128), (8, 3, 128, 128)]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_torchvision_models_are_built_and_fed(only: Only, name: str, expected: list[tuple[int, ...]]) -> None:
    needs("torchvision")
    subject = only(f"torchvision:{name}", META)
    assert (subject.id, subject.inputs_from, subject.file) == (f"torchvision:{name}", "torchvision", None)
    assert shapes(subject) == expected
    assert set(subject.created) == {path for path, _ in subject.model.named_modules(remove_duplicate=False)}
    assert all(site.file.startswith("torchvision/") for site in subject.created.values())


@pytest.mark.zoo
def test_torchvision_detectors_get_images_and_targets(only: Only) -> None:
    needs("torchvision")
    images, targets = only("torchvision:ssdlite320_mobilenet_v3_large").args
    assert isinstance(images, list)
    assert isinstance(targets, list)
    assert len(images) == len(targets) == 2
    assert set(targets[0]) >= {"boxes", "labels"}


@pytest.mark.zoo
def test_arguments_reach_the_builder(only: Only) -> None:
    needs("torchvision")
    subject = only("torchvision:resnet18", Options(args={"num_classes": 7}))
    again = only("torchvision:resnet18", Options(args={"num_classes": 7}))
    assert subject.model.get_parameter("fc.weight").shape == (7, 512)
    assert torch.equal(subject.model.get_parameter("fc.weight"), again.model.get_parameter("fc.weight"))


@pytest.mark.zoo
def test_a_torchvision_model_of_a_file_is_known_too(write: Write, only: Only) -> None:
    needs("torchvision")
    write("import torchvision\ndef build():\n    return torchvision.models.resnet18()\n")
    subject = only(options=META)
    assert (subject.inputs_from, subject.guess) == ("torchvision", "")


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("resnet18", {}, (8, 3, 224, 224)),
        ("resnet18.a1_in1k", {"in_chans": 1}, (8, 1, 224, 224)),
        ("vit_tiny_patch16_224", {"img_size": 64}, (8, 3, 64, 64)),
        ("csatv2", {}, (8, 3, 512, 512)),  # a convolution over frequencies stands before those that read the image
    ],
)
def test_timm_models_are_built_and_fed(only: Only, name: str, args: Mapping[str, object], expected: tuple[int, ...]) -> None:
    needs("timm")
    subject = only(f"timm:{name}", Options(args=args, meta=True))
    assert (subject.inputs_from, shapes(subject)) == ("timm default_cfg", [expected])
    assert all(site.file.startswith("timm/") for site in subject.created.values())


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("torchvision:resnet81", "torchvision has no model 'resnet81'", "did you mean 'resnet18'?"),
        ("torchvision:?", "torchvision has no model '?'", "like alexnet"),
        ("timm:vit_tiny_patch16_24", "timm has no model 'vit_tiny_patch16_24'", "did you mean 'vit_tiny_patch16_224'?"),
    ],
)
def test_a_mistyped_model_is_suggested(refusal: Refusal, target: str, message: str, hint: str) -> None:
    needs(target.partition(":")[0])
    error = refusal(target)
    assert str(error) == message
    assert hint in error.hint


@pytest.mark.zoo
def test_a_constructor_that_fails_is_reported(only: Only, refusal: Refusal) -> None:
    needs("torchvision")
    assert only("torchvision:regnet_y_400mf", META).model is not None  # which asks for values of small tensors
    error = refusal("torchvision:resnet18", Options(args={"clases": 7}))
    assert str(error).startswith("building torchvision:resnet18 failed: TypeError: ")


def test_a_missing_library_is_named(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else real(name))
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    error = refusal("timm:resnet18")
    assert (str(error), error.hint) == ("timm is not installed", "pip install timm")


def configuration(folder: Path, kind: str, fields: Mapping[str, object]) -> None:
    (folder / "bert").mkdir(exist_ok=True)
    (folder / "bert/config.json").write_text(json.dumps({"model_type": kind, **fields}))


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("kind", "fields", "expected", "source"),
    [
        ("bert", TINY, {"input_ids": (2, 64)}, "transformers config"),
        ("roberta", {**TINY, "max_position_embeddings": 32}, {"input_ids": (2, 30)}, "transformers config"),
        ("llama", {**TINY, "architectures": ["LlamaForCausalLM"]}, {"input_ids": (2, 64)}, "transformers config"),
        ("vit", TINY, {"pixel_values": (2, 3, 16, 16)}, "transformers config"),
        ("videomae", {**TINY, "num_frames": 2}, {"pixel_values": (2, 2, 3, 16, 16)}, "transformers config"),
        ("whisper", WHISPER, {"input_features": (2, 8, 24), "decoder_input_ids": (2, 64)}, "transformers config"),
        ("wav2vec2", {**TINY, "conv_dim": [16] * 7}, {"input_values": (2, 16000)}, "transformers config"),
        (
            "clip",
            {"text_config": {**TINY, "max_position_embeddings": 20}, "vision_config": TINY},
            {"input_ids": (2, 18), "pixel_values": (2, 3, 16, 16)},
            "transformers config",
        ),
        ("bart", WHISPER, {"input_ids": (2, 5), "attention_mask": (2, 5)}, "dummy_inputs"),
    ],
)
def test_transformers_models_are_built_and_fed(
    folder: Path, only: Only, kind: str, fields: Mapping[str, object], expected: Mapping[str, object], source: str
) -> None:
    needs("transformers")
    configuration(folder, kind, {**fields, "dtype": "bfloat16"})
    subject = only("hf:bert")
    assert (subject.id, subject.inputs_from) == ("hf:bert", source)
    assert {name: tuple(value.shape) for name, value in subject.kwargs.items() if isinstance(value, Tensor)} == expected
    assert {parameter.dtype for parameter in subject.model.parameters()} == {torch.float32}
    with torch.no_grad():
        subject.model.eval()(**subject.kwargs)


@pytest.mark.zoo
def test_the_configuration_names_the_class_and_arguments_its_fields(folder: Path, only: Only) -> None:
    needs("transformers")
    configuration(folder, "llama", {**TINY, "architectures": ["LlamaForCausalLM"], "use_cache": True})
    for target in ("hf:bert", "hf:bert/config.json", f"hf:{folder}/bert"):
        subject = only(target, Options(args={"num_hidden_layers": 3}, meta=True))
        assert type(subject.model).__name__ == "LlamaForCausalLM"
        assert len(subject.model.model.layers) == 3  # type: ignore[arg-type, union-attr]  # a ModuleList
        assert subject.model.config.use_cache is False  # type: ignore[union-attr]  # a configuration
    configuration(folder, "llama", TINY)
    assert type(only("hf:bert", META).model).__name__ == "LlamaModel"


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '{"model_type": "bert", "auto_map": {"AutoModel": "m.M"}}',
            "bert/config.json needs remote code (auto_map)",
            "runs no code",
        ),
        (
            '{"model_type": "brt"}',
            "bert/config.json has model_type 'brt', which transformers does not know",
            "did you mean 'b",
        ),
        ('{"a": 1}', "bert/config.json has model_type '', which", "recent enough"),
        (
            '{"model_type": "bert", "architectures": ["BertForMaskdLM"]}',
            "bert/config.json names the architecture 'BertForMaskdLM'",
            "did you mean 'BertForMaskedLM'?",
        ),
        ("{", "bert/config.json is not JSON", "save_pretrained"),
        ("[]", "bert/config.json is not a configuration", "save_pretrained"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(folder: Path, refusal: Refusal, text: str, message: str, hint: str) -> None:
    needs("transformers")
    configuration(folder, "", {})
    (folder / "bert/config.json").write_text(text)
    error = refusal("hf:bert")
    assert str(error).startswith(message)
    assert hint in error.hint


@pytest.mark.zoo
def test_an_unknown_field_is_suggested(folder: Path, refusal: Refusal) -> None:
    needs("transformers")
    configuration(folder, "bert", TINY)
    error = refusal("hf:bert", Options(args={"num_hiden_layers": 3}))
    assert str(error) == "bert/config.json has no field 'num_hiden_layers'"
    assert error.hint == "did you mean 'num_hidden_layers'?"


def test_a_hub_name_is_not_downloaded(folder: Path, refusal: Refusal) -> None:
    error = refusal("hf:org/bert")
    assert str(error) == "there is no folder or file org/bert"
    assert error.hint.startswith("netaudit downloads nothing; ")
    (folder / "empty").mkdir()
    assert str(refusal("hf:empty")) == "empty holds no config.json"


def test_other_models_know_no_zoo(write: Write, only: Only) -> None:
    write("def build():\n    return nn.Linear(3, 3)\n")
    assert only().inputs_from == "guess"
    assert isinstance(only().model, nn.Linear)
