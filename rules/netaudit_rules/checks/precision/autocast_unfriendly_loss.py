"""NA508."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from netaudit import Arg, Audit, Evidence, Node, Ref, Remark, check
from netaudit_rules.checks.claiming import breaks

CTC = frozenset({"aten.ctc_loss", "aten._ctc_loss"})


@check("NA508", severity="error", needs={"graph", "loss"})
def autocast_unfriendly_loss(audit: Audit) -> Iterator[Remark]:
    """A loss is used where torch refuses it, or where it is infinite.

    Why:
        binary_cross_entropy raises under CUDA autocast: probabilities in 16 bits have no logarithm near 0 and 1. The CTC loss
        of a target that is longer than its input has no alignment: it is inf, its gradient NaN, unless ``zero_infinity``.

    How it is found:
        binary_cross_entropy inside an autocast region, and ctc_loss without ``zero_infinity`` whose lengths on the example
        input leave a sample without an alignment: fewer steps than labels plus repeated neighbours, between which a blank has
        to stand.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 6), nn.LogSoftmax(-1))

        def example_inputs():
            return torch.randn(5, 2, 16)

        def loss(model, inputs):
            targets = torch.tensor([[1, 2, 3, 4], [1, 1, 2, 2]])
            steps, labels = torch.tensor([5, 5]), torch.tensor([4, 4])
            return nn.functional.ctc_loss(model(inputs), targets, steps, labels)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 6), nn.LogSoftmax(-1))

        def example_inputs():
            return torch.randn(5, 2, 16)

        def loss(model, inputs):
            targets = torch.tensor([[1, 2, 3, 4], [1, 1, 2, 2]])
            steps, labels = torch.tensor([5, 5]), torch.tensor([4, 3])
            return nn.functional.ctc_loss(model(inputs), targets, steps, labels)
        ```

    References:
        PyTorch documentation of automatic mixed precision ("prefer binary_cross_entropy_with_logits"); Graves et al. 2006,
        section 3.1.
    """
    for node in audit.graph.nodes:
        if node.op == "aten.binary_cross_entropy":
            half = next((r.partition(":")[2] for r in sorted(node.regions) if r.startswith("autocast:")), None)
            if half is not None:
                yield _refused(node, half)
        elif node.op in CTC and node.args.get("zero_infinity") is not True:
            short = _without_alignment(audit, node)
            if short:
                yield _infinite(node, short)


def _refused(node: Node, half: str) -> Remark:
    return Remark(
        message=f"binary_cross_entropy inside autocast({half}): torch raises on CUDA",
        module=node.where.module,
        where=node.where,
        reason="use binary_cross_entropy_with_logits, or leave autocast for the loss; on the CPU it is computed in single precision",
        evidence=Evidence("loss", None, None, None, None, "PyTorch's list of refused ops"),
        key="autocast",
    )


def _infinite(node: Node, short: Sequence[tuple[int, int]]) -> Remark:
    steps, needed = short[0]
    return Remark(
        message=f"ctc_loss has no alignment for {len(short)} samples of the example: {steps} steps for labels that need {needed}",
        module=node.where.module,
        where=node.where,
        reason="the loss is inf and its gradient NaN; zero_infinity=True leaves such samples out",
        evidence=Evidence("loss", None, None, None, None, "lengths of the example input"),
        key="ctc",
        claim=breaks(node.name, certain=True),
    )


def _without_alignment(audit: Audit, node: Node) -> tuple[tuple[int, int], ...]:
    """(steps, steps needed) of the samples that have too few; empty when the lengths are not known."""
    known = [_known(audit, node.args.get(name)) for name in ("input_lengths", "target_lengths", "targets")]
    steps, lengths, targets = known
    if steps is None or lengths is None:
        return ()
    rows = _rows(targets, lengths)
    needed = [n + _repeats(row) for n, row in zip(lengths, rows, strict=False)]
    return tuple((int(t), int(n)) for t, n in zip(steps, needed, strict=False) if t < n)


def _known(audit: Audit, argument: Arg) -> Any:
    """The value of an argument as nested lists; None when it is not known."""
    if isinstance(argument, Ref):
        value = audit.facts.signals[argument.name].value
        return None if value is None else value.tolist()
    return list(argument) if isinstance(argument, tuple) else None


def _rows(targets: Any, lengths: Sequence[int]) -> list[list[int]]:
    """The labels of each sample: rows of a matrix, or pieces of one list."""
    if targets is None:
        return [[] for _ in lengths]
    if targets and isinstance(targets[0], list):
        return [row[:n] for row, n in zip(targets, lengths, strict=False)]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [targets[start : start + n] for start, n in zip(starts, lengths, strict=True)]


def _repeats(row: Sequence[int]) -> int:
    return sum(a == b for a, b in pairwise(row))
