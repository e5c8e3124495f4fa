"""NA404."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log10, sqrt

from netaudit import Audit, Claim, Evidence, Remark, check
from netaudit_rules.checks.common import home
from netaudit_rules.checks.losses import CLASSES
from netaudit_rules.checks.norms import DIRECTION, NORMS
from netaudit_rules.checks.residual import PRODUCING, Residual, between_blocks, norms_in, streams
from netaudit_rules.checks.weights import ancestors

FEWEST = 4
"""Pre-norm blocks from which the growth of the stream is worth a note."""
NOTICED = 2.0
"""RMS of the stream at its end that is worth a note: a normalised one has 1."""
HARMFUL = 10.0
"""RMS of the logits at initialisation under a cross-entropy: it starts confidently wrong, with a loss of several times log C."""


@check("NA404", severity="info", needs={"graph", "weights"}, yields_to=("NA301",))
def missing_final_norm(audit: Audit) -> Iterator[Remark]:
    """A pre-norm stack hands its stream to the head without a final normalisation.

    Why:
        In a pre-norm stack nothing bounds the stream itself: its variance grows with the number of blocks, or with its square
        when branches drift. A final normalisation in front of the head is part of the design; without it the logits start
        large, and their scale changes with depth.

    How it is found:
        Residual sums in series whose branches begin with a normalisation and that have none between them, and no normalisation
        on the way from the last sum to the end. A note when the stream's forecast RMS is above 2, a warning when the logits
        of a cross-entropy are forecast above 10.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.f, self.g = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)
                nn.init.kaiming_normal_(self.f.weight)
                nn.init.kaiming_normal_(self.g.weight)

            def forward(self, x):
                return x + self.g(torch.relu(self.f(self.norm(x))))

        def build():
            return nn.Sequential(*[Block() for _ in range(12)], nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.f, self.g = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)
                nn.init.kaiming_normal_(self.f.weight)
                nn.init.kaiming_normal_(self.g.weight)

            def forward(self, x):
                return x + self.g(torch.relu(self.f(self.norm(x))))

        def build():
            return nn.Sequential(*[Block() for _ in range(12)], nn.LayerNorm(32), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    References:
        Xiong et al. 2020, section 3.1 ("a final layer normalization"); Radford et al. 2019 (GPT-2), section 2.3.
    """
    for run in streams(audit):
        if len(run) >= FEWEST and _is_pre_norm(audit, run) and not _is_normalised_behind(audit, run[-1].add):
            yield from _remarks(audit, run)


def _is_pre_norm(audit: Audit, run: Sequence[Residual]) -> bool:
    begun = sum(_begins_with_norm(audit, one) for one in run)
    between = any(norms_in(audit, between_blocks(audit, a, b)) for a, b in pairwise(run))
    return begun == len(run) and not between


def _begins_with_norm(audit: Audit, one: Residual) -> bool:
    """Whether a normalisation stands in front of the first layer of a branch."""
    ops = [audit.facts.nodes[name].op for name in one.branch]
    return next((op in NORMS | DIRECTION for op in ops if op in NORMS | DIRECTION | PRODUCING), False)


def _is_normalised_behind(audit: Audit, last: str) -> bool:
    """Whether a normalisation reads the stream behind its last sum, on any way to the end."""
    wanted = {last}
    for node in audit.graph.nodes:
        if not wanted.isdisjoint(node.inputs):
            if node.op in NORMS | DIRECTION:
                return True
            wanted.add(node.name)
    return False


def _remarks(audit: Audit, run: Sequence[Residual]) -> Iterator[Remark]:
    moments = audit.facts.signals[run[-1].add].moments
    if moments is None or moments.mean_square < NOTICED**2:
        return
    scores = _scores(audit, run[-1].add)
    logits = None if scores is None else _rms(audit, scores)
    large = logits is not None and logits > HARMFUL and all(one.gain == 1.0 for one in run)  # else NA405 says why
    at_loss = f"; the logits are forecast at {logits:.3g}" if logits is not None else ""
    node = audit.facts.nodes[run[-1].add]
    yield Remark(
        message=f"{len(run)} pre-norm sums end without a final normalisation: the stream is forecast at {sqrt(moments.mean_square):.3g}",
        module=node.where.module or home(audit.facts, node.name),
        where=node.where,
        severity="warning" if large else "info",
        reason=f"nothing bounds the stream of a pre-norm stack but the normalisation behind it{at_loss}",
        evidence=Evidence(
            "RMS of the stream", None, None, 0.5 * log10(moments.mean_square), None, "mean-field over random inputs and weights"
        ),
        claim=Claim("value", (scores,), log10(HARMFUL), "above", slack=0.0, aside=True)
        if large and scores is not None
        else Claim("value", (node.name,), log10(NOTICED), "above", slack=0.0),
    )


def _scores(audit: Audit, last: str) -> str | None:
    """The scores of a cross-entropy behind the stream."""
    for node in audit.graph.nodes:
        if node.op in CLASSES and last in ancestors(audit, node.name):
            return node.inputs[0]
    return None


def _rms(audit: Audit, name: str) -> float | None:
    moments = audit.facts.signals[name].moments
    return None if moments is None else sqrt(moments.mean_square)
