"""Checkpoints in several files, read tensor by tensor: the same result as loading the whole model, or one clear error."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from netaudit.audit import Settings, analyse, audit_subject
from netaudit.errors import TargetError
from netaudit.intake import shards
from netaudit.intake.hollow import is_hollow
from netaudit.intake.subject import Options, Subject
from netaudit.moments import from_array, from_blocks
from netaudit.pack import installed

Write = Callable[..., Path]
Only = Callable[..., Subject]
Refusal = Callable[..., TargetError]

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(500, 128)
        self.body = nn.Sequential(nn.Linear(128, 400), nn.GELU(), nn.Conv1d(16, 16, 3, padding=1), nn.Linear(400, 128), nn.LayerNorm(128))
        self.head = nn.Linear(128, 500, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.body(self.embed(ids)))

def build():
    return Net()

def example_inputs():
    return torch.randint(0, 500, (2, 16), generator=torch.Generator().manual_seed(0))
"""


def weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights that no initialisation gives: with means, rows of different sizes and one row of zeros."""
    draw = torch.Generator().manual_seed(1)

    def tensor(*shape: int) -> Tensor:
        rows = torch.rand(shape[0], *(1 for _ in shape[1:]), generator=draw)
        return (torch.randn(*shape, generator=draw) * 0.1 * rows + 0.01).to(dtype)

    found = {
        "embed.weight": tensor(500, 128),
        "body.0.weight": tensor(400, 128),
        "body.0.bias": tensor(400),
        "body.2.weight": tensor(16, 16, 3),
        "body.2.bias": tensor(16),
        "body.3.weight": tensor(128, 400),
        "body.3.bias": tensor(128),
        "body.4.weight": tensor(128),
        "body.4.bias": tensor(128),
    }
    found["body.0.weight"][3] = 0.0
    return found


def save(found: Mapping[str, Tensor], *, index: bool = True, folder: str = "ckpt") -> Path:
    """Write two shards, and an index unless it is not wanted; returns the folder."""
    place = Path(folder)
    place.mkdir(exist_ok=True)
    names = sorted(found)
    placed: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: found[name] for name in part}, place / file)
        placed |= dict.fromkeys(part, file)
    if index:
        (place / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return place


@pytest.mark.parametrize("given", ["ckpt", "ckpt/model.safetensors.index.json", "whole.safetensors", "whole.pt"])
@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_report_from_shards_is_that_of_the_loaded_model(
    write: Write, only: Only, monkeypatch: pytest.MonkeyPatch, given: str, index: bool, dtype: torch.dtype
) -> None:
    if given.endswith("json") and not index:
        pytest.skip("there is no index to name")
    monkeypatch.setattr("netaudit.intake.weights.BLOCK", 5000)  # several blocks a tensor
    write(NET)
    save(weights(dtype), index=index)
    save_file(weights(dtype), "whole.safetensors")
    torch.save(weights(dtype), "whole.pt")
    hollow, real = (only(options=Options(weights=given, meta=meta)) for meta in (True, False))
    assert is_hollow(hollow.model.get_parameter("embed.weight"))
    catalog = installed()
    one, other = (analyse(subject, catalog, Settings()) for subject in (hollow, real))
    assert one.leaves.norms.keys() == other.leaves.norms.keys()
    for key, norms in one.leaves.norms.items():
        assert norms.spectral == pytest.approx(other.leaves.norms[key].spectral, rel=1e-9), key
        assert norms.row_l2 == pytest.approx(other.leaves.norms[key].row_l2, rel=1e-9), key
    for name, info in other.graph.params.items():
        known, expected = (analysis.facts.signals[info.node] for analysis in (one, other))
        assert known.range == expected.range, name
        assert known.moments is not None
        assert expected.moments is not None
        np.testing.assert_allclose(known.moments.kernel.second, expected.moments.kernel.second, rtol=1e-5, atol=1e-12)
        assert one.flow.params[name].forecast == pytest.approx(other.flow.params[name].forecast, abs=1e-4), name
        assert one.flow.params[name].bound == pytest.approx(other.flow.params[name].bound, abs=1e-6), name


def test_one_tensor_is_held_at_a_time(write: Write, only: Only, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netaudit.intake.weights.SMALL", 1000)  # larger parameters keep no values
    write(NET)
    save(weights())
    subject = only(options=Options(weights="ckpt", meta=True))
    held: list[int] = []
    read = shards.Stored.__getitem__

    def large() -> set[int]:
        return {t.untyped_storage().data_ptr() for t in gc.get_objects() if type(t) is Tensor and t.numel() > 1 << 15}

    def counted(self: shards.Stored, name: str) -> Tensor:
        held.append(len(large() - before))
        return read(self, name)

    before = large()  # what other tests have left
    monkeypatch.setattr(shards.Stored, "__getitem__", counted)
    analyse(subject, installed(), Settings())
    assert len(held) == 3
    assert max(held) <= 1


def test_the_report_says_where_weights_are_from(write: Write, only: Only) -> None:
    write(NET)
    save(weights())
    notes = audit_subject(only(options=Options(weights="ckpt", meta=True)), installed(), Settings()).notes
    assert notes == ("built on meta: weights were read from the checkpoint one by one",)
    notes = audit_subject(only(options=Options(meta=True)), installed(), Settings()).notes
    assert notes == ("built on meta: no weights, so no certified norms; forecasts use the init distribution",)


@pytest.mark.parametrize("meta", [True, False])
def test_shards_are_loaded_into_a_model(write: Write, only: Only, meta: bool) -> None:
    write(NET)
    save(weights())
    model = only(options=Options(weights="ckpt", meta=meta)).model
    assert torch.equal(model.get_parameter("body.0.bias"), weights()["body.0.bias"])
    assert meta or torch.equal(model.get_parameter("embed.weight"), weights()["embed.weight"])


def test_nan_in_a_shard_is_a_finding(write: Write, only: Only) -> None:
    write(NET)
    found = weights()
    found["body.3.weight"][5, 5] = torch.nan
    save(found)
    report = audit_subject(only(options=Options(weights="ckpt", meta=True)), installed(), Settings())
    assert [f.message for f in report.findings if f.code == "NA003"] or any("NaN" in f.message for f in report.findings)


# bad input ------------------------------------------------------------------------------------------------------------------


def without_shard(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").rename(folder / "model-00002-of-0002.safetensors")


def cut_off(folder: Path) -> None:
    file = folder / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def no_header(folder: Path) -> None:
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"\x00" * 100)


def lacking(folder: Path) -> None:
    file = folder / "model.safetensors.index.json"
    data = json.loads(file.read_text())
    data["weight_map"]["ghost"] = "model-00001-of-00002.safetensors"
    file.write_text(json.dumps(data))


def unlisted(folder: Path) -> None:
    file = folder / "model.safetensors.index.json"
    data = json.loads(file.read_text())
    del data["weight_map"]["embed.weight"], data["weight_map"]["body.0.bias"]
    file.write_text(json.dumps(data))


def no_json(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{")


def no_map(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}))


def elsewhere(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))


def twice(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    save_file({"body.0.bias": torch.zeros(400)}, folder / "more.safetensors")


def two_indices(folder: Path) -> None:
    (folder / "other.safetensors.index.json").write_text("{}")


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize(
    ("harm", "message", "hint"),
    [
        (without_shard, "lists a file that is not there: model-00002-of-00002.safetensors", "did you mean"),
        (cut_off, "model-00001-of-00002.safetensors is damaged: ", "copied completely"),
        (no_header, "model-00001-of-00002.safetensors is damaged: ", "copied completely"),
        (lacking, "lists a tensor that is not in model-00001-of-00002.safetensors: ghost", "copied completely"),
        (unlisted, "does not fit the model: 3 missing: embed.weight, body.0.bias, head.weight", "the checkpoint of this model"),
        (no_json, "index.json is not JSON", "copied completely"),
        (no_map, "index.json is no index: it has no weight_map", "an index is called"),
        (pickled, "lists 'pytorch_model-1.bin', which is no .safetensors file beside it", "convert the checkpoint"),
        (elsewhere, "lists '../model.safetensors', which is no .safetensors file beside it", "convert the checkpoint"),
        (twice, "ckpt holds body.0.bias twice: in model-00001-of-00002.safetensors and in more.safetensors", "name one file"),
        (two_indices, "ckpt holds several indices: model.safetensors.index.json, other.safetensors.index.json", "name one of them"),
        (empty, "ckpt holds no .safetensors file", "--weights takes"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_with_a_checkpoint_is_said_once(
    write: Write, refusal: Refusal, harm: Callable[[Path], None], message: str, hint: str, meta: bool
) -> None:
    write(NET)
    harm(save(weights()))
    error = refusal(options=Options(weights="ckpt", meta=meta))
    assert message in str(error)
    assert "\n" not in str(error)
    assert hint in error.hint


def test_another_shape_is_said_without_reading_the_tensor(write: Write, refusal: Refusal) -> None:
    write(NET)
    save(weights() | {"embed.weight": torch.zeros(400, 128)})
    assert "embed.weight ([400, 128], the model has [500, 128])" in str(refusal(options=Options(weights="ckpt", meta=True)))


def test_a_mistyped_folder_is_suggested(write: Write, refusal: Refusal) -> None:
    write(NET)
    save(weights())
    assert refusal(options=Options(weights="ckp", meta=True)).hint == "did you mean 'ckpt'?"


# blocks ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (1, 5), (6, 1), (9, 4), (8, 3, 2), (5, 2, 3, 2), (3, 1, 4)])
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
@pytest.mark.parametrize("fill", ["random", "constant", "constant blocks"])
def test_a_kernel_from_blocks_is_that_of_the_whole(shape: tuple[int, ...], rows: int, fill: str) -> None:
    rng = np.random.default_rng(0)
    array = rng.standard_normal(shape) + 0.5
    if fill != "random":
        array = np.full(shape, 0.75)
        array[: shape[0] // 2] += 0.0 if fill == "constant" else 1.0
    blocks = (array[start : start + rows] for start in range(0, shape[0], rows))
    found, expected = from_blocks(blocks, shape), from_array(array)
    second = np.broadcast_to(found.second, np.broadcast_shapes(found.second.shape, expected.second.shape))
    np.testing.assert_allclose(second, np.broadcast_to(expected.second, second.shape), rtol=1e-9, atol=1e-12)
    assert found.average == pytest.approx(expected.average)
    assert found.sizes == expected.sizes
