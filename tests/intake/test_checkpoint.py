"""Loading weights: all or nothing, and never code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from netaudit.errors import TargetError
from netaudit.intake.checkpoint import load_weights
from netaudit.intake.subject import Options, Subject

Write = Callable[..., Path]
Only = Callable[..., Subject]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


class Code:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.system, ("touch ran",)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return mlp().state_dict()


def refused(model: nn.Module, name: str) -> TargetError:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(TargetError) as caught:
        load_weights(model, Path(name))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "half-loaded"
    return caught.value


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt", "w.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_are_copied_into_the_model(folder: Path, name: str, dtype: torch.dtype) -> None:
    weights = {key: value.to(dtype) for key, value in state().items()}
    save_file(weights, name) if name.endswith("s") else torch.save(weights, name)
    model = mlp()
    load_weights(model, Path(name))
    assert all(torch.equal(value, weights[key].float()) for key, value in model.state_dict().items())


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_weights_are_found_among_other_things(folder: Path, key: str) -> None:
    torch.save({"epoch": 3, key: state(), "optimizer": {"lr": 0.1}}, "w.pt")
    model = mlp()
    load_weights(model, Path("w.pt"))
    assert torch.equal(model.state_dict()["0.weight"], state()["0.weight"])


def test_tied_weights_and_counters_may_be_missing(folder: Path) -> None:
    weights = {key: value for key, value in Tied().state_dict().items() if key not in ("head.weight", "norm.num_batches_tracked")}
    save_file({key: torch.full_like(value, 2.0) for key, value in weights.items()}, "w.safetensors")
    model = Tied()
    load_weights(model, Path("w.safetensors"))
    assert model.head.weight is model.embed.weight
    assert bool((model.head.weight == 2).all())


def test_a_subject_is_built_with_its_weights(write: Write, only: Only) -> None:
    write("def build():\n    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))\n")
    torch.save(state(), "w.pt")
    assert torch.equal(only(options=Options(weights="w.pt")).model.state_dict()["0.bias"], state()["0.bias"])


def test_everything_that_does_not_fit_is_said_at_once(folder: Path) -> None:
    weights = state()
    weights["1.wieght"] = weights.pop("1.weight")
    weights["0.bias"] = torch.zeros(5)
    weights |= {f"extra{index}": torch.zeros(1) for index in range(4)}
    torch.save(weights, "w.pt")
    assert str(refused(mlp(), "w.pt")) == (
        "w.pt does not fit the model: 1 missing: 1.weight (did you mean '1.wieght'?); "
        "5 unexpected: 1.wieght (did you mean '1.weight'?), extra0, extra1 and 2 more; "
        "1 of another shape: 0.bias ([5], the model has [4])"
    )


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod."])
def test_the_prefix_of_a_wrapper_is_recognised(folder: Path, prefix: str) -> None:
    torch.save({prefix + key: value for key, value in state().items()}, "w.pt")
    assert f"every name begins with {prefix!r}" in refused(mlp(), "w.pt").hint


def test_code_in_a_checkpoint_is_not_run(folder: Path) -> None:
    torch.save({"weight": Code()}, "w.pt")
    error = refused(mlp(), "w.pt")
    assert str(error) == "w.pt holds more than tensors: posix.system"
    assert "would run code" in error.hint
    assert not Path("ran").exists()
    torch.save(mlp(), "w.pt")
    assert "holds more than tensors" in str(refused(mlp(), "w.pt"))


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.safetensors"])
def test_a_damaged_file_is_refused(folder: Path, name: str) -> None:
    path = Path(name)
    save_file(state(), path) if name.endswith("s") else torch.save(state(), path)
    content = path.read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2]):
        path.write_bytes(damaged)
        error = refused(mlp(), name)
        assert f"{name} is damaged" in str(error)
        assert error.hint


def test_other_files_are_refused(folder: Path) -> None:
    torch.save([1, 2], "w.pt")
    assert str(refused(mlp(), "w.pt")) == "w.pt holds no state dict but a list"
    Path("w.txt").touch()
    assert str(refused(mlp(), "w.txt")) == "w.txt is not a checkpoint that netaudit reads"
    assert refused(mlp(), "v.pt").hint == "did you mean 'w.pt'?"
    assert str(refused(mlp(), "nowhere/v.pt")) == "there is no file nowhere/v.pt"


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_weights_of_parameters_without_values_are_returned(folder: Path, name: str) -> None:
    save_file(state(), name) if name.endswith("s") else torch.save(state(), name)
    with torch.device("meta"):
        model = mlp()
    found = load_weights(model, Path(name))
    assert found.keys() == state().keys()
    assert torch.equal(found["0.weight"], state()["0.weight"])
    assert load_weights(mlp(), Path(name)) == {}
