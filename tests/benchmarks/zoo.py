"""The models of the forecast's benchmark: random initialisation from code or a configuration, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netaudit.intake.libraries import library

Made: TypeAlias = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]
Maker: TypeAlias = Callable[[], Made]


class MLP(nn.Module):
    """Equal layers, optionally with a norm in front and a shortcut around each."""

    def __init__(
        self,
        activation: Callable[[Tensor], Tensor],
        depth: int,
        init: str,
        *,
        residual: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        width = 256
        self.l = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.o = nn.Linear(width, 10)
        self.n = nn.ModuleList([norm(width) for _ in range(depth)]) if norm else None
        self.activation, self.residual = activation, residual
        inits: dict[str, Callable[[Tensor], object]] = {
            "kaiming": nn.init.kaiming_normal_,
            "xavier": nn.init.xavier_normal_,
            "orth": nn.init.orthogonal_,
            "big": lambda w: nn.init.normal_(w, std=3 / width**0.5),
        }
        for layer in self.l:
            if init != "default" and isinstance(layer, nn.Linear):
                inits[init](layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.l):
            h = self.activation(layer(self.n[i](x) if self.n is not None else x))
            x = x + h if self.residual else h
        y: Tensor = self.o(x)
        return y


def _mlp(activation: Callable[[Tensor], Tensor], depth: int, init: str, **options: Any) -> Maker:
    return lambda: (MLP(activation, depth, init, **options), (torch.randn(32, 256),), {})


def _vision(kind: str, name: str, batch: int, side: int, mode: str = "train") -> Maker:
    def make() -> Made:
        models = library(kind)
        extra = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
        model = getattr(models.models, name)(**extra) if kind == "torchvision" else models.create_model(name)
        return model.train(mode == "train"), (torch.randn(batch, 3, side, side),), {}

    return make


def _text(head: str, *, decoder: bool = False, tokens: int = 64, **config: Any) -> Maker:
    def make() -> Made:
        transformers = library("transformers")
        name = head.rsplit("For", 1)[0].removesuffix("LMHeadModel") + "Config"
        settings = getattr(transformers, name)(vocab_size=2000, **config)
        if hasattr(settings, "use_cache"):
            settings.use_cache = False
        model = getattr(transformers, head)(settings)
        ids = {"input_ids": torch.randint(0, 2000, (2, tokens))}
        if decoder:
            ids["decoder_input_ids"] = torch.randint(0, 2000, (2, tokens))
        return model.train(), (), ids

    return make


def _segmentation(name: str, batch: int, side: int) -> Maker:
    def make() -> Made:
        model = getattr(library("torchvision").models.segmentation, name)(weights=None, weights_backbone=None)
        return model.train(), (torch.randn(batch, 3, side, side),), {}

    return make


def _timm(names: str, batch: int, side: int) -> dict[str, Maker]:
    return {name: _vision("timm", name, batch, side) for name in names.split()}


_D: Mapping[str, Any] = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 1024}
_LLAMA: Mapping[str, Any] = {**_D, "intermediate_size": 688, "num_key_value_heads": 2}
_GQA: Mapping[str, Any] = {**_D, "num_key_value_heads": 2}
_PAIR: Mapping[str, Any] = {"encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 4, "decoder_attention_heads": 4}

FAMILIES: Mapping[str, Mapping[str, Maker]] = {
    "MLP": {
        "mlp_relu_2_default": _mlp(F.relu, 2, "default"),
        "mlp_relu_10_kaiming": _mlp(F.relu, 10, "kaiming"),
        "mlp_relu_30_kaiming": _mlp(F.relu, 30, "kaiming"),
        "mlp_relu_100_kaiming": _mlp(F.relu, 100, "kaiming"),
        "mlp_relu_10_default": _mlp(F.relu, 10, "default"),
        "mlp_tanh_10_xavier": _mlp(torch.tanh, 10, "xavier"),
        "mlp_tanh_100_orth": _mlp(torch.tanh, 100, "orth"),
        "mlp_tanh_30_big": _mlp(torch.tanh, 30, "big"),
        "mlp_gelu_10_kaiming": _mlp(F.gelu, 10, "kaiming"),
        "mlp_silu_30_default": _mlp(F.silu, 30, "default"),
        "mlp_sigmoid_10_xavier": _mlp(torch.sigmoid, 10, "xavier"),
        "mlp_selu_30_xavier": _mlp(F.selu, 30, "xavier"),
        "mlp_elu_10_kaiming": _mlp(F.elu, 10, "kaiming"),
        "mlp_mish_10_xavier": _mlp(F.mish, 10, "xavier"),
        "mlp_hswish_10_kaiming": _mlp(F.hardswish, 10, "kaiming"),
        "mlp_softplus_10_default": _mlp(F.softplus, 10, "default"),
        "mlp_leaky_10_orth": _mlp(F.leaky_relu, 10, "orth"),
        "mlp_relu_30_res": _mlp(F.relu, 30, "kaiming", residual=True),
        "mlp_gelu_30_preln": _mlp(F.gelu, 30, "default", residual=True, norm=nn.LayerNorm),
        "mlp_relu_10_bn": _mlp(F.relu, 10, "default", norm=nn.BatchNorm1d),
    },
    "CNN": {
        "alexnet": _vision("torchvision", "alexnet", 2, 224),
        "vgg11": _vision("torchvision", "vgg11", 2, 64),
        "vgg16_bn": _vision("torchvision", "vgg16_bn", 2, 96),
        "resnet18": _vision("torchvision", "resnet18", 4, 128),
        "resnet50": _vision("torchvision", "resnet50", 4, 128),
        "resnet50_eval": _vision("torchvision", "resnet50", 4, 128, "eval"),
        "resnext50": _vision("torchvision", "resnext50_32x4d", 2, 128),
        "densenet121": _vision("torchvision", "densenet121", 4, 128),
        "squeezenet1_1": _vision("torchvision", "squeezenet1_1", 4, 128),
        "googlenet": _vision("torchvision", "googlenet", 4, 128),
        "regnet_y_400mf": _vision("torchvision", "regnet_y_400mf", 4, 128),
        "convnext_tiny": _vision("torchvision", "convnext_tiny", 2, 128),
        "resnetv2_50_gn": _vision("timm", "resnetv2_50x1_bit", 2, 96),
        "nf_resnet50": _vision("timm", "nf_resnet50", 2, 96),
        "repvgg_a0": _vision("timm", "repvgg_a0", 4, 96),
        "res2net50": _vision("timm", "res2net50_26w_4s", 2, 96),
        "cspresnet50": _vision("timm", "cspresnet50", 2, 96),
        "dla34": _vision("timm", "dla34", 2, 96),
        "hrnet_w18s": _vision("timm", "hrnet_w18_small", 2, 96),
        "skresnet18": _vision("timm", "skresnet18", 8, 128),
        "xception41": _vision("timm", "xception41", 4, 160),
    },
    "mobile CNN": {
        "mobilenet_v2": _vision("torchvision", "mobilenet_v2", 4, 128),
        "mobilenet_v3_small": _vision("torchvision", "mobilenet_v3_small", 4, 128),
        "efficientnet_b0": _vision("torchvision", "efficientnet_b0", 4, 128),
        "efficientnet_v2_s": _vision("torchvision", "efficientnet_v2_s", 2, 128),
        "shufflenet_v2": _vision("torchvision", "shufflenet_v2_x1_0", 4, 128),
        "mnasnet": _vision("torchvision", "mnasnet1_0", 4, 128),
        "ghostnet": _vision("timm", "ghostnet_100", 4, 128),
    },
    "ViT, mixer, hybrid": {
        "maxvit_t": _vision("torchvision", "maxvit_t", 2, 224),
        "vit_small": _vision("timm", "vit_small_patch16_224", 2, 224),
        "deit_tiny_distilled": _vision("timm", "deit_tiny_distilled_patch16_224", 2, 224),
        "swin_t": _vision("timm", "swin_tiny_patch4_window7_224", 2, 224),
        "swinv2_t": _vision("timm", "swinv2_tiny_window8_256", 1, 256),
        "beit_base": _vision("timm", "beit_base_patch16_224", 1, 224),
        "mixer_s32": _vision("timm", "mixer_s32_224", 2, 224),
        "resmlp_12": _vision("timm", "resmlp_12_224", 2, 224),
        "gmlp_ti16": _vision("timm", "gmlp_ti16_224", 2, 224),
        "poolformer_s12": _vision("timm", "poolformer_s12", 2, 128),
        "cait_xxs24": _vision("timm", "cait_xxs24_224", 2, 224),
        "xcit_nano": _vision("timm", "xcit_nano_12_p16_224", 2, 224),
        "levit_128s": _vision("timm", "levit_128s", 4, 224),
        "mobilevit_xxs": _vision("timm", "mobilevit_xxs", 2, 128),
        "pvt_v2_b0": _vision("timm", "pvt_v2_b0", 2, 128),
        "edgenext_xxs": _vision("timm", "edgenext_xx_small", 2, 128),
        "convmixer": _vision("timm", "convmixer_768_32", 2, 64),
    },
    "language model": {
        "gpt2": _text("GPT2LMHeadModel", n_embd=256, n_layer=12, n_head=4),
        "llama": _text("LlamaForCausalLM", **_LLAMA),
        "llama_24l": _text("LlamaForCausalLM", **{**_LLAMA, "num_hidden_layers": 24}),
        "mistral": _text("MistralForCausalLM", **_GQA),
        "qwen2": _text("Qwen2ForCausalLM", **_GQA),
        "qwen3": _text("Qwen3ForCausalLM", **_GQA, head_dim=64),
        "gemma2": _text("Gemma2ForCausalLM", **_GQA, head_dim=64),
        "gpt_neox": _text("GPTNeoXForCausalLM", **_D),
        "phi": _text("PhiForCausalLM", **_D),
        "opt": _text("OPTForCausalLM", hidden_size=256, num_hidden_layers=6, num_attention_heads=4, ffn_dim=1024, word_embed_proj_dim=256),
        "bloom": _text("BloomForCausalLM", hidden_size=256, n_layer=6, n_head=4),
        "bert": _text("BertForMaskedLM", **_D),
        "bert_cls": _text("BertForSequenceClassification", **_D),
        "roberta": _text("RobertaForMaskedLM", max_position_embeddings=130, **_D),
        "distilbert": _text("DistilBertForMaskedLM", dim=256, n_layers=6, n_heads=4, hidden_dim=1024),
        "albert": _text("AlbertForMaskedLM", embedding_size=64, **_D),
        "electra": _text("ElectraForMaskedLM", embedding_size=128, **_D),
        "deberta_v2": _text("DebertaV2ForMaskedLM", **_D),
        "t5": _text("T5ForConditionalGeneration", decoder=True, d_model=256, d_kv=64, d_ff=1024, num_layers=6, num_heads=4),
        "bart": _text("BartForConditionalGeneration", decoder=True, d_model=256, encoder_ffn_dim=1024, decoder_ffn_dim=1024, **_PAIR),
        "mamba": _text("MambaForCausalLM", tokens=16, hidden_size=256, num_hidden_layers=4),
    },
}

_HELD_VIT = """
coat_lite_tiny twins_svt_small mvitv2_tiny pit_ti_224 visformer_tiny tnt_s_patch16_224 nest_tiny gcvit_xxtiny hiera_tiny_224
vit_tiny_r_s16_p8_224
"""
_HELD_CNN = """
convnextv2_atto inception_next_tiny fastvit_t8 resnest14d ecaresnet26t seresnet50 rexnet_100 tinynet_a lcnet_050 dpn68 gernet_s
ese_vovnet19b_dw selecsls42b darknet53 mobileone_s0 mobilenetv4_conv_small caformer_s18 focalnet_tiny_srf repvit_m0_9 starnet_s1
efficientvit_b0 ghostnetv2_100 hardcorenas_a davit_tiny mixnet_s semnasnet_100 resnet26t
"""
_TORCHVISION = ("wide_resnet50_2", "mobilenet_v3_large", "vgg13", "convnext_small", "mnasnet0_5", "regnet_x_400mf")

HELD_OUT: Mapping[str, Mapping[str, Maker]] = {
    "timm, 224": _timm(_HELD_VIT, 2, 224),
    "timm, 128": _timm(_HELD_CNN, 4, 128),
    "torchvision": {
        **{name: _vision("torchvision", name, 4, 128) for name in _TORCHVISION},
        "inception_v3": _vision("torchvision", "inception_v3", 4, 160),
        "swin_v2_t": _vision("torchvision", "swin_v2_t", 1, 224),
        "fcn_resnet50": _segmentation("fcn_resnet50", 2, 96),
    },
    "language model": {
        "olmo2": _text("Olmo2ForCausalLM", **_D),
        "gptj": _text("GPTJForCausalLM", n_embd=256, n_layer=6, n_head=4, rotary_dim=32),
        "gpt_neo": _text(
            "GPTNeoForCausalLM",
            hidden_size=256, num_layers=6, num_heads=4, attention_types=[[["global", "local"], 3]], max_position_embeddings=128,
        ),
        "falcon": _text("FalconForCausalLM", hidden_size=256, num_hidden_layers=6, num_attention_heads=4),
        "starcoder2": _text("Starcoder2ForCausalLM", **_GQA),
        "cohere": _text("CohereForCausalLM", **_D),
        "phi3": _text("Phi3ForCausalLM", pad_token_id=0, **_D),
        "granite": _text("GraniteForCausalLM", **_D),
        "mpnet": _text("MPNetForMaskedLM", **_D),
        "mbart": _text("MBartForConditionalGeneration", decoder=True, d_model=256, encoder_ffn_dim=1024, decoder_ffn_dim=1024, **_PAIR),
        "roformer": _text("RoFormerForMaskedLM", embedding_size=256, **_D),
        "convbert": _text("ConvBertForMaskedLM", embedding_size=256, **_D),
        "squeezebert": _text("SqueezeBertForMaskedLM", embedding_size=256, **_D),
        "xlnet": _text("XLNetLMHeadModel", d_model=256, n_layer=6, n_head=4, d_inner=1024),
    },
}  # fmt: skip
"""Models that were looked at, but whose misses led to no change of the forecast that was meant for them."""
