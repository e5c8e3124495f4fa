"""Norms kept from earlier runs: exactly what was proved, for exactly this tensor at this use, or nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netaudit.cache import Store, store_at
from netaudit.cache.proofs import KIND, Proofs, decoded, encoded, proofs_in
from netaudit.intake import uses
from netaudit.intake.lower import lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.intake.uses import Certifying, content
from netaudit.intake.weights import leaves
from netaudit.signal import WeightNorms

NUMBERS = st.floats(min_value=0.0, allow_nan=False)
NORMS = st.builds(WeightNorms, NUMBERS, NUMBERS, NUMBERS, st.text())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(NORMS)
def test_a_norm_comes_back_to_the_last_bit(proved: WeightNorms) -> None:
    text = json.dumps(encoded("key", proved), allow_nan=False)
    assert hexed(decoded("key", json.loads(text))) == hexed(proved)
    assert decoded("other", json.loads(text)) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        ["key"],
        ["key", "0x1p0", "0x1p0", "0x1p0"],
        ["key", 1.0, "0x1p0", "0x1p0", "how"],
        ["key", "x", "0x1p0", "0x1p0", "how"],
        ["key", "nan", "0x1p0", "0x1p0", "how"],
        ["key", "-0x1p0", "0x1p0", "0x1p0", "how"],
        ["key", "0x1p99999", "0x1p0", "0x1p0", "how"],
    ],
    ids=str,
)
def test_what_was_not_written_is_not_believed(value: object) -> None:
    assert decoded("key", value) is None


def hexed(norms: WeightNorms | None) -> tuple[str, ...]:
    assert norms is not None
    return (norms.spectral.hex(), norms.row_l2.hex(), norms.row_l1.hex(), norms.how)


# the hash of a tensor ---------------------------------------------------------------------------------------------------

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (5, 9), (3, 2, 4)], ids=str)
def test_a_tensor_is_hashed_by_its_values_wherever_they_lie(
    dtype: torch.dtype, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    first = content(whole)
    scattered = torch.stack([whole, whole], -1)[..., 0]  # the same values, every other place in memory
    assert content(scattered) == first
    monkeypatch.setattr(uses, "AT_ONCE", 4)
    assert content(whole) == first
    assert content(scattered) == first


@settings(max_examples=60, deadline=None, derandomize=True)
@given(entry=st.integers(0, 39), bit=st.integers(0, 31))
def test_every_bit_counts(entry: int, bit: int) -> None:
    weight = torch.arange(40.0).reshape(5, 8)
    changed = weight.clone()
    changed.view(torch.int32).view(-1)[entry] ^= 1 << bit if bit < 31 else -(1 << 31)
    assert content(changed) != content(weight)


# a model ----------------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A convolution, three matrices, a kernel that is used at two sizes, and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x: Tensor = self.conv(self.table(ids).transpose(1, 2))
        x = self.conv(F.max_pool1d(x, 2)).mean(-1)
        return self.head(self.body(x))  # type: ignore[no-any-return]  # torch's modules return Any


def norms(model: nn.Module, proofs: Proofs) -> Mapping[tuple[str, int], tuple[str, ...]]:
    ids = torch.arange(12).reshape(2, 6) % 11
    subject = Subject("net", model, (ids,), {}, (ids,), "here")
    found = leaves(lower(trace(subject), subject), how=Certifying(proofs=proofs))
    return {use: hexed(one) for use, one in found.norms.items()}


def entries(store: Store) -> set[str]:
    return {path.stem for path in (store.folder / KIND).glob("*.json")}


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def test_the_layer_that_was_edited_is_computed_and_no_other(model: nn.Module, tmp_path: Path) -> None:
    store = store_at(tmp_path / "c")
    afresh = norms(model, Proofs())
    assert norms(model, proofs_in(store)) == afresh
    first = entries(store)
    assert len(first) == 5, "two sizes of the convolution, three matrices; a table is bounded as fast as it is hashed"
    assert norms(model, proofs_in(store)) == afresh
    assert entries(store) == first
    with torch.no_grad():
        model.get_parameter("body.1.weight")[2, 3] += 1e-3
    changed = norms(model, Proofs())
    assert changed != afresh
    assert norms(model, proofs_in(store)) == changed
    assert len(entries(store)) == len(first) + 1


def test_what_is_kept_is_what_is_answered(model: nn.Module, tmp_path: Path) -> None:
    """Were it computed again, a wrong entry would go unseen."""
    store = store_at(tmp_path / "c")
    afresh = norms(model, proofs_in(store))
    for key in entries(store):
        kept = decoded(key, store.read(KIND, key))
        assert kept is not None
        store.write(KIND, key, encoded(key, replace(kept, how="kept")))
    found = norms(model, proofs_in(store))
    assert sum(one[-1] == "kept" for one in found.values()) == 5
    assert {use: one[:-1] for use, one in found.items()} == {use: one[:-1] for use, one in afresh.items()}


def test_a_damaged_entry_is_computed_again_and_mended(model: nn.Module, tmp_path: Path) -> None:
    store = store_at(tmp_path / "c")
    afresh = norms(model, proofs_in(store))
    paths = sorted((store.folder / KIND).glob("*.json"))
    whole = [path.read_bytes() for path in paths]
    digit = whole[0].index(b"0x1.") + 4
    paths[0].write_bytes(whole[0][:digit] + bytes([whole[0][digit] ^ 1]) + whole[0][digit + 1 :])
    paths[1].write_bytes(whole[1][: len(whole[1]) // 2])
    paths[2].write_bytes(b"")
    paths[3].write_bytes(whole[4])  # whole, but of another tensor
    assert norms(model, proofs_in(store)) == afresh
    assert [path.read_bytes() for path in paths] == whole


def test_other_code_proves_its_own(model: nn.Module, tmp_path: Path) -> None:
    store = store_at(tmp_path / "c")
    norms(model, proofs_in(store))
    norms(model, Proofs(store, "another netaudit"))
    assert len(entries(store)) == 10


def test_a_tight_norm_is_not_answered_by_a_quick_one(tmp_path: Path) -> None:
    store, weight = store_at(tmp_path / "c"), torch.randn(300, 400, generator=torch.Generator().manual_seed(0))
    subject = Subject("net", nn.Linear(400, 300, bias=False), (torch.ones(1, 400),), {}, (), "here")
    with torch.no_grad():
        subject.model.get_parameter("weight").copy_(weight)
    lowered = lower(trace(subject), subject)
    quick, tight = (next(iter(leaves(lowered, how=Certifying(effort, proofs_in(store))).norms.values())) for effort in ("quick", "tight"))
    assert tight.spectral < quick.spectral
    assert len(entries(store)) == 2


def test_the_oldest_norms_go(tmp_path: Path) -> None:
    store = store_at(tmp_path / "c")
    for number in range(9):
        store.put(KIND, f"{number}", number)
        os.utime(store.folder / KIND / f"{number}.json", (number, number))
    store.prune(KIND, 9)
    assert len(entries(store)) == 9
    store.prune(KIND, 8)
    assert len(entries(store)) == 6
    assert store.read(KIND, "8") == 8


def test_where_nothing_can_be_kept_norms_are_proved(model: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert norms(model, proofs_in(store_at(tmp_path / "file" / "c"))) == norms(model, Proofs())
