"""NA608."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Remark, Remedy, check


@check("NA608", severity="info", needs={"training"})
def clip_by_value(audit: Audit) -> Iterator[Remark]:
    """The gradient is clipped entry by entry.

    Why:
        Clipping entries changes the gradient's direction: towards the sign of it, the more the lower the threshold. Clipping by
        norm keeps the direction.

    How it is found:
        A threshold for entries is given. (The clipping of weights, as in WGAN, is another matter.)

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def training_setup():
            return {"optimizer": "sgd", "clip-value": 0.1}
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def training_setup():
            return {"optimizer": "sgd", "clip": 1.0}
        ```

    References:
        Pascanu et al. 2013, section 3.2.
    """
    if audit.training.clip_value is not None:
        yield Remark(
            message=f"entries of the gradient are clipped to {audit.training.clip_value:g}: that turns it towards its sign",
            reason="clipping by norm keeps the direction",
            help=(Remedy("use clip_grad_norm_"),),
        )
