"""NA506."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Claim, Evidence, ParamInfo, Remark, Remedy, check
from netaudit_rules.checks.common import is_matrix, trained
from netaudit_rules.checks.optimiser.common import together
from netaudit_rules.checks.optimiser.invariance import LINEAR

TINY = -7.22
"""log10 of 2^-24, the smallest number of fp16."""
DOUBT = 0.3
"""Decades that a forecast may be wrong by."""


@check("NA506", severity="warning", needs={"training"})
def unscaled_gradients(audit: Audit) -> Iterator[Remark]:
    """Gradients are too small for fp16, and the loss is not scaled.

    Why:
        fp16 has nothing between 6e-8 and 0. Gradients with respect to activations carry a factor of one over the batch and the
        classes, and are of that size in ordinary models; what underflows on the way is zero for everything before it.
        GradScaler multiplies the loss by a large number first, and takes it out again before the step.

    How it is found:
        The precision is fp16. Every gradient of an activation on the way to a weight is forecast; those whose RMS is below
        2^-24 (by more than a forecast may be wrong by) vanish. A warning when nothing scales the loss, a note when
        nobody says whether something does. A scaler with bf16, which has the range of fp32, is told as a note.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4))

        def example_inputs():
            return torch.randn(4096, 256)

        def loss(model, inputs):
            return 1e-3 * model(inputs).square().mean()

        def training_setup():
            return {"optimizer": "adamw", "precision": "mixed-fp16", "scaler": False}
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4))

        def example_inputs():
            return torch.randn(4096, 256)

        def loss(model, inputs):
            return 1e-3 * model(inputs).square().mean()

        def training_setup():
            return {"optimizer": "adamw", "precision": "mixed-fp16", "scaler": True}
        ```

    References:
        Micikevicius et al. 2018 (Mixed Precision Training), section 3.2; PyTorch documentation of torch.amp.GradScaler.
    """
    training = audit.training
    if training.precision in ("bf16", "mixed-bf16") and training.scaler is True:
        yield Remark(
            message="the loss is scaled although bf16 has the range of fp32: that is not needed",
            severity="info",
            reason="underflow is as rare as in fp32; clipping without unscale_ would cut the gradient by the scale",
            key="bf16",
        )
    if training.precision in ("fp16", "mixed-fp16") and training.scaler is not True:
        yield from _underflow(audit)


def _underflow(audit: Audit) -> Iterator[Remark]:
    """The weights whose gradient comes through an activation whose own gradient is zero in fp16."""
    if audit.flow.seed != "loss":
        return
    smallest = [(name, one) for name, info in trained(audit) if is_matrix(info.shape) and (one := _smallest(audit, info)) is not None]
    gone = [(name, found) for name, found in smallest if found[0] < TINY - DOUBT]
    if not gone:
        return
    worst, (size, at) = min(gone, key=lambda item: item[1])
    yield Remark(
        message=f"unless the loss is scaled {len(gone)} weights get no gradient in fp16: on the way to `{worst}` it is {10**size:.1e}",
        module=together(name for name, _ in gone),
        severity="warning" if audit.training.scaler is False else "info",
        reason="fp16 has no number between 6.0e-08 and 0" + ("" if audit.training.scaler is False else "; say --scaler if there is one"),
        evidence=Evidence("gradient RMS", TINY, None, size, None, "the smallest activation gradient on the way"),
        help=(Remedy("scaler.scale(loss).backward(); scaler.unscale_(opt); clip; scaler.step(opt); scaler.update(); or bf16"),),
        siblings=tuple(name for name, _ in gone if name != worst),
        key="fp16",
        claim=Claim("gradient", (at,), TINY, "below"),
    )


def _smallest(audit: Audit, info: ParamInfo) -> tuple[float, str] | None:
    """log10 of the smallest gradient on the way to a weight of those that autocast takes in fp16, and whose it is.

    Now, or once zero factors have moved if it is larger then.
    """
    found = []
    for flow in (audit.flow, audit.later):
        half = [n for n in flow.path(info.node)[1:] if flow.facts.nodes[n].op in LINEAR] if flow is not None else []
        sizes = [(f, name) for name in half if flow is not None and (f := flow.nodes[name].forecast) is not None and f > float("-inf")]
        found += [min(sizes)] if sizes else []
    return max(found, default=None)
