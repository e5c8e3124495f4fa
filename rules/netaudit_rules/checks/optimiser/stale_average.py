"""NA620."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

from netaudit import Audit, Remark, Remedy, check

REST = 0.1
"""The share of a running mean that may stem from the initial weights in the end."""


@check("NA620", severity="info", needs={"training"})
def stale_average(audit: Audit) -> Iterator[Remark]:
    """The running mean of the weights still remembers how they were initialised when the training ends.

    Why:
        With decay d the initial weights have the share ``d^T`` in the mean after T updates: 37 % with 0.9999 after 10 000. They
        are random, and spoil what the mean is taken for.

    How it is found:
        By the two numbers: ``ema^steps`` is above a tenth. A mean whose decay is warmed up does not have this fault, hence a note.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(16, 4)

        def example_inputs():
            return torch.randn(8, 16)

        def training_setup():
            return {"ema": 0.9999, "steps": 2000}
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(16, 4)

        def example_inputs():
            return torch.randn(8, 16)

        def training_setup():
            return {"ema": 0.999, "steps": 20_000}
        ```

    References:
        Kingma & Ba 2015, section 3 (the same bias in the moments, and its correction).
    """
    decay, steps = audit.training.ema, audit.training.steps
    if not decay or steps is None:
        return
    rest = decay**steps
    if rest > REST:
        needed = round(log(REST) / log(decay))
        yield Remark(
            message=f"after {steps} updates {rest:.0%} of the running mean (decay {decay:g}) are still the initial weights",
            reason="the initial weights have the share decay^steps",
            help=(Remedy(f"warm the decay up, or use {REST ** (1 / steps):.4g}: {decay:g} needs {needed} updates"),),
        )
