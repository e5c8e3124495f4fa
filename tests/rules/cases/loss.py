"""Losses, with every reduction."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, Law, normal

A = torch.ops.aten
R = Interval(-2.0, 3.0)
UNIT = Interval(0.0, 1.0)
X, Y = normal(4, 3), normal(4, 3, seed=1)
LABELS = torch.tensor([0, 2, 1, 2])
IGNORED = torch.tensor([0, -100, 1, 2])
CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
P = normal(4, 3, seed=2).softmax(-1)
BITS = (normal(4, 3, seed=3) > 0).double()
SIGNS = 2.0 * BITS - 1.0
BIT, SIGN = Law(0.5, 0.5), Law(0.0, 1.0)
ALL_WRONG = torch.zeros(4, 3, dtype=torch.float64).scatter(1, ((LABELS + 1) % 3)[:, None], 100.0)
FAR = torch.full((4, 3), 100.0, dtype=torch.float64)
APART = ((torch.full_like(FAR, -2.0), torch.full_like(FAR, 3.0)),)


def _every_reduction(op: str, function: Callable[..., object], **settings: object) -> Iterator[Case]:
    for reduction in ("none", "mean", "sum"):
        yield Case(op=op, name=reduction, function=lambda *xs, r=reduction: function(*xs, reduction=r), **settings)  # type: ignore[arg-type]


RESIDUALS = (
    *_every_reduction("aten.mse_loss", F.mse_loss, inputs=(X, Y), ranges={0: R, 1: R}, starts=APART, tight={0: 0.999, 1: 0.999}),
    Case(op="aten.mse_loss", name="unbounded", function=F.mse_loss, inputs=(X, Y)),
    *_every_reduction("aten.l1_loss", F.l1_loss, inputs=(X, Y)),
    *_every_reduction("aten.smooth_l1_loss", lambda x, y, reduction: F.smooth_l1_loss(x, y, beta=0.7, reduction=reduction), inputs=(X, Y)),
    Case(
        op="aten.smooth_l1_loss",
        name="small",
        function=lambda x, y: F.smooth_l1_loss(x, y, beta=9.0),
        inputs=(X, Y),
        ranges={0: R, 1: R},
        starts=APART,
        tight={0: 0.999},
    ),
    *_every_reduction("aten.huber_loss", lambda x, y, reduction: F.huber_loss(x, y, delta=1.7, reduction=reduction), inputs=(X, Y)),
    Case(
        op="aten.huber_loss",
        name="small",
        function=lambda x, y: F.huber_loss(x, y, delta=9.0),
        inputs=(X, Y),
        ranges={0: R, 1: R},
        starts=APART,
        tight={0: 0.999},
    ),
)


def _on_simplex(p: Tensor) -> Tensor:
    return F.normalize(p.abs() + 1e-12, p=1.0, dim=-1)


def _classification() -> Iterator[Case]:
    wrong = ((ALL_WRONG,),)
    for op, function in (("aten.cross_entropy_loss", F.cross_entropy), ("aten.nll_loss_nd", F.nll_loss)):
        # log-probabilities: the model of nll knows the mean of its value alone
        laws, factor = ({}, 2.0) if function is F.cross_entropy else ({0: Law(-1.5, 0.5)}, 2.0)
        yield from _every_reduction(
            op, lambda x, reduction, f=function: f(x, LABELS, reduction=reduction), inputs=(X,), starts=wrong, laws=laws, factor=factor
        )
        yield Case(
            op=op, name="live-labels", function=function, inputs=(X, LABELS), starts=wrong, laws=laws, tight={0: 0.999}, factor=factor
        )
        yield Case(op=op, name="ignored", function=lambda x, f=function: f(x, IGNORED), inputs=(X,), starts=wrong, laws=laws, factor=factor)
        yield Case(
            op=op,
            name="weighted",
            function=lambda x, f=function: f(x, LABELS, CLASS_WEIGHTS),
            inputs=(X,),
            starts=wrong,
            tight={0: 0.2},
            factor=None,
        )
        yield Case(
            op=op,
            name="one-row",
            function=lambda x, f=function: f(x, torch.tensor(1)),
            inputs=(normal(3),),
            starts=((ALL_WRONG[0],),),
            factor=None,
        )
    yield Case(
        op="aten.cross_entropy_loss",
        name="smoothed",
        function=lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.2),
        inputs=(X,),
        starts=wrong,
        factor=2.0,
    )
    yield Case(
        op="aten.cross_entropy_loss",
        name="probabilities",
        function=lambda x: F.cross_entropy(x, P),
        inputs=(X,),
        starts=wrong,
        tight={0: 0.5},
        factor=None,
    )
    yield Case(
        op="aten.cross_entropy_loss",
        name="live-probabilities",
        function=lambda x, y: F.cross_entropy(x, F.softmax(y, -1)),
        inputs=(X, Y),
        starts=wrong,
        tight={0: 0.5},
        factor=None,
        domain={1: _on_simplex},
    )
    yield Case(
        op="aten.cross_entropy_loss",
        name="images",
        function=lambda x: F.cross_entropy(x, torch.zeros(2, 2, dtype=torch.int64)),
        inputs=(normal(2, 3, 2),),
        tight={0: 0.6},
        factor=3.0,
    )
    yield Case(op="aten.nll_loss", function=lambda x: A.nll_loss(x, LABELS), inputs=(X,), laws={0: Law(-1.5, 0.5)}, factor=2.0)
    yield Case(
        op="aten.nll_loss2d",
        function=lambda x: A.nll_loss2d(x, torch.zeros(1, 2, 2, dtype=torch.int64)),
        inputs=(normal(1, 3, 2, 2),),
        laws={0: Law(-1.5, 0.5)},
        factor=2.0,
    )
    yield Case(
        op="aten.nll_loss_forward",
        function=lambda x: A.nll_loss_forward(x, LABELS, None, 1, -100)[0],
        inputs=(X,),
        laws={0: Law(-1.5, 0.5)},
        factor=2.0,
    )


BINARY = (
    *_every_reduction(
        "aten.binary_cross_entropy_with_logits",
        F.binary_cross_entropy_with_logits,
        inputs=(X, BITS),
        ranges={1: UNIT},
        laws={1: BIT},
        starts=((FAR, torch.zeros_like(X)),),
        factor=2.0,
    ),
    Case(
        op="aten.binary_cross_entropy_with_logits",
        name="assumed",
        function=lambda x: F.binary_cross_entropy_with_logits(x, BITS),
        inputs=(X,),
        starts=((FAR * -SIGNS,),),
        tight={0: 0.99},
        factor=2.0,
    ),
    Case(
        op="aten.binary_cross_entropy_with_logits",
        name="weighted",
        function=lambda x, y: F.binary_cross_entropy_with_logits(
            x, y, 0.5 * torch.ones(3).double(), pos_weight=3.0 * torch.ones(3).double()
        ),
        inputs=(X, BITS),
        ranges={0: R, 1: UNIT},
        laws={1: BIT},
        tight={0: 0.7, 1: 0.3},
        factor=2.0,
    ),
    *_every_reduction(
        "aten.binary_cross_entropy",
        F.binary_cross_entropy,
        inputs=(P, BITS),
        ranges={0: Interval(0.01, 0.99), 1: UNIT},
        starts=((torch.full_like(P, 0.01), torch.ones_like(P)),),
        tight={0: 0.999},
        factor=None,
    ),
    Case(
        op="aten.binary_cross_entropy",
        name="clamped",
        function=lambda x, y: F.binary_cross_entropy(torch.sigmoid(x), y),
        inputs=(X, BITS),
        ranges={1: UNIT},
        factor=None,
    ),
    *_every_reduction(
        "aten.soft_margin_loss",
        F.soft_margin_loss,
        inputs=(X, SIGNS),
        ranges={0: R, 1: Interval(-1.0, 1.0)},
        starts=((-2.0 * torch.ones_like(SIGNS), torch.ones_like(SIGNS)),),
        tight={0: 0.8},
        factor=None,
    ),
    Case(
        op="aten.soft_margin_loss",
        name="assumed",
        function=lambda x: F.soft_margin_loss(x, SIGNS),
        inputs=(X,),
        starts=((-FAR * SIGNS,),),
        tight={0: 0.999},
        factor=2.0,
    ),
)
DISTRIBUTIONS = (
    *_every_reduction(
        "aten.kl_div",
        lambda x, y, reduction: F.kl_div(x, F.softmax(y, -1), reduction=reduction),
        inputs=(X, Y),
        tight={0: 0.4},
        factor=None,
    ),
    Case(
        op="aten.kl_div", name="fixed", function=lambda x: F.kl_div(x, P, reduction="batchmean"), inputs=(X,), tight={0: 0.4}, factor=None
    ),
    Case(
        op="aten.kl_div",
        name="logs",
        function=lambda x, y: F.kl_div(x, y, log_target=True),
        inputs=(X, Y),
        ranges={1: Interval(-3.0, 0.0)},
        factor=None,
    ),
)


def _ctc(op: Callable[..., object]) -> Callable[[Tensor], object]:
    return lambda x: op(x, torch.tensor([[1, 2]]), torch.tensor([5]), torch.tensor([2]))


LOGITS = normal(5, 1, 4)
CTC = (
    Case(
        op="aten.ctc_loss",
        function=_ctc(lambda x, y, n, m: F.ctc_loss(x, y, n, m, reduction="sum")),
        inputs=(LOGITS,),
        domain={0: lambda x: x.log_softmax(-1)},
        factor=None,
        tight={0: 0.4},
    ),
    Case(
        op="aten._ctc_loss",
        function=_ctc(lambda x, y, n, m: A._ctc_loss(x, y, n.tolist(), m.tolist())[0]),
        inputs=(LOGITS,),
        domain={0: lambda x: x.log_softmax(-1)},
        factor=None,
    ),
)
CASES = (*RESIDUALS, *_classification(), *BINARY, *DISTRIBUTIONS, *CTC)
