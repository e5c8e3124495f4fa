"""Scalar functions: on the whole line, and on intervals, where slope and values are exact too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import pi, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, Law, normal

A = torch.ops.aten
X = normal(3, 4)
NOISE = torch.ones(3, 4, dtype=torch.float64)
FAR = torch.full((3, 4), -40.0, dtype=torch.float64)
POSITIVE = Interval(0.5, 4.0)
INSIDE = Interval(-0.6, 0.7)
NARROW, HALF = Law(sd=0.1), Law(mean=1.0, sd=0.3, positive=True)

LINE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "aten.relu": F.relu,
    "aten.relu6": F.relu6,
    "aten.leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "aten.leaky_relu-steep": lambda x: F.leaky_relu(x, -1.7),
    "aten.rrelu": lambda x: F.rrelu(x, 0.1, 0.3, training=False),
    "aten.hardtanh": lambda x: F.hardtanh(x, -0.5, 2.0),
    "aten.hardsigmoid": F.hardsigmoid,
    "aten.hardswish": F.hardswish,
    "aten.softshrink": lambda x: F.softshrink(x, 0.5),
    "aten.hardshrink": lambda x: F.hardshrink(x, 0.5),
    "aten.hardshrink-flat": lambda x: F.hardshrink(x, 0.0),
    "aten.threshold": lambda x: F.threshold(x, 0.3, -1.0),
    "aten.threshold-continuous": lambda x: F.threshold(x, 0.3, 0.3),
    "aten.abs": torch.abs,
    "aten.elu": lambda x: F.elu(x, 1.0),
    "aten.elu-steep": lambda x: F.elu(x, 2.5),
    "aten.elu-shallow": lambda x: F.elu(x, 0.3),
    "aten.selu": F.selu,
    "aten.celu": lambda x: F.celu(x, 0.5),
    "aten.celu-wide": lambda x: F.celu(x, 3.0),
    "aten.sigmoid": torch.sigmoid,
    "aten.tanh": torch.tanh,
    "aten.log_sigmoid": F.logsigmoid,
    "aten.softplus": F.softplus,
    "aten.softplus-beta": lambda x: F.softplus(x, 4.0, 30.0),
    "aten.softplus-jump": lambda x: F.softplus(x, 1.0, 1.0),
    "aten.erf": torch.erf,
    "aten.atan": torch.atan,
    "aten.asinh": torch.asinh,
    "aten.gelu": F.gelu,
    "aten.gelu-tanh": lambda x: F.gelu(x, approximate="tanh"),
    "aten.silu": F.silu,
    "aten.mish": F.mish,
    "aten.sin": torch.sin,
    "aten.cos": torch.cos,
    "netaudit.gelu": lambda x: 0.5 * x * (1.0 + torch.erf(x / sqrt(2.0))),
    "netaudit.gelu_tanh": lambda x: 0.5 * x * (1.0 + torch.tanh(sqrt(2.0 / pi) * (x + 0.044715 * x**3))),
    "netaudit.swish": lambda x: x * torch.sigmoid(1.702 * x),
    "netaudit.swish-plain": lambda x: x * torch.sigmoid(x),
    "netaudit.swish-backwards": lambda x: x * torch.sigmoid(-2.0 * x),
    "netaudit.softsign": F.softsign,
    "netaudit.tanhshrink": F.tanhshrink,
    "netaudit.hardswish": lambda x: x * F.relu6(x + 3.0) / 6.0,
    "netaudit.hardswish-gate": lambda x: x * (F.relu6(x + 3.0) / 6.0),
    "netaudit.mish": lambda x: x * torch.tanh(F.softplus(x)),
}
UNBOUNDED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "aten.exp": torch.exp,
    "aten.expm1": torch.expm1,
    "aten.square": torch.square,
}
ON_POSITIVE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "aten.log": torch.log,
    "aten.log2": torch.log2,
    "aten.log10": torch.log10,
    "aten.log1p": torch.log1p,
    "aten.sqrt": torch.sqrt,
    "aten.rsqrt": torch.rsqrt,
    "aten.reciprocal": torch.reciprocal,
}
ON_UNIT: Mapping[str, Callable[[Tensor], Tensor]] = {"aten.acos": torch.acos, "aten.asin": torch.asin, "aten.atanh": torch.atanh}


def _named(key: str) -> tuple[str, str]:
    op, _, name = key.partition("-")
    return op, name


def _cases() -> Iterator[Case]:
    for key, function in {**LINE, **UNBOUNDED}.items():
        op, name = _named(key)
        yield Case(op=op, name=name, function=function, inputs=(X,), starts=((FAR,), (-FAR,)))
        if op.startswith("aten."):  # rows of known length on a range without 0
            yield Case(
                op=op,
                name=f"{name}rows",
                function=lambda x, f=function: f(F.normalize(x, dim=-1).clamp(0.1, 0.9)),
                inputs=(X,),
                factor=None,
                tight={0: 0.0},
            )
    for key, function in ON_POSITIVE.items():
        yield Case(op=key, function=function, inputs=(X.abs() + 0.5,), laws={0: HALF})
        yield Case(
            op=key, name="bounded", function=function, inputs=(X.abs() + 0.5,), ranges={0: POSITIVE}, laws={0: HALF}, tight={0: 0.999}
        )
    for key, function in ON_UNIT.items():
        yield Case(op=key, function=function, inputs=(0.1 * X,), laws={0: NARROW})
        yield Case(op=key, name="bounded", function=function, inputs=(0.1 * X,), ranges={0: INSIDE}, laws={0: NARROW}, tight={0: 0.999})


PART = Interval(-2.0, 1.0)
IMAGE, SLOPES = normal(2, 3, 4, seed=5), torch.tensor([0.25, -1.5, 0.5], dtype=torch.float64)
CASES = (
    *_cases(),
    Case(op="aten.prelu", name="bounded", function=F.prelu, inputs=(IMAGE,), weights=(SLOPES,), ranges={0: PART}, tight={1: 0.3}),
    Case(
        op="aten.prelu", name="shared-bounded", function=F.prelu, inputs=(IMAGE,), weights=(SLOPES[:1],), ranges={0: PART}, tight={1: 0.3}
    ),
    Case(op="aten.prelu", name="rows", function=lambda x, a: F.prelu(F.softmax(x, -1), a), inputs=(IMAGE,), weights=(SLOPES,), factor=1.2),
    Case(op="aten.prelu", name="live-bounded", function=F.prelu, inputs=(IMAGE, SLOPES), ranges={0: PART, 1: PART}, tight={1: 0.3}),
    Case(
        op="aten._prelu_kernel",
        name="bounded",
        function=A._prelu_kernel,
        inputs=(IMAGE,),
        weights=(SLOPES[:, None],),
        ranges={0: PART},
        tight={1: 0.3},
    ),
    Case(op="aten.rrelu", name="training", function=lambda x: F.rrelu(x, 0.1, 0.3, training=True), inputs=(X,)),
    Case(op="aten.rrelu", name="training-steep", function=lambda x: F.rrelu(x, -2.0, 1.5, training=True), inputs=(X,), tight={0: 0.65}),
    Case(op="aten.rrelu_with_noise", function=lambda x: A.rrelu_with_noise(x, NOISE, 0.1, 0.3, True), inputs=(X,)),
)
