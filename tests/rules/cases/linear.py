"""Linear maps, products of matrices, tables, convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, normal

A = torch.ops.aten
R = Interval(-1.5, 1.0)
BOTH = {0: R, 1: R}
X = normal(3, 4)
W, B = normal(5, 4, seed=1), normal(5, seed=2)
P, Q = normal(3, 4, seed=3), normal(4, 2, seed=4)
PB, QB = normal(2, 3, 4, seed=5), normal(2, 4, 2, seed=6)
V4, U4, V3 = normal(4, seed=7), normal(4, seed=8), normal(3, seed=9)
IDS = torch.tensor([[0, 2, 2], [1, 2, 0]])
TABLE = normal(4, 3, seed=10)

LAYERS = (
    Case(op="aten.linear", function=F.linear, inputs=(X,), weights=(W, B)),
    Case(op="aten.linear", name="bounded", function=F.linear, inputs=(X,), weights=(W, B), ranges={0: R}, tight={1: 0.6}),
    Case(op="aten.linear", name="no-bias", function=F.linear, inputs=(normal(2, 3, 4),), weights=(W,), ranges={0: R}),
    Case(op="aten.linear", name="vector", function=F.linear, inputs=(V4,), weights=(W, B)),
    Case(op="aten.linear", name="live", function=F.linear, inputs=(X, W), ranges=BOTH, tight={0: 0.5, 1: 0.5}),
    Case(op="aten.linear", name="rows", function=lambda x, w: F.linear(F.softmax(x, -1), w), inputs=(X,), weights=(W,), factor=2.0),
    Case(op="aten.bilinear", function=F.bilinear, inputs=(X, normal(3, 2)), weights=(normal(5, 4, 2, seed=11), B)),
    Case(
        op="aten.bilinear",
        name="bounded",
        function=F.bilinear,
        inputs=(X, normal(3, 2)),
        weights=(normal(5, 4, 2, seed=11), B),
        ranges=BOTH,
        tight={0: 0.3, 1: 0.3, 2: 0.3},
    ),
    Case(op="aten.embedding", function=lambda w: F.embedding(IDS, w), weights=(TABLE,), factor=2.0),
    Case(op="aten.embedding", name="live-ids", function=F.embedding, inputs=(IDS,), weights=(TABLE,), factor=2.0),
    Case(op="aten.embedding", name="padding", function=lambda w: F.embedding(IDS, w, padding_idx=1), weights=(TABLE,), factor=2.0),
)
EXPERTS = normal(3, 4, 5, seed=13)
"""Four rows in three groups: one, two and one of them."""


def _grouped(x: Tensor, w: Tensor) -> Tensor:
    return torch.cat([x[:1] @ w[0], x[1:3] @ w[1], x[3:] @ w[2]])


GROUPED = tuple(
    Case(
        op=op,
        name=name,
        function=_grouped,
        inputs=(normal(4, 4, seed=14), *inputs),
        weights=weights,
        composite={},
        ranges=ranges,
        tight=tight,
    )
    for op in ("aten._grouped_mm", "transformers.grouped_mm_fallback")
    for name, inputs, weights, ranges, tight in (
        ("weights", (), (EXPERTS,), {}, {}),
        ("bounded", (), (EXPERTS,), {0: R}, {1: 0.5}),
        ("live", (EXPERTS,), (), BOTH, {0: 0.3, 1: 0.3}),
    )
)
PRODUCTS: Mapping[str, tuple[Callable[..., object], tuple[Tensor, ...]]] = {
    "aten.matmul": (torch.matmul, (PB, QB)),
    "aten.matmul-broadcast": (torch.matmul, (PB, Q)),
    "aten.matmul-left-vector": (torch.matmul, (V3, PB)),
    "aten.matmul-right-vector": (torch.matmul, (PB, V4)),
    "aten.matmul-vectors": (torch.matmul, (V4, U4)),
    "aten.matmul-batches": (torch.matmul, (normal(2, 1, 3, 4), normal(3, 4, 2, seed=4))),
    "aten.mm": (torch.mm, (P, Q)),
    "aten.bmm": (torch.bmm, (PB, QB)),
    "aten.mv": (torch.mv, (P, V4)),
    "aten.dot": (torch.dot, (V4, U4)),
    "aten.vdot": (torch.vdot, (V4, U4)),
    "aten.inner": (torch.inner, (P, normal(2, 4, seed=12))),
    "aten.inner-batch": (torch.inner, (PB, normal(5, 4, seed=12))),
    "aten.outer": (torch.outer, (V4, V3)),
    "aten.ger": (torch.ger, (V4, V3)),
    "aten.addmm": (lambda b, x, y: torch.addmm(b, x, y, alpha=-0.5, beta=2.0), (normal(2), P, Q)),
    "aten.baddbmm": (lambda b, x, y: torch.baddbmm(b, x, y, alpha=0.5), (normal(2, 1, 2), PB, QB)),
    "aten.addbmm": (lambda b, x, y: torch.addbmm(b, x, y, alpha=0.5), (normal(3, 2), PB, QB)),
    "aten.addmv": (lambda b, x, y: torch.addmv(b, x, y, alpha=0.5), (V3, P, V4)),
    "aten.einsum": (lambda x, y: torch.einsum("bij,bjk->bik", x, y), (PB, QB)),
    "aten.einsum-implicit": (lambda x, y: torch.einsum("ij,jk", x, y), (P, Q)),
    "aten.einsum-summed": (lambda x, y: torch.einsum("ij,kl->ik", x, y), (P, Q)),
    "aten.einsum-outer": (lambda x, y: torch.einsum("i,j->ij", x, y), (V4, V3)),
    "aten.einsum-pointwise": (lambda x, y: torch.einsum("ij,ij->ij", x, y), (P, normal(3, 4, seed=13))),
    "aten.einsum-dots": (lambda x, y: torch.einsum("...ij,...jk->...ik", x, y), (PB, Q)),
}


def _products() -> Iterator[Case]:
    for key, (function, inputs) in PRODUCTS.items():
        op, _, name = key.partition("-")
        yield Case(op=op, name=name, function=function, inputs=inputs)
        ranges = dict.fromkeys(range(len(inputs)), R)
        yield Case(op=op, name=f"{name}bounded", function=function, inputs=inputs, ranges=ranges, tight=dict.fromkeys(range(3), 0.35))


MATRICES = (
    *_products(),
    Case(op="aten.mm", name="weight", function=torch.mm, inputs=(P,), weights=(Q,), ranges={0: R}, tight={0: 0.999, 1: 0.5}),
    Case(op="aten.matmul", name="weight", function=torch.matmul, inputs=(PB,), weights=(Q,), ranges={0: R}, tight={0: 0.999, 1: 0.4}),
    Case(
        op="aten.matmul",
        name="left-weight",
        function=lambda x, w: torch.matmul(w, x),
        inputs=(QB,),
        weights=(P,),
        ranges={0: R},
        tight={0: 0.3, 1: 0.999},
    ),
    Case(
        op="aten.addmm",
        name="weight",
        function=lambda x, w, b: torch.addmm(b, x, w),
        inputs=(P,),
        weights=(Q, normal(2)),
        ranges={0: R},
        tight={1: 0.999},
    ),
    Case(op="aten.einsum", name="one", function=lambda x: torch.einsum("bij->ji", x), inputs=(PB,), ranges={0: R}),
    Case(op="aten.einsum", name="transposed", function=lambda x: torch.einsum("ij->ji", x), inputs=(P,)),
    Case(op="aten.einsum", name="diagonal", function=lambda x: torch.einsum("ii->i", x), inputs=(normal(3, 3),), factor=None),
    Case(op="aten.einsum", name="three", function=lambda x, y, z: torch.einsum("ij,jk,kl->il", x, y, z), inputs=(P, Q, normal(2, 3))),
    Case(
        op="aten.einsum",
        name="weight",
        function=lambda x, w: torch.einsum("bij,jk->bik", x, w),
        inputs=(PB,),
        weights=(Q,),
        ranges={0: R},
        tight={0: 0.5},
    ),
)


def _convolutions() -> Iterator[Case]:
    """Every rank, with strides, dilations, groups and borders; small enough for explicit Jacobians."""
    settings: tuple[Mapping[str, Any], ...] = (
        {},
        {"padding": 1},
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": 2},
        {"groups": 2, "padding": 1},
        {"stride": 2, "dilation": 2, "groups": 2},
    )
    sizes = {1: (6,), 2: (5, 4), 3: (3, 4, 3)}
    convs = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
    transposed = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
    for dims in (1, 2, 3):
        for i, setting in enumerate(settings[:4] if dims == 3 else settings):
            if dims == 3 and "dilation" in setting:
                continue
            groups = setting.get("groups", 1)
            taps = (3,) * dims if dims == 1 else (2,) * dims
            x = normal(1 if dims > 1 else 2, 2, *sizes[dims])
            w, b = normal(2, 2 // groups, *taps, seed=20), normal(2, seed=21)
            yield Case(
                op=f"aten.conv{dims}d", name=str(i), function=lambda x, w, b, f=convs[dims], s=setting: f(x, w, b, **s),
                inputs=(x,), weights=(w, b), ranges={0: R} if i % 2 else {}, tight={0: 0.7, 1: 0.15}, factor=1.0 if dims == 1 else 1.1,
            )  # fmt: skip
            if i == 0 or "padding" in setting:
                yield Case(
                    op=f"aten.conv_transpose{dims}d", name=str(i), function=lambda x, w, b, f=transposed[dims], s=setting: f(x, w, b, **s),
                    inputs=(x[..., :3] if dims == 3 else x,), weights=(w, b), ranges={0: R} if i % 2 else {},
                    tight={0: 0.7, 1: 0.15}, factor=1.3,
                )  # fmt: skip


CONVOLUTIONS = (
    *_convolutions(),
    Case(
        op="aten.conv1d",
        name="same",
        function=lambda x, w: F.conv1d(x, w, padding="same"),
        inputs=(normal(1, 2, 6),),
        weights=(normal(3, 2, 4, seed=22),),
        tight={0: 0.7},
    ),
    Case(
        op="aten.conv2d",
        name="unbatched",
        function=F.conv2d,
        inputs=(normal(2, 4, 4),),
        weights=(normal(2, 2, 2, 2, seed=23), normal(2)),
        tight={0: 0.7},
    ),
    Case(
        op="aten.conv2d",
        name="patches",
        function=lambda x, w: F.conv2d(x, w, stride=2),
        inputs=(normal(1, 2, 4, 4),),
        weights=(normal(3, 2, 2, 2, seed=24),),
    ),
    Case(op="aten.conv2d", name="live", function=F.conv2d, inputs=(normal(1, 2, 4, 4), normal(2, 2, 2, 2, seed=23)), ranges=BOTH),
    Case(
        op="aten.convolution",
        function=lambda x, w, b: A.convolution(x, w, b, [2], [1], [1], False, [0], 1),
        inputs=(normal(1, 2, 6),),
        weights=(normal(3, 2, 3, seed=25), normal(3)),
        tight={0: 0.7},
    ),
    Case(
        op="aten.convolution",
        name="transposed",
        function=lambda x, w, b: A.convolution(x, w, b, [2], [1], [1], True, [1], 1),
        inputs=(normal(1, 2, 4),),
        weights=(normal(2, 3, 3, seed=26), normal(3)),
        tight={0: 0.7},
        factor=1.3,
    ),
    Case(
        op="aten.conv_transpose2d",
        name="output-padding",
        function=lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
        inputs=(normal(1, 2, 3, 3),),
        weights=(normal(2, 2, 3, 3, seed=27),),
        tight={0: 0.7},
        factor=1.3,
    ),
)
CASES = (*LAYERS, *MATRICES, *GROUPED, *CONVOLUTIONS)
