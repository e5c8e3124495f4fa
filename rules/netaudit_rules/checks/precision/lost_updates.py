"""NA504."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import erfc, log10, sqrt

from netaudit import Audit, Claim, Evidence, Optimizer, Remark, Remedy, check
from netaudit_rules.checks.optimiser.common import Clip, Held, clip_of, held, logarithm, place, step, together, weight_rms

LOST = {"bfloat16": 2.0**-9, "float16": 2.0**-12}
"""A change below this share of a number is rounded away whatever the number's mantissa; up to twice that it may be."""
MOST = 0.5
MEDIAN = 0.6745
"""The median size of a normal number over its deviation."""


@check("NA504", severity="warning", needs={"training", "dtype"})
def lost_updates(audit: Audit) -> Iterator[Remark]:
    """Parameters in half precision cannot take up steps as small as the optimiser makes.

    Why:
        A bf16 number has 8 bits: adding less than 1/512 of it changes nothing. At lr 1e-3 Adam's steps are lost on a gain of 1
        from the first to the last update, and nothing says so. Autocast keeps parameters in fp32 and does not have the fault;
        nor do fp32 master copies, stochastic rounding and Kahan summation.

    How it is found:
        The size of a step (lr for Adam, lr times the forecast gradient for SGD) against the actual entries: their values
        where they are few, entries of a normal law of their RMS where they are many. A warning when more than half of all entries in
        half precision are certain to stay as they are, a note when that holds of some parameters only.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).bfloat16()

        def example_inputs():
            return torch.randn(8, 16, dtype=torch.bfloat16)

        def optimizer(model):
            return torch.optim.AdamW(model.parameters(), lr=1e-5)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.AdamW(model.parameters(), lr=1e-5)

        def training_setup():
            return {"precision": "mixed-bf16"}
        ```

    References:
        IEEE 754; Zamirai et al. 2020 (Revisiting BFloat16 Training), section 3.
    """
    clip = clip_of(audit)
    for optimizer in audit.training.optimizers:
        shares = [(one, share) for one in held(audit) if one.optimizer is optimizer and (share := _lost(audit, one, clip)) is not None]
        stuck = [one for one, share in shares if share > MOST]
        if stuck:
            yield _remark(audit, optimizer, shares, stuck)


def dtype_of(audit: Audit, one: Held) -> str:
    """The dtype of a parameter, as it is or as it is said to be cast for training."""
    return {"bf16": "bfloat16", "fp16": "float16"}.get(audit.training.precision or "", one.info.dtype)


def _lost(audit: Audit, one: Held, clip: Clip) -> float | None:
    """The share of the entries on which a step is certainly lost; None where nothing is known, or the dtype is wide enough."""
    limit, size = LOST.get(dtype_of(audit, one)), step(audit, one, one.group.peak_lr, clip)
    signal = audit.facts.signals[one.info.node]
    if limit is None or not size:
        return None
    if signal.value is not None:
        return float((abs(signal.value) * limit > size).mean())
    rms = weight_rms(audit, one.name)
    return None if rms is None else erfc(size / limit / (rms or 1e-300) / sqrt(2.0))


def _remark(audit: Audit, optimizer: Optimizer, shares: Sequence[tuple[Held, float]], stuck: Sequence[Held]) -> Remark:
    counts = [(audit.facts.signals[one.info.node].count, share) for one, share in shares]
    whole = sum(n * share for n, share in counts) / max(sum(n for n, _ in counts), 1)
    one = stuck[0]
    dtype, lr = dtype_of(audit, one), one.group.peak_lr or 0.0
    return Remark(
        message=f"{whole:.0%} of the entries in {dtype} cannot take up steps at lr = {lr:g}: `{one.name}` and {len(stuck) - 1} others stay",
        module=together(other.name for other in stuck),
        where=place(optimizer),
        severity="warning" if whole > MOST else "info",
        reason=f"a change below {LOST[dtype]:.2g} of a number is rounded away",
        evidence=Evidence("share of entries", logarithm(MOST), None, logarithm(whole), None, "steps as the first, at the peak lr"),
        help=(Remedy("keep the parameters in fp32 and use autocast, or an optimiser with fp32 master copies"),),
        siblings=tuple(other.name for other in stuck[1:]),
        claim=Claim("update", (one.name,), log10(LOST[dtype] * _median(audit, one)), "below", aside=True),
    )


def _median(audit: Audit, one: Held) -> float:
    """The median size of an entry over the RMS: a step below that share of it is lost on half of the entries."""
    value, rms = audit.facts.signals[one.info.node].value, weight_rms(audit, one.name)
    if value is None or not rms:
        return MEDIAN
    from numpy import median  # numpy, which a rule's text does without

    return max(float(median(abs(value))), 1e-300) / rms
