"""NA203."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Evidence, Remark, check
from netaudit_rules.checks.chains import Link, activations, chains, gradient_growth, home_of, longest
from netaudit_rules.checks.claiming import ends, gradient_grows
from netaudit_rules.checks.common import owner_site, scientific
from netaudit_rules.checks.losses import label

SLOPES = {"aten.sigmoid": 0.25, "aten.hardsigmoid": 1.0 / 6.0, "aten.tanh": 1.0, "aten.hardtanh": 1.0, "aten.softsign": 1.0}
FEWEST = 3
SHRUNK = -1.0
"""log10 of what is left of the gradient: a tanh stack at its critical initialisation loses less."""


@check("NA203", severity="info", needs={"graph", "weights"}, yields_to=("NA201",))
def saturating_stack(audit: Audit) -> Iterator[Remark]:
    """Sigmoid or tanh layers follow each other without normalisation, and the gradient shrinks in each.

    Why:
        The slope of a sigmoid is at most 1/4, so k of them in series pass at most ``4^-k`` of the gradient times the norms of
        the weights; tanh loses as much as soon as it leaves its linear part or its weights have a gain below one.

    How it is found:
        Runs of layers with a saturating function between, no normalisation and no shortcut; gates that multiply another value
        are not in series. A note when less than a tenth of the gradient is forecast to pass the run; whether too little is left
        to learn is NA201.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(5) for m in (nn.Linear(32, 32), nn.Sigmoid())]
            return nn.Sequential(*layers, nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(5) for m in (nn.Linear(32, 32), nn.ReLU())]
            return nn.Sequential(*layers, nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    References:
        Glorot & Bengio 2010, section 4; Hochreiter 1991.
    """
    for run in chains(audit):
        found = longest(run, [not link.is_normalised and _slope(audit, link) is not None for link in run])
        left = gradient_growth(audit, found) if len(found) >= FEWEST else None
        if left is not None and left < SHRUNK:
            yield _remark(audit, found, left)


def _slope(audit: Audit, link: Link) -> float | None:
    """The largest slope of the saturating function between two layers; None when there is none."""
    return next((SLOPES[node.op] for node in activations(audit, link) if node.op in SLOPES), None)


def _remark(audit: Audit, run: Sequence[Link], left: float) -> Remark:
    layers = [run[0].before, *(link.after for link in run)]
    module = home_of(layers)
    names = sorted({label(node) for link in run for node in activations(audit, link) if node.op in SLOPES})
    steepest = max(_slope(audit, link) or 0.0 for link in run)
    return Remark(
        message=f"{len(run)} {' and '.join(names)} layers in series pass {scientific(left)} of the gradient (forecast)",
        module=module,
        where=owner_site(audit, module, layers[0].info.where),
        reason=f"slopes are at most {steepest:.3g} each and multiply; ReLU or GELU, a normalisation or a shortcut keep the gradient",
        evidence=Evidence(
            "gradient in front of the stack over behind", None, None, left, None, "mean-field over random inputs and weights"
        ),
        siblings=tuple(use.param for use in layers[1:]),
        claim=gradient_grows(audit, *ends(run), SHRUNK, "below"),
    )
