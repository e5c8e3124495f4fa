"""NA602."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Remark, Remedy, check
from netaudit_rules.checks.common import is_matrix
from netaudit_rules.checks.optimiser.common import Held, held, place, together

PULL = 1.0
"""Nepers of decay over the training from which it matters: without a gradient, a gain is then below 37 % of what it was."""
LONG = 100_000
"""Updates that a training is taken to have where nobody says: AdamW's defaults decay by one neper in that time."""


@check("NA602", severity="info", needs={"training"}, yields_to=("NA612",))
def decayed_scales(audit: Audit) -> Iterator[Remark]:
    """Gains, biases or single numbers are decayed towards zero.

    Why:
        Weight decay keeps matrices small. A normalisation's gain, a temperature, the scale of a branch or PReLU's slope say how
        strong something is, and zero is no natural value for them: where their gradient is small, the decay decides. Torch's
        documentation of PReLU asks for none.

    How it is found:
        Parameters that vary along less than two axes, do not start at zero, and sit in a group with weight decay. Only where the
        decay adds up: ``lr * wd`` (``/ (1 - momentum)``) times the updates is above 1 (100 000 updates where nobody says).
        Recipes differ here and models train with it, hence a note. Embeddings are matrices.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            weights = [p for p in model.parameters() if p.ndim >= 2]
            scales = [p for p in model.parameters() if p.ndim < 2]
            groups = [{"params": weights, "weight_decay": 0.1}, {"params": scales, "weight_decay": 0.0}]
            return torch.optim.AdamW(groups, lr=1e-3)
        ```

    References:
        PyTorch documentation of PReLU ("weight decay should not be used"); He et al. 2019 (Bag of Tricks), section 3.1.
    """
    found = [one for one in held(audit) if not is_matrix(one.info.shape) and _starts_off_zero(audit, one) and _is_pulled(audit, one)]
    for optimizer in audit.training.optimizers:
        own = [one for one in found if one.optimizer is optimizer]
        if own:
            yield _remark(own)


def _starts_off_zero(audit: Audit, one: Held) -> bool:
    """A bias that starts at zero is pulled to where it was: gains are meant."""
    return audit.facts.signals[one.info.node].range.magnitude > 0.0


def _is_pulled(audit: Audit, one: Held) -> bool:
    lr, decay = one.group.peak_lr, one.group.number("weight_decay") or 0.0
    if lr is None:
        return False
    kept = (one.group.number("momentum") or 0.0) if one.kind.step == "gradient" else 0.0
    return kept >= 1.0 or lr * decay / (1.0 - kept) * (audit.training.steps or LONG - 1) > PULL


def _remark(found: Sequence[Held]) -> Remark:
    first = found[0]
    decay = first.group.number("weight_decay") or 0.0
    return Remark(
        message=f"weight decay {decay:g} pulls `{first.name}` to zero, as it does {len(found) - 1} other vectors and numbers",
        module=together(one.name for one in found),
        where=place(first.optimizer),
        reason="a gain, a bias or a scale with a small gradient shrinks with exp(-sum of lr * wd)",
        help=(Remedy("put parameters with ndim < 2 into a group with weight_decay=0"),),
        siblings=tuple(one.name for one in found[1:]),
        key=first.optimizer.kind,
    )
