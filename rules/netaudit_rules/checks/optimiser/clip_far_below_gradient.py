"""NA606."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from netaudit import Audit, Claim, Evidence, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import DOUBT, held, logarithm, whole_norm

FAR = 100.0
"""The forecast norm over the threshold from which clipping is no safeguard any more but the rule."""


@check("NA606", severity="info", needs={"training", "loss"})
def clip_far_below_gradient(audit: Audit) -> Iterator[Remark]:
    """The gradient is clipped to a small part of itself.

    Why:
        Clipping is to catch the rare gradient that is too large. A threshold far below the ordinary norm clips every step: SGD
        becomes normalised SGD with steps of ``lr * threshold``, and the learning rate means something else. Adam does not care
        about the gradient's scale, unless eps comes in.

    How it is found:
        The forecast norm of the whole gradient is more than 100 times the threshold (200 times: a forecast is good to a factor
        of two), and an optimiser's step is proportional to the gradient.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 4)

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.1)

        def training_setup():
            return {"clip": 1e-4}
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 4)

        def optimizer(model):
            return torch.optim.SGD(model.parameters(), lr=0.1)

        def training_setup():
            return {"clip": 1.0}
        ```

    References:
        Pascanu et al. 2013, section 3.2; Zhang et al. 2020 (gradient clipping), section 4.
    """
    threshold, norm = audit.training.clip, whole_norm(audit)
    if threshold is None or norm is None or norm <= FAR * DOUBT * threshold:
        return
    if any(one.kind.step == "gradient" for one in held(audit)):
        yield Remark(
            message=f"the gradient's norm is forecast at {norm:.2g}, {norm / threshold:.2g} times the {threshold:g} that it is clipped to",
            reason=f"every step is clipped: its length is lr times {threshold:g}, whatever the gradient's size",
            evidence=Evidence("norm / threshold", logarithm(FAR), None, logarithm(norm / threshold), None, "at initialisation"),
            help=(Remedy("clip at a norm that most steps stay below"),),
            claim=Claim("whole gradient", audit.graph.heads[:1], log10(FAR), "above", shift=-log10(threshold)),
        )
