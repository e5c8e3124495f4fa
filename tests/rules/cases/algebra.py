"""Sums, products, quotients, powers, choices and steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, Law, normal

A = torch.ops.aten
X, Y = normal(3, 4), normal(3, 4, seed=1)
ROW, COLUMN = normal(4, seed=2), normal(3, 1, seed=3)
MASK = normal(3, 4, seed=4) > 0.3
R = Interval(-2.0, 3.0)
AWAY = Interval(0.5, 2.0)
HALF = Law(mean=1.0, sd=0.3, positive=True)
BOTH = {0: R, 1: R}


def _corner(*values: float) -> tuple[Tensor, ...]:
    return tuple(torch.full_like(X, v) for v in values)


SUMS = (
    Case(op="aten.add", function=torch.add, inputs=(X, Y)),
    Case(op="aten.add", name="alpha", function=lambda x, y: torch.add(x, y, alpha=-2.5), inputs=(X, Y), ranges=BOTH),
    Case(op="aten.add", name="twice", function=lambda x: x + x, inputs=(X,)),
    Case(op="aten.add", name="number", function=lambda x: x + 1.5, inputs=(X,), ranges={0: R}),
    Case(op="aten.add", name="broadcast", function=torch.add, inputs=(COLUMN, ROW), ranges={1: R}),
    Case(op="aten.add", name="mask", function=lambda x: x + torch.where(MASK, 0.0, -torch.inf).double(), inputs=(X,), factor=None),
    Case(op="aten.sub", function=torch.sub, inputs=(X, Y)),
    Case(op="aten.sub", name="broadcast", function=lambda x, y: torch.sub(x, y, alpha=0.5), inputs=(X, ROW), ranges=BOTH),
    Case(op="aten.rsub", function=lambda x: 1.0 - x, inputs=(X,), ranges={0: R}),
    Case(op="aten.rsub", name="alpha", function=lambda x, y: torch.rsub(x, y, alpha=3.0), inputs=(X, ROW), ranges=BOTH),
    Case(op="aten.neg", function=torch.neg, inputs=(X,), ranges={0: R}),
    Case(op="aten.lerp", function=lambda x, y: torch.lerp(x, y, 0.3), inputs=(X, Y), ranges=BOTH),
    Case(op="aten.lerp", name="outside", function=lambda x, y: torch.lerp(x, y, -1.5), inputs=(X, Y), ranges=BOTH),
    Case(
        op="aten.lerp",
        name="tensor",
        function=torch.lerp,
        inputs=(X, Y, normal(3, 4, seed=5)),
        ranges={**BOTH, 2: Interval(0.0, 1.0)},
        tight={0: 0.9, 1: 0.9, 2: 0.9},
    ),
)
PRODUCTS = (
    Case(op="aten.mul", function=torch.mul, inputs=(X, Y)),
    Case(op="aten.mul", name="bounded", function=torch.mul, inputs=(X, Y), ranges=BOTH, tight={0: 0.999, 1: 0.999}),
    Case(op="aten.mul", name="square", function=lambda x: x * x, inputs=(X,), ranges={0: R}, tight={0: 0.999}),
    Case(op="aten.mul", name="number", function=lambda x: x * -2.5, inputs=(X,), ranges={0: R}),
    Case(op="aten.mul", name="broadcast", function=torch.mul, inputs=(X, ROW), ranges=BOTH, tight={0: 0.999, 1: 0.999}),
    Case(op="aten.mul", name="outer", function=torch.mul, inputs=(COLUMN, ROW), ranges=BOTH, tight={0: 0.999, 1: 0.999}),
    Case(op="aten.mul", name="scale", function=torch.mul, inputs=(X,), weights=(ROW,), ranges={0: R}, tight={0: 0.999}),
    Case(op="aten.mul", name="self", function=lambda x: x * torch.sigmoid(torch.relu(x)), inputs=(X,), ranges={0: R}),
    Case(op="aten.div", function=torch.div, inputs=(X, Y.abs() + 0.5), laws={1: HALF}),
    Case(op="aten.div", name="number", function=lambda x: x / 4.0, inputs=(X,), ranges={0: R}),
    Case(
        op="aten.div",
        name="bounded",
        function=torch.div,
        inputs=(X, Y.abs() + 0.5),
        ranges={0: R, 1: AWAY},
        laws={1: HALF},
        tight={0: 0.999, 1: 0.999},
    ),
    Case(
        op="aten.div",
        name="negative",
        function=torch.div,
        inputs=(X, -Y.abs() - 0.5),
        ranges={0: R, 1: -AWAY},
        factor=None,
        tight={0: 0.999, 1: 0.999},
    ),
    Case(
        op="aten.div",
        name="broadcast",
        function=torch.div,
        inputs=(X, COLUMN.abs() + 0.5),
        ranges={0: R, 1: AWAY},
        laws={1: HALF},
        tight={0: 0.999, 1: 0.999},
    ),
    Case(op="aten.div", name="floor", function=lambda x, y: torch.div(x, y, rounding_mode="floor"), inputs=(X, Y)),
    Case(
        op="aten.div",
        name="weight",
        function=lambda x, w: x / w,
        inputs=(X,),
        weights=(ROW.abs() + 1.0,),
        ranges={0: R},
        tight={0: 0.999, 1: 0.5},
    ),
    Case(
        op="aten.addcmul",
        function=lambda a, x, y: torch.addcmul(a, x, y, value=-0.7),
        inputs=(X, Y, ROW),
        ranges={**BOTH, 2: R},
        tight={1: 0.999, 2: 0.999},
    ),
    Case(
        op="aten.addcdiv",
        function=lambda a, x, y: torch.addcdiv(a, x, y, value=2.0),
        inputs=(X, Y, ROW.abs() + 0.5),
        ranges={**BOTH, 2: AWAY},
        laws={2: HALF},
        tight={1: 0.999, 2: 0.999},
    ),
)
POWERS = (
    *(
        Case(
            op="aten.pow",
            name=f"{p}",
            function=lambda x, p=p: x**p,
            inputs=(X,),
            ranges={0: R},
            tight={0: 0.999},
            factor=None if p == 4 else 1.0,
        )
        for p in (1, 2, 3, 4)
    ),
    *(Case(op="aten.pow", name=f"{p}-unbounded", function=lambda x, p=p: x**p, inputs=(X,), factor=None) for p in (1, 2, 3, 0.5, -1, 0)),
    *(
        Case(
            op="aten.pow",
            name=f"{p}-positive",
            function=lambda x, p=p: x**p,
            inputs=(X.abs() + 0.5,),
            ranges={0: AWAY},
            laws={0: HALF},
            tight={0: 0.999} if p else {},
        )
        for p in (0, 0.5, 1.5, 2.5, -0.5, -1, -2, -3)
    ),
    Case(op="aten.pow", name="base", function=lambda x: 2.0**x, inputs=(X,), ranges={0: R}, tight={1: 0.999}),
    Case(op="aten.pow", name="small-base", function=lambda x: 0.3**x, inputs=(X,), ranges={0: R}, tight={1: 0.999}),
    Case(
        op="aten.pow",
        name="learned",
        function=torch.pow,
        inputs=(X.abs() + 0.5,),
        weights=(torch.tensor(2.5).double(),),
        ranges={0: AWAY},
        laws={0: HALF},
        tight={0: 0.999, 1: 0.999},
    ),
    Case(op="aten.pow", name="both", function=torch.pow, inputs=(X.abs() + 0.5, Y), laws={0: HALF}, factor=None),
)
CHOICES = (
    Case(op="aten.clamp", function=lambda x: torch.clamp(x, -0.5, 1.0), inputs=(X,)),
    Case(op="aten.clamp", name="bounded", function=lambda x: torch.clamp(x, 0.0, 10.0), inputs=(X,), ranges={0: R}, tight={0: 0.999}),
    Case(op="aten.clamp", name="saturated", function=lambda x: torch.clamp(x, 5.0, 10.0), inputs=(X,), ranges={0: R}, factor=None),
    Case(op="aten.clamp", name="tensors", function=torch.clamp, inputs=(X, Y, ROW + 3.0), laws={1: Law(-1.0), 2: Law(3.0)}, factor=2.0),
    Case(op="aten.clamp", name="low", function=lambda x, y: torch.clamp(x, min=y), inputs=(X, Y), ranges=BOTH, factor=2.0),
    Case(op="aten.clamp", name="high", function=lambda x, y: torch.clamp(x, max=y), inputs=(X, ROW), ranges={0: R, 1: AWAY}, factor=2.0),
    Case(op="aten.clip", function=lambda x: torch.clip(x, -0.5, 1.0), inputs=(X,)),
    Case(op="aten.clamp_min", function=lambda x: torch.clamp_min(x, 0.2), inputs=(X,)),
    Case(op="aten.clamp_max", function=lambda x: torch.clamp_max(x, 0.2), inputs=(X,)),
    Case(op="aten.clamp_max", name="tensor", function=torch.clamp_max, inputs=(X, Y), factor=2.0),
    *(Case(op=f"aten.{f.__name__}", function=f, inputs=(X, Y), factor=2.0) for f in (torch.maximum, torch.minimum, torch.fmax, torch.fmin)),
    Case(op="aten.maximum", name="bounded", function=torch.maximum, inputs=(X, ROW), ranges={0: R, 1: AWAY}, factor=2.0),
    Case(op="aten.minimum", name="bounded", function=torch.minimum, inputs=(X, ROW), ranges={0: R, 1: AWAY}, factor=2.0),
    Case(op="aten.where", function=lambda x, y: torch.where(MASK, x, y), inputs=(X, Y), ranges={0: R, 1: AWAY}),
    Case(op="aten.where", name="indices", function=lambda x: torch.where(F.one_hot(x.argmax(1), 4) > 0)[1], inputs=(X,), factor=None),
    Case(op="aten.where", name="live", function=torch.where, inputs=(MASK, X, Y), ranges={1: R}, factor=2.0),
    Case(
        op="aten.where",
        name="broadcast",
        function=lambda x, y: torch.where(MASK, x, y),
        inputs=(ROW, COLUMN),
        factor=2.0,
        tight={0: 0.5, 1: 0.5},
    ),
    Case(op="aten.where", name="number", function=lambda x: torch.where(MASK, x, 0.0), inputs=(X,), ranges={0: AWAY}),
    Case(op="aten.where", name="mask", function=lambda x: torch.where(MASK, x, -torch.inf), inputs=(X,), factor=None),
    Case(op="aten.masked_fill", function=lambda x: x.masked_fill(MASK, 0.0), inputs=(X,)),
    Case(op="aten.masked_fill", name="live", function=lambda x, m: x.masked_fill(m, 3.0), inputs=(X, MASK), ranges={0: R}),
    Case(op="aten.masked_fill", name="hidden", function=lambda x: x.masked_fill(MASK, -1e9), inputs=(X,), factor=None),
    Case(op="aten.masked_fill", name="broadcast", function=lambda x: x.masked_fill(MASK, 0.0), inputs=(ROW,), factor=2.0, tight={0: 0.5}),
    Case(
        op="aten.masked_fill", name="tensor", function=lambda x, v: x.masked_fill(MASK, v), inputs=(X, normal()), ranges={0: R}, factor=None
    ),
    Case(op="aten.nan_to_num", function=torch.nan_to_num, inputs=(X,), ranges={0: R}),
    Case(op="aten.nan_to_num", name="unbounded", function=lambda x: torch.nan_to_num(x, posinf=3.0), inputs=(X,)),
)
STEPS: Mapping[str, Callable[..., object]] = {
    "aten.round": torch.round,
    "aten.floor": torch.floor,
    "aten.ceil": torch.ceil,
    "aten.trunc": torch.trunc,
    "aten.fix": torch.fix,
    "aten.sign": torch.sign,
    "aten.sgn": torch.sgn,
    "aten.heaviside": lambda x: torch.heaviside(x, torch.zeros((), dtype=x.dtype)),
    "aten.floor_divide": lambda x: torch.floor_divide(x, 0.7),
    "aten.bucketize": lambda x: torch.bucketize(x, torch.linspace(-1, 1, 5, dtype=x.dtype)),
    "aten.searchsorted": lambda x: torch.searchsorted(torch.linspace(-1, 1, 5, dtype=x.dtype), x),
    "aten.histc": lambda x: torch.histc(x, 5, -1, 1),
    "aten.argmax": lambda x: torch.argmax(x, -1),
    "aten.argmin": lambda x: torch.argmin(x, -1),
    "aten.argsort": lambda x: torch.argsort(x, -1),
    "aten.isnan": torch.isnan,
    "aten.count_nonzero": lambda x: torch.count_nonzero(x, -1),
}


def _rows(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


ROWS = (
    Case(op="aten.add", name="rows", function=lambda x, y: _rows(x) + 2.0 * _rows(y), inputs=(X, Y), factor=None),
    Case(op="aten.add", name="rows-bias", function=lambda x, b: _rows(x) + b, inputs=(X,), weights=(ROW,), factor=None),
    Case(op="aten.sub", name="rows", function=lambda x, y: _rows(x) - y, inputs=(X, ROW), ranges={1: R}, factor=None),
    Case(op="aten.mul", name="rows", function=lambda x, w: _rows(x) * w, inputs=(X,), weights=(ROW,), factor=None),
    Case(
        op="aten.mul",
        name="rows-expanded",
        function=lambda x, y: _rows(x)[:1] * y,
        inputs=(X, COLUMN),
        ranges={1: R},
        factor=None,
        tight={0: 0.0},
    ),
    Case(op="aten.div", name="rows", function=lambda x: _rows(x) / 0.3, inputs=(X,), factor=None),
    Case(op="aten.neg", name="rows", function=lambda x: -_rows(x), inputs=(X,), factor=None, tight={0: 0.0}),
    Case(op="aten.where", name="rows", function=lambda x: torch.where(MASK, _rows(x), 0.0), inputs=(X,), factor=None),
    Case(op="aten.masked_fill", name="rows", function=lambda x: _rows(x)[:1].masked_fill(MASK, 0.0), inputs=(X,), factor=None),
    Case(op="aten.pow", name="rows", function=lambda x: _rows(x) ** 2, inputs=(X,), factor=None),
    Case(
        op="aten.matmul", name="rows", function=lambda x, y: torch.matmul(_rows(x), y), inputs=(X, normal(4, 2)), ranges={1: R}, factor=None
    ),
    Case(
        op="aten.linear",
        name="rows-twice",
        function=lambda x, w, b: torch.nn.functional.linear(_rows(x), w, b),
        inputs=(X,),
        weights=(normal(2, 4), normal(2)),
        factor=None,
    ),
)
GATES = (
    Case(op="aten.glu", function=lambda x: F.glu(x, -1), inputs=(normal(3, 8),), ranges={0: R}, factor=1.1),
    Case(op="aten.glu", name="wide", function=lambda x: F.glu(x, 0), inputs=(normal(4, 3),), ranges={0: Interval(-20.0, 20.0)}, factor=1.1),
    Case(op="aten.glu", name="unbounded", function=lambda x: F.glu(x, -1), inputs=(X,), factor=1.1),
)

CASES = (
    *ROWS,
    *SUMS,
    *PRODUCTS,
    *POWERS,
    *CHOICES,
    *GATES,
    # a jump of 2 on a point of the quadrature grid costs half its weight, 0.4 %
    *(Case(op=op, function=function, inputs=(X,), factor=1.01) for op, function in STEPS.items()),
    Case(op="aten.one_hot", function=lambda i: torch.nn.functional.one_hot(i, 4), inputs=(torch.tensor([0, 3, 1]),)),
    Case(op="aten.remainder", function=lambda x: torch.remainder(x, 1.5), inputs=(X,)),
    Case(op="aten.remainder", name="negative", function=lambda x: torch.remainder(x, -1.5), inputs=(X,)),
    Case(op="aten.remainder", name="tensor", function=torch.remainder, inputs=(X, Y), ranges={1: AWAY}),
    Case(op="aten.fmod", function=lambda x: torch.fmod(x, 1.5), inputs=(X,)),
    Case(op="aten.fmod", name="tensor", function=torch.fmod, inputs=(X, Y), ranges={1: AWAY}),
)
