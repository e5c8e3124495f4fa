"""NA304."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Evidence, Remark, check
from netaudit_rules.checks.chains import Link, activations, chains, gradient_growth, home_of, longest
from netaudit_rules.checks.claiming import ends, gradient_grows
from netaudit_rules.checks.common import owner_site, scientific

FEWEST = 8
NOTICED, HARMFUL, CERTAIN = 1.5, 3.0, 5.0
"""log10 of the growth of the gradient over the run: a note, a warning, an error."""


@check("NA304", severity="warning", needs={"graph", "weights"}, yields_to=("NA301",))
def norm_activation_stack(audit: Audit) -> Iterator[Remark]:
    """Many layers with normalisation and activation follow each other without a shortcut: gradients grow in each.

    Why:
        A normalisation divides by the deviation of what it gets, and taking off the mean of a rectified signal has reduced it:
        backward, each layer multiplies the gradient by ``sqrt(E f'^2 / Var f)``, 1.21 for ReLU with BatchNorm on either side or
        LayerNorm behind it, 1.15 for GELU, whatever the weights' scale. 36 ReLU layers make a factor of 1000; the first layers
        then get updates of another size than the last.

    How it is found:
        Runs of layers with both between, and no shortcut around; the forecast of the gradient's norm in front of the run over
        that behind it decides: a note from 30, a warning from 1000, an error from 100000. Convolutions on correlated maps grow
        less; RMSNorm, and LayerNorm in front of a ReLU, do not grow at all.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(45) for m in (nn.Linear(32, 32), nn.ReLU(), nn.LayerNorm(32))]
            return nn.Sequential(*layers, nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(16, 32)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(10) for m in (nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU())]
            return nn.Sequential(*layers, nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(16, 32)
        ```

    References:
        Yang et al. 2019, "A mean field theory of batch normalization", section 3.
    """
    for run in chains(audit):
        found = longest(run, [link.is_normalised and bool(activations(audit, link)) for link in run])
        grown = gradient_growth(audit, found) if len(found) >= FEWEST else None
        if grown is not None and grown > NOTICED:
            yield _remark(audit, found, grown)


def _remark(audit: Audit, run: Sequence[Link], grown: float) -> Remark:
    layers = [run[0].before, *(link.after for link in run)]
    module = home_of(layers)
    return Remark(
        message=f"{len(run)} normalised layers without a shortcut: the gradient is forecast to grow {scientific(grown)} times",
        module=module,
        where=owner_site(audit, module, layers[0].info.where),
        severity="error" if grown > CERTAIN else "warning" if grown > HARMFUL else "info",
        reason=f"each multiplies it by {10 ** (grown / len(run)):.3g}, whatever the scale of its weights; shortcuts avoid it",
        evidence=Evidence(
            "gradient in front of the stack over behind", HARMFUL, None, grown, None, "mean-field over random inputs and weights"
        ),
        siblings=tuple(use.param for use in layers[1:]),
        claim=gradient_grows(audit, *ends(run), HARMFUL if grown > HARMFUL else NOTICED, "above"),
    )
