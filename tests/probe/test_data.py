"""Real inputs from a file: what is read is what was saved, and nothing in a file is ever run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from netaudit.cli.common import load_options
from netaudit.config import Config
from netaudit.errors import ConfigError, TargetError
from netaudit.intake.data import read
from netaudit.intake.subject import Options, Subject
from netaudit.intake.target import load

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, image, mask=None):
        return self.layer(image if mask is None else image * mask)


def build():
    return Net()
"""
WITH_LOSS = f"{NET}\n\ndef example_inputs():\n    return %s\n\n\ndef loss(model, inputs):\n    return model(%s).square().mean()\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a model in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(NET)
    return tmp_path


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def subject(file: str) -> Subject:
    (found,) = load("model.py", Options(data=file))
    return found


def in_pt(batch: Mapping[str, Tensor]) -> str:
    torch.save(dict(batch), "batch.pt")
    return "batch.pt"


def in_safetensors(batch: Mapping[str, Tensor]) -> str:
    save_file(dict(batch), "batch.safetensors")
    return "batch.safetensors"


def in_npz(batch: Mapping[str, Tensor]) -> str:
    np.savez("batch.npz", **{name: tensor.numpy() for name, tensor in batch.items()})  # type: ignore[arg-type]  # numpy's stub
    return "batch.npz"


@pytest.mark.parametrize("save", [in_pt, in_safetensors, in_npz])
def test_every_format_gives_back_what_was_saved(save: Callable[[Mapping[str, Tensor]], str]) -> None:
    batch = {"image": drawn(3, 4), "mask": drawn(3, 1) > 0}
    file = save(batch)
    found = subject(file)
    assert found.inputs_from == f"--data {file}"
    assert not found.guess
    assert not found.args
    assert set(found.kwargs) == set(batch)
    for name, tensor in batch.items():
        read_back = found.kwargs[name]
        assert isinstance(read_back, Tensor)
        assert read_back.dtype == tensor.dtype
        assert torch.equal(read_back, tensor)


def test_a_tensor_is_the_first_argument_and_a_tuple_several() -> None:
    image, mask = drawn(3, 4), drawn(3, 4)
    torch.save(image, "one.pt")
    torch.save((image, mask), "two.pt")
    torch.save([image.requires_grad_()], "list.pt")
    np.savez("two.npz", image.detach().numpy(), mask.numpy())
    assert [len(subject(name).args) for name in ("one.pt", "two.pt", "list.pt", "two.npz")] == [1, 2, 1, 2]
    (leaf,) = subject("list.pt").args
    assert isinstance(leaf, Tensor)
    assert not leaf.requires_grad


def test_the_file_goes_before_the_example() -> None:
    Path("model.py").write_text(WITH_LOSS % ("torch.ones(5, 4)", "inputs"))
    torch.save(drawn(3, 4), "batch.pt")
    assert subject("batch.pt").inputs_from == "--data batch.pt"


@pytest.mark.parametrize(
    ("example", "call", "kind"),
    [
        ("torch.ones(5, 4)", "inputs", Tensor),
        ("(torch.ones(5, 4),)", "*inputs", tuple),
        ("{'image': torch.ones(5, 4)}", "**inputs", dict),
    ],
)
def test_a_loss_gets_the_form_that_it_was_written_for(example: str, call: str, kind: type) -> None:
    """A file of named tensors serves a loss that takes a tensor, a tuple, or a mapping."""
    Path("model.py").write_text(WITH_LOSS % (example, call))
    image = drawn(3, 4)
    found = subject(in_pt({"image": image}))
    assert isinstance(found.inputs, kind)
    assert found.loss is not None
    expected = found.model(image).square().mean()
    assert torch.equal(found.loss(found.model, found.inputs), expected)


def missing() -> None:
    torch.save(drawn(2, 4), "batsh.pt")


def damaged_npz() -> None:
    np.savez("batch.npz", drawn(64, 4).numpy())
    Path("batch.npz").write_bytes(Path("batch.npz").read_bytes()[:300])


CASES: Mapping[str, tuple[str, Callable[[], object], tuple[str, ...]]] = {
    "missing": ("batch.pt", missing, ("there is no file batch.pt", "did you mean 'batsh.pt'?")),
    "suffix": ("batch.csv", lambda: Path("batch.csv").write_text("1,2"), ("batch.csv is no file of inputs", ".npz")),
    "not a pickle": ("batch.pt", lambda: Path("batch.pt").write_bytes(b"nonsense"), ("batch.pt is damaged",)),
    "code in a pickle": (
        "batch.pt",
        lambda: torch.save(date(2026, 1, 1), "batch.pt"),
        ("holds more than tensors: datetime.date", "run code"),
    ),
    "a number": ("batch.pt", lambda: torch.save({"image": [drawn(2, 4), 3]}, "batch.pt"), ("['image'][1] in batch.pt is an int", "tensor")),
    "nothing": ("batch.pt", lambda: torch.save({}, "batch.pt"), ("batch.pt holds an empty container", "dict of named ones")),
    "not safetensors": ("batch.safetensors", lambda: Path("batch.safetensors").write_bytes(b"nonsense"), ("batch.safetensors", "damaged")),
    "half a zip": ("batch.npz", damaged_npz, ("batch.npz is damaged", "completely")),
    "a pickle, not a zip": ("batch.npz", lambda: Path("batch.npz").write_bytes(b"\x80\x04K\x01."), ("batch.npz is damaged", "savez")),
    "text": ("batch.npz", lambda: np.savez("batch.npz", image=np.array(["a"])), ("'image' in batch.npz holds <U1", "save numbers")),
    "objects": ("batch.npz", lambda: np.savez("batch.npz", image=np.array([{}])), ("batch.npz holds an array of objects", "run code")),
    "name": ("batch.pt", lambda: in_pt({"imgae": drawn(2, 4)}), ("has no argument 'imgae'", "did you mean 'image'?")),
    "missing argument": ("batch.pt", lambda: in_pt({"mask": drawn(2, 4)}), ("needs argument (image)", "--data batch.pt")),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_read_gets_one_clear_error(case: str) -> None:
    file, write, said = CASES[case]
    write()
    with pytest.raises(TargetError) as caught:
        subject(file)
    text = f"{caught.value.message} ({caught.value.hint})"
    assert all(part in text for part in said), text
    assert "\n" not in text
    assert "weights_only" not in text


def test_objects_in_an_array_are_never_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (Path("boom"),)  # type: ignore[return-value]  # any callable will do

    np.savez("batch.npz", image=np.array([Bomb()], dtype=object))
    with pytest.raises(TargetError):
        read(Path("batch.npz"))
    assert not Path("boom").exists()


def test_inputs_are_said_once() -> None:
    with pytest.raises(ConfigError, match="--data and --input"):
        load_options(Config(), None, ["f32[2,4]"], None, 0, data="batch.pt")
