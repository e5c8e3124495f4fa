"""Normalisation layers. eps stands inside the root, on the mean square, as torch has it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from netaudit import Effect, Interval, Jacobian, Node, RowNorm, Signal, Var, above, modelled, transfer, up

from .common import axes_of, first_slots, integer, no_gradient, ranged, real
from .linear import by_bias

Array = NDArray[np.float64]
_CENTRED = "{0, eps / s^3, 1 / s} for gamma = 1"


def centred_scale_norm(gamma: Array, count: int) -> float:
    """PROVED ``||diag(gamma) C_n||`` for a gamma repeated over ``count`` entries in all, ``C_n = I - 11'/n``, rounded up.

    ``lambda_max(diag(gamma^2) - gamma gamma' / n)``: the largest |gamma| when it is repeated, else the largest root of the
    secular equation ``1 = (1/n) sum gamma_i^2 / (gamma_i^2 - t)``, by bisection from above (Golub 1973).
    """
    squares = np.sort(gamma.astype(np.float64).ravel() ** 2)[::-1]
    if count <= 1 or squares.size == 0:
        return 0.0
    top = float(squares[0])
    if count > squares.size or squares.size == 1 or squares[1] == top or top == 0.0:
        return up(sqrt(top))
    low, high = float(squares[1]), top
    for _ in range(80):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if float(np.sum(squares / (squares - middle))) / count > 1.0:
            high = middle
        else:
            low = middle
    return up(up(sqrt(high)))


def largest_scale(weight: Signal | None) -> float:
    """``max |gamma|``, 1 without one."""
    return 1.0 if weight is None else weight.range.magnitude


def _centred_norm(weight: Signal | None, count: int) -> float:
    """``||diag(gamma) C_n||``, or its bound ``max |gamma|`` when gamma's values are not at hand."""
    if count <= 1:
        return 0.0
    if weight is None:
        return 1.0
    if weight.value is None:
        return weight.range.magnitude
    return centred_scale_norm(weight.value.astype(np.float64), count)


def _over_root(norm: float, eps: float) -> float:
    return up(norm / sqrt(eps)) if eps > 0 else (0.0 if norm == 0 else inf)


def norm_jacobian(norm: float, eps: float, count: int, *, centred: bool) -> Jacobian:
    """The Jacobian by the input: ``norm / sqrt(eps)``, met where the normalised part is zero."""
    lip = _over_root(norm, eps)
    if count <= 1 and centred:
        return no_gradient("groups of one element: the output is the constant bias")
    if norm == 0.0:
        return no_gradient("gamma = 0: the output is the constant bias")
    if isinf(lip):
        return Jacobian(inf, "infinite", "eps = 0: no bound near the singular input", frozenset({"rank-deficient"}))
    kind = "||diag(gamma) C_n||" if centred else "max |gamma|"
    where = "constant inputs" if centred else "x = 0"
    return Jacobian(
        lip, "exact", f"{kind} / sqrt(eps) = {norm:.4g} / sqrt({eps:g})", frozenset({"rank-deficient"} if centred else set()),
        spectrum=_CENTRED if centred else "{eps / s^3, 1 / s} for gamma = 1", nullspace="span{1}" if centred else "", attained=where,
    )  # fmt: skip


def by_scale(weight: Signal | None, out: Sequence[int], peak: float) -> Jacobian | None:
    """The Jacobian by gamma: entries of at most ``peak``, each used as often as gamma is repeated."""
    if weight is None:
        return None
    if peak == 0.0:
        return no_gradient("groups of one element: the normalised entries are 0")
    r = prod(out) / max(weight.count, 1)
    return Jacobian(up(peak * sqrt(r)), "upper", f"normalised entries <= {above(peak, 4)}, used {r:g} times", frozenset({"linear"}))


def affine(y: Var, weight: Var | None, bias: Var | None, shape: tuple[int, ...]) -> Var:
    """``gamma y + beta``."""
    y = y if weight is None else y * weight.reshape(*shape)
    return y if bias is None else y + bias.reshape(*shape)


def scaled_range(
    node: Node, peak: float, weight: Signal | None, bias: Signal | None, rows: RowNorm | None
) -> tuple[Interval, RowNorm | None]:
    """Range and row norms after the affine part: ``|gamma_i| peak + |beta_i|``."""
    size = up(peak * largest_scale(weight)) + (bias.range.magnitude if bias is not None else 0.0)
    if rows is not None:
        shift = up(bias.range.magnitude * sqrt(prod(node.shape[a] for a in rows.axes))) if bias is not None else 0.0
        shift = min(shift, bias.norm_bound(tuple(range(len(bias.shape)))) if bias is not None else 0.0)
        rows = RowNorm(up(rows.bound * largest_scale(weight) + shift), rows.axes)
    return Interval(-up(size), up(size)), rows


# normalisation over axes of one sample ----------------------------------------------------------------------------------


def _normalised(
    node: Node, x: Signal, weight: Signal | None, bias: Signal | None, over: tuple[int, ...], eps: float, *, centred: bool
) -> Effect:
    count = prod(x.shape[a] for a in over)
    peak = sqrt(max(count - 1, 0)) if centred else sqrt(count)
    norm = _centred_norm(weight, count) if centred else largest_scale(weight)
    shape = tuple(x.shape[a] for a in over)

    def model(v: Var, w: Var | None, b: Var | None) -> Var:
        return affine(v.normalise(over, eps, subtract_mean=centred), w, b, shape)

    moments, pull = modelled(model, x, weight, bias)
    values, rows = scaled_range(node, peak, weight, bias, RowNorm(up(sqrt(count)), over))
    jac = (norm_jacobian(norm, eps, count, centred=centred), by_scale(weight, node.shape, peak), by_bias(bias, node.shape))
    return first_slots(node, Effect(ranged(Signal(node.shape, values, rows, moments)), jac, pull, normalises=True))


@transfer(
    "aten.layer_norm",
    "aten.native_layer_norm",
    source="sup ||J|| = ||diag(gamma) C|| / sqrt(eps), since JJ' <= GCG / eps, met at constant inputs (Ba 2016; Xu 2019)",
    degree="0 up to eps",
)
def layer_norm(node: Node, x: Signal, weight: Signal | None = None, bias: Signal | None = None) -> Effect:
    """``y = gamma (x - mean) / s + beta``, ``s = sqrt(var + eps)``: ``J = diag(gamma) (C - zz' / (n s^2)) / s``."""
    normalized = node.args["normalized_shape"]
    dims = len(normalized) if isinstance(normalized, tuple) else 1
    rank = len(x.shape)
    return _normalised(node, x, weight, bias, tuple(range(rank - dims, rank)), real(node.args["eps"], 1e-5), centred=True)


@transfer("netaudit.layer_norm", source="as aten.layer_norm, gamma = 1", degree="0 up to eps")
def layer_norm_by_hand(node: Node, x: Signal) -> Effect:
    """``(x - mean) / sqrt(var + eps)`` written out."""
    return _normalised(node, x, None, None, axes_of(node.args["dim"], len(x.shape)), real(node.args["eps"]), centred=True)


def _machine_epsilon(dtype: str) -> float:
    """Torch's default eps of rms_norm: that of the type it computes in, float32 for half inputs."""
    return float(np.finfo(np.float64).eps) if dtype == "float64" else float(np.finfo(np.float32).eps)


@transfer(
    "aten.rms_norm",
    "aten._fused_rms_norm",
    source="sup ||J|| = max |gamma| / sqrt(eps), met at 0 (Zhang & Sennrich 2019)",
    degree="0 up to eps",
)
def rms_norm(node: Node, x: Signal, weight: Signal | None = None) -> Effect:
    """``y = gamma x / r``, ``r = sqrt(mean(x^2) + eps)``: ``J = diag(gamma) (I - xx' / (n r^2)) / r``."""
    normalized = node.args["normalized_shape"]
    dims = len(normalized) if isinstance(normalized, tuple) else 1
    given = node.args.get("eps")
    eps = real(given) if given is not None else _machine_epsilon(node.dtype)
    rank = len(x.shape)
    return _normalised(node, x, weight, None, tuple(range(rank - dims, rank)), eps, centred=False)


@transfer("netaudit.rms_norm", source="as aten.rms_norm, gamma = 1", degree="0 up to eps")
def rms_norm_by_hand(node: Node, x: Signal) -> Effect:
    """``x / sqrt(mean(x^2) + eps)`` written out."""
    return _normalised(node, x, None, None, axes_of(node.args["dim"], len(x.shape)), real(node.args["eps"]), centred=False)


@transfer(
    "aten.group_norm",
    "aten.native_group_norm",
    source="LayerNorm on each group, gamma repeated over space (Wu & He 2018)",
    degree="0 up to eps",
)
def group_norm(node: Node, x: Signal, weight: Signal | None = None, bias: Signal | None = None) -> Effect:
    """LayerNorm on each of G groups of channels, with a scale per channel."""
    groups = integer(node, "num_groups", integer(node, "group", 1))
    batch, channels, *space = x.shape
    count = channels // groups * prod(space)
    norm = 1.0 if weight is None else _grouped_norm(weight, groups, prod(space), count)
    return per_channel(node, x, weight, bias, (batch, groups, channels // groups, *space), count, norm if count > 1 else 0.0)


def _grouped_norm(weight: Signal, groups: int, space: int, count: int) -> float:
    if weight.value is None:
        return weight.range.magnitude
    parts = weight.value.astype(np.float64).reshape(groups, -1)
    return max(centred_scale_norm(np.repeat(part, min(space, 2)), count) for part in parts)


def per_channel(
    node: Node, x: Signal, weight: Signal | None, bias: Signal | None, split: tuple[int, ...], count: int, norm: float
) -> Effect:
    """Normalise over all but the first two axes of ``split``, then scale by channel."""
    eps = real(node.args.get("eps"), 1e-5)
    shape = (x.shape[1], *(1,) * (len(x.shape) - 2))

    def model(v: Var, w: Var | None, b: Var | None, *_: Var | None) -> Var:
        y = v.reshape(*split).normalise(tuple(range(2, len(split))), eps).reshape(*x.shape)
        return affine(y, w, b, shape)

    rest = (None,) * (len(node.operands) - 3)
    moments, pull = modelled(model, x, weight, bias, *rest)
    peak = sqrt(max(count - 1, 0))
    values, _ = scaled_range(node, peak, weight, bias, None)
    by_beta = None if bias is None else by_bias(Signal(shape), node.shape)
    jac = (norm_jacobian(norm, eps, count, centred=True), by_scale(weight, node.shape, peak), by_beta, *rest)
    return first_slots(node, Effect(Signal(node.shape, values, None, moments), jac, pull, normalises=True))


@transfer(
    "netaudit.local_response_norm",
    source="k^-b (1 + 2 sqrt(size) (b / (b + 1))^(b + 1)): |x_i| |x_N| <= size (d - k) / alpha, and (d - k) / d^(b + 1) is largest at "
    "d = k (b + 1) / b; rows of a matrix of windows meet size times (Krizhevsky 2012)",
    degree="none",
)
def local_response_norm(node: Node, x: Signal) -> Effect:
    """``x_i / d_i^b``, ``d_i = k + alpha mean of x_j^2 over size channels``: ``J = diag d^-b - (2 alpha b / size) xx' d^(-b - 1)``."""
    size, alpha, k, beta = (real(node.args[name]) for name in ("size", "alpha", "k", "beta"))
    if not (k > 0 and alpha >= 0 and beta > 0):
        return Effect(Signal(node.shape), (Jacobian(inf, "unknown", "only for k > 0, alpha >= 0, beta > 0"),))
    lip = up(up(k**-beta * (1.0 + 2.0 * sqrt(size) * (beta / (beta + 1.0)) ** (beta + 1.0))))
    edge = up(x.range.magnitude * up(k**-beta))
    values = Interval(-edge, edge) if x.range.is_bounded else Interval()
    return Effect(Signal(node.shape, values), (Jacobian(lip, "upper", f"k = {k:g}, beta = {beta:g}, {size:g} channels"),))
