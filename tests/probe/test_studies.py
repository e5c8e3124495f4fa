"""Studies of the model as a whole, each against torch alone: an explicit Jacobian or Hessian, a real optimiser, known powers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from math import inf, isnan, log10
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from typer.models import OptionInfo

from netaudit.audit import Settings, analyse
from netaudit.cli.probing import Studies as OPTION
from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.measured import Study
from netaudit.pack import installed
from netaudit.probe.linear import TOLERANCE
from netaudit.probe.machine import Machine, machine_of
from netaudit.probe.run import Plan
from netaudit.probe.studies import STUDIES, Bench, Studied, studied
from netaudit.probe.studies.scale import degree
from netaudit.training import Group, Optimizer, Schedule, Training

CPU = torch.device("cpu")
Loss = Callable[[nn.Module, Any], Tensor]


def _square(model: nn.Module, x: Any) -> Tensor:
    y: Tensor = model(x)
    return y.square().mean()


def _subject(model: nn.Module, x: Any, loss: Loss | None = None, kwargs: Mapping[str, object] | None = None) -> Subject:
    args = x if isinstance(x, tuple) else (x,)
    return Subject("t", model, args, kwargs or {}, x, "test", loss=loss)


def _machine(subject: Subject) -> Machine:
    return machine_of(lower(trace(subject), subject), CPU)


def _bench(subject: Subject, training: Training = Training(), plan: Plan | None = None) -> Bench:
    return Bench(subject, _machine(subject), training, plan or Plan())


def _column(study: Study, name: str) -> list[Any]:
    return [row[study.columns.index(name)] for row in study.rows]


def _why(study: Study) -> str:
    """Why a study was not made."""
    assert study.columns == ("not measured",)
    ((why,),) = study.rows
    assert isinstance(why, str)
    return why


def _net(*, width: int = 6, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


# gain -------------------------------------------------------------------------------------------------------------------


def _explicit(model: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = torch.autograd.functional.jacobian(copy.deepcopy(model).double(), x.double())  # type: ignore[no-untyped-call]  # torch's
    return found.reshape(-1, x.numel())


@pytest.mark.parametrize("loss", [None, _square], ids=["alone", "with a loss"])
def test_the_gain_is_that_of_the_explicit_jacobian(loss: Loss | None) -> None:
    model = _net()
    truth = _explicit(model, X)
    (row,) = studied("gain", _bench(_subject(model, X, loss), plan=Plan(pairs=40))).study.rows
    _, typical, error, largest, _, converged, _ = row
    largest_truth = float(torch.linalg.matrix_norm(truth, 2))
    assert isinstance(largest, float)
    assert isinstance(typical, float)
    assert isinstance(error, float)
    assert converged == "yes"
    assert largest_truth * (1 - TOLERANCE) <= largest <= largest_truth * (1 + 1e-5)
    typical_truth = float(torch.linalg.matrix_norm(truth)) / truth.shape[0] ** 0.5
    assert abs(typical / typical_truth - 1) <= 4 * error


def test_the_gain_of_a_linear_model_is_exact_and_its_proved_bound_holds() -> None:
    subject = _subject(nn.Linear(4, 3, bias=False), X)
    analysis = analyse(subject, installed(), Settings())
    bench = Bench(subject, machine_of(analysis.lowered, CPU), Training(), Plan(), analysis.facts)
    study = studied("gain", bench).study
    (largest,), (proved,) = _column(study, "largest >="), _column(study, "proved <=")
    norm = float(torch.linalg.matrix_norm(subject.model.weight.detach().double(), 2))  # type: ignore[operator]  # a Linear
    assert largest == pytest.approx(norm, rel=1e-6)
    assert norm <= proved <= 1.01 * norm


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * self.lin(x).tanh() + 5 * z, x.sum(-1)


def test_every_floating_input_has_a_gain_of_all_outputs_together() -> None:
    torch.manual_seed(0)
    model, x, z = TwoInputs(), torch.randn(2, 3), torch.randn(2, 3)
    study = studied("gain", _bench(_subject(model, (x, z)))).study
    found = dict(zip(_column(study, "from"), _column(study, "largest >="), strict=True))
    assert found["input z"] == pytest.approx(5.0)
    truths = torch.autograd.functional.jacobian(lambda x: torch.cat([y.flatten() for y in model(x, z)]), x)  # type: ignore[no-untyped-call]
    assert found["input x"] == pytest.approx(float(torch.linalg.matrix_norm(truths.reshape(-1, x.numel()), 2)), rel=1e-3)


class Tokens(nn.Module):
    """Word 3 stands where no input reaches: positions are not the embedding that is looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(4, 6)
        self.words = nn.Embedding(7, 6)
        self.head = nn.Linear(6, 2, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.head(self.places(torch.arange(4)) + self.words(ids))
        return y


def test_the_gain_of_tokens_is_that_from_their_embedding() -> None:
    model = Tokens()
    study = studied("gain", _bench(_subject(model, torch.randint(7, (3, 4))))).study
    assert _column(study, "from") == ["embedding embedding_1"]
    assert _column(study, "largest >=")[0] == pytest.approx(float(torch.linalg.matrix_norm(model.head.weight.detach(), 2)), rel=1e-5)


def test_a_model_without_a_signal_to_change_says_so() -> None:
    class Counting(nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            return ids.float().cumsum(-1)

    study = studied("gain", _bench(_subject(Counting(), torch.arange(4)[None]))).study
    assert _why(study).startswith("no output depends on")


# scale ------------------------------------------------------------------------------------------------------------------


class Polynomial(nn.Module):
    """``w (x^degree + x)``: degree 1 for small inputs, ``degree`` for large ones."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power, self.w = power, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.w * (x**self.power + x)
        return y


@pytest.mark.parametrize("power", [2, 3, 5])
def test_a_polynomial_has_the_degrees_of_its_lowest_and_highest_power(power: int) -> None:
    found = studied("scale", _bench(_subject(Polynomial(power), X.abs() + 1.0))).study
    sizes = list(zip(range(-3, 4), _column(found, "log10 outputs"), strict=True))
    assert degree(sizes[::-1]) == pytest.approx(1.0, abs=0.1)
    assert degree(sizes) == pytest.approx(power, abs=0.01)
    # the gradient by the input, with unit cotangent, is the derivative: a power less
    slopes = list(zip(range(-3, 4), _column(found, "of input (log10)"), strict=True))
    assert degree(slopes[::-1]) == pytest.approx(0.0, abs=0.1)
    assert degree(slopes) == pytest.approx(power - 1, abs=0.01)


def test_every_scale_is_one_row_and_its_size_is_that_of_the_model() -> None:
    model = _net()
    found = studied("scale", _bench(_subject(model, X))).study
    assert _column(found, "inputs times") == ["1e-3", "1e-2", "1e-1", "1e+0", "1e+1", "1e+2", "1e+3"]
    truth = [log10(float(model(X * 10.0**k).detach().double().square().mean().sqrt())) for k in range(-3, 4)]
    assert _column(found, "log10 outputs") == pytest.approx(truth, abs=1e-5)


def test_a_normalised_model_does_not_grow_and_its_input_gradient_falls() -> None:
    found = studied("scale", _bench(_subject(nn.Sequential(nn.Linear(4, 8, bias=False), nn.LayerNorm(8)), X))).study
    sizes = list(zip(range(-3, 4), _column(found, "log10 outputs"), strict=True))
    slopes = list(zip(range(-3, 4), _column(found, "of input (log10)"), strict=True))
    assert degree(sizes) == pytest.approx(0.0, abs=1e-3)
    assert degree(slopes) == pytest.approx(-1.0, abs=1e-2)


def test_a_scale_that_overflows_is_said_and_left_out_of_the_degree() -> None:
    found = studied("scale", _bench(_subject(Polynomial(20), X.abs() + 1.0))).study
    sizes = _column(found, "log10 outputs")
    assert isnan(sizes[-1])
    assert degree(list(zip(range(-3, 4), sizes, strict=True))) == pytest.approx(20, abs=1.0)
    assert "outputs are not finite at" in found.says


def test_targets_are_not_scaled() -> None:
    class Regression(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            del y
            z: Tensor = 3 * x
            return z

    def loss(model: nn.Module, inputs: Any) -> Tensor:
        x, y = inputs
        off: Tensor = model(x, y) - y
        return off.square().mean()

    found = studied("scale", _bench(_subject(Regression(), (X, X.clone()), loss))).study
    assert "of input (log10)" in found.columns
    large, small = _column(found, "of input (log10)")[-1], _column(found, "of input (log10)")[0]
    assert large > 2  # 6 (3000 x - y) / n
    assert small == pytest.approx(log10(float((6 * (3e-3 * X - X)).square().mean().sqrt()) / X.numel()), abs=1e-3)


# extremes ---------------------------------------------------------------------------------------------------------------


class Logarithm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(x.abs().log())
        return y


def test_the_logarithm_of_zero_is_where_it_breaks() -> None:
    found = studied("extremes", _bench(_subject(Logarithm(), X)))
    rows = {row[0]: row for row in found.study.rows}
    assert rows["all zero"][1:] == ("log", "follows from the value", "not finite")
    assert rows["constant"][1:] == ("finite", "finite", "finite")
    assert rows["tiniest normal"][1] == "finite"
    assert "log" in found.broken


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (x * x).sum(-1).sqrt()
        return y


def test_a_gradient_alone_is_found_where_it_breaks() -> None:
    found = studied("extremes", _bench(_subject(Root(), X)))
    rows = {row[0]: row for row in found.study.rows}
    assert rows["all zero"][1:] == ("finite", "sqrt", "finite")
    assert rows["constant"][2] == "finite"
    assert found.broken == {"sqrt"}


def test_an_overflow_of_the_largest_number_is_shown_and_is_no_reading() -> None:
    model = nn.Linear(4, 4)
    nn.init.ones_(model.weight)
    found = studied("extremes", _bench(_subject(model, X)))
    rows = {row[0]: row for row in found.study.rows}
    assert rows["largest finite"][3] == "not finite"
    assert not found.broken


class Attention(nn.Module):
    """Softmax over scores whose hidden entries are -inf; ``safe`` forgives a row with none left."""

    def __init__(self, *, scores: bool = False) -> None:
        super().__init__()
        self.qkv, self.scores = nn.Linear(4, 12), scores

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        scores: Tensor = (q @ k.transpose(-1, -2)).masked_fill(mask[:, None, :] == 0, float("-inf"))
        if self.scores:
            return scores
        y: Tensor = (scores + 1.0).softmax(-1).tanh() @ v  # the + and the tanh keep the parts apart
        return y


def _attention(*, scores: bool = False) -> Subject:
    torch.manual_seed(0)
    x, mask = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.long)
    mask[:, 3:] = 0
    return _subject(Attention(scores=scores), (x, mask))


def test_a_mask_is_deliberate_and_a_row_of_nothing_else_is_the_fault_of_the_softmax() -> None:
    found = studied("extremes", _bench(_attention()))
    rows = {row[0]: row for row in found.study.rows}
    assert rows["mask all 1"][1:] == ("finite", "finite", "finite")
    assert rows["all zero"][1:] == ("finite", "finite", "finite")  # with the mask as given: two of five are hidden
    assert rows["mask all 0"][1] == "softmax"
    assert rows["mask all 0"][3] == "not finite"
    assert not any("masked_fill" in name for name in found.broken)


def test_minus_infinity_that_no_softmax_takes_is_a_fault() -> None:
    found = studied("extremes", _bench(_attention(scores=True)))
    rows = {row[0]: row for row in found.study.rows}
    assert rows["all zero"][1] == "masked_fill"


class Ties(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (x[1:] - x[:-1]).norm(dim=-1).reciprocal()
        return y


def test_equal_samples_are_tried() -> None:
    rows = {row[0]: row for row in studied("extremes", _bench(_subject(Ties(), X))).study.rows}
    assert rows["all samples equal"][1] == "reciprocal"


def test_whole_numbers_have_extremes_of_their_own() -> None:
    rows = [row[0] for row in studied("extremes", _bench(_subject(Tokens(), torch.randint(7, (3, 4))))).study.rows]
    assert rows == ["all zero", "constant", "all samples equal"]


# curvature --------------------------------------------------------------------------------------------------------------


def _hessian(model: nn.Module, loss: Loss, x: Any) -> tuple[Tensor, Tensor]:
    """The explicit Hessian and the gradient, in float64."""
    model = copy.deepcopy(model).double()
    named = dict(model.named_parameters())
    flat = torch.cat([p.detach().flatten() for p in named.values()])

    def value(vector: Tensor) -> Tensor:
        pieces = torch.split(vector, [p.numel() for p in named.values()])
        given = {name: piece.view_as(p) for (name, p), piece in zip(named.items(), pieces, strict=True)}
        return loss(lambda z: torch.func.functional_call(model, given, (z,)), x.double())  # type: ignore[arg-type]  # called as a model

    hessian: Tensor = torch.autograd.functional.hessian(value, flat)  # type: ignore[no-untyped-call]  # torch's
    (gradient,) = torch.autograd.grad(value(leaf := flat.requires_grad_()), leaf)
    return hessian, gradient


def test_the_curvature_is_that_of_the_explicit_hessian() -> None:
    model = _net()
    hessian, gradient = _hessian(model, _square, X)
    found = studied("curvature", _bench(_subject(model, X, _square), plan=Plan(pairs=60))).study
    root = (gradient.abs() + 1e-8).rsqrt()
    for row, matrix in zip(found.rows, (hessian, root[:, None] * hessian * root), strict=True):
        values = torch.linalg.eigvalsh(matrix)
        top = row[1]
        assert isinstance(top, float)
        assert row[4] == "yes"
        assert top == pytest.approx(float(values[-1]), rel=1e-5)
        assert row[5] == pytest.approx(2 / float(values[-1]), rel=1e-5)
        assert float(values[0]) * (1 + 1e-5) <= row[2]  # type: ignore[operator]  # a number


def test_few_products_give_a_lower_bound() -> None:
    model = _net(width=40)
    values = torch.linalg.eigvalsh(_hessian(model, _square, X)[0])
    found = studied("curvature", _bench(_subject(model, X, _square), plan=Plan(pairs=4))).study
    top, products = found.rows[0][1], found.rows[0][3]
    assert products == "2"
    assert isinstance(top, float)
    assert top <= float(values[-1]) * (1 + 1e-5)


@pytest.mark.parametrize(
    ("kind", "settings", "factor"),
    [
        ("SGD", {"lr": 0.3}, 1.0),
        ("SGD", {"lr": 0.3, "momentum": 0.9}, 1.9),
        ("SGD", {"lr": 0.3, "momentum": 0.9, "nesterov": True}, 1.9 / 2.8),
    ],
)
def test_the_edge_is_where_gradient_descent_on_the_quadratic_begins_to_diverge(kind: str, settings: dict[str, Any], factor: float) -> None:
    """A quadratic model: torch's own SGD shrinks a point just below the edge and blows it up just above."""
    model = nn.Linear(1, 1, bias=False)
    x = torch.full((1, 1), 2.0)
    training = Training((Optimizer(kind, (Group(("weight",), settings),)),))
    found = studied("curvature", _bench(_subject(model, x, _square), training))
    curvature = 8.0  # (2 w)^2
    assert found.edge is not None
    assert found.edge == pytest.approx(log10(0.3 * curvature / (2 * factor)), abs=1e-6)
    stable = 0.3 / 10**found.edge
    sizes = []
    for lr in (0.98 * stable, 1.02 * stable):
        w = nn.Parameter(torch.ones((), dtype=torch.float64))
        optimizer = torch.optim.SGD([w], **{**settings, "lr": lr})
        for _ in range(400):
            optimizer.zero_grad()
            (0.5 * curvature * w * w).backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()
        sizes.append(abs(w.item()))
    assert sizes[0] < 1.0 < sizes[1]


@pytest.mark.parametrize(("kind", "beta"), [("Adam", 0.9), ("AdamW", 0.5), ("Adagrad", None)])
def test_the_edge_of_adam_is_where_its_first_preconditioner_held_fixed_begins_to_diverge(kind: str, beta: float | None) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.5)
    x, curvature, eps = torch.full((1, 1), 2.0), 8.0, 1e-3
    settings: dict[str, Any] = {"lr": 0.3, "eps": eps, **({} if beta is None else {"betas": (beta, 0.999)})}
    found = studied("curvature", _bench(_subject(model, x, _square), Training((Optimizer(kind, (Group(("weight",), settings),)),))))
    assert found.edge is not None
    divisor, sizes = curvature * 0.5 + eps, []
    for factor in (0.98, 1.02):
        w, mean = 1.0, 0.0
        for _ in range(2000):
            mean = (beta or 0.0) * mean + (1.0 - (beta or 0.0)) * curvature * w
            w -= factor * 0.3 / 10**found.edge * mean / divisor
        sizes.append(abs(w))
    assert sizes[0] < 1.0 < sizes[1]


def test_groups_with_learning_rates_of_their_own_are_weighted() -> None:
    model = _net()
    hessian, _ = _hessian(model, _square, X)
    names = [name for name, _ in model.named_parameters()]
    rates = {"0.weight": 0.4, "0.bias": 0.4, "2.weight": 0.1, "2.bias": 0.1}
    groups = tuple(Group((name,), {"lr": rates[name]}) for name in names)
    found = studied("curvature", _bench(_subject(model, X, _square), Training((Optimizer("SGD", groups),)), Plan(pairs=60)))
    speed = torch.cat([torch.full((p.numel(),), rates[name], dtype=torch.float64) for name, p in model.named_parameters()]).sqrt()
    top = float(torch.linalg.eigvalsh(speed[:, None] * hessian * speed)[-1])
    assert found.edge == pytest.approx(log10(top / 2), abs=1e-4)


def test_without_a_loss_there_is_no_curvature() -> None:
    assert "no loss" in _why(studied("curvature", _bench(_subject(_net(), X))).study)


class Distances(nn.Module):
    """torch has no second derivative of pairwise distances."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.pdist(self.lin(x))


def test_a_missing_second_derivative_is_said() -> None:
    study = studied("curvature", _bench(_subject(Distances(), X, _square))).study
    assert "not implemented" in _why(study)


# update -----------------------------------------------------------------------------------------------------------------

MAKERS: Mapping[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "Adam": (torch.optim.Adam, {"lr": 1e-3, "betas": (0.8, 0.99), "eps": 1e-6}),
    "AdamW": (torch.optim.AdamW, {"lr": 1e-2, "weight_decay": 0.5}),
    "RMSprop": (torch.optim.RMSprop, {"lr": 1e-3}),
    "Adafactor": (torch.optim.Adafactor, {"lr": 1e-2}),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_first_step_is_that_of_the_real_optimiser(kind: str, clip: float | None) -> None:
    make, settings = MAKERS[kind]
    model = _net()
    real = copy.deepcopy(model)
    optimizer = make(real.parameters(), **settings)
    _square(real, X).backward()  # type: ignore[no-untyped-call]  # torch's
    if clip is not None:
        nn.utils.clip_grad_norm_(real.parameters(), clip)
    optimizer.step()
    names = tuple(name for name, _ in model.named_parameters())
    training = Training((Optimizer(kind, (Group(names, settings),)),), clip=clip)
    found = studied("update", _bench(_subject(model, X, _square), training))
    for name, before in model.named_parameters():
        moved = float((real.get_parameter(name) - before).detach().norm() / before.detach().norm())
        assert 10 ** found.updates[name] == pytest.approx(moved, rel=1e-3), name


def test_the_model_its_mode_its_buffers_and_the_generator_are_as_they_were() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    model.eval()
    subject = _subject(model, X, _square)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    training = Training((Optimizer("SGD", (Group(tuple(n for n, _ in model.named_parameters()), {"lr": 0.1}),)),))
    bench = _bench(subject, training)
    first = {name: studied(name, bench) for name in STUDIES}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert not model.training
    for name, one in first.items():
        assert one.study.columns != ("not measured",), (name, one.study.rows)
        assert studied(name, bench) == one, name


def test_a_weight_that_is_zero_has_no_ratio_and_is_counted() -> None:
    model = _net()
    nn.init.zeros_(model.get_parameter("2.bias"))
    training = Training((Optimizer("SGD", (Group(("0.weight", "2.bias"), {"lr": 0.1}),)),))
    found = studied("update", _bench(_subject(model, X, _square), training))
    assert set(found.updates) == {"0.weight"}
    assert "since they start at zero: 1" in found.study.says


def test_a_step_that_the_format_loses_is_zero() -> None:
    model = _net().to(torch.bfloat16)
    training = Training((Optimizer("SGD", (Group(("0.weight",), {"lr": 1e-12}),)),))
    found = studied("update", _bench(_subject(model, X.to(torch.bfloat16), _square), training))
    assert found.updates["0.weight"] == -inf


def test_a_warm_up_only_puts_the_step_of_adam_off() -> None:
    group = Group(("0.weight",), {"lr": 1e-2}, Schedule(((0, 0.0), (100, 1e-2))))
    subject = _subject(_net(), X, _square)
    for kind, lr in (("Adam", 1e-2), ("SGD", 0.0)):
        found = studied("update", _bench(subject, Training((Optimizer(kind, (group,)),))))
        assert _column(found.study, "lr") == [lr]


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (Training(), "no optimiser is known"),
        (Training((Optimizer("Lion", (Group(("0.weight",), {"lr": 0.1}),)),)), "Lion is not in torch.optim"),
        (Training((Optimizer("LBFGS", (Group(("0.weight",), {"lr": 0.1}),)),)), "LBFGS did not step"),
        (Training((Optimizer("SGD", (Group(("0.weight",), {"lr": None}),)),)), "learning rate of SGD is not known"),
    ],
)
def test_a_step_that_was_not_made_says_why(training: Training, words: str) -> None:
    found = studied("update", _bench(_subject(_net(), X, _square), training))
    assert words in _why(found.study)
    assert not found.updates


# all of them ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("derivative for aten::x is not implemented")])
def test_what_torch_cannot_do_is_a_row(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(*_: object, **__: object) -> Studied:
        raise error

    for module in ("gain", "scale", "curvature"):
        monkeypatch.setattr(f"netaudit.probe.studies.{module}.{'at_least' if module != 'scale' else 'entrance'}", failing)
    for name in ("gain", "scale", "curvature"):
        found = studied(name, _bench(_subject(_net(), X, _square)))
        assert ("out of memory" if isinstance(error, torch.OutOfMemoryError) else "not implemented") in _why(found.study)


def test_progress_is_told() -> None:
    told: list[str] = []
    plan = Plan(progress=lambda what, _done, _total: told.append(what))
    training = Training((Optimizer("SGD", (Group(("0.weight",), {"lr": 0.1}),)),))
    bench = _bench(_subject(_net(), X, _square), training, plan)
    for name in STUDIES:
        if name != "modes":
            told.clear()
            studied(name, bench)
            assert told, name


def test_the_cost_is_bounded() -> None:
    """By default at most 20 products with a Hessian, and 20 pairs with a Jacobian."""
    study = studied("curvature", _bench(_subject(_net(width=50), X, _square))).study
    assert sum(int(row[3]) for row in study.rows if isinstance(row[3], str)) <= 20
    study = studied("gain", _bench(_subject(_net(width=50), X, _square))).study
    assert sum(map(int, _column(study, "pairs"))) <= 20


def test_the_help_of_the_option_names_every_study() -> None:
    text = next(one.help for one in get_args(OPTION) if isinstance(one, OptionInfo))
    assert text is not None
    assert all(name in text for name in STUDIES)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", ["gain", "scale", "extremes", "curvature", "update"])
def test_a_gpu_studies_what_the_cpu_studies(name: str) -> None:
    subject = _subject(_net(), X, _square)
    lowered = lower(trace(subject), subject)
    training = Training((Optimizer("SGD", (Group(("0.weight", "2.weight"), {"lr": 0.1}),)),))
    here, there = (
        studied(name, Bench(subject, machine_of(lowered, torch.device(kind)), training, Plan(pairs=60))).study for kind in ("cpu", "cuda")
    )
    assert here.columns == there.columns
    for a, b in zip(here.rows, there.rows, strict=True):
        loose = "rel. error" if name == "gain" else ""  # random cotangents are others on another device
        pairs = [(x, y) for c, x, y in zip(here.columns, a, b, strict=True) if c not in (loose, "typical", "pairs", "products")]
        assert all(x == pytest.approx(y, rel=1e-2, abs=1e-2) if isinstance(x, float) else x == y for x, y in pairs)
