"""Classification losses: rows of logits or log-probabilities against class labels."""

from __future__ import annotations

from math import inf, prod, sqrt

import numpy as np

from netaudit import Effect, Interval, Jacobian, Kind, Node, Signal, Var, modelled, random_numbers, transfer, up

from .common import NON_NEGATIVE, finite_product, first_slots, real
from .loss import MEAN, gathered, labels, loss_jacobian, reduction, share_of


def _collisions(target: Signal, classes: int) -> float:
    """The chance that two rows have the same label: on the example labels, else that of uniform ones (an assumption)."""
    if target.value is None or target.value.size < 2 or not np.issubdtype(target.value.dtype, np.integer):
        return 1.0 / max(classes, 1)
    counts = np.unique(target.value, return_counts=True)[1].astype(np.float64)
    n = float(target.value.size)
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


def _counted(node: Node, target: Signal, rows: int) -> int:
    """How many rows count: those whose label is not ignored (in the example; a mean over fewer rows has a larger gradient)."""
    ignored = real(node.args.get("ignore_index"), -100.0)
    if target.value is None or not np.issubdtype(target.value.dtype, np.integer):
        return rows
    return max(int((target.value != ignored).sum()), 1)


def _kind(node: Node, logits: Signal, target: Signal, weight: Signal | None) -> Kind:
    """A mean over rows that may be ignored is proved for as many rows as count in the example."""
    if weight is not None:
        return "upper"
    if target.shape == logits.shape:  # probabilities, taken to sum to one
        return "conditional"
    return "exact" if target.constant or reduction(node) != MEAN else "conditional"


def _of_rows(node: Node, row: float, counted: int, weight: Signal | None) -> float:
    """The norm for all rows from that of one of weight 1; a mean divides by the sum of the labels' weights."""
    lip = gathered(up(finite_product(row, weight.range.magnitude)) if weight is not None else row, node, counted)
    if weight is not None and reduction(node) == MEAN:
        return up(lip / weight.range.lo) if weight.range.lo > 0 else inf
    return lip


def _row_gradient(classes: int, smoothing: float) -> float:
    """The supremum of ``|p - y|`` for a label smoothed by e over C classes: ``sqrt((1-e+e/C)^2 + (1-e/C)^2 + (C-2)(e/C)^2)``."""
    if classes <= 1:
        return 0.0
    part = smoothing / classes
    return up(sqrt((1 - smoothing + part) ** 2 + (1 - part) ** 2 + (classes - 2) * part**2))


@transfer(
    "aten.cross_entropy_loss",
    source="|p - onehot| < sqrt 2, confidently wrong; rows stack: sqrt(2 / N) for the mean",
    kinks="every label ignored: NaN",
    degree="shift-invariant",
)
def cross_entropy(node: Node, logits: Signal, target: Signal, weight: Signal | None = None) -> Effect:
    """``logsumexp(x) - x_y``, reduced over rows: gradient ``(p - onehot) / N``. Labels may be probabilities."""
    axis = 1 if len(logits.shape) > 1 else 0
    classes = logits.shape[axis]
    rows = max(logits.count // max(classes, 1), 1)
    counted = _counted(node, target, rows)
    lip = _of_rows(node, _row_gradient(classes, real(node.args.get("label_smoothing"))), counted, weight)
    share = share_of(node, counted)

    def model(v: Var, *_: Var | None) -> Var:
        return v.cross_entropy(axis, share, _collisions(target, classes))

    moments, pull = modelled(model, logits, None, None)
    first = loss_jacobian(lip, f"sqrt 2 per row, {counted} rows", _kind(node, logits, target, weight), "a confidently wrong row")
    return first_slots(
        node, Effect(Signal(node.shape, NON_NEGATIVE, None, moments), (first, _by_target(logits, target), *labels(weight)), pull)
    )


def _by_target(logits: Signal, target: Signal) -> Jacobian | None:
    """Class indices get no gradient; probabilities (of the logits' shape) get ``-log p``, which has no bound."""
    if target.shape != logits.shape:
        return labels(target)[0]
    return Jacobian(inf, "infinite", "-log p: no bound")


@transfer(
    "aten.nll_loss",
    "aten.nll_loss_nd",
    "aten.nll_loss2d",
    "aten.nll_loss_forward",
    source="linear: -x_y, sqrt(1 / N) for the mean",
    degree="1",
)
def nll(node: Node, x: Signal, target: Signal, weight: Signal | None = None) -> Effect:
    """``-x_y`` per row: expects log-probabilities, and does not check that they are."""
    axis = 1 if len(x.shape) > 1 else 0
    classes, rows = x.shape[axis], max(x.count // max(x.shape[axis], 1), 1)
    counted = _counted(node, target, rows)
    lip = _of_rows(node, 1.0, counted, weight)
    share = share_of(node, counted)

    def model(v: Var, *_: Var | None) -> Var:
        minus_onehot = Var(random_numbers(v.sizes, 1.0 / classes, -1.0 / classes))
        return v.with_slope(-v.moments.mean / max(classes, 1), minus_onehot, share)

    moments, pull = modelled(model, x, None, None) if share is not None else (None, None)
    first = loss_jacobian(lip, f"one entry per row, {counted} rows", _kind(node, x, target, weight))
    return first_slots(node, Effect(Signal(node.shape, Interval(), None, moments), (first, *labels(target, weight)), pull))


@transfer(
    "aten.ctc_loss",
    "aten._ctc_loss",
    source="torch sends p - posterior to the log-probabilities: <= sqrt 2 per step",
    kinks="T < target length: inf, NaN gradient unless zero_infinity",
)
def ctc(node: Node, x: Signal, *rest: Signal | None) -> Effect:
    """Connectionist temporal classification on log-probabilities, whose rows are taken to sum to one."""
    steps = max(prod(x.shape[:-1]), 1)
    first = loss_jacobian(up(sqrt(2.0 * steps)), f"sqrt 2 per time step, {steps} steps", "conditional")
    return Effect(Signal(node.shape), (first, *labels(*rest)))
