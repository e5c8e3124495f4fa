"""Rules about the training set-up: what they compute against real optimisers, and the set-ups that they may not warn of."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from math import isclose, sqrt
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from netaudit_rules.checks.optimiser import common, invariance, scale_invariant_decay
from netaudit_rules.checks.precision.lost_updates import LOST
from torch import nn

from netaudit.audit import Settings, analyse, audit_subject
from netaudit.check import Audit
from netaudit.finding import Finding
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load
from netaudit.intake.training import Said, training_of
from netaudit.pack import installed
from netaudit.training import Described

HEADER = """
import torch
from torch import nn
from torch import optim
from torch.nn import functional as F
from torch.optim import lr_scheduler

def example_inputs():
    return torch.randn(32, 16)

def loss(model, inputs):
    return F.cross_entropy(model(inputs), torch.arange(32) % 4)

def build():
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
"""

Findings = Callable[..., tuple[Finding, ...]]


@pytest.fixture
def subject(tmp_path: Path) -> Callable[[str], Subject]:
    def make(text: str) -> Subject:
        path = tmp_path / "model.py"
        path.write_text(HEADER + textwrap.dedent(text), encoding="utf-8")
        return load(str(path), Options())[0]

    return make


@pytest.fixture
def findings(subject: Callable[[str], Subject]) -> Findings:
    """What is found in a model whose file has some more text, or that is said to be trained in some way."""

    def run(text: str = "", **said: object) -> tuple[Finding, ...]:
        chosen = Settings(said=Said(Described(**said)))  # type: ignore[arg-type]  # a subset of its fields
        report = audit_subject(subject(text), installed(), chosen)
        assert not report.problems
        return report.findings

    return run


@pytest.fixture
def audit(subject: Callable[[str], Subject]) -> Callable[..., Audit]:
    def make(text: str = "", **said: object) -> Audit:
        one = subject(text)
        found = analyse(one, installed(), Settings())
        training = training_of(one, found.graph, Said(Described(**said)))  # type: ignore[arg-type]  # as above
        return Audit(one.id, found.facts, found.flow, found.later, training)

    return make


def severities(found: tuple[Finding, ...]) -> Mapping[str, str]:
    return {finding.code: finding.severity for finding in found}


# nothing said, nothing judged; the usual is not warned of ---------------------------------------------------------------


def test_without_a_training_set_up_its_rules_are_silent(findings: Findings) -> None:
    assert not [f.code for f in findings() if f.code.startswith("NA6")]


USUAL = {
    "adamw": {"optimizer": "adamw", "lr": 3e-4},
    "adamw, steps": {"optimizer": "adamw", "lr": 1e-3, "steps": 10_000, "warmup": 500, "schedule": "cosine", "weight_decay": 0.01},
    "adam with a small penalty": {"optimizer": "adam", "lr": 1e-3, "weight_decay": 5e-4},
    "sgd": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
    "nesterov": {"optimizer": "nesterov", "lr": 0.05, "momentum": 0.9},
    "rmsprop": {"optimizer": "rmsprop", "lr": 1e-3},
    "adagrad": {"optimizer": "adagrad", "lr": 0.01},
    "lion": {"optimizer": "lion", "lr": 1e-4, "weight_decay": 1.0},
    "gan": {"optimizer": "adam", "lr": 2e-4, "betas": (0.5, 0.999)},
    "mixed bf16": {"optimizer": "adamw", "lr": 3e-4, "precision": "mixed-bf16"},
    "mixed fp16": {"optimizer": "adamw", "lr": 3e-4, "precision": "mixed-fp16", "scaler": True, "clip": 1.0},
    "fine-tuning": {"optimizer": "adamw", "lr": 1e-6, "warmup": 0},
}


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_set_ups_are_not_warned_of(findings: Findings, name: str) -> None:
    assert {code: s for code, s in severities(findings(**USUAL[name])).items() if s != "info"} == {}


# steps and invariance, against torch ------------------------------------------------------------------------------------

STEPPED = {
    "SGD": {"optimizer": "sgd", "lr": 0.1},
    "momentum": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9},
    "nesterov": {"optimizer": "nesterov", "lr": 0.1, "momentum": 0.9},
    "Adam": {"optimizer": "adam", "lr": 1e-3},
    "AdamW": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.0},
    "Adam with a large eps": {"optimizer": "adam", "lr": 1e-3, "eps": 0.01},
    "NAdam": {"optimizer": "nadam", "lr": 1e-3},
    "RAdam": {"optimizer": "radam", "lr": 1e-3},
    "Adamax": {"optimizer": "adamax", "lr": 1e-3},
    "Adagrad": {"optimizer": "adagrad", "lr": 1e-3},
    "RMSprop": {"optimizer": "rmsprop", "lr": 1e-3},
}


@pytest.mark.parametrize("name", STEPPED)
def test_the_size_of_the_first_step_is_that_of_torch(audit: Callable[..., Audit], subject: Callable[[str], Subject], name: str) -> None:
    """Within the factor of two that a forecast gradient may be wrong by, where it matters; NAdam looks ahead by 6 %."""
    known = audit(**STEPPED[name])
    held = {one.name: one for one in common.held_matrices(known)}
    assert len(held) == 2
    one = subject("")
    group = next(iter(held.values())).group
    settings_ = {key: value for key, value in group.settings.items() if value is not None}
    optimizer = getattr(torch.optim, next(iter(held.values())).kind.name)(one.model.parameters(), **settings_)
    before = {key: value.detach().clone() for key, value in one.model.named_parameters()}
    assert one.loss is not None
    torch.autograd.backward([one.loss(one.model, one.inputs)])
    optimizer.step()
    for key, member in held.items():
        moved = float((dict(one.model.named_parameters())[key].detach() - before[key]).square().mean().sqrt())
        size = common.step(known, member, member.group.number("lr"), common.clip_of(known), first=True)
        assert size is not None
        if member.kind.step == "sign" and "eps" not in name:
            assert moved == pytest.approx(size, rel=0.1)
        assert 0.5 < moved / size < 2.0


NORMED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.plain = nn.Linear(16, 32)
        self.before_norm = nn.Linear(32, 32, bias=False)
        self.norm = nn.LayerNorm(32)
        self.before_relu = nn.Linear(32, 32, bias=False)
        self.batch = nn.BatchNorm1d(32)
        self.shortcut = nn.Linear(32, 32, bias=False)
        self.last = nn.LayerNorm(32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.tanh(self.plain(x))
        x = torch.tanh(self.norm(self.before_norm(x)))
        x = torch.tanh(self.batch(torch.relu(self.before_relu(x))))
        return self.head(self.last(x + self.shortcut(x)))

def build():
    return Net()
"""


def test_the_gradient_of_an_invariant_weight_is_orthogonal_to_it(audit: Callable[..., Audit], subject: Callable[[str], Subject]) -> None:
    found = invariance.scale_invariant(audit(NORMED))
    assert found == {"before_norm.weight", "before_relu.weight"}
    one = subject(NORMED)
    assert one.loss is not None
    torch.autograd.backward([one.loss(one.model, one.inputs)])
    for name, weight in one.model.named_parameters():
        if weight.ndim == 2:
            assert weight.grad is not None
            cosine = float((weight.detach() * weight.grad).sum() / (weight.detach().norm() * weight.grad.norm()))
            assert (abs(cosine) < 1e-3) == (name in found), (name, cosine)


def test_what_a_norm_hides_is_not_exposed(audit: Callable[..., Audit]) -> None:
    assert invariance.exposed(audit(NORMED)) == {"last.weight", "last.bias", "head.weight", "head.bias"}
    eps = NORMED.replace("self.last = nn.LayerNorm(32)", "self.last = nn.LayerNorm(32, eps=1e6)")
    assert "shortcut.weight" in invariance.exposed(audit(eps))


# NA601, NA602 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "flagged"),
    [
        ({"optimizer": "adam", "weight_decay": 1e-4}, True),
        ({"optimizer": "rmsprop", "weight_decay": 1e-4}, True),
        ({"optimizer": "adam"}, False),
        ({"optimizer": "adamw", "weight_decay": 0.1}, False),
        ({"optimizer": "sgd", "weight_decay": 1e-4}, False),
        ({"optimizer": "lion", "weight_decay": 1.0}, False),
    ],
)
def test_coupled_weight_decay(findings: Findings, said: dict[str, object], flagged: bool) -> None:
    assert ("NA601" in severities(findings(**said, lr=1e-4))) == flagged


def test_a_decoupled_setting_is_seen(findings: Findings) -> None:
    text = "def optimizer(model): return optim.NAdam(model.parameters(), lr=1e-3, weight_decay=0.01, decoupled_weight_decay={})"
    assert "NA601" in severities(findings(text.format(False)))
    assert "NA601" not in severities(findings(text.format(True)))


def test_a_decay_that_comes_to_nothing_is_not_told(findings: Findings) -> None:
    assert "NA602" in severities(findings(optimizer="adamw", lr=1e-3, weight_decay=0.1))
    assert "NA602" not in severities(findings(optimizer="adamw", lr=1e-3, weight_decay=0.1, steps=5000))
    assert "NA602" not in severities(findings(optimizer="adamw", lr=1e-3, weight_decay=0.0))


# NA603 ------------------------------------------------------------------------------------------------------------------

TRANSFORMER = """
def build():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first={first})
    return nn.TransformerEncoder(layer, {depth}, enable_nested_tensor=False)

def example_inputs():
    return torch.randn(4, 8, 16)

def loss(model, inputs):
    return model(inputs).square().mean()
"""


@pytest.mark.parametrize(
    ("first", "depth", "said", "severity"),
    [
        (False, 4, {"lr": 5e-4, "warmup": 0}, "info"),
        (False, 4, {"lr": 1e-3, "warmup": 0}, "warning"),  # 8 norms
        (False, 4, {"lr": 1e-3, "warmup": 2000}, None),
        (False, 4, {"lr": 1e-3}, None),  # nobody says whether there is a warm-up
        (False, 4, {"lr": 5e-5, "warmup": 0}, None),  # fine-tuning
        (True, 4, {"lr": 1e-3, "warmup": 0}, None),  # pre-norm
    ],
)
def test_a_post_norm_transformer_without_a_warm_up(
    findings: Findings, first: bool, depth: int, said: dict[str, object], severity: str | None
) -> None:
    found = severities(findings(TRANSFORMER.format(first=first, depth=depth), optimizer="adamw", **said))
    assert found.get("NA603") == severity


def test_radam_waits_by_itself(findings: Findings) -> None:
    assert "NA603" not in severities(findings(TRANSFORMER.format(first=False, depth=4), optimizer="radam", lr=1e-3, warmup=0))


# NA604 ------------------------------------------------------------------------------------------------------------------


@given(st.floats(0.0, 0.99), st.floats(0.5, 0.999))
@settings(max_examples=30, deadline=None)
def test_the_spike_of_adam_is_what_torch_does(first: float, second: float) -> None:
    """After a long quiet time one large gradient moves a weight by ``(1 - b1) / sqrt(1 - b2)`` lr."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=1.0, betas=(first, second), eps=0.0)
    optimizer.state[weight] = {"step": torch.tensor(1e6), "exp_avg": torch.zeros(1).double(), "exp_avg_sq": torch.zeros(1).double()}
    weight.grad = torch.ones(1, dtype=torch.float64)
    optimizer.step()
    assert isclose(abs(float(weight.detach())), (1 - first) / sqrt(1 - second), rel_tol=1e-6)


@pytest.mark.parametrize(
    ("betas", "severity"),
    [((0.9, 0.999), None), ((0.9, 0.95), None), ((0.0, 0.99), None), ((0.5, 0.999), "info"), ((0.999, 0.9), "warning")],
)
def test_betas(findings: Findings, betas: tuple[float, float], severity: str | None) -> None:
    assert severities(findings(optimizer="adam", lr=1e-3, betas=betas)).get("NA604") == severity


def test_amsgrad_never_forgets_and_lion_divides_by_nothing(findings: Findings) -> None:
    text = "def optimizer(model): return optim.Adam(model.parameters(), lr=1e-3, betas=(0.999, 0.9), amsgrad=True)"
    assert "NA604" not in severities(findings(text))
    assert "NA604" not in severities(findings(optimizer="lion", lr=1e-4, betas=(0.99, 0.9)))


# NA605, NA504, NA505, NA506 ---------------------------------------------------------------------------------------------

HALF = """
def build():
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).to(torch.{dtype})

def example_inputs():
    return torch.randn(32, 16, dtype=torch.{dtype})

def optimizer(model):
    return optim.AdamW(model.parameters(), lr={lr}, betas=(0.9, {beta}))
"""


def test_an_eps_of_zero_in_fp16_is_an_error_and_ends_in_nan(findings: Findings) -> None:
    assert severities(findings(optimizer="adam", lr=1e-3, precision="fp16"))["NA605"] == "error"
    assert "NA605" not in severities(findings(optimizer="adam", lr=1e-3, precision="fp16", eps=1e-4))
    assert "NA605" not in severities(findings(optimizer="adam", lr=1e-3, precision="mixed-fp16", scaler=True))
    weight = nn.Parameter(torch.ones(4, dtype=torch.float16))
    optimizer = torch.optim.Adam([weight], lr=1e-3)
    weight.grad = torch.tensor([0.0, 1e-4, 1e-3, 5e-3], dtype=torch.float16)
    optimizer.step()
    assert not weight.detach().isfinite().any()


@pytest.mark.parametrize(("eps", "flagged"), [(1e-8, False), (1e-4, False), (0.1, True)])
def test_an_eps_above_the_gradients_is_a_note(findings: Findings, eps: float, flagged: bool) -> None:
    assert (severities(findings(optimizer="adam", lr=1e-3, eps=eps)).get("NA605") == "info") == flagged


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_change_below_the_limit_is_lost_on_every_mantissa(dtype: torch.dtype) -> None:
    limit = LOST[str(dtype).removeprefix("torch.")]
    bits = 7 if dtype is torch.bfloat16 else 10
    numbers = (1.0 + torch.arange(2**bits) / 2**bits).to(dtype)
    assert torch.equal(numbers - numbers.float().mul(0.99 * limit).to(dtype), numbers)
    assert not torch.equal(numbers - numbers.float().mul(1.01 * limit).to(dtype), numbers)  # some numbers take it


@pytest.mark.parametrize("decay", [0.9, 0.95, 0.99, 0.995, 0.998, 0.999, 0.9999])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_decay_that_is_said_to_be_no_change_is_none(findings: Findings, dtype: torch.dtype, decay: float) -> None:
    bits = 7 if dtype is torch.bfloat16 else 10
    numbers = (1.0 + torch.arange(2**bits) / 2**bits).to(dtype)
    still = torch.equal(numbers * torch.tensor(decay), numbers)
    name = str(dtype).removeprefix("torch.")
    assert ("NA505" in severities(findings(HALF.format(dtype=name, lr=1e-3, beta=decay)))) == still


@pytest.mark.parametrize("lr", [1e-5, 3e-4, 1e-2])
def test_the_share_of_lost_updates_is_what_torch_loses(audit: Callable[..., Audit], subject: Callable[[str], Subject], lr: float) -> None:
    from netaudit_rules.checks.precision.lost_updates import _lost

    text = HALF.format(dtype="bfloat16", lr=lr, beta=0.95)
    known = {one.name: _lost(audit(text), one, common.Clip()) for one in common.held_matrices(audit(text))}
    one = subject(text)
    before = {key: value.detach().clone() for key, value in one.model.named_parameters()}
    for weight in one.model.parameters():
        weight.grad = torch.ones_like(weight)
    one.optimizers[0].param_groups[0]["weight_decay"] = 0.0
    one.optimizers[0].step()
    for key, share in known.items():
        same = float((dict(one.model.named_parameters())[key].detach() == before[key]).float().mean())
        assert share is not None
        assert share <= same + 1e-6  # what is said to be lost is lost; up to twice the limit it depends on the mantissa


def test_weights_that_are_small_take_their_updates(findings: Findings) -> None:
    assert severities(findings(HALF.format(dtype="bfloat16", lr=1e-5, beta=0.95)))["NA504"] == "warning"
    assert severities(findings(HALF.format(dtype="bfloat16", lr=1e-3, beta=0.95))).get("NA504") != "warning"
    assert "NA504" not in severities(findings(optimizer="adamw", lr=1e-6, precision="mixed-bf16"))


def test_an_average_in_half_precision_stands_still(findings: Findings) -> None:
    assert "NA505" in severities(findings(optimizer="sgd", lr=0.1, precision="bf16", ema=0.999))
    assert "NA505" not in severities(findings(optimizer="sgd", lr=0.1, precision="bf16", ema=0.99))


SMALL_LOSS = """
def loss(model, inputs):
    return 1e-6 * model(inputs).square().mean()
"""


@pytest.mark.parametrize(
    ("text", "said", "severity"),
    [
        (SMALL_LOSS, {"precision": "mixed-fp16", "scaler": False}, "warning"),
        (SMALL_LOSS, {"precision": "mixed-fp16"}, "info"),
        (SMALL_LOSS, {"precision": "mixed-fp16", "scaler": True}, None),
        (SMALL_LOSS, {"precision": "mixed-bf16"}, None),
        ("", {"precision": "mixed-fp16", "scaler": False}, None),
        ("", {"precision": "mixed-bf16", "scaler": True}, "info"),
    ],
)
def test_gradients_below_fp16(findings: Findings, text: str, said: dict[str, object], severity: str | None) -> None:
    assert severities(findings(text, **said)).get("NA506") == severity


# NA606, NA607, NA608 ----------------------------------------------------------------------------------------------------


def test_clipping(findings: Findings) -> None:
    assert "NA606" in severities(findings(optimizer="sgd", lr=0.1, clip=1e-4))
    assert "NA606" not in severities(findings(optimizer="adamw", lr=1e-3, clip=1e-4))  # Adam does not mind
    assert "NA607" in severities(findings(optimizer="sgd", lr=0.1, clip=1.0, precision="mixed-fp16"))
    assert "NA607" not in severities(findings(optimizer="sgd", lr=0.1, clip=1.0, precision="mixed-bf16"))
    assert "NA608" in severities(findings(optimizer="sgd", lr=0.1, clip_value=1.0))


def test_one_nan_spreads_when_it_is_clipped() -> None:
    """What NA607 says of ``clip_grad_norm_``."""
    weights = [nn.Parameter(torch.ones(3)) for _ in range(3)]
    for bad in (float("nan"), float("inf")):
        for weight in weights:
            weight.grad = torch.ones(3)
        assert weights[0].grad is not None
        weights[0].grad[0] = bad
        nn.utils.clip_grad_norm_(weights, 1.0)
        assert weights[0].grad[0].isnan()
        assert all((w.grad is not None and (w.grad.isnan() | (w.grad == 0)).all()) for w in weights[1:])


# NA609, NA610 -----------------------------------------------------------------------------------------------------------

REGRESSION = """
def build():
    return nn.Linear(16, 1, bias=False)

def example_inputs():
    return {scale} * torch.randn(32, 16)

def loss(model, inputs):
    return F.mse_loss(model(inputs), {target} * inputs[:, :1])

def optimizer(model):
    return optim.SGD(model.parameters(), lr={lr}, momentum={momentum})
"""


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("scale", "lr"), [(1, 0.01), (1, 1.0), (10, 0.01), (10, 0.1), (100, 0.01), (30, 3e-3), (3, 0.1)])
def test_a_learning_rate_that_is_called_unstable_diverges(
    findings: Findings, subject: Callable[[str], Subject], scale: int, lr: float, momentum: float
) -> None:
    """On a quadratic: the estimate is a lower one, so that what is flagged diverges, and what is 64 times beyond is flagged."""
    text = REGRESSION.format(scale=scale, target=1, lr=lr, momentum=momentum)
    flagged = any(code in severities(findings(text)) for code in ("NA301", "NA609", "NA615"))
    one = subject(text)
    assert one.loss is not None
    assert isinstance(one.inputs, torch.Tensor)
    curvature = 2 * float(torch.linalg.matrix_norm(one.inputs, 2)) ** 2 / 32
    beyond = lr * curvature / (2 * (1 + momentum))
    losses = []
    for _ in range(60):
        value = one.loss(one.model, one.inputs)
        losses.append(float(value.detach()))
        one.optimizers[0].zero_grad()
        torch.autograd.backward([value])
        one.optimizers[0].step()
    diverges = not losses[-1] < losses[0]
    assert diverges or not flagged
    assert flagged or beyond < 64


def test_a_warm_up_spares_the_first_steps(findings: Findings) -> None:
    text = REGRESSION.format(scale=10, target=1, lr=0.2, momentum=0.0)
    assert {"NA609", "NA615"} & set(severities(findings(text)))
    assert not {"NA609", "NA615"} & set(severities(findings(text, warmup=1000)))


def test_momentum_of_099_at_a_rate_that_is_good_for_09(findings: Findings) -> None:
    assert "NA610" not in severities(findings(optimizer="sgd", lr=0.3, momentum=0.9))
    assert severities(findings(optimizer="sgd", lr=0.5, momentum=0.995))["NA610"] == "warning"
    assert "NA610" not in severities(findings(optimizer="adamw", lr=1e-3, betas=(0.99, 0.999)))


# NA611, NA612 -----------------------------------------------------------------------------------------------------------

BATCH = """
def build():
    return nn.Sequential(nn.Linear(16, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
"""


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_rotation_in_equilibrium_is_that_of_a_simulation(audit: Callable[..., Audit], momentum: float) -> None:
    """Random gradients orthogonal to the weight, of size ``1 / |w|``; 400 dimensions, whose angles fluctuate by 5 %."""
    lr, decay = 0.1, 0.02
    (one,) = [
        o for o in common.held_matrices(audit(BATCH, optimizer="sgd", lr=lr, momentum=momentum, weight_decay=decay)) if o.name == "0.weight"
    ]
    generator = torch.Generator().manual_seed(0)
    weight, velocity, turns = torch.ones(400), torch.zeros(400), []
    for step in range(3000):
        noise = torch.randn(400, generator=generator)
        gradient = (noise - weight * (noise @ weight) / (weight @ weight)) / weight.norm()
        velocity = momentum * velocity + gradient + decay * weight
        moved = weight - lr * velocity
        if step > 2000:
            turns.append(float(torch.acos((weight @ moved) / (weight.norm() * moved.norm()))))
        weight = moved
    rotation = scale_invariant_decay._rotation(one)
    assert rotation is not None
    assert sum(turns) / len(turns) == pytest.approx(rotation, rel=0.1)


def test_the_growth_without_decay_is_that_of_a_simulation(audit: Callable[..., Audit]) -> None:
    known = audit(BATCH, optimizer="sgd", lr=1.0)
    one = next(o for o in common.held_matrices(known) if o.name == "0.weight")
    gradient, size = common.gradient_norm(known, ["0.weight"]), common.weight_rms(known, "0.weight")
    assert gradient is not None
    assert size is not None
    norm = start = size * 32.0
    for _ in range(2000):
        norm = sqrt(norm**2 + (gradient * start / norm) ** 2)
    assert scale_invariant_decay._fall(known, one, 2000) == pytest.approx((norm / start) ** 2, rel=0.05)


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        ({"lr": 0.5, "weight_decay": 0.5}, "warning"),
        ({"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}, None),
        ({"lr": 0.1, "momentum": 0.9}, None),  # nobody says how long
        ({"lr": 0.1, "momentum": 0.9, "steps": 1_000_000}, "info"),
        ({"lr": 0.1, "momentum": 0.9, "steps": 100}, None),
    ],
)
def test_decay_of_weights_that_a_norm_follows(findings: Findings, said: dict[str, object], severity: str | None) -> None:
    assert severities(findings(BATCH, optimizer="sgd", **said)).get("NA611") == severity


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        ({"optimizer": "adam", "lr": 3e-3, "weight_decay": 1.0}, "warning"),
        ({"optimizer": "adam", "lr": 3e-3, "weight_decay": 1e-3}, None),
        ({"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}, None),
        ({"optimizer": "sgd", "lr": 0.1, "weight_decay": 30.0}, "error"),
        ({"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.1}, None),
        ({"optimizer": "adamw", "lr": 1e-3, "weight_decay": 100.0}, "warning"),
        ({"optimizer": "lion", "lr": 1e-4, "weight_decay": 3.0}, None),
    ],
)
def test_decay_that_rules(findings: Findings, said: dict[str, object], severity: str | None) -> None:
    assert severities(findings(**said)).get("NA612") == severity


@pytest.mark.parametrize(("decay", "collapses"), [(1.0, True), (1e-3, False)])
def test_a_penalty_that_rules_makes_the_output_constant(subject: Callable[[str], Subject], decay: float, collapses: bool) -> None:
    one = subject(f"def optimizer(model): return optim.Adam(model.parameters(), lr=3e-3, weight_decay={decay})")
    assert one.loss is not None
    for _ in range(200):
        one.optimizers[0].zero_grad()
        torch.autograd.backward([one.loss(one.model, one.inputs)])
        one.optimizers[0].step()
    assert isinstance(one.inputs, torch.Tensor)
    assert (float(one.model(one.inputs).detach().std()) < 1e-2) == collapses


# NA613 ------------------------------------------------------------------------------------------------------------------

COVERAGE = {
    "all of it": ("optim.SGD(model.parameters(), lr=0.1)", None),
    "two optimisers": ("[optim.SGD(model[0].parameters(), lr=0.1), optim.Adam(model[2].parameters())]", None),
    "a backbone that is kept fixed": ("optim.SGD(model[2].parameters(), lr=0.1)", "info"),
    "no head": ("optim.SGD(model[0].parameters(), lr=0.1)", "warning"),
    "no biases": ("optim.SGD([p for p in model.parameters() if p.ndim > 1], lr=0.1)", "warning"),
    "only frozen ones": ("optim.SGD([p.requires_grad_(False) for p in model[0].parameters()], lr=0.1)", "error"),
    "another model's": ("optim.SGD(build().parameters(), lr=0.1)", "error"),
    "twice": ("[optim.SGD(model.parameters(), lr=0.1), optim.Adam(model[2].parameters())]", "warning"),
}


@pytest.mark.parametrize("name", COVERAGE)
def test_what_the_optimisers_hold(findings: Findings, name: str) -> None:
    text, severity = COVERAGE[name]
    assert severities(findings(f"def optimizer(model): return {text}")).get("NA613") == severity


def test_an_optimiser_that_was_built_too_early(findings: Findings) -> None:
    text = """
    def optimizer(model):
        made = optim.SGD(model.parameters(), lr=0.1)
        model[2] = nn.Linear(64, 4)
        return made
    """
    (finding,) = [f for f in findings(text) if f.code == "NA613"]
    assert (finding.severity, finding.module) == ("error", "2")
    assert "2 tensors that are not the model's" in finding.reason


def test_parameters_of_the_loss_are_no_sign_of_a_mistake(findings: Findings) -> None:
    text = "def optimizer(model): return optim.SGD([*model[2].parameters(), torch.zeros(3, requires_grad=True)], lr=0.1)"
    assert severities(findings(text))["NA613"] == "info"


def test_frozen_parameters_and_unused_ones_need_no_optimiser(findings: Findings) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fixed, self.head, self.unused = nn.Linear(16, 8).requires_grad_(False), nn.Linear(8, 4), nn.Linear(2, 2)

        def forward(self, x):
            return self.head(self.fixed(x))

    def build():
        return Net()

    def optimizer(model):
        return optim.SGD(model.head.parameters(), lr=0.1)
    """
    assert "NA613" not in severities(findings(text))


# NA614 ------------------------------------------------------------------------------------------------------------------

SCHEDULES = {
    "cosine to the end": ("CosineAnnealingLR(o, 5000)", {"steps": 5000}, None),
    "cosine that rises again": ("CosineAnnealingLR(o, 3000)", {"steps": 5000}, "warning"),
    "restarts": ("CosineAnnealingWarmRestarts(o, 3000)", {"steps": 5000}, None),
    "cyclic": ("CyclicLR(o, 1e-4, 0.1, 500)", {"steps": 5000}, None),
    "cosine in epochs": ("CosineAnnealingLR(o, 90)", {"steps": 90_000, "schedule_steps": 90}, None),
    "cosine in epochs, not said so": ("CosineAnnealingLR(o, 90)", {"steps": 90_000}, None),
    "cosine cut short": ("CosineAnnealingLR(o, 100_000)", {"steps": 10_000}, "info"),
    "one cycle": ("OneCycleLR(o, 0.1, total_steps=5000)", {"steps": 5000}, None),
    "one cycle too short": ("OneCycleLR(o, 0.1, total_steps=500)", {"steps": 5000}, "warning"),
    "three step decays": ("MultiStepLR(o, [30, 60, 80])", {"steps": 90_000, "schedule_steps": 90}, None),
    "exponential in epochs": ("ExponentialLR(o, 0.95)", {"steps": 90_000, "schedule_steps": 90}, None),
    "exponential in epochs, not said so": ("ExponentialLR(o, 0.95)", {"steps": 90_000}, "info"),
    "exponential that dies": ("ExponentialLR(o, 0.998)", {"steps": 20_000}, "warning"),
    "linear to zero": ("LinearLR(o, 1.0, 0.0, 5000)", {"steps": 5000}, None),
    "constant": ("ConstantLR(o, 1.0, 1)", {"steps": 5000}, None),
    "warm-up without end": ("LinearLR(o, 0.01, 1.0, 10_000)", {"steps": 5000}, "warning"),
    "nobody says how long": ("CosineAnnealingLR(o, 3000)", {}, None),
    "follows the loss": ("ReduceLROnPlateau(o)", {"steps": 5000}, None),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(findings: Findings, name: str) -> None:
    text, said, severity = SCHEDULES[name]
    code = f"""
    def optimizer(model): return optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    def scheduler(o): return lr_scheduler.{text}
    """
    assert severities(findings(code, **said)).get("NA614") == severity


# NA615, NA621 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        ({"optimizer": "adam", "lr": 1e-2}, None),
        ({"optimizer": "adam", "lr": 1.0}, "warning"),
        ({"optimizer": "adam", "lr": 1.0, "warmup": 1000}, "warning"),  # a warm-up only puts it off
        ({"optimizer": "rmsprop", "lr": 0.1}, "warning"),  # ten times lr in the first step
        ({"optimizer": "rmsprop", "lr": 1e-2}, None),
        ({"optimizer": "lion", "lr": 1000.0}, "error"),
        ({"optimizer": "sgd", "lr": 1.0}, None),
        ({"optimizer": "sgd", "lr": 100.0}, "warning"),
        ({"optimizer": "sgd", "lr": 100.0, "clip": 1e-3}, None),
        ({"optimizer": "adafactor", "lr": 1.0}, None),  # its steps are shares of the weight
    ],
)
def test_a_first_step_larger_than_the_weights(findings: Findings, said: dict[str, object], severity: str | None) -> None:
    assert severities(findings(**said)).get("NA615") == severity


SMALL_HEAD = """
def build():
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    nn.init.{init}
    return model
"""


@pytest.mark.parametrize("init", ["zeros_(model[2].weight)", "normal_(model[2].weight, std=1e-6)"])
def test_a_head_that_starts_near_zero_is_meant_to_move(findings: Findings, init: str) -> None:
    assert "NA615" not in severities(findings(SMALL_HEAD.format(init=init), optimizer="adam", lr=1e-2))


@pytest.mark.parametrize(
    ("said", "flagged"),
    [
        ({"optimizer": "adam", "lr": 1e-9}, True),
        ({"optimizer": "adam", "lr": 1e-6}, False),
        ({"optimizer": "adam", "lr": 1e-6, "steps": 10}, True),
        ({"optimizer": "adam", "lr": 1e-9, "steps": 10_000_000}, False),
        ({"optimizer": "sgd", "lr": 1e-10}, True),
        ({"optimizer": "sgd", "lr": 1e-3}, False),
    ],
)
def test_a_learning_rate_that_moves_nothing(findings: Findings, said: dict[str, object], flagged: bool) -> None:
    assert ("NA621" in severities(findings(**said))) == flagged


def test_a_zero_head_does_not_make_the_rest_stand_still(findings: Findings) -> None:
    """Behind it nothing gets a gradient in the first step, and only then."""
    assert "NA621" not in severities(findings(SMALL_HEAD.format(init="zeros_(model[2].weight)"), optimizer="sgd", lr=0.1))


# NA617, NA620 -----------------------------------------------------------------------------------------------------------


def test_accumulation(findings: Findings) -> None:
    summed = "def loss(model, inputs): return F.cross_entropy(model(inputs), torch.arange(32) % 4, reduction='sum')"
    assert "NA617" in severities(findings(BATCH, optimizer="adamw", accumulation=4))
    assert "NA617" not in severities(findings(BATCH, optimizer="adamw", accumulation=1))
    assert "NA617" not in severities(findings(optimizer="sgd", accumulation=4))
    assert "NA617" in severities(findings(summed, optimizer="sgd", lr=1e-3, accumulation=4))
    assert "NA617" not in severities(findings(summed, optimizer="adamw", accumulation=4))


@pytest.mark.parametrize(("decay", "steps", "flagged"), [(0.9999, 2000, True), (0.9999, 30_000, False), (0.99, 1000, False)])
def test_a_mean_that_remembers_the_beginning(findings: Findings, decay: float, steps: int, flagged: bool) -> None:
    found = findings(ema=decay, steps=steps)
    assert ("NA620" in severities(found)) == flagged
    mean = 1.0
    for _ in range(steps):
        mean = decay * mean
    assert flagged == (mean > 0.1)


def test_findings_stand_at_the_line_that_makes_the_optimiser(findings: Findings) -> None:
    (finding,) = [f for f in findings("\ndef optimizer(model):\n    return optim.Adam(model.parameters(), lr=1.0)") if f.code == "NA615"]
    assert finding.where.created is not None
    assert "optim.Adam(" in Path(finding.where.created.file).read_text().splitlines()[finding.where.created.line - 1]


def test_a_comment_there_suppresses_them(findings: Findings) -> None:
    text = "def optimizer(model): return optim.Adam(model.parameters(), lr=1.0)  # netaudit: ignore[NA615] a test"
    assert "NA615" not in severities(findings(text))
