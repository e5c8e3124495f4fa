"""NA438."""

from __future__ import annotations

from collections.abc import Iterator
from math import log, log10, sqrt

from netaudit import FORECAST_ERROR, Audit, Claim, Evidence, Node, Remark, check
from netaudit_rules.checks.common import home
from netaudit_rules.checks.limits import worst_excess
from netaudit_rules.checks.losses import source
from netaudit_rules.checks.similarity import difference

NOTICED, HARMFUL = 4.0, 10.0
"""Deviation of the logits over the classes at initialisation; usual heads start below 3."""


@check("NA438", severity="warning", needs={"graph", "weights", "loss"})
def confident_start(audit: Audit) -> Iterator[Remark]:
    """The logits of a classifier start so large that it is confidently wrong.

    Why:
        A classifier that knows nothing should start at a loss of log C. With logits of deviation s over C classes it starts
        near ``s sqrt(2 log C)``: the softmax is one-hot at random, gradients have their full size on wrong classes, and the
        first epochs go into undoing that. Embeddings of unit variance that are tied to the head, heads on unnormalised
        streams, and large initialisations of the last layer cause it.

    How it is found:
        The deviation of the logits along the classes is forecast at every cross-entropy: a note from 4, a warning from 10.
        Where a gradient exceeds its limit as well, NA301 speaks, and this rule does not.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 4))
            nn.init.normal_(model[2].weight, std=3.0)
            return model

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, x):
            return nn.functional.cross_entropy(model(x), torch.arange(32) % 4)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, x):
            return nn.functional.cross_entropy(model(x), torch.arange(32) % 4)
        ```

    References:
        Karpathy 2019, "A recipe for training neural networks" (verify loss at init); Radford et al. 2019, section 2.3.
    """
    worst = worst_excess(audit)
    if worst is not None and worst[1] > FORECAST_ERROR:
        return
    for node in audit.graph.nodes:
        if node.op == "aten.cross_entropy_loss" and node.inputs and node.name in audit.flow.reached:
            yield from _remarks(audit, node)


def _remarks(audit: Audit, node: Node) -> Iterator[Remark]:
    logits = audit.facts.signals[node.inputs[0]]
    axis = 1 if len(logits.shape) > 1 else 0
    apart = difference(logits, axis)
    if logits.moments is None or apart is None or logits.shape[axis] < 2:
        return
    size, classes = sqrt(logits.moments.kernel.mean_square * apart), logits.shape[axis]
    if size > NOTICED:
        made = source(audit.facts, node.inputs[0])
        yield Remark(
            message=f"logits are forecast with a deviation of {size:.3g} over {classes} classes at initialisation",
            module=home(audit.facts, made.name),
            where=made.where,
            severity="warning" if size > HARMFUL else "info",
            reason=f"the loss starts near {size * sqrt(2 * log(classes)):.3g} instead of log {classes} = {log(classes):.3g}",
            evidence=Evidence("", None, None, None, None, "mean-field over random inputs and weights"),
            claim=Claim("deviation", node.inputs[:1], log10(HARMFUL if size > HARMFUL else NOTICED), "above", axis=axis, aside=True),
        )
