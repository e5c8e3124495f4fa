"""NA303."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from netaudit import Audit, Evidence, Remark, check
from netaudit_rules.checks.claiming import is_within, signal_grows
from netaudit_rules.checks.common import common_module, owner_site, scientific
from netaudit_rules.checks.losses import label
from netaudit_rules.checks.residual import Residual, end_of_branch, ends_nonnegative, growth, streams

FEWEST = 4
"""Blocks in series from which a drift is worth a note."""
HARMFUL, CERTAIN = 2.0, 4.0
"""log10 of the growth of the stream's RMS: as for unscaled branches."""


@check("NA303", severity="info", needs={"graph", "weights"}, yields_to=("NA301",))
def nonnegative_branch(audit: Audit) -> Iterator[Remark]:
    """Residual branches end in a function that is never negative: the stream drifts to one side.

    Why:
        What only adds can never take back. The mean of the stream grows by the mean of a branch per block, so that its second
        moment grows with the square of the depth (831 after 50 pre-norm blocks with a ReLU, where a linear end gives 51), and
        geometrically without normalisation. Ending the branch in a linear layer avoids it.

    How it is found:
        The last call of a branch, seen through views, dropout and positive scales, is a ReLU, sigmoid, softplus, softmax, square
        or abs. A ReLU behind the sum (ResNet v1) is another thing and not meant. A note; a warning when the stream's RMS is
        forecast to grow by more than 100.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.f = nn.LayerNorm(32), nn.Linear(32, 32)

            def forward(self, x):
                return x + torch.relu(self.f(self.norm(x)))

        def build():
            return nn.Sequential(*[Block() for _ in range(6)], nn.LayerNorm(32), nn.Linear(32, 4))

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
                self.norm, self.f = nn.LayerNorm(32), nn.Linear(32, 32)

            def forward(self, x):
                return x + self.f(torch.relu(self.norm(x)))

        def build():
            return nn.Sequential(*[Block() for _ in range(6)], nn.LayerNorm(32), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    References:
        He et al. 2016, "Identity mappings in deep residual networks", section 4.1 (ReLU before addition).
    """
    for run in streams(audit):
        found = [one for one in run if ends_nonnegative(audit, one)]
        if len(found) >= FEWEST:
            yield _remark(audit, run, found)


def _remark(audit: Audit, run: Sequence[Residual], found: Sequence[Residual]) -> Remark:
    first = audit.facts.nodes[found[0].add]
    module = common_module(audit.facts.nodes[one.add].where.module for one in found) or first.where.module
    grown = growth(audit, run)
    ends = dict.fromkeys(end_of_branch(audit, one).name for one in found)
    size = "" if grown is None else f"; the stream's RMS is forecast to grow {scientific(grown)} times over {len(run)} sums"
    large = grown is not None and grown > HARMFUL and all(one.gain == 1.0 for one in run)
    return Remark(
        message=f"{len(found)} residual branches end in {label(end_of_branch(audit, found[0]))}, which is never negative",
        module=module,
        where=owner_site(audit, module, first.where),
        severity="error" if large and (grown or 0.0) > CERTAIN else "warning" if large else "info",
        reason=f"the mean of the stream moves in one direction{size}",
        evidence=Evidence("growth of the stream's RMS", HARMFUL, None, grown, None, "mean-field over random inputs and weights"),
        claim=signal_grows(run[0].fork, run[-1].add, HARMFUL, "above") if large else is_within(0.0, inf, *ends),
    )
