"""Published architectures as they are trained: random initialisation, their own inputs and loss. Nothing is downloaded.

None of them is among the models of ``zoo.py``, which the forecast was tuned on or looked at with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netaudit.intake.libraries import library

BATCH = 8


@dataclass(frozen=True, slots=True)
class Published:
    """One architecture in netaudit's file protocol: ``build()``, ``example_inputs()``, ``loss(model, inputs)``."""

    library: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], object]
    loss: Callable[[nn.Module, Any], Tensor]


# images -----------------------------------------------------------------------------------------------------------------


def _logits(output: object) -> Tensor:
    """The first tensor of what a model returns."""
    if isinstance(output, Tensor):
        return output
    return _logits(next(iter(output.values() if isinstance(output, Mapping) else output)))  # type: ignore[call-overload]  # a tuple or a list


def _classified(model: nn.Module, images: Tensor) -> Tensor:
    """Cross-entropy against labels 0, 1, 2, ...; for every pixel where there are maps."""
    logits = _logits(model(images))
    labels = torch.arange(logits.shape[0]) % logits.shape[1]
    return F.cross_entropy(logits, labels.reshape(-1, *(1,) * (logits.ndim - 2)).expand(-1, *logits.shape[2:]))


def _torchvision(name: str, *sizes: int) -> Published:
    def build() -> nn.Module:
        models = library("torchvision").models
        pretrained = {"weights_backbone": None} if name.startswith(("deeplab", "lraspp", "fcn")) else {}
        model: nn.Module = models.get_model(name, weights=None, **pretrained)
        return model

    return Published("torchvision", build, lambda: torch.randn(BATCH, 3, *(sizes or (224, 224))), _classified)


def _timm(name: str) -> Published:
    def inputs() -> Tensor:
        config = library("timm").get_pretrained_cfg(name)
        return torch.randn(BATCH, *(config.input_size if config is not None else (3, 224, 224)))

    return Published("timm", lambda: library("timm").create_model(name, pretrained=False), inputs, _classified)


def _flow(name: str) -> Published:
    """Optical flow: the mean distance of all iterates from no motion."""

    def loss(model: nn.Module, pair: tuple[Tensor, Tensor]) -> Tensor:
        flows = model(*pair)
        return torch.stack([flow.abs().mean() for flow in flows]).mean()

    def inputs() -> tuple[Tensor, Tensor]:
        return torch.randn(2, 3, 128, 128), torch.randn(2, 3, 128, 128)

    return Published("torchvision", lambda: library("torchvision").models.get_model(name, weights=None), inputs, loss)


# transformers -----------------------------------------------------------------------------------------------------------

VOCABULARY = 2000
TOKENS = 64
_WIDE: Mapping[str, Any] = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 1024}
_GQA: Mapping[str, Any] = {**_WIDE, "num_key_value_heads": 2}
_PAIR: Mapping[str, Any] = {
    "d_model": 256, "encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024,
}  # fmt: skip
_T5: Mapping[str, Any] = {"d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 6, "num_heads": 4}
_VISION: Mapping[str, Any] = {**_WIDE, "image_size": 224, "patch_size": 16}
_SPEECH: Mapping[str, Any] = {
    **_WIDE,
    "vocab_size": 32,
    "conv_dim": [64] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def _own_loss(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The loss that the model makes of its labels."""
    found: Tensor = model(**inputs).loss
    return found


def _transformers(head: str, inputs: Callable[[], Mapping[str, Tensor]], **fields: Any) -> Published:
    def build() -> nn.Module:
        made: Callable[..., nn.Module] = getattr(library("transformers"), head)
        config = made.config_class(**fields)  # type: ignore[attr-defined]  # a class of transformers
        if hasattr(config, "use_cache"):
            config.use_cache = False
        return made(config)

    return Published("transformers", build, inputs, _own_loss)


def _ids(size: int = VOCABULARY, tokens: int = TOKENS) -> Tensor:
    return torch.randint(3, size, (BATCH, tokens))


def _causal(head: str, tokens: int = TOKENS, **fields: Any) -> Published:
    def inputs() -> Mapping[str, Tensor]:
        ids = _ids(tokens=tokens)
        return {"input_ids": ids, "labels": ids}

    return _transformers(head, inputs, **{"vocab_size": VOCABULARY, **fields})


def _seq2seq(head: str, **fields: Any) -> Published:
    return _transformers(head, lambda: {"input_ids": _ids(), "labels": _ids(tokens=32)}, **{"vocab_size": VOCABULARY, **fields})


def _labelled(name: str, *sizes: int) -> Callable[[], Mapping[str, Tensor]]:
    """A float input and a label of two."""
    return lambda: {name: torch.randn(BATCH, *sizes), "labels": torch.arange(BATCH) % 2}


def _images(head: str, **fields: Any) -> Published:
    return _transformers(head, _labelled("pixel_values", 3, 224, 224), **{**_VISION, **fields})


def _ctc() -> Mapping[str, Tensor]:
    return {"input_values": torch.randn(BATCH, 16000), "labels": torch.randint(1, 32, (BATCH, 8))}


def _whisper() -> Mapping[str, Tensor]:
    return {"input_features": torch.randn(BATCH, 80, 400), "labels": _ids(tokens=32)}


def _clip(tokens: int) -> Mapping[str, Tensor]:
    ids = _ids(tokens=tokens)
    return {"input_ids": ids, "pixel_values": torch.randn(BATCH, 3, 224, 224), "return_loss": torch.tensor(True)}


def _series() -> Mapping[str, Tensor]:
    return {"past_values": torch.randn(BATCH, 512, 7), "future_values": torch.randn(BATCH, 96, 7)}


_TV: Mapping[str, Published] = {
    **{
        name: _torchvision(name)
        for name in (
            "vgg19", "vgg13_bn", "resnet34", "resnet101", "resnext101_32x8d", "densenet169", "squeezenet1_0", "shufflenet_v2_x0_5",
            "mnasnet1_3", "regnet_y_800mf", "regnet_x_1_6gf", "efficientnet_b1", "vit_b_32", "swin_s", "convnext_base",
        )
    },
    "deeplabv3_resnet50": _torchvision("deeplabv3_resnet50"),
    "lraspp_mobilenet_v3_large": _torchvision("lraspp_mobilenet_v3_large"),
    "r3d_18": _torchvision("r3d_18", 8, 112, 112),
    "r2plus1d_18": _torchvision("r2plus1d_18", 8, 112, 112),
    "s3d": _torchvision("s3d", 16, 224, 224),
    "mvit_v2_s": _torchvision("mvit_v2_s", 16, 224, 224),
    "raft_small": _flow("raft_small"),
}  # fmt: skip

_TIMM = """
bat_resnext26ts botnet26t_256 cs3darknet_s crossvit_tiny_240 convit_tiny deit3_small_patch16_224 eca_nfnet_l0 efficientformer_l1
efficientformerv2_s0 eva02_tiny_patch14_224 fbnetc_100 gcresnext26ts halonet26t hgnetv2_b0 inception_v4 lambda_resnet26t mambaout_femto
coatnet_nano_rw_224 convformer_s18 mobilevitv2_050 mobilenetv1_100 nextvit_small regnetz_b16 resnetrs50 repghostnet_050 sequencer2d_s
shvit_s1 skresnext50_32x4d swiftformer_xs tiny_vit_5m_224 tf_efficientnetv2_b0 volo_d1_224 vitamin_small_224 vit_relpos_small_patch16_224
xception65 efficientvit_m0 fasternet_t0 rdnet_tiny gmixer_24_224 nf_regnet_b1 vovnet39a samvit_base_patch16_224 mobilenetv4_hybrid_medium
"""

_TEXT: Mapping[str, Published] = {
    "gemma": _causal("GemmaForCausalLM", **_GQA, head_dim=64, pad_token_id=0),
    "gemma3": _causal("Gemma3ForCausalLM", **_GQA, head_dim=64, pad_token_id=0),
    "stablelm": _causal("StableLmForCausalLM", **_GQA),
    "codegen": _causal("CodeGenForCausalLM", n_embd=256, n_layer=6, n_head=4, rotary_dim=32, n_positions=128),
    "mpt": _causal("MptForCausalLM", d_model=256, n_heads=4, n_layers=6, max_seq_len=128),
    "gpt_bigcode": _causal("GPTBigCodeForCausalLM", n_embd=256, n_layer=6, n_head=4),
    "biogpt": _causal("BioGptForCausalLM", **_WIDE),
    "xglm": _causal("XGLMForCausalLM", d_model=256, num_layers=6, attention_heads=4, ffn_dim=1024),
    "olmo": _causal("OlmoForCausalLM", **_WIDE, pad_token_id=0),
    "nemotron": _causal("NemotronForCausalLM", **_GQA),
    "persimmon": _causal("PersimmonForCausalLM", **_WIDE),
    "smollm3": _causal("SmolLM3ForCausalLM", **_GQA, pad_token_id=0),
    "glm": _causal("GlmForCausalLM", **_GQA, head_dim=64, pad_token_id=0),
    "mixtral": _causal("MixtralForCausalLM", **_GQA, num_local_experts=4),
    "deberta": _causal("DebertaForMaskedLM", **_WIDE, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "modernbert": _causal("ModernBertForMaskedLM", **_WIDE, pad_token_id=0),
    "xlm_roberta_xl": _causal("XLMRobertaXLForMaskedLM", **_WIDE),
    "megatron_bert": _causal("MegatronBertForMaskedLM", **_WIDE),
    "fnet": _causal("FNetForMaskedLM", **_WIDE),
    "nystromformer": _causal("NystromformerForMaskedLM", **_WIDE, segment_means_seq_len=64, num_landmarks=16),
    "mobilebert": _causal("MobileBertForMaskedLM", num_hidden_layers=6),
    "roberta_prenorm": _causal("RobertaPreLayerNormForMaskedLM", **_WIDE, max_position_embeddings=130),
    "rwkv": _causal("RwkvForCausalLM", tokens=16, hidden_size=256, num_hidden_layers=4),
    "mamba2": _causal(
        "Mamba2ForCausalLM",
        tokens=32,
        hidden_size=256,
        num_hidden_layers=4,
        num_heads=8,
        head_dim=64,
        state_size=32,
        n_groups=1,
        chunk_size=16,
    ),
    "mt5": _seq2seq("MT5ForConditionalGeneration", **_T5),
    "switch": _seq2seq(
        "SwitchTransformersForConditionalGeneration", **_T5, decoder_start_token_id=0, num_experts=4, num_sparse_encoder_layers=3
    ),
    "pegasus": _seq2seq("PegasusForConditionalGeneration", **_PAIR),
    "marian": _seq2seq("MarianMTModel", **_PAIR, pad_token_id=0, decoder_start_token_id=0),
    "m2m_100": _seq2seq("M2M100ForConditionalGeneration", **_PAIR),
    "prophetnet": _seq2seq(
        "ProphetNetForConditionalGeneration",
        hidden_size=256,
        num_encoder_layers=4,
        num_decoder_layers=4,
        num_encoder_attention_heads=4,
        num_decoder_attention_heads=4,
        encoder_ffn_dim=1024,
        decoder_ffn_dim=1024,
    ),
}

_OTHER: Mapping[str, Published] = {
    "hf_vit": _images("ViTForImageClassification"),
    "dinov2": _images("Dinov2ForImageClassification", mlp_ratio=4),
    "data2vec_vision": _images("Data2VecVisionForImageClassification"),
    "segformer_classifier": _transformers("SegformerForImageClassification", _labelled("pixel_values", 3, 224, 224)),
    "cvt": _transformers("CvtForImageClassification", _labelled("pixel_values", 3, 224, 224)),
    "siglip_classifier": _transformers("SiglipForImageClassification", _labelled("pixel_values", 3, 224, 224), vision_config=dict(_VISION)),
    "vit_mae": _transformers(
        "ViTMAEForPreTraining",
        lambda: {"pixel_values": torch.randn(BATCH, 3, 224, 224)},
        **_VISION,
        decoder_hidden_size=128,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=512,
    ),
    "timesformer": _transformers("TimesformerForVideoClassification", _labelled("pixel_values", 8, 3, 224, 224), **_VISION, num_frames=8),
    "clip": _transformers(
        "CLIPModel",
        partial(_clip, 32),
        text_config={**_WIDE, "vocab_size": VOCABULARY, "eos_token_id": 1},
        vision_config=dict(_VISION),
    ),
    "wav2vec2": _transformers("Wav2Vec2ForCTC", _ctc, **_SPEECH),
    "hubert": _transformers("HubertForCTC", _ctc, **_SPEECH),
    "ast": _transformers("ASTForAudioClassification", _labelled("input_values", 1024, 128), **_WIDE),
    "whisper": _transformers(
        "WhisperForConditionalGeneration",
        _whisper,
        **_PAIR,
        vocab_size=VOCABULARY,
        num_mel_bins=80,
        max_source_positions=200,
        pad_token_id=0,
        decoder_start_token_id=1,
    ),
    "patchtst": _transformers(
        "PatchTSTForPrediction", _series, num_input_channels=7, context_length=512, prediction_length=96, d_model=128, num_hidden_layers=3
    ),
}


def _merged(tables: Iterable[Mapping[str, Published]]) -> Mapping[str, Published]:
    return {name: one for table in tables for name, one in table.items()}


MODELS: Mapping[str, Published] = _merged((_TV, {name: _timm(name) for name in _TIMM.split()}, _TEXT, _OTHER))
