"""NA603."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Group, Node, Optimizer, Remark, Remedy, check, kind_of
from netaudit_rules.checks.common import MOVES, common_module
from netaudit_rules.checks.optimiser.common import place

NORMS = frozenset({"aten.layer_norm", "aten.native_layer_norm", "aten.rms_norm", "netaudit.layer_norm", "netaudit.rms_norm"})
QUIET = MOVES | {"aten.dropout", "aten.native_dropout"}
"""What may stand between a norm and the sum that it is a shortcut of."""
CAREFUL = 1e-4
"""Learning rates up to this are those of fine-tuning, which does without a warm-up."""
DEEP = 6
HIGH = 1e-3
"""Six post-norm layers with a peak of 1e-3 reach BLEU 8 without a warm-up and 34 with it (Xiong et al. 2020, section 3.2)."""


@check("NA603", severity="info", needs={"training"})
def adaptive_without_warmup(audit: Audit) -> Iterator[Remark]:
    """A post-norm transformer is trained with an adaptive optimiser and no warm-up.

    Why:
        The first steps of Adam move every weight by the whole learning rate, and the second moment they are divided by is the
        mean of a few gradients. Where norms stand behind the shortcuts, gradients near the output are large at the start, and
        such steps spoil the upper layers before the lower ones have learnt anything.

    How it is found:
        The learning rate over time is known and starts within a factor of two of its peak, the peak is above that of
        fine-tuning (1e-4), and blocks are found in which a norm takes the sum of a branch and of the output of another norm.
        RAdam is left out: it waits by itself. A warning from 6 blocks and 1e-3 on, where training is known to fail.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
            return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

        def example_inputs():
            return torch.randn(8, 12, 32)

        def training_setup():
            return {"optimizer": "adamw", "lr": 5e-4, "warmup": 0}
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
            return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

        def example_inputs():
            return torch.randn(8, 12, 32)

        def training_setup():
            return {"optimizer": "adamw", "lr": 5e-4, "warmup": 2000}
        ```

    References:
        Xiong et al. 2020, section 3; Ma & Yarats 2021, section 4 (2 / (1 - beta2) steps); Liu et al. 2020 (RAdam).
    """
    blocks = post_norms(audit)
    hasty = [(o, g, lr) for o in audit.training.optimizers for g in o.groups if (lr := _hasty_lr(o, g)) is not None]
    if blocks and hasty:
        yield _remark(blocks, *max(hasty, key=lambda item: item[2]))


def post_norms(audit: Audit) -> tuple[Node, ...]:
    """The norms that take the sum of a branch and of what another norm gave: the shortcut goes through norms."""
    nodes = audit.facts.nodes
    result = []
    for node in audit.graph.nodes:
        if node.op in NORMS:
            source = _behind(audit, node.inputs[0])
            if source.op == "aten.add" and any(_behind(audit, name).op in NORMS for name in source.inputs):
                result.append(nodes[node.name])
    return tuple(result)


def _behind(audit: Audit, name: str) -> Node:
    node = audit.facts.nodes[name]
    while node.op in QUIET and node.inputs:
        node = audit.facts.nodes[node.inputs[0]]
    return node


def _hasty_lr(optimizer: Optimizer, group: Group) -> float | None:
    """The peak of a schedule that starts near it; None for what is not known, or is not Adam."""
    kind = kind_of(optimizer.kind)
    if kind is None or not kind.adaptive or kind.step != "sign" or group.betas is None or group.schedule is None:
        return None
    return group.schedule.peak if group.schedule.warmup == 0 and group.schedule.peak > CAREFUL else None


def _remark(blocks: Sequence[Node], optimizer: Optimizer, group: Group, lr: float) -> Remark:
    betas = group.betas or (0.0, 0.0)
    steps = round(2.0 / (1.0 - betas[1]))
    return Remark(
        message=f"{len(blocks)} post-norm blocks start at {optimizer.kind}'s full learning rate of {lr:g}",
        module=common_module(node.where.module for node in blocks),
        where=place(optimizer),
        severity="warning" if len(blocks) >= DEEP and lr >= HIGH else "info",
        reason=f"the first {steps} updates are divided by a second moment that has seen too few gradients (2 / (1 - beta2))",
        help=(Remedy(f"warm up over {steps} updates, or put the norms into the branches"),),
    )
