"""Writes by index and by mask."""

from __future__ import annotations

import torch

from netaudit import Interval
from netaudit.testing import Case, normal

A = torch.ops.aten
X, ROW, ROWS = normal(4, 3), normal(3, seed=1), normal(2, 3, seed=2)
R = Interval(-2.0, 3.0)
MASK = torch.tensor([True, False, True, False])
IDS = torch.tensor([0, 2])
TWICE = torch.tensor([1, 1])
MANY = torch.tensor([0, 2, 1, 2, 2, 0, 1])
PLACES = torch.tensor([[0, 1, 1], [2, 0, 3]])

CASES = (
    Case(op="aten.index_put", name="mask", function=lambda x, y: A.index_put(x, [MASK], y), inputs=(X, ROW), ranges={0: R, 1: R}),
    Case(op="aten.index_put", name="rows", function=lambda x, y: A.index_put(x, [IDS], y), inputs=(X, ROWS), ranges={0: R}, factor=None),
    Case(op="aten.index_put", name="one", function=lambda x, y: A.index_put(x, [IDS], y), inputs=(X, ROW), ranges={1: R}),
    Case(op="aten.index_put", name="adds", function=lambda x, y: A.index_put(x, [TWICE], y, True), inputs=(X, ROWS), factor=None),
    Case(op="aten.index_put", name="live-ids", function=lambda x, i, y: A.index_put(x, [i], y), inputs=(X, IDS, ROWS), factor=None),
    Case(op="aten.scatter", function=lambda x, y: A.scatter(x, 0, PLACES, y), inputs=(X, ROWS), ranges={0: R, 1: R}, factor=None),
    Case(op="aten.scatter", name="number", function=lambda x: A.scatter(x, 0, PLACES, 0.5), inputs=(X,), ranges={0: R}, factor=None),
    Case(op="aten.scatter_add", function=lambda x, y: A.scatter_add(x, 0, PLACES, y), inputs=(X, ROWS), factor=None),
    Case(op="aten.index_add", function=lambda x, y: A.index_add(x, 0, TWICE, y, alpha=-2.0), inputs=(X, ROWS), factor=1.1),
    Case(op="aten.index_add", name="many", function=lambda x, y: A.index_add(x, 1, MANY, y), inputs=(X, normal(4, 7, seed=3)), factor=1.2),
    Case(op="aten.index_copy", function=lambda x, y: A.index_copy(x, 0, IDS, y), inputs=(X, ROWS), ranges={0: R, 1: R}, factor=None),
    Case(op="aten.masked_scatter", function=lambda x, y: A.masked_scatter(x, MASK[:, None], y), inputs=(X, ROWS), factor=None),
)
