"""Normalisation, softmax and attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, normal

A = torch.ops.aten
R = Interval(-1.0, 2.0)
X = normal(2, 3, 6)
IMAGE = normal(2, 4, 3)
G6, B6 = normal(6, seed=1), normal(6, seed=2)
G4, B4 = normal(4, seed=3), normal(4, seed=4)
MEAN, VAR = normal(4, seed=5), normal(4, seed=6).abs() + 0.1
FLAT, ZERO = torch.ones_like(X), torch.zeros_like(X)
FLAT_IMAGE = torch.ones_like(IMAGE)

NORMS = (
    Case(op="aten.layer_norm", function=lambda x: F.layer_norm(x, (6,)), inputs=(X,), starts=((FLAT,),), factor=1.1),
    Case(
        op="aten.layer_norm",
        name="affine",
        function=lambda x, w, b: F.layer_norm(x, (6,), w, b),
        inputs=(X,),
        weights=(G6, B6),
        starts=((FLAT,),),
        tight={1: 0.5},
        factor=1.1,
    ),
    Case(
        op="aten.layer_norm",
        name="two-axes",
        function=lambda x: F.layer_norm(x, (3, 6), eps=1e-3),
        inputs=(X,),
        ranges={0: R},
        starts=((FLAT,),),
        factor=1.1,
    ),
    Case(op="aten.layer_norm", name="one", function=lambda x: F.layer_norm(x, (1,)), inputs=(normal(3, 1),)),
    Case(
        op="aten.layer_norm",
        name="live",
        function=lambda x, w, b: F.layer_norm(x, (6,), w, b),
        inputs=(X, G6, B6),
        ranges={1: R, 2: R},
        factor=1.1,
    ),
    Case(
        op="aten.native_layer_norm",
        function=lambda x, w, b: A.native_layer_norm(x, [6], w, b, 1e-5)[0],
        inputs=(X,),
        weights=(G6, B6),
        starts=((FLAT,),),
        factor=1.1,
    ),
    Case(
        op="netaudit.layer_norm",
        function=lambda x: (x - x.mean(-1, True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-4),
        inputs=(X,),
        starts=((FLAT,),),
        factor=1.1,
    ),
    Case(op="aten.rms_norm", function=lambda x, w: F.rms_norm(x, (6,), w, 1e-5), inputs=(X,), weights=(G6,), starts=((ZERO,),), factor=1.1),
    Case(op="aten.rms_norm", name="default", function=lambda x: F.rms_norm(x, (6,)), inputs=(X,), starts=((ZERO,),), factor=1.1),
    Case(
        op="aten._fused_rms_norm",
        function=lambda x, w: A._fused_rms_norm(x, [6], w, 1e-4)[0],
        inputs=(X,),
        weights=(G6,),
        starts=((ZERO,),),
        factor=1.1,
    ),
    Case(
        op="netaudit.rms_norm",
        function=lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
        inputs=(X,),
        starts=((ZERO,),),
        factor=1.1,
    ),
    Case(
        op="aten.group_norm",
        function=lambda x, w, b: F.group_norm(x, 2, w, b),
        inputs=(IMAGE,),
        weights=(G4, B4),
        starts=((FLAT_IMAGE,),),
        factor=1.1,
    ),
    Case(
        op="aten.group_norm",
        name="flat",
        function=lambda x, w, b: F.group_norm(x, 2, w, b),
        inputs=(normal(3, 4),),
        weights=(G4, B4),
        starts=((torch.ones(3, 4).double(),),),
        factor=2.0,
    ),
    Case(op="aten.group_norm", name="one", function=lambda x, w, b: F.group_norm(x, 4, w, b), inputs=(normal(3, 4),), weights=(G4, B4)),
    Case(
        op="aten.native_group_norm",
        function=lambda x, w, b: A.native_group_norm(x, w, b, 2, 4, 3, 2, 1e-5)[0],
        inputs=(IMAGE,),
        weights=(G4, B4),
        starts=((FLAT_IMAGE,),),
        factor=1.1,
    ),
    Case(
        op="aten.instance_norm",
        function=lambda x, w, b: F.instance_norm(x, None, None, w, b),
        inputs=(normal(2, 4, 5),),
        weights=(G4, B4),
        starts=((torch.ones(2, 4, 5).double(),),),
        factor=1.2,
    ),
    Case(
        op="aten.instance_norm",
        name="eval",
        function=lambda x, w, b: F.instance_norm(x, MEAN, VAR, w, b, use_input_stats=False),
        inputs=(IMAGE,),
        weights=(G4, B4),
        factor=1.5,
    ),
    Case(
        op="aten.batch_norm",
        function=lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        inputs=(IMAGE,),
        weights=(G4, B4),
        starts=((FLAT_IMAGE,),),
        factor=1.1,
    ),
    Case(
        op="aten.batch_norm",
        name="plain",
        function=lambda x: F.batch_norm(x, None, None, training=True),
        inputs=(normal(5, 4),),
        starts=((torch.ones(5, 4).double(),),),
        factor=1.2,
    ),
    Case(
        op="aten.batch_norm",
        name="eval",
        function=lambda x, w, b: F.batch_norm(x, MEAN, VAR, w, b),
        inputs=(IMAGE,),
        weights=(G4, B4),
        ranges={0: R},
        factor=1.5,
    ),
    Case(
        op="aten.native_batch_norm",
        function=lambda x, w, b: A.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-5)[0],
        inputs=(IMAGE,),
        weights=(G4, B4),
        starts=((FLAT_IMAGE,),),
        factor=1.1,
    ),
    Case(
        op="aten._native_batch_norm_legit",
        function=lambda x, w, b: A._native_batch_norm_legit.no_stats(x, w, b, True, 0.1, 1e-5)[0],
        inputs=(IMAGE,),
        weights=(G4, B4),
        starts=((FLAT_IMAGE,),),
        factor=1.1,
    ),
    Case(
        op="netaudit.local_response_norm",
        function=lambda x: F.local_response_norm(x, 3, alpha=2.0, beta=0.75, k=0.5),
        inputs=(normal(1, 4, 2, 2),),
        ranges={0: R},
        tight={0: 0.3},
        factor=None,
    ),
    Case(
        op="netaudit.local_response_norm",
        name="rows",
        function=lambda x: F.local_response_norm(x, 5),
        inputs=(normal(2, 4, 3),),
        factor=None,
    ),
    Case(
        op="aten.cdist",
        function=torch.cdist,
        inputs=(normal(4, 3), normal(5, 3, seed=1)),
        ranges={0: R, 1: R},
        factor=None,
    ),
    Case(
        op="aten.cdist",
        name="l1",
        function=lambda x, y: torch.cdist(x, y, p=1.0),
        inputs=(normal(2, 3, 2), normal(3, 2, seed=1)),
        factor=None,
    ),
    Case(
        op="netaudit.l2_normalize",
        function=lambda x: F.normalize(x, dim=-1, eps=1e-3),
        inputs=(X,),
        starts=((ZERO,), (1e-4 * X,)),
        factor=1.2,
    ),
    Case(
        op="netaudit.l2_normalize",
        name="root",
        function=lambda x: x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6),
        inputs=(X,),
        starts=((ZERO,),),
        factor=1.2,
    ),
    Case(
        op="netaudit.l2_normalize",
        name="root-shift",
        function=lambda x: x / (torch.sqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6) + 1e-3),
        inputs=(X,),
        starts=((ZERO,),),
        factor=1.2,
    ),
    Case(
        op="netaudit.l2_normalize",
        name="shift",
        function=lambda x: x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + 1e-3),
        inputs=(X,),
        starts=((ZERO,), (1e-9 * X,)),
        factor=1.2,
    ),
    Case(
        op="netaudit.center",
        name="across-rows",
        function=lambda x: (n := F.normalize(x, dim=-1)) - n.mean(0, keepdim=True),
        inputs=(normal(4, 3),),
        factor=2.0,
    ),
    Case(op="netaudit.center", function=lambda x: x - x.mean(-1, keepdim=True), inputs=(X,), ranges={0: R}),
    Case(op="aten._weight_norm", function=lambda v, g: A._weight_norm(v, g, 0), weights=(normal(8, 6), normal(8, 1, seed=9)), factor=3.0),
    Case(
        op="aten._weight_norm",
        name="live",
        function=lambda v, g: A._weight_norm(v, g, 0),
        inputs=(normal(3, 4), normal(3, 1, seed=9)),
        ranges={1: R},
        factor=2.0,
    ),
)
PAIR = torch.tensor([0.0, 0.0, -60.0, -60.0, -60.0, -60.0], dtype=torch.float64).expand(2, 3, 6).clone()
MIDDLE = torch.tensor([0.0, 0.0, -60.0], dtype=torch.float64)[None, :, None].expand(2, 3, 6).clone()
ONE_HOT = torch.tensor([60.0, 0, 0, 0, 0, 0], dtype=torch.float64).expand(2, 3, 6).clone()
SOFTMAX: Mapping[str, tuple[Callable[[Tensor], object], tuple[tuple[Tensor], ...], float]] = {
    "aten.softmax": (lambda x: F.softmax(x, -1), ((PAIR,),), 2.0),
    "aten._softmax": (lambda x: A._softmax(x, -1, False), ((PAIR,),), 2.0),
    "aten.special_softmax": (lambda x: torch.special.softmax(x, -1), ((PAIR,),), 2.0),
    "aten.log_softmax": (lambda x: F.log_softmax(x, -1), ((ONE_HOT,),), 2.0),
    "aten._log_softmax": (lambda x: A._log_softmax(x, -1, False), ((ONE_HOT,),), 2.0),
    "aten.special_log_softmax": (lambda x: torch.special.log_softmax(x, -1), ((ONE_HOT,),), 2.0),
    "aten.logsumexp": (lambda x: torch.logsumexp(x, -1), ((ONE_HOT,),), 2.0),
    "aten.special_logsumexp": (lambda x: torch.special.logsumexp(x, -1), ((ONE_HOT,),), 2.0),
}


def _softmax() -> Iterator[Case]:
    for op, (function, starts, factor) in SOFTMAX.items():
        yield Case(op=op, function=function, inputs=(X,), starts=starts, factor=factor)
        yield Case(op=op, name="bounded", function=function, inputs=(X,), ranges={0: Interval(-1.0, 1.0)}, factor=None, tight={0: 0.5})
    yield Case(op="aten.softmax", name="middle-axis", function=lambda x: F.softmax(x, 1), inputs=(X,), factor=2.0, starts=((MIDDLE,),))
    yield Case(op="aten.softmax", name="one", function=lambda x: F.softmax(x, -1), inputs=(normal(3, 1),))
    yield Case(op="aten.softmax", name="two", function=lambda x: F.softmax(x, -1), inputs=(normal(3, 2),), factor=2.0)
    yield Case(op="aten.log_softmax", name="one", function=lambda x: F.log_softmax(x, -1), inputs=(normal(3, 1),))


Q, K, V = normal(1, 2, 3, 4), normal(1, 2, 5, 4, seed=1), normal(1, 2, 5, 4, seed=2)
S = normal(1, 2, 4, 4, seed=3)
QKV = {0: R, 1: R, 2: R}
SHOWN = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
HIDDEN_ROW = torch.tensor([[0, 0, 0, 0, 0], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
BIAS = torch.where(SHOWN, 0.0, -torch.inf).double()


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(-2, -1) / 2.0, -1) @ v


def _masked_by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax((q @ k.transpose(-2, -1) / 2.0).masked_fill(~SHOWN, -torch.inf), -1) @ v


def _rotated(angles: Tensor, stretch: float = 1.0) -> Callable[[Tensor], Tensor]:
    """``x cos + rotate_half(x) sin`` with tables of angles: one for each half of a row's entries."""

    def rotate(x: Tensor) -> Tensor:
        half = torch.cat([-x[..., 2:], x[..., :2]], -1)
        return x * (angles.cos() * stretch) + half * (angles.sin() * stretch)

    return rotate


HALF_ANGLES = torch.outer(torch.arange(3.0, dtype=torch.float64), torch.tensor([1.0, 0.1], dtype=torch.float64))
ANGLES = torch.cat([HALF_ANGLES, HALF_ANGLES], -1)
# beyond logits of 1e4, torch's fused backward loses the normalisation of the weights: exp(logit - logsumexp) rounds
SAFE = 50.0
SDPA = "aten.scaled_dot_product_attention"
ATTENTION = (
    Case(op=SDPA, function=F.scaled_dot_product_attention, inputs=(Q, K, V), factor=2.0, largest=SAFE),
    Case(op=SDPA, name="bounded", function=F.scaled_dot_product_attention, inputs=(Q, K, V), ranges=QKV, factor=None, tight={2: 0.3}),
    Case(
        op=SDPA,
        name="rows",
        function=lambda q, k, v: F.scaled_dot_product_attention(_unit(q), _unit(k), _unit(v)),
        inputs=(Q, K, V),
        factor=2.0,
        tight={0: 0.2, 1: 0.2, 2: 0.5},
    ),
    Case(
        op=SDPA,
        name="causal",
        function=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        inputs=(S, S + 1.0, S - 1.0),
        ranges=QKV,
        factor=None,
        tight={2: 0.5},
    ),
    Case(
        op=SDPA,
        name="causal-fewer-keys",
        function=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        inputs=(S, Q, Q + 1.0),
        ranges=QKV,
        factor=None,
    ),
    Case(
        op=SDPA,
        name="masked",
        function=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, SHOWN),
        inputs=(Q, K, V),
        ranges=QKV,
        factor=2.0,
        tight={2: 0.5},
    ),
    Case(
        op=SDPA,
        name="masked-row",
        function=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, HIDDEN_ROW),
        inputs=(Q, K, V),
        ranges=QKV,
        factor=None,
    ),
    Case(
        op=SDPA,
        name="float-mask",
        function=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, BIAS),
        inputs=(Q, K, V),
        ranges=QKV,
        factor=2.0,
    ),
    Case(op=SDPA, name="live-mask", function=F.scaled_dot_product_attention, inputs=(Q, K, V, SHOWN), ranges=QKV, factor=2.0),
    Case(op=SDPA, name="live-bias", function=F.scaled_dot_product_attention, inputs=(Q, K, V, normal(2, 3, 5)), ranges=QKV, factor=2.0),
    Case(op=SDPA, name="shared-bias", function=F.scaled_dot_product_attention, inputs=(Q, K, V, normal(3, 5)), ranges=QKV, factor=2.0),
    Case(op=SDPA, name="row-bias", function=F.scaled_dot_product_attention, inputs=(Q, K, V, normal(1, 5)), ranges=QKV, factor=3.0),
    Case(
        op=SDPA,
        name="scaled",
        function=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=2.0),
        inputs=(Q, K, V),
        ranges=QKV,
        factor=3.0,
    ),
    Case(
        op=SDPA,
        name="grouped",
        function=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        inputs=(Q, K[:, :1], V[:, :1]),
        ranges=QKV,
        factor=2.0,
    ),
    Case(
        op=SDPA,
        name="dropout",
        function=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.4),
        inputs=(Q, K, V),
        ranges=QKV,
        factor=2.0,
    ),
    Case(op=SDPA, name="one-key", function=F.scaled_dot_product_attention, inputs=(Q, K[:, :, :1], V[:, :, :1]), ranges=QKV, factor=2.0),
    Case(op="netaudit.attention", function=_by_hand, inputs=(Q, K, V), ranges=QKV, factor=2.0),
    Case(op="netaudit.attention", name="masked", function=_masked_by_hand, inputs=(Q, K, V), ranges=QKV, factor=2.0),
)
ROTARY = (
    Case(op="netaudit.rotary", function=_rotated(ANGLES), inputs=(Q,), ranges={0: R}, composite={}),
    Case(op="netaudit.rotary", name="stretched", function=_rotated(ANGLES, 1.5), inputs=(Q,), composite={}),
    Case(op="netaudit.rotary", name="two-angles", function=_rotated(normal(3, 4, seed=7)), inputs=(Q,), composite={}),
)
LEAST = torch.tensor(torch.finfo(torch.float32).min, dtype=torch.float64)
HIDDEN = torch.where(torch.ones(6, 6).triu(1) > 0, LEAST, 0.0)
FLOORED = tuple(  # a mask is added, and the sum kept finite: what is not hidden is what it was
    Case(
        op="aten.softmax",
        name=f"floored-by-{floor.__name__}",
        function=lambda x, floor=floor: F.softmax(floor(x + HIDDEN, LEAST), -1),
        inputs=(normal(2, 6, 6),),
        tight={0: 0.0},
        factor=2.0,
    )
    for floor in (torch.maximum, torch.max, torch.clamp)
)

SOME = torch.where(normal(6, 1, 5, seed=7) > 0.8, -torch.inf, 0.0).double()
CUT = Case(  # logits of two sizes along an axis on which the mask differs from sample to sample
    op="aten.softmax",
    name="cut",
    function=lambda x, y: F.softmax(torch.cat([x, 2 * y], 0) + SOME, -1),
    inputs=(normal(2, 4, 5), normal(4, 4, 5, seed=1)),
    tight={0: 0.0},
    factor=3.0,
)

CASES = (CUT, *FLOORED, *ROTARY, *NORMS, *_softmax(), *ATTENTION)
