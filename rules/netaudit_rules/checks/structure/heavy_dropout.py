"""NA426."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from netaudit import Audit, Claim, Node, Remark, check
from netaudit_rules.checks.common import common_module, home
from netaudit_rules.checks.losses import dependent, downstream

NOTICED, HEAVY, CERTAIN = 0.7, 0.75, 0.9
"""Probabilities of dropping that are worth a note, that are too much when they follow each other, and that are too much alone."""


@check("NA426", severity="warning")
def heavy_dropout(audit: Audit) -> Iterator[Remark]:
    """Dropout drops so much that its probability looks like that of keeping.

    Why:
        ``nn.Dropout(p)`` drops with probability p. Older frameworks, and papers, give the probability of keeping: 0.9 then leaves
        a tenth of the signal, scaled up by 10, with nine times its own variance in noise. Where several follow each other the
        shares multiply. ``p = 1`` drops everything: no gradient passes.

    How it is found:
        The probability at every dropout that is active in training. An error at 1, a warning from 0.9, or from 0.75 where one
        such dropout feeds another; a note from 0.7: single heavy dropout in front of a classifier is published practice.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.9), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Srivastava et al. 2014 (p is the probability of keeping there); PyTorch documentation of Dropout.
    """
    live = dependent(audit.graph) | frozenset(audit.graph.inputs)
    found = [(node, p) for node in audit.graph.nodes if (p := _dropped(node)) >= NOTICED and not live.isdisjoint(node.inputs)]
    if found:
        yield _remark(audit, found)


def _dropped(node: Node) -> float:
    """The probability of dropping of a call that drops in this mode; 0 for any other."""
    given = node.args.get("dropout_p", node.args.get("p") if "dropout" in node.op else None)
    return float(given) if node.is_random and isinstance(given, (int, float)) else 0.0


def _remark(audit: Audit, found: Sequence[tuple[Node, float]]) -> Remark:
    first, most = max(found, key=lambda item: item[1])
    heavy = [node for node, p in found if p >= HEAVY]
    in_series = any(other is not node and other.name in downstream(audit.graph, (node.name,)) for node in heavy for other in heavy)
    kept = 1.0 - most
    left = f"{kept:.0%} of the signal is left, scaled up by {1 / kept:.3g}" if kept > 0.0 else "nothing is left, and no gradient passes"
    return Remark(
        message=f"dropout with p = {most:g} at {len(found)} {'place' if len(found) == 1 else 'places'}: p is the probability of dropping",
        module=common_module(home(audit.facts, node.name) for node, _ in found) or home(audit.facts, first.name),
        where=first.where,
        severity="error" if most >= 1.0 else "warning" if most >= CERTAIN or in_series else "info",
        reason=f"{left}; if {most:g} was meant as the probability of keeping, give {kept:.3g}",
        siblings=tuple(node.where.module or node.name for node, _ in found if node is not first),
        claim=Claim("value", (first.name,), -inf, "below", certain=True, aside=True) if most >= 1.0 else None,
    )
