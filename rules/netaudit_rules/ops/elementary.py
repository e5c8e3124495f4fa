"""Elementary functions: one row each, as in ``activations``."""

from __future__ import annotations

from math import inf, pi

import numpy as np
from numpy.typing import NDArray

from netaudit import Interval, elementwise

Array = NDArray[np.float64]
NON_NEGATIVE = Interval(0.0, inf)
SIGNED_UNIT = Interval(-1.0, 1.0)

EXP = elementwise(
    "aten.exp", f=lambda x: np.exp(np.minimum(x, 700.0)), df=lambda x: np.exp(np.minimum(x, 700.0)), slope=(0.0, inf), values=NON_NEGATIVE,
    ref="f' = e^x: e^R on x <= R", degree="none",
)  # fmt: skip
EXPM1 = elementwise(
    "aten.expm1", f=lambda x: np.expm1(np.minimum(x, 700.0)), df=lambda x: np.exp(np.minimum(x, 700.0)), slope=(0.0, inf),
    values=Interval(-1.0, inf), ref="f' = e^x",
)  # fmt: skip
LOG = elementwise(
    "aten.log",
    f=np.log,
    df=lambda x: 1.0 / x,
    slope=(-inf, inf),
    turns=(0.0,),
    ref="f' = 1 / x: 1 / d on x >= d",
    kinks="0: autograd returns inf",
)
LOG2 = elementwise(
    "aten.log2", f=np.log2, df=lambda x: 1.0 / (x * np.log(2.0)), slope=(-inf, inf), turns=(0.0,), ref="f' = 1 / (x ln 2)", kinks="0: inf"
)
LOG10 = elementwise(
    "aten.log10",
    f=np.log10,
    df=lambda x: 1.0 / (x * np.log(10.0)),
    slope=(-inf, inf),
    turns=(0.0,),
    ref="f' = 1 / (x ln 10)",
    kinks="0: inf",
)
LOG1P = elementwise(
    "aten.log1p", f=np.log1p, df=lambda x: 1.0 / (1.0 + x), slope=(-inf, inf), turns=(-1.0,), ref="f' = 1 / (1 + x)", kinks="-1: inf"
)
SQRT = elementwise(
    "aten.sqrt", f=np.sqrt, df=lambda x: 0.5 / np.sqrt(x), slope=(0.0, inf), turns=(0.0,), values=NON_NEGATIVE, ref="f' = 1 / (2 sqrt x)",
    kinks="0: autograd returns inf, and 0 * inf = NaN one op earlier",
)  # fmt: skip
RSQRT = elementwise(
    "aten.rsqrt", f=lambda x: 1.0 / np.sqrt(x), df=lambda x: -0.5 * x**-1.5, slope=(-inf, 0.0), turns=(0.0,), values=NON_NEGATIVE,
    ref="f' = -x^-3/2 / 2", kinks="0: autograd returns -inf",
)  # fmt: skip
RECIPROCAL = elementwise(
    "aten.reciprocal",
    f=lambda x: 1.0 / x,
    df=lambda x: -1.0 / (x * x),
    slope=(-inf, 0.0),
    turns=(0.0,),
    ref="f' = -1 / x^2",
    kinks="0: -inf",
)
SQUARE = elementwise(
    "aten.square",
    f=lambda x: x * x,
    df=lambda x: 2.0 * x,
    slope=(-inf, inf),
    values=NON_NEGATIVE,
    extrema=(0.0,),
    ref="f' = 2x",
    degree="2",
)
SIN = elementwise("aten.sin", f=np.sin, df=np.cos, slope=(-1.0, 1.0), values=SIGNED_UNIT, turns=None, extrema=None, ref="f' = cos")
COS = elementwise(
    "aten.cos", f=np.cos, df=lambda x: -np.sin(x), slope=(-1.0, 1.0), values=SIGNED_UNIT, turns=None, extrema=None, ref="f' = -sin"
)
ACOS = elementwise(
    "aten.acos", f=lambda x: np.arccos(np.clip(x, -1, 1)), df=lambda x: -1.0 / np.sqrt(1.0 - x * x), slope=(-inf, 0.0),
    values=Interval(0.0, pi + 1e-15), turns=(-1.0, 0.0, 1.0), ref="f' = -(1 - x^2)^-1/2", kinks="+-1: autograd returns -inf",
)  # fmt: skip
ASIN = elementwise(
    "aten.asin", f=lambda x: np.arcsin(np.clip(x, -1, 1)), df=lambda x: 1.0 / np.sqrt(1.0 - x * x), slope=(0.0, inf),
    values=Interval(-pi / 2 - 1e-15, pi / 2 + 1e-15), turns=(-1.0, 0.0, 1.0), ref="f' = (1 - x^2)^-1/2", kinks="+-1: autograd returns inf",
)  # fmt: skip
ATANH = elementwise(
    "aten.atanh",
    f=np.arctanh,
    df=lambda x: 1.0 / (1.0 - x * x),
    slope=(0.0, inf),
    turns=(-1.0, 0.0, 1.0),
    ref="f' = 1 / (1 - x^2)",
    kinks="+-1: inf",
)
