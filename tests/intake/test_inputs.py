"""Where the inputs of a model come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from netaudit.errors import TargetError
from netaudit.intake.subject import Options, Subject

Write = Callable[..., Path]
Only = Callable[..., Subject]
Refusal = Callable[..., TargetError]

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, image, mask=None):
        return self.layer(image)
"""
TWO = NET.replace("mask=None", "mask")


def shape(value: object) -> tuple[int, ...]:
    assert isinstance(value, Tensor)
    return tuple(value.shape)


def test_specifications_go_by_name_or_position(write: Write, only: Only) -> None:
    write(TWO)
    subject = only(options=Options(inputs=("f32[3,4]", "mask=bool[3]")))
    assert [shape(value) for value in subject.args] == [(3, 4)]
    assert {name: shape(value) for name, value in subject.kwargs.items()} == {"mask": (3,)}
    assert subject.inputs_from == "--input"


def test_the_sources_are_asked_in_order(write: Write, only: Only) -> None:
    carried = "    dummy_inputs = {'image': torch.ones(6, 4)}\n"
    lightning = "    example_input_array = torch.ones(5, 4)\n"
    example = "def example_inputs():\n    return torch.ones(3, 4)\n"
    for text, options, source in (
        (NET + carried + lightning + example, Options(inputs=("f32[2,4]",)), "--input"),
        (NET + carried + lightning + example, Options(), "example_inputs()"),
        (NET + carried + lightning, Options(), "example_input_array"),
        (NET + carried, Options(), "dummy_inputs"),
        (NET, Options(), "guess"),
    ):
        write(text)
        subject = only("model.py:Net", options)
        assert subject.inputs_from == source
        assert bool(subject.guess) == (source == "guess")


@pytest.mark.parametrize(
    ("returned", "given"),
    [
        ("torch.ones(1, 4)", "Tensor"),
        ("(torch.ones(1, 4),)", "tuple"),
        ("{'image': torch.ones(1, 4)}", "dict"),
        (None, "dict"),
    ],
)
def test_the_loss_is_given_inputs_in_the_form_of_the_file(write: Write, only: Only, returned: str | None, given: str) -> None:
    example = f"def example_inputs():\n    return {returned}\n" if returned else ""
    write(NET + example + "def loss(model, inputs):\n    return 0\n")
    subject = only(options=Options(inputs=("image=f32[7,4]",)))
    assert type(subject.inputs).__name__ == given
    (value,) = torch.utils._pytree.tree_leaves(subject.inputs)
    assert shape(value) == (7, 4)
    assert value is subject.kwargs["image"]


def test_a_model_without_inputs_gets_none(write: Write, only: Only) -> None:
    write("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.free = nn.Parameter(torch.ones(3))
            def forward(self):
                return self.free
    """)
    subject = only()
    assert (subject.args, subject.kwargs) == ((), {})


@pytest.mark.parametrize(
    ("text", "inputs", "message", "hint"),
    [
        (
            TWO,
            (),
            "forward(image, mask) of model.py:Net needs several inputs, and none is known",
            "--input image=f32[8,32]",
        ),
        (
            TWO,
            ("image=f32[2,4]",),
            "do not fit: forward() needs argument (mask)",
            "forward(image, mask): give them with",
        ),
        (NET, ("imgae=f32[2,4]",), "has no argument 'imgae': did you mean 'image'?", "forward(image, mask=None)"),
        (NET, ("f32[2]", "f32[2]", "f32[2]"), "takes 2 positional arguments, and 3 were given", "forward(image"),
        (NET, ("f32[2]", "image=f32[2]"), "is given 'image' twice: by name and by position", "forward(image"),
        (NET, ("image=f32[2]", "image=f32[2]"), "the input 'image' is given twice", "once"),
        (NET, ("image=f23[2]",), "'f23' in 'image=f23[2]' is not a dtype", "did you mean 'f32'?"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    write: Write, refusal: Refusal, text: str, inputs: tuple[str, ...], message: str, hint: str
) -> None:
    write(text)
    error = refusal(options=Options(inputs=inputs))
    assert message in str(error)
    assert hint in error.hint


def test_a_forward_of_anything_is_not_second_guessed(write: Write, only: Only) -> None:
    write(NET.replace("image, mask=None", "*images, **more").replace("(image)", "(images[0])"))
    subject = only(options=Options(inputs=("f32[2,4]", "whatever=f32[1]")))
    assert len(subject.args) == len(subject.kwargs) == 1
    assert only().guess == "inputs guessed from layer (Linear, 4 features): f32[8,4]"


GUESSES = [
    ("nn.Linear(5, 2)", "(Linear, 5 features): input=f32[8,5]"),
    ("nn.Linear(5, 2).double()", "(Linear, 5 features): input=f64[8,5]"),
    ("nn.Linear(5, 2).bfloat16()", "(Linear, 5 features): input=bf16[8,5]"),
    ("nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1))", "0 (Conv2d, 1 channel): input=f32[2,1,224,224]"),
    (
        "nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4096, 2))",
        "0 (Conv2d, 3 channels): input=f32[2,3,32,32]",
    ),
    (
        "nn.Sequential(nn.ReLU(), nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(4 * 28 * 28, 2))",
        "1 (Conv2d, 1 channel): input=f32[2,1,28,28]",
    ),
    ("nn.Conv1d(4, 4, 3)", "(Conv1d, 4 channels): input=f32[2,4,64]"),
    ("nn.Conv3d(2, 4, 3)", "(Conv3d, 2 channels): input=f32[2,2,8,112,112]"),
    ("nn.ConvTranspose2d(2, 4, 3)", "(ConvTranspose2d, 2 channels): input=f32[2,2,224,224]"),
    ("nn.Embedding(11, 4)", "(Embedding, 11 embeddings): input=i64[2,64]<11>"),
    (
        "nn.Sequential(nn.Embedding(11, 4), nn.Flatten(), nn.Linear(32, 2))",
        "0 (Embedding, 11 embeddings): input=i64[2,8]<11>",
    ),
    ("nn.EmbeddingBag(11, 4)", "(EmbeddingBag, 11 embeddings): input=i64[2,64]<11>"),
    ("nn.LSTM(6, 4)", "(LSTM, 6 features): input=f32[16,2,6]"),
    ("nn.GRU(6, 4, batch_first=True)", "(GRU, 6 features): input=f32[2,16,6]"),
    ("nn.TransformerEncoderLayer(8, 2, 16)", "(TransformerEncoderLayer, 8 features): src=f32[16,2,8]"),
    (
        "nn.Sequential(nn.LayerNorm((3, 5)), nn.Flatten(), nn.Linear(15, 2))",
        "0 (LayerNorm, normalised over [3, 5]): input=f32[8,3,5]",
    ),
    ("nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2))", "0 (BatchNorm1d, 5 features): input=f32[8,5]"),
    ("nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3))", "0 (BatchNorm2d, 3 channels): input=f32[2,3,224,224]"),
]


@pytest.mark.parametrize(("made", "sentence"), GUESSES, ids=[made for made, _ in GUESSES])
def test_inputs_are_guessed_from_the_first_layer(write: Write, only: Only, made: str, sentence: str) -> None:
    write(f"def build():\n    return {made}\n")
    subject = only()
    layer = sentence if sentence[0] != "(" else f"the model {sentence}"
    assert subject.guess == f"inputs guessed from {layer}"
    assert subject.inputs_from == "guess"
    with torch.no_grad():
        subject.model.eval()(*subject.args)


def test_a_head_registered_first_does_not_mislead(write: Write, only: Only) -> None:
    write("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.head = nn.Linear(7, 2)
                self.stem = nn.Linear(3, 7)
            def forward(self, x):
                return self.head(self.stem(x))
    """)
    assert only().guess == "inputs guessed from stem (Linear, 3 features): x=f32[8,3]"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "self.layer = nn.Linear(3, 4)",
            "none could be guessed: a forward pass with x=f32[8,3] failed at model.py:8: RuntimeError",
        ),
        ("self.layer = nn.LazyLinear(4)", "none of its layers tells what it takes"),
        ("self.layer = nn.PReLU()", "none of its layers tells what it takes"),
    ],
)
def test_without_a_guess_inputs_are_asked_for(write: Write, refusal: Refusal, body: str, says: str) -> None:
    write(f"""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                {body}
            def forward(self, x):
                return self.layer(x) @ x
    """)
    error = refusal()
    assert str(error).startswith("no inputs are known for model.py:Net, and ")
    assert says in str(error)
    assert "--input x=f32[8,32]" in error.hint
    assert "example_inputs()" in error.hint
