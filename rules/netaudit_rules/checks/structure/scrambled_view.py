"""NA439."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from operator import mul

from netaudit import Audit, Node, Remark, check
from netaudit_rules.checks.axes import cutting_views
from netaudit_rules.checks.common import common_module, home
from netaudit_rules.checks.losses import WEIGHTED, downstream

VIEWS = frozenset(f"aten.{name}" for name in ("view", "reshape", "_unsafe_view", "unflatten", "flatten", "view_as", "reshape_as"))


@check("NA439", severity="warning")
def scrambled_view(audit: Audit) -> Iterator[Remark]:
    """A reshape is used where a transposition was meant: it mixes the entries of two axes.

    Why:
        ``x.view(batch, channels, time)`` of a tensor (batch, time, channels) does not transpose it: it cuts the same row of
        memory into other pieces, so that features of different time steps stand side by side. Splitting heads with
        ``view(batch, heads, time, d)`` without a transposition does the same. Nothing fails, and training goes on with
        scrambled data.

    How it is found:
        The axes of the old and the new shape are laid over each other. Flagged when the new sizes are the old ones in another
        order (and no splitting and merging of factors explains that, or a layer reads the result), when a new axis is made of a
        part of one axis and a part of the next, and when axis 0 of the inputs, followed to the view, is torn apart (the last
        states of a recurrence as (batch, -1)). Splitting an axis, merging whole ones and moving a whole factor to a neighbour
        (stacking frames, folding patches) are what views are for.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.head = nn.Conv1d(8, 16, 3), nn.Linear(16, 4)

            def forward(self, x):
                x = x.view(x.shape[0], 8, 12)
                return self.head(self.conv(x).mean(2))

        def build():
            return Model()

        def example_inputs():
            return torch.randn(4, 12, 8)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.head = nn.Conv1d(8, 16, 3), nn.Linear(16, 4)

            def forward(self, x):
                x = x.transpose(1, 2)
                return self.head(self.conv(x).mean(2))

        def build():
            return Model()

        def example_inputs():
            return torch.randn(4, 12, 8)
        ```

    References:
        PyTorch documentation of Tensor.view and Tensor.permute.
    """
    read = {node.operands[0] for node in audit.graph.nodes if node.op in WEIGHTED}
    live, torn = downstream(audit.graph, audit.graph.inputs), {node.name for node in cutting_views(audit.graph)}
    found = []
    for node in audit.graph.nodes:
        if node.op in VIEWS and node.inputs and node.inputs[0] in live and node.is_float and node.name in audit.flow.reached:
            old = audit.facts.nodes[node.inputs[0]].shape
            sizes = [n for n in old if n > 1], [n for n in node.shape if n > 1]
            if node.name in torn or _cuts_two_axes(*sizes) or (_is_permuted(*sizes) and (not _is_chain(*sizes) or node.name in read)):
                found.append((node, old))
    if found:
        yield _remark(audit, found)


def _is_permuted(old: Sequence[int], new: Sequence[int]) -> bool:
    return list(old) != list(new) and sorted(old) == sorted(new)


def _is_chain(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether every axis can be split so that the new ones are whole parts of the old ones: each bound divides the next."""
    bounds = sorted({*accumulate(old, mul), *accumulate(new, mul)})
    return all(b % a == 0 for a, b in pairwise(bounds))


def _cuts_two_axes(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether a new axis begins inside one old axis and ends inside another one."""
    bounds = {1, *accumulate(old, mul)}
    ends = list(accumulate(new, mul))
    for start, end in zip([1, *ends[:-1]], ends, strict=True):
        inside = [b for b in bounds if start < b < end]
        if inside and start not in bounds and end not in bounds:
            return True
    return False


def _remark(audit: Audit, found: Sequence[tuple[Node, tuple[int, ...]]]) -> Remark:
    first, old = found[0]
    return Remark(
        message=f"a view of {old} as {first.shape} mixes the entries of two axes",
        module=common_module(home(audit.facts, node.name) for node, _ in found) or home(audit.facts, first.name),
        where=first.where,
        reason="a view keeps the order of the entries in memory; to exchange axes, transpose or permute before it",
        siblings=tuple(node.where.module or node.name for node, _ in found[1:]),
    )
