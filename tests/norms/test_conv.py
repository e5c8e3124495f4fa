"""Convolutions: certificates against the singular values of the whole operator, which torch itself writes down."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netaudit.norms import Certificate, Effort, PaddingMode, conv, conv_transpose, dense

EFFORTS: tuple[Effort, ...] = ("tight", "quick")
MODULES: tuple[Callable[..., nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED: tuple[Callable[..., nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MOST_ENTRIES = 400_000  # of an operator that is written down


@dataclass(frozen=True)
class Case:
    """Arguments of a convolution and of the input it runs on."""

    in_: int
    out: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    mode: PaddingMode


def random_weight(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def written_down(module: nn.Module, in_: int, size: Sequence[int]) -> Tensor:
    """The operator as a matrix: one row for each input, by pushing the identity through."""
    entries = in_ * math.prod(size)
    with torch.no_grad():
        images: Tensor = module(torch.eye(entries, dtype=torch.float64).reshape(entries, in_, *size))
    return images.flatten(1)


def operator_of(weight: Tensor, case: Case) -> Tensor:
    module = MODULES[len(case.size) - 1](
        case.in_,
        case.out,
        case.kernel,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        bias=False,
        padding_mode=case.mode,
        dtype=torch.float64,
    )
    module.load_state_dict({"weight": weight})
    return written_down(module, case.in_, case.size)


def certificate_of(weight: Tensor, case: Case, effort: Effort = "tight", failure: float = 0.0) -> Certificate:
    return conv(
        weight,
        case.size,
        stride=case.stride,
        padding=case.padding,
        dilation=case.dilation,
        groups=case.groups,
        padding_mode=case.mode,
        effort=effort,
        failure=failure,
    )


def norm_of(matrix: Tensor) -> tuple[float, float]:
    """The norm by SVD and its error: a low-degree polynomial in the size times roundoff; 20 max(m, n) is generous."""
    if matrix.numel() == 0:
        return 0.0, 0.0
    norm = float(torch.linalg.matrix_norm(matrix, ord=2))
    return norm, norm * 20 * max(matrix.shape) * 2.0**-53


def assert_brackets(certificate: Certificate, matrix: Tensor, scale: float = 1.0) -> None:
    norm, error = norm_of(matrix)
    assert certificate.lower <= (norm + error) * scale
    assert certificate.upper >= (norm - error) * scale


@st.composite
def cases(draw: st.DrawFn, modes: Sequence[PaddingMode] = ("zeros", "circular", "reflect", "replicate")) -> Case:
    count = draw(st.integers(1, 3))
    mode = draw(st.sampled_from(modes))
    groups = draw(st.integers(1, 3))
    in_, out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    longest = {1: 24, 2: 8, 3: 4}[count]
    kernel = tuple(draw(st.integers(1, {1: 7, 2: 4, 3: 3}[count])) for _ in range(count))
    dilation = tuple(draw(st.integers(1, 3)) for _ in range(count))
    stride = tuple(draw(st.integers(1, 4)) for _ in range(count))
    size = tuple(draw(st.integers(1, longest)) for _ in range(count))
    padding: str | tuple[int, ...] = draw(
        st.one_of(st.just("valid"), st.just("same"), st.tuples(*(st.integers(0, 4) for _ in range(count))))
    )
    if padding == "same":
        stride = (1,) * count
    for n, k, d, width in zip(size, kernel, dilation, widths(padding, count), strict=True):
        p = d * (k - 1) / 2 if padding == "same" else width
        assume(n + 2 * p >= d * (k - 1) + 1)
        assume(mode == "zeros" or math.ceil(p) < n)  # torch repeats no input twice on one side
    assume(in_ * math.prod(size) * out * math.prod(size) <= MOST_ENTRIES)
    return Case(in_, out, size, kernel, stride, padding, dilation, groups, mode)


def widths(padding: str | tuple[int, ...], count: int) -> tuple[int, ...]:
    return (0,) * count if isinstance(padding, str) else padding


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(cases(), st.sampled_from(EFFORTS), st.integers(0, 10**6))
def test_the_bracket_holds_however_the_convolution_is_used(case: Case, effort: Effort, seed: int) -> None:
    weight = random_weight(case.out, case.in_ // case.groups, *case.kernel, seed=seed)
    certificate = certificate_of(weight, case, effort)
    assert certificate.failure == 0.0
    assert_brackets(certificate, operator_of(weight, case))
    if effort == "tight":  # so few channels are always settled exactly
        assert certificate.upper <= certificate.lower * (1.0 + 1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    cases(),
    st.sampled_from([(torch.float64, 300), (torch.float32, 40), (torch.float32, 30), (torch.bfloat16, 30)]),
    st.sampled_from((-1, 1)),
    st.sampled_from(EFFORTS),
)
def test_the_bracket_holds_at_any_scale(case: Case, kind: tuple[torch.dtype, int], sign: int, effort: Effort) -> None:
    dtype, power = kind
    power = sign * min(power, 30 if sign > 0 and dtype is not torch.float64 else power)
    weight = (random_weight(case.out, case.in_ // case.groups, *case.kernel) * 10.0**power).to(dtype)
    scale = 2.0 ** round(power * math.log2(10.0))
    assert_brackets(certificate_of(weight, case, effort), operator_of(weight.double() / scale, case), scale)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(modes=("zeros",)), st.data(), st.sampled_from(EFFORTS))
def test_a_transposed_convolution_is_bracketed_too(case: Case, data: st.DataObject, effort: Effort) -> None:
    padding = widths(case.padding, len(case.size))
    extra = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(case.stride, case.dilation, strict=True))
    ends = zip(case.size, case.stride, padding, case.dilation, case.kernel, extra, strict=True)
    outputs = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in ends]
    assume(min(outputs) > 0)
    assume(case.in_ * case.out * math.prod(case.size) * math.prod(outputs) <= MOST_ENTRIES)
    module = TRANSPOSED[len(case.size) - 1](
        case.in_, case.out, case.kernel, case.stride, padding, extra, case.groups, False, case.dilation
    ).double()
    certificate = conv_transpose(
        module.state_dict()["weight"],
        case.size,
        stride=case.stride,
        padding=padding,
        output_padding=extra,
        dilation=case.dilation,
        groups=case.groups,
        effort=effort,
    )
    assert_brackets(certificate, written_down(module, case.in_, case.size))


def circulant_norm(weight: Tensor, size: Sequence[int]) -> float:
    """Sedghi et al. 2019: all frequencies of the input's size, exact for circular padding and stride 1."""
    dims = tuple(range(2, weight.ndim))
    blocks = torch.fft.fftn(weight, s=tuple(size), dim=dims).movedim((0, 1), (-2, -1))
    return float(torch.linalg.matrix_norm(blocks, ord=2).max())


@pytest.mark.parametrize("size", [(9,), (8, 11), (4, 5, 6)])
def test_circular_padding_is_exact_in_both_efforts(size: tuple[int, ...]) -> None:
    weight = random_weight(3, 2, *(3,) * len(size))
    expected = circulant_norm(weight, size)
    for effort in EFFORTS:
        upper = conv(weight, size, padding="same", padding_mode="circular", effort=effort).upper
        assert expected * (1.0 - 1e-12) <= upper <= expected * (1.0 + 1e-4)


def test_frequencies_of_the_input_size_do_not_bound_a_zero_padded_convolution() -> None:
    """The trap of every FFT method: three outputs of three taps wrap around. Some of these kernels are underrated."""
    traps = 0
    for seed in range(50):
        weight = random_weight(1, 1, 3, seed=seed)
        case = Case(1, 1, (3,), (3,), (1,), (1,), (1,), 1, "zeros")
        matrix = operator_of(weight, case)
        traps += circulant_norm(weight, (3,)) < norm_of(matrix)[0] * (1.0 - 1e-6)
        for effort in EFFORTS:
            assert_brackets(certificate_of(weight, case, effort), matrix)
    assert traps > 0


def test_torch_spectral_norm_of_a_convolution_is_not_its_norm() -> None:
    layer = nn.utils.parametrizations.spectral_norm(nn.Conv2d(16, 16, 3, padding=1, bias=False))
    for _ in range(100):
        layer(torch.zeros(1, 16, 4, 4))  # each call of a module in training sharpens its estimate
    certificate = conv(torch.as_tensor(layer.weight), (16, 16), padding=1)
    assert certificate.lower > 1.1  # torch has "normalised" it to 1


@pytest.mark.parametrize("effort", EFFORTS)
def test_groups_take_the_largest_norm_and_not_the_product(effort: Effort) -> None:
    weight = random_weight(12, 2, 3, 3)
    whole = conv(weight, (7, 7), padding=1, groups=6, effort=effort)
    parts = [conv(part, (7, 7), padding=1, effort=effort) for part in torch.chunk(weight, 6)]
    assert whole.upper == pytest.approx(max(part.upper for part in parts), rel=1e-4)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (2, 2), (4, 4), (2, 3)])
def test_windows_that_do_not_meet_make_a_matrix(kernel: int, stride: int, effort: Effort) -> None:
    weight = random_weight(6, 5, kernel, kernel)
    found = conv(weight, (13, 9), stride=stride, effort=effort)
    matrix = dense(weight.flatten(1), effort=effort)
    assert (found.upper, found.lower) == (matrix.upper, matrix.lower)


def test_dilation_decouples_copies_and_does_not_grow_the_norm() -> None:
    weight = random_weight(3, 3, 3)
    plain = conv(weight, (20,), padding=1, effort="quick")
    dilated = conv(weight, (60,), padding=3, dilation=3, effort="quick")
    assert dilated.upper == pytest.approx(plain.upper, rel=1e-6)


def test_a_long_axis_uses_a_coarse_grid_that_is_still_a_bound() -> None:
    weight = random_weight(2, 2, 5)
    case = Case(2, 2, (500,), (5,), (1,), (2,), (1,), 1, "zeros")
    certificate = certificate_of(weight, case, "quick")
    norm, error = norm_of(operator_of(weight, case))
    assert "coarse grid" in certificate.method
    assert norm - error <= certificate.upper <= norm * 1.002


def test_many_channels_go_through_frequencies_within_a_percent() -> None:
    weight = random_weight(40, 40, 3, 3) / 20.0
    certificate = conv(weight, (24, 24), padding=1)
    assert certificate.method == "twisted circulant Gram symbol"
    assert 1.0 <= certificate.looseness <= 1.01


def test_a_twist_tightens_the_bound_of_a_low_pass_kernel_on_a_small_map() -> None:
    """A positive kernel peaks at frequency zero, which a circulant of any size contains and a twisted one does not."""
    weight = torch.ones(48, 48, 5, 5) + 0.1 * random_weight(48, 48, 5, 5).float()
    tight, quick = conv(weight, (10, 10), padding=2), conv(weight, (10, 10), padding=2, effort="quick")
    assert tight.method == "twisted circulant Gram symbol"
    assert tight.upper < 0.97 * quick.upper


def test_a_likely_bound_replaces_a_certain_one_only_where_asked() -> None:
    weight = random_weight(16, 16, 3, 3) / 12.0
    certain = conv(weight, (32, 32), padding=1, padding_mode="reflect")
    likely = conv(weight, (32, 32), padding=1, padding_mode="reflect", failure=1e-9)
    assert certain.failure == 0.0
    assert likely.failure == 1e-9
    assert likely.method.startswith("Lanczos polynomials")
    assert likely.looseness <= 1.011 < certain.looseness
    assert certain.lower <= likely.upper


def test_a_bound_that_is_tight_is_kept_whatever_may_fail() -> None:
    weight = random_weight(4, 4, 3, 3)
    assert conv(weight, (8, 8), padding=1, failure=1e-9) == conv(weight, (8, 8), padding=1)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_claims_nothing(value: float, effort: Effort) -> None:
    weight = torch.ones(3, 3, 3, 3)
    weight[0, 0, 0, 0] = value
    certificate = conv(weight, (8, 8), padding=1, effort=effort)
    assert (certificate.upper, certificate.lower) == (math.inf, 0.0)


@pytest.mark.parametrize("effort", EFFORTS)
def test_nothing_has_norm_zero(effort: Effort) -> None:
    zero = conv(torch.zeros(3, 3, 3), (8,), effort=effort)
    unread = conv(torch.ones(3, 3, 3), (0,), padding=2, effort=effort)
    too_short = conv(torch.ones(3, 3, 3), (2,), effort=effort)
    assert {(found.upper, found.lower) for found in (zero, unread, too_short)} == {(0.0, 0.0)}


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_off(guard: type[torch.no_grad]) -> None:
    with guard():
        weight = random_weight(40, 40, 3, 3)
        inside = conv(weight, (12, 12), padding=1)
    assert inside == conv(weight.clone(), (12, 12), padding=1)


def test_a_parameter_is_left_as_it_was() -> None:
    layer = nn.Conv2d(3, 4, 3)
    before = layer.weight.detach().clone()
    conv(layer.weight, (9, 9))
    assert layer.weight.requires_grad
    assert layer.weight.grad is None
    assert torch.equal(layer.weight, before)


def test_only_kernels_of_floats_with_fitting_axes_are_taken() -> None:
    with pytest.raises(ValueError, match="a kernel of real floats"):
        conv(torch.ones(4, 4), ())
    with pytest.raises(ValueError, match="divisible by groups=3"):
        conv(torch.ones(4, 4, 3), (8,), groups=3)
    with pytest.raises(ValueError, match="1 spatial axes, input_size 2"):
        conv(torch.ones(4, 4, 3), (8, 8))
    with pytest.raises(ValueError, match="1 spatial axes, input_size 2"):
        conv_transpose(torch.ones(4, 4, 3), (8, 8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("groups", [1, 8])
def test_a_gpu_gives_the_same_bounds(groups: int) -> None:
    weight = random_weight(32, 32 // groups, 3, 3).float()
    here, there = (conv(w, (20, 20), padding=1, groups=groups) for w in (weight, weight.cuda()))
    assert there.upper == pytest.approx(here.upper, rel=1e-4)
