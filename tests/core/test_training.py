"""Training as values: learning rates over time, the table of optimisers, what a description makes."""

from __future__ import annotations

import inspect
from math import cos, isclose, pi

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netaudit.errors import ConfigError
from netaudit.training import KINDS, Described, Group, Optimizer, Schedule, Training, compressed, evaluated
from netaudit.training.described import described_optimizer, with_settings
from netaudit.training.kinds import is_coupled
from netaudit.training.schedule import EXACT, NOTHING, SHAPES

LRS = st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 10.0)), min_size=1, max_size=60)


# learning rates over time -----------------------------------------------------------------------------------------------


@given(LRS)
def test_a_compressed_schedule_is_within_its_error_everywhere(lrs: list[float]) -> None:
    schedule = compressed(lrs)
    floor = NOTHING * max(lrs)
    assert [step for step, _ in schedule.points] == sorted({step for step, _ in schedule.points})
    assert schedule.known == len(lrs) - 1
    for step, lr in enumerate(lrs):
        assert abs(schedule.at(step) - lr) <= EXACT * max(lr, floor) * (1 + 1e-6)


def test_a_line_needs_two_points_and_a_step_four() -> None:
    assert len(compressed([k / 10 for k in range(1000)]).points) == 2
    assert len(compressed([1.0] * 500 + [0.1] * 500).points) == 4


def test_a_cosine_of_100_000_updates_needs_a_few_hundred_points() -> None:
    assert len(compressed([1 + cos(pi * k / 100_000) for k in range(100_000)]).points) < 400


@given(st.sampled_from(SHAPES), st.integers(0, 50), st.integers(60, 500))
def test_a_described_schedule_is_its_formula(shape: str, warmup: int, steps: int) -> None:
    schedule = evaluated(2.0, shape, warmup, steps)  # type: ignore[arg-type]  # one of SHAPES
    assert schedule.known == steps
    for step in range(steps + 1):
        share = (step - warmup) / (steps - warmup)
        after = {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 * (1 + cos(pi * share))}[shape]
        wanted = 2.0 * (step / warmup if step < warmup else after)
        assert isclose(schedule.at(step), wanted, abs_tol=2.0 * 4 * (pi / 64) ** 2 / 16)


def test_what_is_not_said_of_a_schedule_is_not_known() -> None:
    assert evaluated(0.1, None, 100, 1000).known == 100
    assert evaluated(0.1, "cosine", None, None).points == ((0, 0.1),)
    assert evaluated(0.1, "cosine", 200, 100).last == 0.05


def test_the_warm_up_ends_at_the_peak() -> None:
    assert evaluated(1.0, "cosine", 30, 100).warmup == 30
    assert evaluated(1.0, "cosine", 0, 100).warmup == 0
    assert compressed([0.9, 1.0, 0.5]).warmup == 0  # it starts near the peak
    assert compressed([0.04, 0.5, 1.0, 0.5]).warmup == 2


def test_a_schedule_in_epochs_is_stretched_to_updates() -> None:
    assert Schedule(((0, 1.0), (10, 0.1))).stretched(100).points == ((0, 1.0), (1000, 0.1))


# optimisers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in KINDS if hasattr(torch.optim, name)])
def test_the_table_has_the_defaults_of_torch(name: str) -> None:
    kind = KINDS[name]
    parameters = inspect.signature(getattr(torch.optim, name)).parameters
    assert {key: parameters[key].default for key in kind.defaults if key in parameters} == {
        key: value for key, value in kind.defaults.items() if key in parameters
    }
    assert set(kind.defaults) <= set(parameters)


@pytest.mark.parametrize(
    "name", [name for name in KINDS if hasattr(torch.optim, name) and KINDS[name].adaptive and "weight_decay" in KINDS[name].defaults]
)
def test_whether_decay_is_coupled_is_what_torch_does(name: str) -> None:
    """Without a gradient a decoupled decay leaves no trace in the running moments; a coupled one is a gradient."""
    kind = KINDS[name]
    weight = torch.nn.Parameter(torch.full((2, 2), 100.0))
    optimizer = getattr(torch.optim, name)([weight], lr=1e-2, weight_decay=0.5)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    moments = [value for key, value in optimizer.state[weight].items() if key != "step" and isinstance(value, torch.Tensor)]
    assert any(moment.any() for moment in moments) == is_coupled(kind, Group((), dict(optimizer.param_groups[0])))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.step in ("sign", "gradient") and hasattr(torch.optim, name)])
def test_the_first_step_is_made_of_what_the_table_says(name: str) -> None:
    """A gradient twice as large makes a step twice as large, or the same one."""
    sizes = []
    for factor in (1.0, 2.0):
        weight = torch.nn.Parameter(torch.zeros(2, 2))
        optimizer = getattr(torch.optim, name)([weight], lr=1e-2)
        grad = torch.tensor([[1.0, -0.5], [0.25, 2.0]]) * factor
        weight.grad = grad.to_sparse() if name == "SparseAdam" else grad
        optimizer.step()
        sizes.append(float(weight.detach().abs().mean()))
    assert isclose(sizes[1] / sizes[0], 2.0 if KINDS[name].step == "gradient" else 1.0, rel_tol=1e-4)


def test_a_description_fills_in_the_defaults_but_not_the_learning_rate() -> None:
    found = described_optimizer(Described(optimizer="AdamW", betas=(0.9, 0.95)), ["w", "b"])
    assert found is not None
    (group,) = found.groups
    assert (found.kind, group.params, group.betas) == ("AdamW", ("w", "b"), (0.9, 0.95))
    assert (group.number("weight_decay"), group.number("eps"), group.number("lr")) == (1e-2, 1e-8, None)


def test_nesterov_is_momentum_that_looks_ahead() -> None:
    found = described_optimizer(Described(optimizer="nesterov", momentum=0.9), [])
    assert found is not None
    assert found.kind == "SGD"
    assert found.groups[0].settings["nesterov"] is True
    with pytest.raises(ConfigError, match="momentum"):
        described_optimizer(Described(optimizer="nesterov"), [])


def test_settings_replace_those_of_every_group_that_has_them() -> None:
    before = Optimizer("X", (Group(("a",), {"lr": 1.0, "eps": 0.1}), Group(("b",), {"lr": 2.0})))
    after = with_settings(before, {"lr": 3.0, "eps": 0.5})
    assert [dict(group.settings) for group in after.groups] == [{"lr": 3.0, "eps": 0.5}, {"lr": 3.0}]
    with pytest.raises(ConfigError, match="X has no momentum"):
        with_settings(before, {"momentum": 0.9})


@given(st.builds(Described, lr=st.none() | st.just(1.0), steps=st.none() | st.just(5)), st.builds(Described, lr=st.none() | st.just(2.0)))
def test_what_is_said_first_wins(first: Described, second: Described) -> None:
    both = first.over(second)
    assert both.lr == (first.lr if first.lr is not None else second.lr)
    assert both.steps == first.steps


def test_nothing_said_is_not_given() -> None:
    assert not Training().is_given
    assert Training().title == ""
    assert Training(precision="bf16").is_given
    group = Group(("w",), {"lr": 3e-4})
    assert Training((Optimizer("AdamW", (group,)),), source="optimizer()").title == "AdamW, lr 0.0003 (optimizer())"
