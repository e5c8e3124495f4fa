"""Scalar functions: one row each.

``slope`` is the exact range of f' over the reals; with ``turns`` (between which f' is monotone) it gives the exact range on
any interval. Constants with many digits are extrema found at 30 digits by root finding on f''; the tests repeat the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import erf, exp, inf, log1p, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netaudit import Interval, elementwise

Array = NDArray[np.float64]
NON_NEGATIVE = Interval(0.0, inf)
UNIT = Interval(0.0, 1.0)
SIGNED_UNIT = Interval(-1.0, 1.0)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + e^-x)``, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def sigmoid_slope(x: Array) -> Array:
    """``s (1 - s)``, not lost in the tails."""
    return sigmoid(x) * sigmoid(-x)


def tanh_slope(x: Array) -> Array:
    """``sech^2``, without overflow."""
    return 1.0 / np.cosh(np.clip(x, -350, 350)) ** 2


def softplus_of(x: Array) -> Array:
    """``log(1 + e^x)``, without overflow."""
    return np.logaddexp(0.0, x)


_erf_exactly = np.vectorize(erf, otypes=[np.float64])
_TABLE_X = np.linspace(-6.0, 6.0, 48001)
_TABLE_Y = _erf_exactly(_TABLE_X)


def erf_of(x: Array) -> Array:
    """The error function; large arrays (grids of many segments) are interpolated, error below 1e-8."""
    return _erf_exactly(x) if x.size <= 4096 else np.interp(x, _TABLE_X, _TABLE_Y)


def normal_cdf(x: Array) -> Array:
    """``Phi(x)``."""
    return 0.5 * (1.0 + erf_of(x / sqrt(2.0)))


def normal_pdf(x: Array) -> Array:
    """``phi(x)``."""
    return np.exp(-0.5 * x * x) / sqrt(2.0 * pi)


def step(x: Array) -> Array:
    """1 where x > 0: autograd's derivative of relu, 0 at the kink."""
    return (x > 0).astype(np.float64)


# piecewise linear -------------------------------------------------------------------------------------------------------

RELU = elementwise(
    "aten.relu", f=lambda x: np.maximum(x, 0.0), df=step, slope=(0.0, 1.0), values=NON_NEGATIVE, turns=(0.0,),
    ref="f' is a step", kinks="0: autograd returns 0", degree="1 (positively)",
)  # fmt: skip
RELU6 = elementwise(
    "aten.relu6", f=lambda x: np.clip(x, 0.0, 6.0), df=lambda x: ((x > 0) & (x < 6)).astype(np.float64), slope=(0.0, 1.0),
    values=Interval(0.0, 6.0), turns=(0.0, 6.0), ref="f' is a box", kinks="0 and 6: autograd returns 0",
)  # fmt: skip
LEAKY_RELU = elementwise(
    "aten.leaky_relu",
    f=lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
    df=lambda x, negative_slope: np.where(x > 0, 1.0, negative_slope),
    slope=lambda negative_slope: (min(1.0, negative_slope), max(1.0, negative_slope)),
    values=lambda negative_slope: Interval() if negative_slope > 0 else NON_NEGATIVE,
    turns=(0.0,), extrema=(0.0,), ref="f' in {a, 1}", kinks="0: autograd returns the slope a", degree="1 (positively)",
)  # fmt: skip
HARDTANH = elementwise(
    "aten.hardtanh",
    f=lambda x, min_val, max_val: np.minimum(np.maximum(x, min_val), max_val),
    df=lambda x, min_val, max_val: ((x > min_val) & (x < max_val)).astype(np.float64),
    slope=(0.0, 1.0), values=lambda min_val, max_val: Interval(float(min_val), float(max_val)),
    turns=lambda min_val, max_val: (min_val, max_val), ref="f' is a box", kinks="the ends: autograd returns 0 (clamp returns 1)",
)  # fmt: skip
SIXTH = float(np.float32(1.0 / 6.0))
"""torch's backward multiplies by a sixth in float32, whatever the dtype: 3e-8 above 1 / 6."""
HARDSIGMOID = elementwise(
    "aten.hardsigmoid", f=lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0), df=lambda x: np.where(np.abs(x) < 3, SIXTH, 0.0),
    slope=(0.0, SIXTH), values=UNIT, turns=(-3.0, 3.0), ref="f' is a box", kinks="+-3: autograd returns 0",
)  # fmt: skip
HARDSWISH = elementwise(
    "aten.hardswish", "netaudit.hardswish", f=lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    df=lambda x: np.where(x <= -3, 0.0, np.where(x < 3, x / 3.0 + 0.5, 1.0)), slope=(-0.5, 1.5), values=Interval(-0.375, inf),
    turns=(-3.0, 3.0), extrema=(-1.5,), ref="f' = x / 3 + 1/2 on (-3, 3); limits -1/2 and 3/2", kinks="+-3: autograd returns 0 and 1",
)  # fmt: skip
SOFTSHRINK = elementwise(
    "aten.softshrink", f=lambda x, lambd: np.sign(x) * np.maximum(np.abs(x) - lambd, 0.0),
    df=lambda x, lambd: (np.abs(x) > lambd).astype(np.float64), slope=(0.0, 1.0), turns=lambda lambd: (-lambd, lambd),
    ref="f' is a step", kinks="+-lambda: autograd returns 0",
)  # fmt: skip
HARDSHRINK = elementwise(
    "aten.hardshrink", f=lambda x, lambd: np.where(np.abs(x) > lambd, x, 0.0),
    df=lambda x, lambd: (np.abs(x) > lambd).astype(np.float64), slope=(0.0, 1.0), turns=lambda lambd: (-lambd, lambd),
    jump=lambda lambd: abs(float(lambd)), ref="jumps by lambda at +-lambda", kinks="+-lambda: a jump",
)  # fmt: skip
THRESHOLD = elementwise(
    "aten.threshold", f=lambda x, threshold, value: np.asarray(np.where(x > threshold, x, value)),
    df=lambda x, threshold: (x > threshold).astype(np.float64), slope=(0.0, 1.0), turns=lambda threshold: (threshold,),
    values=lambda threshold, value: Interval(min(threshold, value), inf), extrema=lambda threshold: (threshold,),
    jump=lambda threshold, value: abs(float(threshold) - float(value)), ref="jumps by |threshold - value|", kinks="the threshold: a jump",
)  # fmt: skip
ABS = elementwise(
    "aten.abs", f=np.abs, df=np.sign, slope=(-1.0, 1.0), values=NON_NEGATIVE, turns=(0.0,), extrema=(0.0,), ref="f' = sign",
    kinks="0: autograd returns 0", degree="1 (positively)",
)  # fmt: skip

# exponential linear -----------------------------------------------------------------------------------------------------


def _elu_slope(alpha: float, scale: float, input_scale: float) -> tuple[float, float]:
    limits = (0.0, float(alpha * scale * input_scale), float(scale))
    return min(limits), max(limits)


ELU = elementwise(
    "aten.elu",
    f=lambda x, alpha, scale, input_scale: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(input_scale * x, 0.0))),
    df=lambda x, alpha, scale, input_scale: scale * np.where(x > 0, 1.0, alpha * input_scale * np.exp(np.minimum(input_scale * x, 0.0))),
    slope=_elu_slope, values=lambda alpha, scale: Interval(min(-float(alpha * scale), 0.0), inf), turns=(0.0,), extrema=(0.0,),
    ref="f' = alpha e^x below 0, limit alpha at 0-", kinks="0 unless alpha = 1: autograd returns alpha",
)  # fmt: skip
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
SELU = elementwise(
    "aten.selu",
    f=lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0.0))),
    df=lambda x: SELU_SCALE * np.where(x > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0.0))),
    slope=(0.0, 1.7580993408473773), values=Interval(-1.7580993408473773, inf), turns=(0.0,),
    ref="lambda alpha at 0-, lambda above (Klambauer 2017)", kinks="0: autograd returns lambda alpha",
)  # fmt: skip
CELU = elementwise(
    "aten.celu",
    f=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x / alpha, 0.0))),
    df=lambda x, alpha: np.where(x > 0, 1.0, np.exp(np.minimum(x / alpha, 0.0))),
    slope=lambda alpha: (0.0, 1.0) if alpha > 0 else (0.0, inf), values=lambda alpha: Interval(-abs(float(alpha)), inf), turns=(0.0,),
    ref="f' = e^(x / alpha) below 0",
)  # fmt: skip

# sigmoidal --------------------------------------------------------------------------------------------------------------

SIGMOID = elementwise(
    "aten.sigmoid", f=sigmoid, df=sigmoid_slope, slope=(0.0, 0.25), values=UNIT, turns=(0.0,),
    ref="f' = s (1 - s) <= 1/4, met at 0",
)  # fmt: skip
TANH = elementwise(
    "aten.tanh", f=np.tanh, df=tanh_slope, slope=(0.0, 1.0), values=SIGNED_UNIT, turns=(0.0,),
    ref="f' = sech^2 <= 1, met at 0",
)  # fmt: skip
LOG_SIGMOID = elementwise(
    "aten.log_sigmoid", f=lambda x: -softplus_of(-x), df=lambda x: sigmoid(-x), slope=(0.0, 1.0), values=Interval(-inf, 0.0),
    ref="f' = sigmoid(-x), limit 1",
)  # fmt: skip
SOFTPLUS = elementwise(
    "aten.softplus",
    f=lambda x, beta, threshold: np.where(beta * x > threshold, x, softplus_of(beta * x) / beta),
    df=lambda x, beta, threshold: np.where(beta * x > threshold, 1.0, sigmoid(beta * x)),
    slope=(0.0, 1.0), values=NON_NEGATIVE,
    turns=lambda beta, threshold: (threshold / beta,),
    # torch switches to y = x above the threshold: a jump of log1p(e^-threshold) / beta, 2e-9 by default; called a jump from 1e-6
    jump=lambda beta, threshold: log1p(exp(-threshold)) / beta if log1p(exp(-threshold)) / beta > 1e-6 else 0.0,
    ref="f' = sigmoid(beta x), limit 1; the switch at the threshold is below 1e-6",
)  # fmt: skip
SOFTSIGN = elementwise(
    "netaudit.softsign", f=lambda x: x / (1.0 + np.abs(x)), df=lambda x: 1.0 / (1.0 + np.abs(x)) ** 2, slope=(0.0, 1.0),
    values=SIGNED_UNIT, turns=(0.0,), ref="f' = (1 + |x|)^-2",
)  # fmt: skip
TANHSHRINK = elementwise(
    "netaudit.tanhshrink", f=lambda x: x - np.tanh(x), df=lambda x: np.tanh(x) ** 2, slope=(0.0, 1.0), turns=(0.0,),
    ref="f' = tanh^2, 0 at 0: x^3 / 3 for small x", doc="x - tanh(x).",
)  # fmt: skip
ERF = elementwise(
    "aten.erf", f=erf_of, df=lambda x: 2.0 / sqrt(pi) * np.exp(-x * x), slope=(0.0, 1.1283791670955126), values=SIGNED_UNIT,
    turns=(0.0,), ref="f'(0) = 2 / sqrt(pi)",
)  # fmt: skip
ATAN = elementwise(
    "aten.atan", f=np.arctan, df=lambda x: 1.0 / (1.0 + x * x), slope=(0.0, 1.0), values=Interval(-pi / 2 - 1e-15, pi / 2 + 1e-15),
    turns=(0.0,), ref="f' = 1 / (1 + x^2)",
)  # fmt: skip
ASINH = elementwise(
    "aten.asinh", f=np.arcsinh, df=lambda x: 1.0 / np.sqrt(1.0 + np.minimum(x * x, 1e300)), slope=(0.0, 1.0), turns=(0.0,),
    ref="f' = (1 + x^2)^-1/2",
)  # fmt: skip

# smooth gates -----------------------------------------------------------------------------------------------------------

GELU_TANH_C, GELU_TANH_A = sqrt(2.0 / pi), 0.044715


def gelu(x: Array) -> Array:
    """``x Phi(x)``."""
    return x * normal_cdf(x)


def gelu_slope(x: Array) -> Array:
    """``Phi(x) + x phi(x)``."""
    return normal_cdf(x) + x * normal_pdf(x)


def gelu_tanh(x: Array) -> Array:
    """``x (1 + tanh(c (x + a x^3))) / 2``."""
    x = np.clip(x, -1e50, 1e50)
    return 0.5 * x * (1.0 + np.tanh(GELU_TANH_C * (x + GELU_TANH_A * x**3)))


def gelu_tanh_slope(x: Array) -> Array:
    """The derivative of ``gelu_tanh``."""
    near = np.clip(x, -30.0, 30.0)  # beyond, the slope is 0 or 1 to the last bit
    inner = np.tanh(GELU_TANH_C * (near + GELU_TANH_A * near**3))
    return 0.5 * (1.0 + inner) + 0.5 * near * (1.0 - inner * inner) * GELU_TANH_C * (1.0 + 3.0 * GELU_TANH_A * near * near)


_GELU_DIP = -0.7517915247
_EXACT: Mapping[str, Any] = {
    "f": gelu, "df": gelu_slope, "slope": (-0.1289041451852, 1.1289041451852), "values": Interval(-0.1699712075, inf),
    "turns": (-sqrt(2.0), sqrt(2.0)), "extrema": (_GELU_DIP,), "ref": "f' = Phi + x phi, extrema at +-sqrt 2 (Hendrycks & Gimpel 2016)",
}  # fmt: skip
_BY_TANH: Mapping[str, Any] = {
    "f": gelu_tanh, "df": gelu_tanh_slope, "slope": (-0.1289930686588, 1.1289930686588), "values": Interval(-0.1700407506, inf),
    "turns": (-1.4185040087908, 1.4185040087908), "extrema": (-0.7524614,), "ref": "extrema of f' at +-1.4185040088",
}  # fmt: skip


def _by_kind(name: str) -> Any:
    """A row entry of ``aten.gelu`` that depends on its ``approximate`` argument."""
    exact, other = _EXACT[name], _BY_TANH[name]
    if name in ("f", "df"):
        return lambda x, approximate: (other if approximate == "tanh" else exact)(x)
    return lambda approximate: other if approximate == "tanh" else exact


GELU = elementwise(
    "aten.gelu", f=_by_kind("f"), df=_by_kind("df"), slope=_by_kind("slope"), values=_by_kind("values"), turns=_by_kind("turns"),
    extrema=_by_kind("extrema"), ref="MODULES of torch: erf and tanh form; f' extrema at +-sqrt 2 and +-1.4185040088",
)  # fmt: skip
GELU_BY_HAND = elementwise("netaudit.gelu", doc="GELU written out with erf.", **_EXACT)
GELU_TANH_BY_HAND = elementwise("netaudit.gelu_tanh", doc="GELU written out with tanh.", **_BY_TANH)

SILU_PEAK = 2.3993572805154676
SILU_SLOPE = (-0.0998393201288674, 1.0998393201288674)


def silu(x: Array) -> Array:
    """``x sigmoid(x)``."""
    return x * sigmoid(x)


def silu_slope(x: Array) -> Array:
    """``s + x s (1 - s)``."""
    return sigmoid(x) + np.clip(x, -750, 750) * sigmoid(x) * sigmoid(-x)


SILU = elementwise(
    "aten.silu", f=silu, df=silu_slope, slope=SILU_SLOPE, values=Interval(-0.2784645428, inf), turns=(-SILU_PEAK, SILU_PEAK),
    extrema=(-1.2784645428,), ref="extrema of f' at the roots of x tanh(x / 2) = 2",
)  # fmt: skip
SWISH = elementwise(
    "netaudit.swish",
    f=lambda x, beta: x * sigmoid(beta * x), df=lambda x, beta: silu_slope(beta * x), slope=SILU_SLOPE,
    values=lambda beta: Interval(-0.2784645428 / beta, inf) if beta > 0 else Interval(),
    turns=lambda beta: (-SILU_PEAK / abs(beta), SILU_PEAK / abs(beta)) if beta else (),
    extrema=lambda beta: (-1.2784645428 / beta,) if beta else (),
    ref="the slope of SiLU at beta x: the same range for every beta", doc="x * sigmoid(beta x) written out.",
)  # fmt: skip


def mish(x: Array) -> Array:
    """``x tanh(softplus(x))``."""
    return x * np.tanh(softplus_of(x))


def mish_slope(x: Array) -> Array:
    """The derivative of Mish."""
    t = np.tanh(softplus_of(x))
    return t + np.clip(x, -750, 750) * (1.0 - t * t) * sigmoid(x)


_MISH: Mapping[str, Any] = {
    "f": mish, "df": mish_slope, "slope": (-0.1125261223895, 1.0884981612518), "values": Interval(-0.3088434131, inf),
    "turns": (-2.2563763963608, 1.4905711794854), "extrema": (-1.1924312145,),
    "ref": "extrema of f' at -2.2563763964 and 1.4905711795 (Misra 2019)",
}  # fmt: skip
MISH = elementwise("aten.mish", **_MISH)
MISH_BY_HAND = elementwise("netaudit.mish", doc="Mish written out.", **_MISH)
