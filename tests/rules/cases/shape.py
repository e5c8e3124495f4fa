"""Ops that move, keep, repeat, join and pick entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from netaudit import Interval
from netaudit.testing import Case, normal

A = torch.ops.aten
R = Interval(-2.0, 3.0)
X = normal(2, 3, 4)
Y = normal(2, 3, 4, seed=1)
SQUARE = normal(3, 4)

MOVES: Mapping[str, Callable[[Tensor], object]] = {
    "aten.view": lambda x: x.view(6, 4),
    "aten.reshape": lambda x: x.reshape(2, 12),
    "aten._unsafe_view": lambda x: A._unsafe_view(x, [4, 6]),
    "aten.flatten": lambda x: x.flatten(1),
    "aten.unflatten": lambda x: x.unflatten(-1, (2, 2)),  # type: ignore[no-untyped-call]  # torch's own signature
    "aten.squeeze": lambda x: x[:, :1].squeeze(1),
    "aten.unsqueeze": lambda x: x.unsqueeze(1),
    "aten.view_as": lambda x: x.view_as(torch.zeros(4, 6, dtype=x.dtype)),
    "aten.reshape_as": lambda x: x.reshape_as(torch.zeros(4, 6, dtype=x.dtype)),
    "aten.ravel": torch.ravel,
    "aten.atleast_1d": torch.atleast_1d,
    "aten.atleast_2d": torch.atleast_2d,
    "aten.contiguous": lambda x: x.transpose(0, 1).contiguous(),
    "aten.clone": torch.clone,
    "aten.alias": A.alias,
    "aten.to": lambda x: x.to(torch.float32),
    "aten._to_copy": lambda x: A._to_copy(x, dtype=torch.float32),
    "aten.type_as": lambda x: x.type_as(torch.zeros(1)),
    "aten.lift_fresh_copy": A.lift_fresh_copy,
    "aten.positive": lambda x: +x,
    "aten.resolve_conj": torch.resolve_conj,
    "aten.resolve_neg": torch.resolve_neg,
    "aten.permute": lambda x: x.permute(2, 0, 1),
    "aten.transpose": lambda x: x.transpose(0, -1),
    "aten.t": lambda x: x[0].t(),
    "aten.numpy_T": lambda x: x[0].T,
    "aten.mT": lambda x: x.mT,
    "aten.mH": lambda x: x.mH,
    "aten.adjoint": lambda x: x.adjoint(),
    "aten.matrix_H": lambda x: x[0].H,
    "aten.swapaxes": lambda x: x.swapaxes(0, 2),
    "aten.swapdims": lambda x: x.swapdims(0, 1),
    "aten.movedim": lambda x: x.movedim(0, -1),
    "aten.moveaxis": lambda x: x.moveaxis((0, 1), (1, 2)),
    "aten.flip": lambda x: x.flip(0, 2),
    "aten.roll": lambda x: x.roll((1, 2), (0, 1)),
    "aten.channel_shuffle": lambda x: A.channel_shuffle(x.reshape(1, 6, 2, 2), 3),
    "aten.pixel_shuffle": lambda x: F.pixel_shuffle(x.reshape(1, 4, 2, 3), 2),
    "aten.pixel_unshuffle": lambda x: F.pixel_unshuffle(x.reshape(1, 1, 4, 6), 2),
    "aten.slice": lambda x: x[:, 1:3],
    "aten.slice-stepped": lambda x: x[:, :, ::2],
    "aten.slice-negative": lambda x: x[:, -2:],
    "aten.select": lambda x: x[:, -1],
    "aten.narrow": lambda x: x.narrow(2, 1, 2),
    "aten.narrow-negative": lambda x: x.narrow(2, -3, 2),
    "aten.tril": torch.tril,
    "aten.triu": lambda x: torch.triu(x, 1),
    "aten.expand": lambda x: x[:, :1].expand(2, 5, 4),
    "aten.expand-new-axis": lambda x: x.expand(3, 2, 3, 4),
    "aten.expand_as": lambda x: x[:, :1].expand_as(x),
    "aten.broadcast_to": lambda x: torch.broadcast_to(x, (2, 2, 3, 4)),
    "aten.repeat": lambda x: x.repeat(2, 1, 3),
    "aten.tile": lambda x: torch.tile(x, (2,)),
    "aten.repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "aten.repeat_interleave-flat": lambda x: x.repeat_interleave(3),
    "aten.repeat_interleave-counts": lambda x: x.repeat_interleave(torch.tensor([1, 3, 0]), 1, output_size=4),
    "aten.pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "aten.pad-value": lambda x: F.pad(x, (1, 1), value=2.5),
    "aten.pad-cropped": lambda x: F.pad(x, (-1, 2)),
    "aten.pad-replicate": lambda x: F.pad(x, (2, 1), mode="replicate"),
    "aten.pad-replicate-2d": lambda x: F.pad(x[None], (2, 1, 0, 1), mode="replicate"),
    "aten.pad-reflect": lambda x: F.pad(x, (2, 3), mode="reflect"),
    "aten.pad-circular": lambda x: F.pad(x, (3, 2), mode="circular"),
    "aten.constant_pad_nd": lambda x: A.constant_pad_nd(x, [0, 1], 0.5),
    "aten.unfold": lambda x: x.unfold(2, 3, 1),
    "aten.unfold-strided": lambda x: x.unfold(2, 2, 2),
    "aten.unfold-middle": lambda x: x.unfold(1, 2, 1),
    "aten.im2col": lambda x: F.unfold(x[None], 2, padding=1),
    "aten.im2col-strided": lambda x: F.unfold(x[None], (3, 2), stride=2, dilation=(1, 2), padding=(1, 0)),
    "aten.col2im": lambda x: F.fold(x.reshape(1, 4, 6), (3, 4), 2),
    "aten.col2im-strided": lambda x: F.fold(x.reshape(1, 4, 6), (3, 7), 2, stride=(1, 2), padding=0, dilation=(1, 1)),
    "aten.select_scatter": lambda x: torch.select_scatter(x, torch.zeros(2, 4, dtype=x.dtype), 1, 0),
}
# pieces that overlap are averaged over positions
ROUNDED = {"aten.col2im": 1.3, "aten.col2im-strided": 1.3, "aten.im2col": 1.3, "aten.im2col-strided": 1.3}


def _moved() -> tuple[Case, ...]:
    result = []
    for key, function in MOVES.items():
        op, _, name = key.partition("-")
        result.append(Case(op=op, name=name, function=function, inputs=(X,), ranges={0: R}, factor=ROUNDED.get(key, 1.0)))
        # rows of known length: what is said of them afterwards must hold; entries are moved in the same way
        rows = lambda x, f=function: f(F.normalize(x, dim=-1))  # noqa: E731
        result.append(Case(op=op, name=f"{name}rows", function=rows, inputs=(X,), factor=None, tight={0: 0.0}))
    return tuple(result)


PART = normal(2, 2, 4, seed=2)
JOINED = (
    Case(op="aten.cat", function=lambda x, y: torch.cat([x, y], 1), inputs=(X, PART), ranges={0: R, 1: Interval(5.0, 6.0)}),
    Case(op="aten.cat", name="twice", function=lambda x: torch.cat([x, x], -1), inputs=(X,)),
    Case(
        op="aten.cat",
        name="rows",
        function=lambda x, y: torch.cat([F.normalize(x, dim=-1), F.normalize(y, dim=-1)], -1),
        inputs=(X, Y),
        factor=2.0,
    ),
    Case(
        op="aten.cat",
        name="rows-beside",
        function=lambda x, y: torch.cat([F.normalize(x, dim=-1), F.normalize(y, dim=-1)], 1),
        inputs=(X, PART),
        factor=2.0,
    ),
    Case(op="aten.concat", function=lambda x, y: torch.concat([x, y], 1), inputs=(X, PART)),
    Case(op="aten.concatenate", function=lambda x, y: torch.concatenate([x, y], 1), inputs=(X, PART)),
    Case(op="aten.stack", function=lambda x, y: torch.stack([x, y], 1), inputs=(X, Y)),
    Case(
        op="aten.broadcast_tensors",
        function=lambda x, y: torch.broadcast_tensors(x, y)[0],  # type: ignore[no-untyped-call]  # torch's own signature
        inputs=(normal(3, 1), normal(4)),
    ),
    Case(op="aten.slice_scatter", function=lambda x, y: torch.slice_scatter(x, y, 1, 1, 3), inputs=(X, PART), ranges={0: R}),
    Case(op="aten.slice_scatter", name="stepped", function=lambda x, y: torch.slice_scatter(x, y, 1, 0, 3, 2), inputs=(X, PART)),
    Case(op="aten.select_scatter", name="live", function=lambda x, y: torch.select_scatter(x, y, 1, -1), inputs=(X, normal(2, 4, seed=3))),
    # torch has a derivative for copy_, which this node stands for, and none for its functional form
    Case(op="aten.copy", function=A.copy, inputs=(X, normal(3, 1, seed=3)), ranges={1: R}, tight={1: 0.0}, factor=None),
    Case(op="aten.expand_as", name="live", function=lambda x, y: x[:, :1].expand_as(y), inputs=(X, Y)),
    Case(op="aten.type_as", name="live", function=lambda x, y: x.type_as(y), inputs=(X, Y)),
    Case(op="aten.detach", function=lambda x: x.detach(), inputs=(X,), ranges={0: R}, factor=None),
)
I = torch.tensor([0, 2, 2, 1, 2])
MASK = normal(3, 4, seed=4) > 0
CUBE = normal(3, 3, 3, seed=6)
PICKED = (
    Case(op="aten.index_select", function=lambda x: x.index_select(1, I), inputs=(X,), ranges={0: R}),
    Case(op="aten.index_select", name="live", function=lambda x, i: x.index_select(1, i), inputs=(X, I), ranges={0: R}),
    Case(op="aten.index", function=lambda x: x[:, I], inputs=(X,), ranges={0: R}),
    Case(op="aten.index", name="sorted", function=lambda x: x[x.sum(1).argsort()], inputs=(SQUARE,), ranges={0: R}),
    Case(op="aten.index", name="sorted-pairs", function=lambda x: x[:, x[0, 0].argsort(), x[1, 1].argsort()], inputs=(CUBE,), factor=2.0),
    Case(op="aten.index", name="live", function=lambda x, i: x[i], inputs=(SQUARE, I), ranges={0: R}),
    Case(op="aten.index", name="pairs", function=lambda x: x[:, I, torch.tensor([0, 1, 1, -1, 1])], inputs=(X,)),
    Case(op="aten.index", name="apart", function=lambda x: x[torch.tensor([0, 1]), :, torch.tensor([1, 1])], inputs=(X,), factor=None),
    Case(op="aten.index", name="grid", function=lambda x: x[torch.tensor([[0], [1]]), torch.tensor([[0, 2, 2]])], inputs=(X,)),
    Case(
        op="aten.gather",
        function=lambda x: x.gather(1, torch.tensor([[[0, 1, 2, 0], [1, 1, 2, 0]]]).expand(2, 2, 4)),
        inputs=(X,),
        ranges={0: R},
    ),
    Case(
        op="aten.gather", name="copies", function=lambda x: x.gather(1, torch.zeros(2, 5, 4, dtype=torch.int64)), inputs=(X,), factor=None
    ),
    Case(
        op="aten.gather",
        name="live",
        function=lambda x, i: x.gather(1, i),
        inputs=(X, torch.zeros(2, 3, 4, dtype=torch.int64)),
        factor=None,
    ),
    Case(
        op="aten.gather", name="smaller", function=lambda x: x.gather(1, torch.zeros(1, 3, 2, dtype=torch.int64)), inputs=(X,), factor=None
    ),
    Case(op="aten.take_along_dim", function=lambda x: torch.take_along_dim(x, x.argsort(1), 1), inputs=(X,), ranges={0: R}),
)
CASES = (*_moved(), *JOINED, *PICKED)
