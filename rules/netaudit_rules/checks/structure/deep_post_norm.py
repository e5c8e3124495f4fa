"""NA403."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from netaudit import Audit, Claim, Evidence, Remark, check
from netaudit_rules.checks.claiming import gradient_grows
from netaudit_rules.checks.common import common_module, owner_site, scientific
from netaudit_rules.checks.norms import NORMS
from netaudit_rules.checks.residual import Residual, between_blocks, streams

DEEP = 12
"""Residual sums in series from which post-norm is known to need a warm-up or a scaled residual."""
HARMFUL, CERTAIN = 2.0, 4.0
"""log10 of the change of the gradient's norm over the run, either way: a factor of 100 between first and last block."""


@check("NA403", severity="info", needs={"graph", "weights"}, yields_to=("NA301",))
def deep_post_norm(audit: Audit) -> Iterator[Remark]:
    """A deep stack of blocks normalises the stream after every sum (post-norm).

    Why:
        ``norm(x + f(x))`` rescales the shortcut in every block: the gradient that passes a block is multiplied by
        ``sqrt((1 + chi) / (1 + q))``, chi and q what the branch adds to gradient and variance. Deep post-norm transformers need
        a warm-up, DeepNorm's factors or Admin; pre-norm does not.

    How it is found:
        Residual sums in series with a normalisation between most of them on the stream itself. The forecast of the gradient's
        norm in front of the first block against that behind the last is reported as a note, as a warning when they differ by
        more than 100. Shortcuts with a factor above one (DeepNorm) are left alone.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.f, self.norm = nn.Linear(32, 32), nn.LayerNorm(32)

            def forward(self, x):
                return self.norm(x + torch.relu(self.f(x)))

        def build():
            return nn.Sequential(*[Block() for _ in range(16)], nn.Linear(32, 4))

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
                self.f, self.norm = nn.Linear(32, 32), nn.LayerNorm(32)

            def forward(self, x):
                return x + torch.relu(self.f(self.norm(x)))

        def build():
            return nn.Sequential(*[Block() for _ in range(16)], nn.LayerNorm(32), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    References:
        Xiong et al. 2020, section 3.3; Liu et al. 2020 (Admin); Wang et al. 2022 (DeepNorm).
    """
    for run in streams(audit):
        behind = [any(audit.facts.nodes[name].op in NORMS for name in between_blocks(audit, a, b)) for a, b in pairwise(run)]
        if len(run) >= DEEP and 5 * sum(behind) > 4 * len(behind) and all(abs(one.gain) == 1.0 for one in run):
            yield _remark(audit, run)


def _remark(audit: Audit, run: Sequence[Residual]) -> Remark:
    first = audit.facts.nodes[run[0].add]
    module = common_module(audit.facts.nodes[one.add].where.module for one in run) or first.where.module
    ends = [audit.flow.norm(name) for name in (run[0].fork, run[-1].add)]
    change = None if ends[0] is None or ends[1] is None else ends[0] - ends[1]
    share = "" if change is None else f": the gradient changes {scientific(change)} times over them"
    size = 0.0 if change is None else abs(change)
    return Remark(
        message=f"{len(run)} residual sums in series are normalised behind each sum{share}",
        module=module,
        where=owner_site(audit, module, first.where),
        severity="error" if size > CERTAIN else "warning" if size > HARMFUL else "info",
        reason="post-norm rescales the shortcut in every block; deep stacks need a warm-up of the learning rate, DeepNorm, or pre-norm",
        evidence=Evidence("change of the gradient's norm", HARMFUL, None, change, None, "mean-field over random inputs and weights"),
        claim=_claim(audit, run, change) if change is not None and size > HARMFUL else None,
    )


def _claim(audit: Audit, run: Sequence[Residual], change: float) -> Claim:
    """A change beyond the limit, in its direction."""
    ends = run[0].fork, run[-1].add
    return gradient_grows(audit, *ends, HARMFUL, "above") if change > 0.0 else gradient_grows(audit, *ends, -HARMFUL, "below")
