"""Soundness over shapes, settings and scales of the main families: hypothesis draws the call, the search attacks its bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, applied, broken_axioms, normal, search, unsound

few = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SCALE = st.sampled_from((0.0, 1e-30, 1e-6, 0.3, 1.0, 1e3, 1e30))
EPS = st.sampled_from((0.0, 1e-12, 1e-5, 1e-2, 1.0, 1e6))
RANGE = st.sampled_from((None, Interval(-1.0, 2.0), Interval(0.5, 0.7), Interval(-1e3, 0.0), Interval(0.0, 1e-6)))
SIZE = st.integers(1, 4)


def assert_sound(case: Case) -> None:
    op = applied(case)
    assert [*broken_axioms(op), *unsound(op, search(op, tries=18, climbs=4))] == []


def _ranges(*given_ranges: Interval | None) -> dict[int, Interval]:
    return {i: r for i, r in enumerate(given_ranges) if r is not None}


# weights ----------------------------------------------------------------------------------------------------------------


@few
@given(n=SIZE, inner=SIZE, out=SIZE, scale=SCALE, bias=st.booleans(), domain=RANGE)
def test_linear(n: int, inner: int, out: int, scale: float, bias: bool, domain: Interval | None) -> None:
    weights = (scale * normal(out, inner), *((normal(out, seed=1),) if bias else ()))
    assert_sound(Case(op="aten.linear", function=F.linear, inputs=(normal(n, inner),), weights=weights, ranges=_ranges(domain)))


CONVS: dict[int, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    1: (F.conv1d, F.conv_transpose1d),
    2: (F.conv2d, F.conv_transpose2d),
    3: (F.conv3d, F.conv_transpose3d),
}


@few
@given(st.data())
def test_convolution(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    taps, stride, dilation, padding = (data.draw(st.integers(*bounds)) for bounds in ((1, 3 if dims < 3 else 2), (1, 3), (1, 2), (0, 2)))
    groups, size = data.draw(st.sampled_from((1, 2))), data.draw(st.integers(1, 5 if dims == 1 else 3)) + dilation * (taps - 1)
    mode = data.draw(st.sampled_from(("zeros", "same", "circular", "replicate"))) if dims < 3 else "zeros"
    scale = data.draw(SCALE)
    border: Any = "same" if mode == "same" and stride == 1 else padding

    def function(x: Tensor, w: Tensor) -> Tensor:
        if mode in ("circular", "replicate"):
            x = F.pad(x, (min(padding, size),) * (2 * dims), mode=mode)
            return CONVS[dims][0](x, w, stride=stride, dilation=dilation, groups=groups)
        return CONVS[dims][0](x, w, stride=stride, padding=border if mode != "same" or stride == 1 else 0, dilation=dilation, groups=groups)

    weight = scale * normal(2, 2 // groups, *(taps,) * dims)
    assert_sound(Case(op=f"aten.conv{dims}d", function=function, inputs=(normal(1, 2, *(size,) * dims),), weights=(weight,)))


@few
@given(st.data())
def test_transposed_convolution(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 2))
    taps, stride, dilation = (data.draw(st.integers(1, n)) for n in (3, 3, 2))
    padding = data.draw(st.integers(0, min(dilation * (taps - 1), 2)))
    settings_ = {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": data.draw(st.sampled_from((1, 2))),
        "output_padding": data.draw(st.integers(0, max(stride, dilation) - 1)),
    }  # fmt: skip
    size = data.draw(st.integers(2, 4))
    assume((size - 1) * stride - 2 * padding + dilation * (taps - 1) + settings_["output_padding"] >= 0)
    weight = data.draw(SCALE) * normal(2, 2 // settings_["groups"], *(taps,) * dims)
    function = lambda x, w: CONVS[dims][1](x, w, **settings_)  # noqa: E731
    assert_sound(Case(op=f"aten.conv_transpose{dims}d", function=function, inputs=(normal(1, 2, *(size,) * dims),), weights=(weight,)))


# normalisation and attention --------------------------------------------------------------------------------------------


@few
@given(kind=st.sampled_from(("layer", "rms", "group", "instance", "batch", "eval")), n=SIZE, space=SIZE, eps=EPS, scale=SCALE, domain=RANGE)
def test_normalisation(kind: str, n: int, space: int, eps: float, scale: float, domain: Interval | None) -> None:
    assume(eps > 0 or kind != "batch")  # torch refuses it in training
    x = normal(2, 4, n * space) if kind in ("group", "instance", "batch", "eval") else normal(3, n)
    w, b = scale * normal(4 if x.ndim == 3 else n, seed=1), normal(4 if x.ndim == 3 else n, seed=2)
    mean, var = normal(4, seed=3), scale * normal(4, seed=4).abs()
    functions: dict[str, Callable[..., Any]] = {
        "layer": lambda x, w, b: F.layer_norm(x, (n,), w, b, eps),
        "rms": lambda x, w, _b: F.rms_norm(x, (n,), w, eps),
        "group": lambda x, w, b: F.group_norm(x, 2, w, b, eps),
        "instance": lambda x, w, b: torch.instance_norm(x, w, b, None, None, True, 0.1, eps, False),
        "batch": lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, eps),
        "eval": lambda x, w, b: F.batch_norm(x, mean, var, w, b, False, 0.1, eps),
    }
    op = {"eval": "aten.batch_norm"}.get(kind, f"aten.{kind}_norm")
    flat = ((torch.zeros_like(x),), (torch.ones_like(x),))
    starts = flat if domain is None else ()
    assert_sound(Case(op=op, function=functions[kind], inputs=(x,), weights=(w, b), ranges=_ranges(domain), starts=starts, largest=1e3))


@few
@given(st.data())
def test_attention(data: st.DataObject) -> None:
    heads, queries, keys, width = (data.draw(st.integers(1, n)) for n in (2, 4, 4, 3))
    shared = data.draw(st.booleans())
    form = data.draw(st.sampled_from(("plain", "causal", "mask", "bias", "dropout")))
    hidden = torch.tensor(data.draw(st.lists(st.booleans(), min_size=queries * keys, max_size=queries * keys))).reshape(queries, keys)
    bias = torch.where(hidden, -torch.inf, 0.0).double() + data.draw(st.sampled_from((0.0, 0.3))) * normal(queries, keys)
    forms: Mapping[str, dict[str, Any]] = {
        "plain": {},
        "causal": {"is_causal": True},
        "mask": {"attn_mask": ~hidden},
        "bias": {"attn_mask": bias},
        "dropout": {"dropout_p": 0.6},
    }
    options = forms[form] | {"scale": data.draw(st.sampled_from((None, 0.1, -2.0))), "enable_gqa": shared}
    kv = 1 if shared else heads
    inputs = (normal(1, heads, queries, width), normal(1, kv, keys, width, seed=1), normal(1, kv, keys, width, seed=2))
    function = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)  # noqa: E731
    domains = [data.draw(st.sampled_from((Interval(-1.0, 2.0), Interval(-5.0, 5.0), Interval(0.5, 0.7)))) for _ in range(3)]
    assert_sound(Case(op="aten.scaled_dot_product_attention", function=function, inputs=inputs, ranges=_ranges(*domains)))


@few
@given(
    kind=st.sampled_from((F.softmax, F.log_softmax, torch.logsumexp, torch.logcumsumexp, lambda x, axis: F.softmax(-3.0 * x, axis))),
    shape=st.lists(SIZE, min_size=1, max_size=3), axis=st.integers(0, 2), domain=RANGE,
)  # fmt: skip
def test_softmax_family(kind: Callable[..., Tensor], shape: list[int], axis: int, domain: Interval | None) -> None:
    function = lambda x: kind(x, axis % len(shape))  # noqa: E731
    op = {F.log_softmax: "aten.log_softmax", torch.logsumexp: "aten.logsumexp", torch.logcumsumexp: "aten.logcumsumexp"}.get(
        kind, "aten.softmax"
    )
    assert_sound(Case(op=op, function=function, inputs=(normal(*shape),), ranges=_ranges(domain)))


# windows ----------------------------------------------------------------------------------------------------------------


@few
@given(st.data())
def test_pooling(data: st.DataObject) -> None:
    kind, dims = data.draw(st.sampled_from(("max", "avg", "adaptive_max", "adaptive_avg"))), data.draw(st.integers(1, 2))
    window, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    padding, size = data.draw(st.integers(0, window // 2)), data.draw(st.integers(4, 7 if dims == 1 else 5))
    ceil, out = data.draw(st.booleans()), data.draw(st.integers(1, 6))
    function: Callable[..., Any] = getattr(F, f"{kind}_pool{dims}d")
    call: Callable[[Tensor], Any]
    if kind == "max":
        dilation = data.draw(st.integers(1, 1 + (window == 2)))
        call = lambda x: function(x, window, stride, padding, dilation, ceil_mode=ceil)  # noqa: E731
    elif kind == "avg":
        counted = data.draw(st.booleans())
        call = lambda x: function(x, window, stride, padding, ceil, counted)  # noqa: E731
    else:
        call = lambda x: function(x, out)  # noqa: E731
    x = normal(1, 1, *(size,) * dims)
    middle = torch.zeros_like(x)
    middle[(0, 0, *(size // 2,) * dims)] = 1.0
    assert_sound(Case(op=f"aten.{kind}_pool{dims}d", function=call, inputs=(x,), ranges={0: Interval(-1.0, 2.0)}, starts=((middle,),)))


@few
@given(
    mode=st.sampled_from(("nearest", "nearest-exact", "linear", "bilinear", "bicubic")), size=st.integers(1, 6), other=st.integers(1, 9),
    scale=st.sampled_from((None, 0.4, 1.3, 2.0, 2.7)), align=st.booleans(), antialias=st.booleans(),
)  # fmt: skip
def test_resampling(mode: str, size: int, other: int, scale: float | None, align: bool, antialias: bool) -> None:
    two = mode in ("bilinear", "bicubic")
    x = normal(1, 1, size, 4) if two else normal(1, 1, size)
    options: dict[str, Any] = {"mode": mode, "align_corners": align if "linear" in mode or mode == "bicubic" else None}
    target = {"scale_factor": scale} if scale is not None and size * scale >= 1 else {"size": (other, 3) if two else other}
    if two:
        options["antialias"] = antialias and not align
    names = {"nearest": "upsample_nearest1d", "nearest-exact": "_upsample_nearest_exact1d", "linear": "upsample_linear1d"}
    aa = "_aa" if options.get("antialias") else ""
    op = names.get(mode, f"{'_' if aa else ''}upsample_{mode}2d{aa}")
    assert_sound(
        Case(op=f"aten.{op}", function=lambda x: F.interpolate(x, **target, **options), inputs=(x,), ranges={0: Interval(-1.0, 2.0)})
    )


@few
@given(
    mode=st.sampled_from(("constant", "reflect", "replicate", "circular")),
    size=st.integers(2, 5),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
)
def test_padding(mode: str, size: int, before: int, after: int) -> None:
    limit = size - (mode == "reflect") if mode in ("reflect", "circular") else 9
    border = (min(before, limit), min(after, limit))
    assert_sound(
        Case(op="aten.pad", function=lambda x: F.pad(x, border, mode=mode), inputs=(normal(1, 2, size),), ranges={0: Interval(0.5, 2.0)})
    )


# the rest ---------------------------------------------------------------------------------------------------------------


@few
@given(
    kind=st.sampled_from(("sum", "mean", "amax", "amin", "var", "std", "prod")), shape=st.lists(SIZE, min_size=1, max_size=3),
    axes=st.sets(st.integers(0, 2), min_size=1), keep=st.booleans(), domain=RANGE,
)  # fmt: skip
def test_reductions(kind: str, shape: list[int], axes: set[int], keep: bool, domain: Interval | None) -> None:
    over = tuple(sorted({a % len(shape) for a in axes}))
    dim: Any = over[0] if kind == "prod" else over
    function = lambda x: getattr(torch, kind)(x, dim=dim, keepdim=keep)  # noqa: E731
    assert_sound(Case(op=f"aten.{kind}", function=function, inputs=(normal(*shape),), ranges=_ranges(domain)))


LOSSES: dict[str, Callable[..., Tensor]] = {
    "aten.mse_loss": F.mse_loss, "aten.l1_loss": F.l1_loss, "aten.smooth_l1_loss": F.smooth_l1_loss, "aten.huber_loss": F.huber_loss,
    "aten.binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits, "aten.soft_margin_loss": F.soft_margin_loss,
}  # fmt: skip


@few
@given(
    op=st.sampled_from(sorted(LOSSES)),
    n=SIZE,
    reduction=st.sampled_from(("none", "mean", "sum")),
    x=RANGE,
    width=st.sampled_from((0.3, 1.0)),
)
def test_losses_of_entries(op: str, n: int, reduction: str, x: Interval | None, width: float) -> None:
    function = lambda p, y: LOSSES[op](p, y, reduction=reduction)  # noqa: E731
    assert_sound(Case(op=op, function=function, inputs=(normal(n, 3), normal(n, 3, seed=1)), ranges=_ranges(x, Interval(0.0, width))))


@few
@given(
    n=SIZE, classes=st.integers(1, 4), reduction=st.sampled_from(("none", "mean", "sum")), smoothing=st.sampled_from((0.0, 0.3, 1.0)),
    ignore=st.integers(-1, 3), weighted=st.booleans(),
)  # fmt: skip
def test_cross_entropy(n: int, classes: int, reduction: str, smoothing: float, ignore: int, weighted: bool) -> None:
    labels = torch.arange(n) % classes
    weight = torch.linspace(0.5, 2.0, classes, dtype=torch.float64) if weighted else None

    def function(x: Tensor) -> Tensor:
        return F.cross_entropy(x, labels, weight, ignore_index=ignore, reduction=reduction, label_smoothing=smoothing)

    wrong = torch.zeros(n, classes, dtype=torch.float64).scatter(1, ((labels + 1) % classes)[:, None], 100.0)
    assert_sound(Case(op="aten.cross_entropy_loss", function=function, inputs=(normal(n, classes),), starts=((wrong,),)))


@few
@given(
    p=st.sampled_from((0.0, 0.1, 0.5, 0.99, 1.0)),
    training=st.booleans(),
    kind=st.sampled_from(("dropout", "feature_dropout", "alpha_dropout")),
)
def test_dropout(p: float, training: bool, kind: str) -> None:
    function = {"dropout": F.dropout, "feature_dropout": F.dropout1d, "alpha_dropout": F.alpha_dropout}[kind]
    assert_sound(
        Case(op=f"aten.{kind}", function=lambda x: function(x, p, training), inputs=(normal(2, 3, 4),), ranges={0: Interval(-1.0, 2.0)})
    )


@few
@given(st.data())
def test_views_keep_what_is_known_of_rows(data: st.DataObject) -> None:
    """A chain of views of rows of length one: whatever row norm is left at its end holds."""
    shape = data.draw(st.lists(st.sampled_from((1, 2, 3, 4)), min_size=2, max_size=4))
    steps = data.draw(st.lists(st.sampled_from(("permute", "merge", "split", "slice", "select", "expand")), min_size=1, max_size=3))
    axis, order = data.draw(st.integers(0, 3)), data.draw(st.permutations(range(6)))

    def function(x: Tensor) -> Tensor:
        x = F.normalize(x, dim=-1)
        for step in steps:
            a = axis % x.ndim
            if step == "permute":
                x = x.permute([i for i in order if i < x.ndim])
            elif step == "merge" and x.ndim > 1:
                x = x.flatten(max(a - 1, 0), max(a, 1))
            elif step == "split" and x.shape[a] % 2 == 0:
                x = x.unflatten(a, (2, x.shape[a] // 2))  # type: ignore[no-untyped-call]  # torch's own signature
            elif step == "slice":
                x = x.narrow(a, x.shape[a] // 2, x.shape[a] - x.shape[a] // 2)
            elif step == "select" and x.ndim > 1:
                x = x.select(a, 0)
            elif step == "expand":
                x = x.unsqueeze(a).expand(*x.shape[:a], 2, *x.shape[a:])
        return x.clone()

    assert_sound(Case(op="aten.clone", function=function, inputs=(normal(*shape),)))
