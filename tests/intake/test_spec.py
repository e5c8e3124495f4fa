"""The grammar of inputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netaudit.errors import TargetError
from netaudit.intake.spec import BOUND, DTYPES, Spec, draw, parse_spec, parse_specs, word

INTEGERS = sorted(name for name, dtype in DTYPES.items() if not (dtype.is_floating_point or dtype.is_complex))
NAMES = st.sampled_from(["", "x", "ids", "attention_mask", "_private", "größe"])
SHAPES = st.lists(st.integers(1, 10**6), max_size=6).map(tuple)


@st.composite
def specs(draw_from: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]] = SHAPES) -> Spec:
    dtype = draw_from(st.sampled_from(sorted(DTYPES)))
    bound = None
    if dtype in INTEGERS and dtype != "bool":
        bound = draw_from(st.none() | st.integers(1, min(torch.iinfo(DTYPES[dtype]).max + 1, 2**63 - 1)))
    return Spec(draw_from(NAMES), dtype, draw_from(shapes), bound)


@given(specs())
def test_what_is_printed_is_read_back(spec: Spec) -> None:
    assert parse_spec(str(spec)) == spec


@given(specs(), st.randoms())
def test_spaces_do_not_count(spec: Spec, random: object) -> None:
    spaced = "".join(f" {sign} " if sign in "=[],<>" else sign for sign in str(spec))
    assert parse_spec(spaced) == spec


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_with_an_example(text: str) -> None:
    try:
        spec = parse_spec(text)
    except TargetError as error:
        refused = error
    else:
        assert parse_spec(str(spec)) == spec
        return
    assert str(refused)
    assert refused.hint


SMALL = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@settings(max_examples=50)
@given(specs(SMALL), st.integers(0, 2**31))
def test_a_drawn_tensor_is_what_was_specified(spec: Spec, seed: int) -> None:
    (tensor,), (again,) = draw([spec], seed), draw([spec], seed)
    assert tensor.shape == spec.shape
    assert tensor.dtype is DTYPES[spec.dtype]
    assert word(tensor.dtype) == spec.dtype
    assert torch.equal(tensor, again)
    if spec.dtype in INTEGERS:
        assert 0 <= int(tensor.min()) <= int(tensor.max()) < (2 if spec.dtype == "bool" else spec.bound or BOUND)


def test_floats_are_standard_normal() -> None:
    count = 40_000
    (tensor,) = draw([Spec("", "f64", (count,))], 0)
    # four standard deviations of a mean, and of a variance, of that many draws
    assert abs(float(tensor.mean())) < 4 / count**0.5
    assert abs(float(tensor.var()) - 1) < 4 * (2 / count) ** 0.5


def test_integers_reach_both_ends() -> None:
    (tensor,) = draw([Spec("", "i64", (1000,), 5)], 0)
    assert set(tensor.tolist()) == {0, 1, 2, 3, 4}


def test_seeds_differ_and_the_global_generator_is_untouched() -> None:
    before = torch.get_rng_state()
    spec = Spec("", "f32", (8,))
    assert not torch.equal(draw([spec], 0)[0], draw([spec], 1)[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("text", "says", "hints"),
    [
        ("x=f32", "'x=f32' is not an input", "x=f32[8,32]"),
        ("x=f32[8", "is not an input", "x=f32[8,32]"),
        ("", "'' is not an input", "x=f32[8,32]"),
        ("x=f32[8,-1]", "'-1' in 'x=f32[8,-1]' is not a size", "x=f32[8,32]"),
        ("x=f32[8,0]", "'0' in", "x=f32[8,32]"),
        ("x=f32[8,]", "'' in", "x=f32[8,32]"),
        ("1x=f32[8]", "'1x' in '1x=f32[8]' cannot be the name of an argument", "x=f32[8,32]"),
        ("x=f23[8]", "'f23' in 'x=f23[8]' is not a dtype", "did you mean 'f32'?"),
        ("x=float32[8]", "'float32'", "did you mean 'f32'?"),
        ("x=long[8]", "'long'", "did you mean 'i64'?"),
        ("x=complex64[8]", "'complex64'", "did you mean 'c64'?"),
        ("x=f32[8]<10>", "takes no bound", "ids=i64[2,128]<50257>"),
        ("x=bool[8]<2>", "takes no bound", "ids=i64[2,128]<50257>"),
        ("x=i64[8]<0>", "the bound '0'", "exclusive"),
        ("x=i64[8]<ten>", "the bound 'ten'", "exclusive"),
        ("x=u8[8]<257>", "an integer from 1 to 256", "exclusive"),
        (f"x=i64[{'9' * 5000}]", "is not a size", "x=f32[8,32]"),
    ],
)
def test_what_is_no_input_is_refused(text: str, says: str, hints: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_spec(text)
    assert says in str(caught.value)
    assert hints in caught.value.hint


def test_a_name_comes_once() -> None:
    with pytest.raises(TargetError, match="the input 'x' is given twice"):
        parse_specs(["x=f32[2]", "y=f32[2]", "x=f32[3]"])


def test_a_tensor_too_large_is_refused() -> None:
    with pytest.raises(TargetError, match="cannot be made"):
        draw([Spec("x", "f32", (10**6, 10**6, 10**6))], 0)
