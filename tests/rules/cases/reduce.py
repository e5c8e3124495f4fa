"""Reductions, order statistics, dropout and random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, Law, normal

A = torch.ops.aten
R = Interval(-1.5, 2.0)
X = normal(2, 3, 4)
M = normal(3, 4)

SUMS: Mapping[str, Callable[[Tensor], object]] = {
    "aten.sum": torch.sum,
    "aten.sum-axis": lambda x: x.sum(1),
    "aten.sum-kept": lambda x: x.sum((0, 2), keepdim=True),
    "aten.sum-rows": lambda x: F.normalize(x, dim=-1).sum(-1),
    "aten.mean": torch.mean,
    "aten.mean-axis": lambda x: x.mean(-1),
    "aten.mean-rows": lambda x: F.normalize(x, dim=-1).mean(1),
    "aten.mean-rows-kept": lambda x: F.normalize(x, dim=-1).mean(1, keepdim=True),
    "aten.cumsum": lambda x: x.cumsum(1),
    "aten.diff": lambda x: x.diff(),
    "aten.diff-twice": lambda x: x.diff(n=2, dim=1),
    "aten.diff-ends": lambda x: x.diff(prepend=x[..., :1] * 2.0),
}
CURVED: Mapping[str, Callable[[Tensor], object]] = {
    "aten.var": lambda x: x.var(-1),
    "aten.var-biased": lambda x: x.var(-1, unbiased=False),
    "aten.var-all": torch.var,
    "aten.var-corrected": lambda x: torch.var(x, 1, correction=2),
    "aten.var_mean": lambda x: torch.var_mean(x, -1)[0],
    "aten.var_mean-mean": lambda x: torch.var_mean(x, -1)[1],
    "aten.std": lambda x: x.std(-1),
    "aten.std-biased": lambda x: x.std((0, 1), unbiased=False),
    "aten.std_mean": lambda x: torch.std_mean(x, -1)[0],
    "aten.std_mean-mean": lambda x: torch.std_mean(x, -1)[1],
    "aten.linalg_vector_norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "aten.linalg_vector_norm-1": lambda x: torch.linalg.vector_norm(x, 1, dim=-1),
    "aten.linalg_vector_norm-1.5": lambda x: torch.linalg.vector_norm(x, 1.5, dim=-1),
    "aten.linalg_vector_norm-3": lambda x: torch.linalg.vector_norm(x, 3, dim=-1),
    "aten.linalg_vector_norm-max": lambda x: torch.linalg.vector_norm(x, inf, dim=-1),
    "aten.linalg_vector_norm-half": lambda x: torch.linalg.vector_norm(x, 0.5, dim=-1),
    "aten.linalg_vector_norm-zero": lambda x: torch.linalg.vector_norm(x, 0, dim=-1),
    "aten.norm": lambda x: A.norm(x, 2, [-1]),
    "aten.linalg_norm": lambda x: torch.linalg.norm(x, dim=-1),
    "aten.linalg_norm-flat": torch.linalg.norm,
    "aten.linalg_norm-spectral": lambda x: torch.linalg.norm(x[0], 2),
    "aten.linalg_norm-nuclear": lambda x: torch.linalg.norm(x[0], "nuc"),
    "aten.linalg_norm-rows": lambda x: torch.linalg.norm(x, inf, dim=(1, 2)),
    "aten.linalg_norm-columns": lambda x: torch.linalg.norm(x, 1, dim=(1, 2)),
    "aten.linalg_matrix_norm": torch.linalg.matrix_norm,
    "aten.linalg_matrix_norm-smallest": lambda x: torch.linalg.matrix_norm(x, -2),
}
ORDERS: Mapping[str, Callable[[Tensor], object]] = {
    "aten.amax": lambda x: x.amax(-1),
    "aten.amax-two": lambda x: x.amax((0, 2), keepdim=True),
    "aten.amin": lambda x: x.amin(1),
    "aten.max": lambda x: x.max(-1)[0],
    "aten.max-all": torch.max,
    "aten.max-indices": lambda x: x.max(-1)[1],
    "aten.min": lambda x: x.min(-1)[0],
    "aten.median": lambda x: x.median(-1)[0],
    "aten.median-indices": lambda x: x.median(-1)[1],
    "aten.nanmedian": lambda x: x.nanmedian(-1)[0],
    "aten.kthvalue": lambda x: x.kthvalue(2)[0],
    "aten.mode": lambda x: x.mode(-1)[0],
    "aten.topk": lambda x: x.topk(2, -1)[0],
    "aten.topk-indices": lambda x: x.topk(2, -1)[1],
    "aten.sort": lambda x: x.sort(1)[0],
    "aten.cummax": lambda x: x.cummax(-1)[0],
    "aten.cummax-indices": lambda x: x.cummax(-1)[1],
    "aten.cummin": lambda x: x.cummin(-1)[0],
    "aten.logcumsumexp": lambda x: x.logcumsumexp(-1),
}
FALLING = torch.tensor([3.0, 1.0, 0.5, 0.0], dtype=torch.float64).expand(2, 3, 4).clone()
STEEP = torch.tensor([200.0, 0.0, 0.0, 0.0], dtype=torch.float64).expand(2, 3, 4).clone()
STARTS = {"aten.cummax": ((FALLING,),), "aten.cummin": ((-FALLING,),), "aten.logcumsumexp": ((STEEP,),)}


def _reductions() -> tuple[Case, ...]:
    result = []
    for table, factor in ((SUMS, 1.0), (CURVED, 1.4), (ORDERS, 1.6)):
        for key, function in table.items():
            op, _, name = key.partition("-")
            own = 2.0 if "rows" in name and table is SUMS else None if op in ("aten.median", "aten.nanmedian", "aten.kthvalue") else factor
            tight = {0: 0.5} if op in ("aten.var", "aten.linalg_matrix_norm") else {}
            result.append(Case(op=op, name=name, function=function, inputs=(X,), factor=own, starts=STARTS.get(op, ()) if not name else ()))
            result.append(Case(op=op, name=f"{name}bounded", function=function, inputs=(X,), ranges={0: R}, factor=None, tight=tight))
    return tuple(result)


def _native_dropout(x: Tensor) -> Tensor:
    made: Tensor = A.native_dropout(x, 0.3, True)[0]
    return made


DRAWS = (
    Case(op="aten.dropout", function=lambda x: F.dropout(x, 0.3), inputs=(X,), ranges={0: R}),
    Case(op="aten.dropout", name="eval", function=lambda x: F.dropout(x, 0.3, training=False), inputs=(X,), ranges={0: R}),
    Case(op="aten.dropout", name="all", function=lambda x: F.dropout(x, 1.0), inputs=(X,), ranges={0: R}),
    Case(op="aten.dropout", name="none", function=lambda x: F.dropout(x, 0.0), inputs=(X,)),
    Case(op="aten.dropout", name="rows", function=lambda x: F.dropout(F.normalize(x, dim=-1), 0.5), inputs=(X,), factor=2.0),
    Case(op="aten.native_dropout", function=_native_dropout, inputs=(X,), ranges={0: R}),
    Case(op="aten.native_dropout", name="mask", function=lambda x: A.native_dropout(x, 0.3, True)[1], inputs=(X,)),
    Case(op="aten.feature_dropout", function=lambda x: F.dropout2d(x, 0.3), inputs=(normal(2, 3, 2, 2),), ranges={0: R}),
    Case(op="aten.alpha_dropout", function=lambda x: F.alpha_dropout(x, 0.2, training=True), inputs=(X,), ranges={0: R}),
    Case(op="aten.alpha_dropout", name="all", function=lambda x: F.alpha_dropout(x, 1.0, training=True), inputs=(X,), ranges={0: R}),
    Case(
        op="aten.feature_alpha_dropout",
        function=lambda x: F.feature_alpha_dropout(x, 0.2, training=True),
        inputs=(normal(2, 3, 2),),
        ranges={0: R},
    ),
    Case(op="aten.bernoulli", function=lambda x: torch.bernoulli(torch.sigmoid(x)), inputs=(X,), factor=1.2),
    Case(op="aten.bernoulli", name="p", function=lambda x: A.bernoulli(x, 0.3), inputs=(X,)),
    Case(op="aten.rand", function=lambda x: x * torch.rand(3, 4, dtype=torch.float64), inputs=(M,)),
    Case(op="aten.rand_like", function=lambda x: x * torch.rand_like(x), inputs=(M,)),
    Case(op="aten.randn", function=lambda x: x + torch.randn(3, 4, dtype=torch.float64), inputs=(M,)),
    Case(op="aten.randn_like", function=lambda x: x + torch.randn_like(x), inputs=(M,)),
    Case(op="aten.uniform", function=lambda x: x * torch.empty_like(x).uniform_(0.5, 2.0), inputs=(M,)),
    Case(op="aten.exponential", function=lambda x: x * torch.empty_like(x).exponential_(2.0), inputs=(M,)),
    Case(op="aten.normal_functional", function=lambda x: x + torch.empty_like(x).normal_(1.0, 0.5), inputs=(M,)),
    Case(op="aten.zeros_like", function=lambda x: torch.zeros_like(x) + x, inputs=(M,)),
    Case(op="aten.ones_like", function=lambda x: torch.ones_like(x) + x, inputs=(M,)),
    Case(op="aten.new_zeros", function=lambda x: x.new_zeros(3, 4) + x, inputs=(M,)),
    Case(op="aten.new_ones", function=lambda x: x.new_ones(3, 4) + x, inputs=(M,)),
    Case(op="aten.zero", function=lambda x: x.clone().zero_() + x, inputs=(M,)),
    Case(op="aten.full_like", function=lambda x: torch.full_like(x, 2.5) + x, inputs=(M,)),
    Case(op="aten.new_full", function=lambda x: x.new_full((3, 4), 2.5) + x, inputs=(M,)),
    Case(op="aten.fill", function=lambda x: x.clone().fill_(2.5) + x, inputs=(M,)),
    Case(op="aten.fill", name="live", function=lambda x, v: x.clone().fill_(v) + x, inputs=(M, normal()), ranges={1: R}),
    Case(op="aten.empty_like", function=lambda x: torch.empty_like(x) + x, inputs=(M,), factor=None),
    Case(op="aten.empty", function=lambda x: torch.empty(3, 4, dtype=torch.float64) + x, inputs=(M,), factor=None),
    Case(op="aten.new_empty", function=lambda x: x.new_empty(3, 4) + x, inputs=(M,), factor=None),
)
PRODUCTS = tuple(
    Case(
        op=op,
        name=f"{size:g}",
        function=function,
        inputs=(M,),
        ranges={0: Interval(-size, size)} if size else {},
        factor=None,
        tight=tight if size else {},
    )
    for op, function, tight in (("aten.prod", lambda x: x.prod(-1), {0: 0.5}), ("aten.cumprod", lambda x: x.cumprod(-1), {0: 0.4}))
    for size in (0.0, 0.3, 1.0, 2.0)
)
CASES = (
    *_reductions(),
    *DRAWS,
    *PRODUCTS,
    Case(op="aten.prod", name="all", function=torch.prod, inputs=(M,), laws={0: Law(1.0, 0.1)}, factor=None),
)
