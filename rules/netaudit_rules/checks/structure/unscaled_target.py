"""NA437."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10, sqrt

from netaudit import FORECAST_ERROR, Audit, Claim, Evidence, Remark, check
from netaudit_rules.checks.common import home
from netaudit_rules.checks.limits import worst_excess
from netaudit_rules.checks.losses import Comparison, comparisons, example, source

NOTICED, HARMFUL = 1.5, 3.0
"""log10 of the targets' RMS over the output's (or over 1 if that is larger): a note from 30, a warning from 1000."""
EXPLAINED = 1.0


@check("NA437", severity="info", needs={"graph", "loss", "inputs"}, yields_to=("NA301",))
def unscaled_target(audit: Audit) -> Iterator[Remark]:
    """The targets of a regression are far larger than what the model puts out.

    Why:
        The gradient of a squared error is proportional to the residual: with targets of 10^4 the first step of SGD is 10^4 times
        too large and diverges, and Adam, whose steps have a fixed size, needs as many steps as the head has to grow.
        Standardise the targets, and undo it at inference.

    How it is found:
        The RMS of the targets of the example against the forecast RMS of the prediction, where targets do not depend on the
        model. A note from 30 times, a warning from 1000 times, or when a parameter's forecast sensitivity exceeds its limit and
        would not with the targets divided by their RMS.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.mse_loss(model(inputs), 5e4 + 2e4 * inputs[:, :1])
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.mse_loss(model(inputs), inputs[:, :1])
        ```

    References:
        Zhang et al. 2021 (AutoTrainer), section 3; LeCun et al. 1998, "Efficient backprop", section 4.5.
    """
    for comparison in comparisons(audit):
        if comparison.by_hand and not comparison.node.op.endswith("sub"):
            continue
        target, moments = example(audit.facts, comparison.target), audit.facts.signals[comparison.prediction].moments
        if target is None or target.size < 2 or target.dtype.kind != "f" or moments is None:
            continue
        size = sqrt(float((target.astype(float) ** 2).mean()))
        ratio = log10(size / max(1.0, sqrt(moments.mean_square))) if size > 0.0 else 0.0
        if ratio > NOTICED:
            yield _remark(audit, comparison, size, sqrt(moments.mean_square), ratio)


def _remark(audit: Audit, comparison: Comparison, size: float, output: float, ratio: float) -> Remark:
    worst, excess = worst_excess(audit) or ("", 0.0)
    is_cause = FORECAST_ERROR < excess <= ratio + EXPLAINED
    harm = f"; S of `{worst}` is {10**excess:.3g} times its limit" if is_cause else ""
    made = source(audit.facts, comparison.prediction)
    return Remark(
        message=f"targets have an RMS of {size:.3g}, the output is forecast at {output:.3g}",
        module=home(audit.facts, made.name),
        where=comparison.node.where if comparison.node.where.called is not None else made.where,
        severity="warning" if ratio > HARMFUL or is_cause else "info",
        reason=f"the head has to grow {10**ratio:.3g} times, and a squared error's gradient is as many times too large{harm}",
        evidence=Evidence("targets over output", NOTICED, None, ratio, None, "targets of the example, output by mean-field"),
        key=comparison.node.op,
        claim=Claim(
            "value",
            (comparison.target,),
            HARMFUL if ratio > HARMFUL else NOTICED,
            "above",
            over=(comparison.prediction,) if output > 1.0 else (),
        ),
    )
