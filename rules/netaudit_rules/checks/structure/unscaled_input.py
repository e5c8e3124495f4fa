"""NA436."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10, sqrt

from netaudit import FORECAST_ERROR, Audit, Claim, Evidence, Node, Remark, check
from netaudit_rules.checks.common import MOVES, home
from netaudit_rules.checks.limits import worst_excess
from netaudit_rules.checks.norms import DIRECTION, NORMS
from netaudit_rules.checks.weights import Use, uses

LARGE, SMALL = 10.0, 1e-2
"""RMS of an input beyond which the usual initialisations, made for inputs of unit variance, do not fit."""


@check("NA436", severity="info", needs={"graph", "inputs"}, yields_to=("NA301",))
def unscaled_input(audit: Audit) -> Iterator[Remark]:
    """An input whose scale is far from 1 reaches the first layer without normalisation.

    Why:
        Initialisations keep variance on the assumption of inputs of unit variance. Raw pixels of 0..255 or prices of 10^4 are
        handed through: activations, gradients of the first layer and logits are as many times too large. Small inputs make
        layers behind their biases.

    How it is found:
        The RMS of each float input of the example (not of guessed ones), where a layer reads it with no normalisation in
        between. A note below 0.01 or above 10. A warning when a parameter's forecast sensitivity exceeds its limit and would
        not with the input divided by its RMS: then the scale is the cause. Saturation is NA215.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return 255 * torch.rand(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return 255 * torch.rand(8, 16)
        ```

    References:
        LeCun et al. 1998, "Efficient backprop", section 4.3.
    """
    layers = uses(audit.graph)
    for name, sample in audit.facts.samples.items():
        size = sqrt(float((sample.astype(float) ** 2).mean())) if sample.size else 0.0
        read_by = [use for use in layers if _leads_to(audit, use.data, name)]
        if read_by and size > 0.0 and not SMALL <= size <= LARGE:
            yield _remark(audit, name, size, read_by[0])


def _leads_to(audit: Audit, data: str, name: str) -> bool:
    """Whether an operand is the input itself but for views, casts and normalisation-free pooling."""
    node: Node = audit.facts.nodes[data]
    while node.op in MOVES and node.op not in NORMS | DIRECTION and node.inputs:
        node = audit.facts.nodes[node.inputs[0]]
    return node.name == name


def _remark(audit: Audit, name: str, size: float, use: Use) -> Remark:
    worst, excess = worst_excess(audit) or ("", 0.0)
    is_cause = size > 1.0 and FORECAST_ERROR < excess <= log10(size) + FORECAST_ERROR
    harm = f"; S of `{worst}` is {10**excess:.3g} times its limit, and would not be with the input divided by that" if is_cause else ""
    return Remark(
        message=f"input `{name}` has an RMS of {size:.3g} and is not normalised before `{use.param}`",
        module=home(audit.facts, use.node.name),
        where=use.node.where,
        severity="warning" if is_cause else "info",
        reason=f"the initialisation assumes inputs of unit variance{harm}",
        evidence=Evidence("RMS of the input", None, None, None, log10(size), "the example input"),
        key=name,
        claim=Claim("value", (name,), log10(LARGE if size > LARGE else SMALL), "above" if size > LARGE else "below", certain=True),
    )
