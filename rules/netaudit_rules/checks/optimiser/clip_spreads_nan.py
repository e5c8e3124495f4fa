"""NA607."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Remark, Remedy, check


@check("NA607", severity="info", needs={"training"})
def clip_spreads_nan(audit: Audit) -> Iterator[Remark]:
    """Clipping by norm spreads one overflow over the whole gradient.

    Why:
        ``clip_grad_norm_`` multiplies every gradient by ``threshold / norm``. One NaN makes the norm NaN, and with it all
        gradients; one infinity makes the factor 0, and the infinite entry ``inf * 0``. In fp16 gradients overflow now and then
        as a matter of course. GradScaler skips such steps (when clipping comes after ``unscale_``); without it one bad batch
        ends the training.

    How it is found:
        The gradient is clipped by norm, the precision is fp16, and nothing says that the loss is scaled with a scaler that
        skips bad steps.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def training_setup():
            return {"optimizer": "adamw", "clip": 1.0, "precision": "mixed-fp16"}
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
            return {"optimizer": "adamw", "clip": 1.0, "precision": "mixed-fp16", "scaler": True}
        ```

    References:
        PyTorch documentation of clip_grad_norm_ (error_if_nonfinite) and of torch.amp, "Gradient clipping".
    """
    training = audit.training
    if training.clip is not None and training.precision in ("fp16", "mixed-fp16") and training.scaler is not True:
        yield Remark(
            message="clip_grad_norm_ spreads one NaN or infinity, as fp16 makes now and then, to all gradients",
            reason="the norm is not finite then, and every gradient is multiplied by threshold / norm",
            help=(Remedy("use torch.amp.GradScaler and unscale_ before clipping, or clip_grad_norm_(error_if_nonfinite=True)"),),
        )
