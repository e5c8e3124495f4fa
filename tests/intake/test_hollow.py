"""Building without weights: what initialised a parameter is known as if it had been drawn, or it counts as unknown.

The oracle is the same model really built: its parameters, and the forecast from them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from math import inf, isfinite, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netaudit.audit import Settings, analyse
from netaudit.errors import TraceError
from netaudit.intake.hollow import Law, Recorder, is_hollow
from netaudit.intake.hollow.places import Strided, scattered
from netaudit.intake.hollow.recorder import SMALL
from netaudit.intake.hollow.sample import COUNT
from netaudit.intake.subject import Inputs, Options, Subject
from netaudit.intake.target import load
from netaudit.pack import installed

SHAPE = (300, 256)
Init = Callable[[Tensor], object]


def law_of(make: Callable[[], nn.Parameter]) -> Law:
    """The law of a parameter that is made without values."""
    model = nn.Module()
    recorder = Recorder(0)
    with recorder.building():
        model.weight = make()
    assert is_hollow(model.weight)
    return recorder.laws(model)["weight"]


def initialised(init: Init, shape: tuple[int, ...] = SHAPE) -> Callable[[], nn.Parameter]:
    def make() -> nn.Parameter:
        weight = nn.Parameter(torch.empty(shape))
        with torch.no_grad():
            init(weight)
        return weight

    return make


def in_parts(weight: Tensor) -> None:
    """As attention initialises its projections: thirds of one matrix."""
    for part in weight.chunk(3):
        nn.init.xavier_uniform_(part)


def scaled_rows(weight: Tensor) -> None:
    rows = weight.flatten(1)
    rows.normal_()
    rows.mul_(0.3 / rows.square().sum(1, keepdim=True).sqrt())


def padded(weight: Tensor) -> None:
    nn.init.normal_(weight, std=0.02)
    weight[7].zero_()


def old_truncated_normal(weight: Tensor) -> None:
    """As timm and torch before 2.10 draw it."""
    weight.uniform_(-0.9, 0.9).erfinv_().mul_(0.02 * sqrt(2.0)).add_(0.01).clamp_(-0.03, 0.03)


INITS: dict[str, Init] = {
    "normal": lambda w: nn.init.normal_(w, 0.1, 0.02),
    "small mean": lambda w: nn.init.normal_(w, 1e-3, 0.02),
    "uniform": lambda w: nn.init.uniform_(w, -0.1, 0.3),
    "kaiming uniform": lambda w: nn.init.kaiming_uniform_(w, a=sqrt(5.0)),
    "kaiming normal": nn.init.kaiming_normal_,
    "xavier uniform": nn.init.xavier_uniform_,
    "xavier normal": nn.init.xavier_normal_,
    "truncated normal": lambda w: nn.init.trunc_normal_(w, std=0.02),
    "truncated to one side": lambda w: nn.init.trunc_normal_(w, 0.0, 1.0, 0.5, 2.0),
    "old truncated normal": old_truncated_normal,
    "orthogonal": nn.init.orthogonal_,
    "constant": lambda w: nn.init.constant_(w, 0.3),
    "zeros": nn.init.zeros_,
    "copied": lambda w: w.copy_(torch.linspace(0.0, 1.0, w.shape[-1])),
    "in parts": in_parts,
    "row norms": scaled_rows,
    "padding": padded,
    "arithmetic": lambda w: w.normal_().abs_().add_(0.5).mul_(2.0).sub_(1.0).div_(3.0).pow_(2),
    "bernoulli": lambda w: w.bernoulli_(0.3),
    "columns": lambda w: (w.normal_(), w[:, ::2].zero_()),
    "two draws": lambda w: w.copy_(torch.randn_like(w) * torch.rand_like(w)),
    "masked": lambda w: w.normal_().masked_fill_(w > 0, 0.0),
}


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("shape", [SHAPE, (256, 300), (64, 32, 3, 3), (256, 256)], ids=str)
def test_mean_and_mean_square_are_those_of_a_real_draw(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    law = law_of(initialised(INITS[name], shape))
    real = torch.empty(shape)
    INITS[name](real)
    real = real.double()
    assert law.moments is not None, law.reason
    count = min(COUNT, real.numel())
    for power, modelled in ((2, law.moments.mean_square), (1, law.moments.mean)):
        values = real**power
        error = float(values.std()) * (1.0 / sqrt(real.numel()) + 1.0 / sqrt(count))
        assert modelled == pytest.approx(float(values.mean()), abs=4.0 * error + 1e-7)
    assert float(real.min()) in law.range
    assert float(real.max()) in law.range


@pytest.mark.parametrize(
    ("init", "low", "high"),
    [
        (lambda w: nn.init.uniform_(w, -0.25, 0.5), -0.25, 0.5),
        (nn.init.zeros_, 0.0, 0.0),
        (lambda w: nn.init.constant_(w, 0.3), 0.3, 0.3),
        (lambda w: w.normal_().clamp_(-2.0, 1.0), -2.0, 1.0),
        (lambda w: (w.uniform_(0.0, 1.0), w[:100].zero_()), 0.0, 1.0),
        (lambda w: w.fill_(2.0).mul_(torch.tensor(3.0)).sqrt_(), sqrt(6.0), sqrt(6.0)),
        (nn.init.normal_, -inf, inf),
        (lambda w: w.uniform_(0.0, 1.0).mul_(2.0), -inf, inf),
    ],
)
def test_a_range_is_known_where_it_is_proved(init: Init, low: float, high: float) -> None:
    found = law_of(initialised(init)).range
    assert found.lo == pytest.approx(low, rel=1e-6)
    assert found.hi == pytest.approx(high, rel=1e-6)


def test_a_small_mean_is_not_lost_in_noise_nor_noise_taken_for_a_mean() -> None:
    """A mean of 1e-3 beside a deviation of 0.02 matters over a thousand inputs; a sample of 4096 alone would not show it."""
    shifted = law_of(initialised(lambda w: nn.init.normal_(w, 1e-3, 0.02))).moments
    centred = law_of(initialised(lambda w: nn.init.normal_(w, 0.0, 0.02))).moments
    assert shifted is not None
    assert centred is not None
    assert shifted.mean == pytest.approx(1e-3, rel=1e-3)
    assert centred.mean == 0.0


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        (nn.init.eye_, "aten.eye"),
        (lambda w: w.copy_(torch.cumsum(w.normal_(), 0)), "aten.cumsum"),
        (lambda w: w.normal_().index_put_((torch.tensor([0]),), torch.tensor(1.0)), "aten.index_put_"),
        (lambda w: torch._foreach_mul_([w], 2.0), "aten._foreach_mul_"),
        (lambda w: nn.init.dirac_(w.view(300, 16, 4, 4)), "parts too small"),
        (lambda w: None, "never initialised"),
        (lambda w: w[:200].normal_(), "never initialised"),
        (lambda w: w.normal_().mul_(torch.triu(w.clone())), "aten.triu"),
    ],
)
def test_what_is_not_followed_is_unknown(init: Init, reason: str) -> None:
    law = law_of(initialised(init))
    assert law.moments is None
    assert reason in law.reason


def test_what_is_overwritten_does_not_matter() -> None:
    law = law_of(initialised(lambda w: (nn.init.eye_(w), nn.init.ones_(w))))
    assert law.reason == ""
    assert law.moments is not None
    assert law.moments.mean == 1.0


def test_nan_is_broken() -> None:
    assert law_of(initialised(lambda w: w.zero_().div_(0.0))).broken


def test_a_parameter_made_from_values_is_known_by_them() -> None:
    table = torch.eye(200)
    law = law_of(lambda: nn.Parameter(table.clone()))
    assert law.moments is not None
    assert law.moments.mean_square == pytest.approx(1 / 200)
    assert (law.range.lo, law.range.hi) == (0.0, 1.0)
    same_row = law.moments.kernel.second[0, 1]
    assert same_row == pytest.approx(0.0)  # two entries of one row: which independent entries would not give


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer.weight, "data", torch.full(SHAPE, 0.5)),
        lambda layer: setattr(layer, "weight", nn.Parameter(torch.full(SHAPE, 0.5))),
        lambda layer: layer.load_state_dict({"weight": torch.full(SHAPE, 0.5)}, strict=False),
        lambda layer: layer.weight.data.fill_(0.5),
        lambda layer: nn.init.constant_(layer.weight, 0.5),
    ],
)
@pytest.mark.parametrize("after", [lambda layer: layer, lambda layer: layer.double(), lambda layer: layer.to("cpu"), copy.deepcopy])
def test_however_a_weight_is_set(change: Callable[[nn.Linear], object], after: Callable[[nn.Linear], nn.Linear]) -> None:
    recorder = Recorder(0)
    with recorder.building():
        layer = nn.Linear(256, 300)
        change(layer)
        layer = after(layer)
    law = recorder.laws(layer)["weight"]
    assert law.moments is not None
    assert law.moments.mean_square == pytest.approx(0.25)


def test_ties_are_kept() -> None:
    recorder = Recorder(0)
    with recorder.building():
        embed, head = nn.Embedding(300, 256), nn.Linear(256, 300, bias=False)
        head.weight = embed.weight
        nn.init.normal_(head.weight, std=0.1)
        model = nn.Sequential(embed, head)
    laws = recorder.laws(model)
    assert set(laws) == {"0.weight", "1.weight"}
    assert model[0].weight is model[1].weight
    assert laws["0.weight"].moments is not None
    assert laws["0.weight"].moments.mean_square == pytest.approx(0.01)


def test_small_parameters_buffers_and_constants_are_real() -> None:
    recorder = Recorder(0)
    with recorder.building():
        layer = nn.Linear(256, 300)
        layer.register_buffer("mask", torch.ones(512, 512).tril())
        layer.register_buffer("table", torch.zeros(5000, 64))
        rates = [float(x) for x in torch.linspace(0.0, 0.1, 12)]
    assert not is_hollow(layer.bias)
    assert not any(is_hollow(buffer) for buffer in layer.buffers())
    assert rates[-1] == pytest.approx(0.1)


def test_everything_patched_is_put_back() -> None:
    before = nn.Parameter.__dict__["__new__"], torch.utils.swap_tensors, nn.init.trunc_normal_
    with pytest.raises(ZeroDivisionError), Recorder(0).building():
        raise ZeroDivisionError
    assert (nn.Parameter.__dict__["__new__"], torch.utils.swap_tensors, nn.init.trunc_normal_) == before
    assert not is_hollow(nn.Linear(256, 300).weight)


# places -----------------------------------------------------------------------------------------------------------------

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "whole": lambda x: x,
    "row": lambda x: x[3],
    "rows": lambda x: x[2:5],
    "step": lambda x: x[::2, 1::3],
    "column": lambda x: x[:, 4],
    "transposed": lambda x: x.T,
    "split": lambda x: x.view(6, 2, 5, 2),
    "permuted": lambda x: x.view(6, 2, 5, 2).permute(2, 0, 3, 1)[1:4],
    "diagonal": lambda x: x.diagonal(),
    "flat": lambda x: x.reshape(-1)[17:90],
    "entry": lambda x: x[2, 3],
    "nothing": lambda x: x[5:5],
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_holds_the_places_that_torch_says(name: str) -> None:
    storage = torch.arange(120)
    view = VIEWS[name](storage.view(12, 10))
    strided = Strided.of(view)
    places = np.arange(120)
    which, index = strided.held(places)
    entries = view.reshape(-1)
    assert sorted(places[which].tolist()) == sorted(entries.tolist())
    assert entries[torch.from_numpy(index)].tolist() == places[which].tolist()
    assert strided.places(np.arange(view.numel())).tolist() == entries.tolist()


@pytest.mark.parametrize(("count", "wanted"), [(10, 20), (20, 20), (1000, 37), (1 << 40, 4096)])
def test_scattered_places_are_different_and_even(count: int, wanted: int) -> None:
    places = scattered(count, wanted, np.random.default_rng(0))
    assert len(places) == min(count, wanted)
    assert (np.diff(places) > 0).all()
    assert places[0] >= 0
    assert places[-1] < count
    assert (np.diff(places) < 2 * count / len(places) + 1).all()


# whole models -----------------------------------------------------------------------------------------------------------


def mlp() -> nn.Module:
    layers = [m for _ in range(4) for m in (nn.Linear(256, 256), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(256, 100))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


def conv() -> nn.Module:
    blocks = [m for c in (32, 64, 128) for m in (nn.Conv2d(c, 2 * c, 3, 2, 1), nn.BatchNorm2d(2 * c), nn.GELU())]
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 100))


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(192, 4, 512, 0.0, batch_first=True), 3, enable_nested_tensor=False)


def lstm() -> nn.Module:
    return nn.LSTM(128, 160, 2, batch_first=True)


def weight_norm() -> nn.Module:
    first = nn.utils.parametrizations.weight_norm(nn.Linear(256, 300))
    return nn.Sequential(first, nn.Tanh(), nn.utils.parametrizations.weight_norm(nn.Linear(300, 128)))


def transformers_model(kind: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from netaudit.intake.libraries import library

        sizes = {"hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 512}
        library_ = library("transformers")
        match kind:
            case "llama":
                config = library_.LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=1000, use_cache=False)
                model = library_.LlamaForCausalLM(config)
            case "gpt2":
                config = library_.GPT2Config(n_embd=192, n_layer=3, n_head=4, vocab_size=1000, n_positions=64, use_cache=False)
                model = library_.GPT2LMHeadModel(config)
            case _:
                model = library_.ViTForImageClassification(library_.ViTConfig(**sizes, image_size=32, patch_size=8))
        assert isinstance(model, nn.Module)
        return model

    return make


def timm_model(name: str, **args: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from netaudit.intake.libraries import library

        model = library("timm").create_model(name, pretrained=False, **args)
        assert isinstance(model, nn.Module)
        return model

    return make


def tokens() -> Tensor:
    return torch.randint(0, 1000, (2, 32), generator=torch.Generator().manual_seed(0))


def floats(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(*shape, generator=torch.Generator().manual_seed(0))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], str]] = {
    "mlp": (mlp, floats(16, 256), ""),
    "conv": (conv, floats(4, 3, 32, 32), ""),
    "encoder": (encoder, floats(4, 16, 192), ""),
    "lstm": (lstm, floats(4, 10, 128), ""),
    "weight norm": (weight_norm, floats(16, 256), ""),
    "llama": (transformers_model("llama"), tokens, "transformers"),
    "gpt2": (transformers_model("gpt2"), tokens, "transformers"),
    "vit": (transformers_model("vit"), floats(2, 3, 32, 32), "transformers"),
    "timm vit": (timm_model("vit_tiny_patch16_224", img_size=64, depth=3), floats(2, 3, 64, 64), "timm"),
    "timm convnext": (timm_model("convnext_atto"), floats(2, 3, 64, 64), "timm"),
}


def subject_of(model: nn.Module, inputs: Tensor, recorder: Recorder | None) -> Subject:
    from netaudit.intake.hollow import Absent

    absent = Absent() if recorder is None else Absent(recorder.laws(model))
    batch = Inputs((inputs,), {}, (inputs,), "test")
    return Subject("test", model, batch.args, {}, batch.given, "test", absent=absent)


@pytest.mark.zoo
@pytest.mark.parametrize("name", MODELS)
def test_laws_and_forecasts_are_those_of_the_real_model(name: str) -> None:
    build, draw, library = MODELS[name]
    if library:
        pytest.importorskip(library)
    torch.manual_seed(0)
    real = build()
    recorder = Recorder(0)
    with recorder.building():
        hollow = build()
    laws = recorder.laws(hollow)
    parameters = dict(real.named_parameters(remove_duplicate=False))
    assert set(laws) >= {key for key, tensor in parameters.items() if tensor.numel() > SMALL}
    for key, law in laws.items():
        values = parameters[key].detach().double()
        assert law.moments is not None, (key, law.reason)
        square = float(values.square().mean())
        error = float(values.square().std()) * (1 / sqrt(values.numel()) + 1 / sqrt(COUNT))
        assert law.moments.mean_square == pytest.approx(square, abs=4 * error + 1e-9), key
    catalog = installed()
    from_real = analyse(subject_of(real, draw(), None), catalog, Settings()).flow
    from_laws = analyse(subject_of(hollow, draw(), recorder), catalog, Settings()).flow
    for key, gradient in from_real.params.items():
        other = from_laws.params[key].forecast
        assert (gradient.forecast is None) == (other is None), key
        if gradient.forecast is None or other is None or max(gradient.forecast, other) < -6.0:  # rounding of a structural zero
            continue
        assert isfinite(other), key
        assert other == pytest.approx(gradient.forecast, abs=np.log10(1.5)), key


class Hidden(nn.Module):
    """A layer in a list, which no optimiser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(256, 256)]
        self.head = nn.Linear(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers[0](x))  # type: ignore[no-any-return]  # a Tensor


class Branching(nn.Module):
    """A forward that looks at the values of its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) if self.head.weight.sum() > 0 else x


@pytest.mark.parametrize(("build", "message"), [(Hidden, "not in model.parameters()"), (Branching, "depends on the data")])
def test_what_cannot_be_traced_without_values_says_so(build: Callable[[], nn.Module], message: str) -> None:
    recorder = Recorder(0)
    with recorder.building():
        model = build()
    with pytest.raises(TraceError, match=re.escape(message)) as caught:
        analyse(subject_of(model, torch.randn(4, 256), recorder), installed(), Settings())
    assert "leave out --meta" in caught.value.hint


def test_a_model_without_weights_keeps_its_optimiser(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text(
        "import torch\nfrom torch import nn\n"
        "def build():\n    return nn.Linear(256, 256)\n"
        "def example_inputs():\n    return torch.randn(4, 256)\n"
        "def loss(model, inputs):\n    return model(inputs).square().mean()\n"
        "def optimizer(model):\n    return torch.optim.AdamW(model.parameters(), lr=1e-3)\n"
    )
    (subject,) = load(str(file), Options(meta=True))
    analysis = analyse(subject, installed(), Settings())
    assert analysis.graph.loss is not None
    assert set(analysis.graph.params) == {"weight", "bias"}
    assert all(gradient.forecast is not None for gradient in analysis.flow.params.values())
