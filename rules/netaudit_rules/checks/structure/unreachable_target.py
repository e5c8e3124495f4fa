"""NA434."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from netaudit import Audit, Evidence, Remark, check
from netaudit_rules.checks.claiming import is_within
from netaudit_rules.checks.common import home
from netaudit_rules.checks.losses import Comparison, comparisons, example, label, reach, source

NOTICED = 0.02
"""The share of the targets' variance that cannot be reached, above which it is worth a note."""
HARMFUL = 0.2
"""Share above which it is a warning: 15 % is what a tanh head misses of N(0, 1) targets, 50 % a ReLU head, 58 % a sigmoid."""
CERTAIN = 0.45


@check("NA434", severity="warning", needs={"graph", "loss", "inputs"})
def unreachable_target(audit: Audit) -> Iterator[Remark]:
    """The targets of a regression lie outside the range that the model's output can have.

    Why:
        A head that ends in a sigmoid, tanh or ReLU cannot give what lies beyond: raw pixels of 0..255 against a sigmoid,
        standardised (negative) targets against a ReLU. The output is pushed into saturation, where the gradient vanishes,
        and the loss keeps a floor.

    How it is found:
        The last function of the model gives the range, for all inputs and all weights. On the targets of the example the
        floor of the squared error is computed, the mean of ``dist(y, range)^2``, and set against the variance of the targets:
        a note above 2 %, a warning above 20 %, an error above 45 %. Nothing is said where the range is not known or the
        targets depend on the model.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), nn.ReLU())

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, inputs):
            return nn.functional.mse_loss(model(inputs), inputs.mean(1, keepdim=True))
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, inputs):
            return nn.functional.mse_loss(model(inputs), inputs.mean(1, keepdim=True))
        ```

    References:
        Humbatova et al. 2020, "Taxonomy of real faults in deep learning systems" (wrong output activation, missing scaling).
    """
    for comparison in comparisons(audit):
        if comparison.by_hand and not comparison.node.op.endswith("sub"):
            continue
        values = reach(audit.facts, comparison.prediction)
        target = example(audit.facts, comparison.target)
        if target is None or target.size < 2 or not any(map(isfinite, values)):
            continue
        share = _missed_share(target, values)
        if share is not None and share > NOTICED:
            yield _remark(audit, comparison, values, target, share)


def _missed_share(target: Any, values: tuple[float, float]) -> float | None:
    """The floor of the squared error over the variance of the targets; None for targets that are all alike."""
    wide = target.astype(float)
    variance, missed = float(wide.var()), float(((wide - wide.clip(*values)) ** 2).mean())
    return missed / variance if variance > 0.0 and isfinite(missed) else None


def _remark(audit: Audit, comparison: Comparison, values: tuple[float, float], target: Any, share: float) -> Remark:
    made = source(audit.facts, comparison.prediction)
    span, ends = (f"[{low:.3g}, {high:.3g}]" for low, high in ((float(target.min()), float(target.max())), values))
    return Remark(
        message=f"targets in {span} lie outside the output's range {ends}, which {label(made)} sets",
        module=home(audit.facts, made.name),
        where=made.where,
        severity="error" if share > CERTAIN else "warning" if share > HARMFUL else "info",
        reason=f"{share:.0%} of the targets' variance cannot be reached, whatever the model learns",
        evidence=Evidence("", None, None, None, None, "range for all inputs and weights; targets of the example"),
        key=label(made),
        claim=is_within(*values, comparison.prediction),
    )
