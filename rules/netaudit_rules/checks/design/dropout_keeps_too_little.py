"""NA418."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from netaudit import Audit, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.common import trained
from netaudit_rules.checks.forms import aten
from netaudit_rules.checks.places import Place, folded
from netaudit_rules.checks.ranges import learning

DROPOUT = aten("dropout feature_dropout native_dropout alpha_dropout feature_alpha_dropout")
NOTED = 4.0
"""Noise over signal from which it is info: p = 0.8, as temporal segment networks use it (Wang et al. 2016, section 3.2)."""
DROWNED = 6.0
"""Noise over signal from which it is a warning: p above 0.857, of which 0.9 and 0.95 are usual probabilities of keeping."""


@check("NA418", severity="info", needs={"graph"})
def dropout_keeps_too_little(audit: Audit) -> Iterator[Remark]:
    """Dropout drops nearly everything, as if its probability were that of keeping.

    Why:
        ``p`` is the probability of dropping. With p = 0.9 a tenth of the entries is left, scaled by ten: the variance that
        dropout adds is p / (1 - p) = 9 times the signal's second moment. In other frameworks the argument was the probability
        of keeping, where 0.9 is mild.

    How it is found:
        Dropout in training mode, on a path from a trained parameter or in front of one, whose noise p / (1 - p) is at least 4
        times the signal (p >= 0.8). A warning from 6 times on, or when several such stand in series.

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
        Srivastava et al. 2014, section 10 (p is the probability of retaining a unit there); PyTorch documentation of Dropout (p
        is the probability of zeroing).
    """
    found = [(node, noise) for node, noise in _noisy(audit) if noise >= NOTED * (1 - 1e-9)]
    several = len(found) > 1
    places = (Place(node, _severity(noise, several), "noise", noise) for node, noise in found)
    for place, siblings in folded(places):
        yield _remark(place.node, place.severity, place.found, siblings)


def _noisy(audit: Audit) -> Iterator[tuple[Node, float]]:
    """Dropout that the training passes, with its noise over signal: of activations, not of the weights that a mask hides."""
    through = learning(audit)
    reached = audit.flow.reached
    params = {info.node for _, info in trained(audit)}
    for node in audit.graph.nodes:
        p = node.args.get("p")
        if node.op not in DROPOUT or node.args.get("train") is False or not isinstance(p, (int, float)) or not 0 < p < 1:
            continue
        if (node.name in through or node.name in reached) and node.inputs[0] not in params:
            yield node, p / (1.0 - p)


def _severity(noise: float, several: bool) -> Severity:
    return "warning" if noise >= DROWNED or several else "info"


def _remark(node: Node, severity: Severity, noise: float, siblings: tuple[str, ...]) -> Remark:
    p = noise / (1.0 + noise)
    return Remark(
        message=f"dropout with p = {p:g} keeps {1 - p:.0%} of the entries: its noise is {noise:.3g} times the signal",
        module=node.where.module,
        where=node.where,
        severity=severity,
        reason=f"p is the probability of dropping; if {p:g} was meant as the probability of keeping, it is p = {1 - p:.2g}",
        evidence=Evidence("noise over signal", log10(NOTED), log10(noise), None, None, "the op's definition"),
        siblings=siblings,
    )
