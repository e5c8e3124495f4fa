"""NA405."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log10

from netaudit import Audit, Evidence, Remark, check
from netaudit_rules.checks.common import MOVES, common_module, owner_site, scientific
from netaudit_rules.checks.losses import label
from netaudit_rules.checks.norms import NORMS
from netaudit_rules.checks.residual import Residual, between_blocks, streams

FEWEST = 4
"""Blocks in series from which the product of their shortcuts is worth a word."""
HARMFUL, CERTAIN = 3.0, 5.0
"""log10 of the product of the shortcuts' gains, either way."""


@check("NA405", severity="info", yields_to=("NA201", "NA301"))
def broken_identity(audit: Audit) -> Iterator[Remark]:
    """The shortcuts of residual blocks are no identities: they scale, normalise, drop or squash the stream.

    Why:
        The shortcut carries signal and gradient over the whole depth unchanged. A factor on it is raised to the number of
        blocks: 0.9 over 50 blocks leaves 0.005, 2 over 24 blocks gives 10^7. An activation or dropout on it acts as often.

    How it is found:
        The calls between the fork and the sum are listed for every residual sum in series. Flagged when more than half of the
        shortcuts hold a number other than 1, a normalisation, an activation or dropout: a warning when the product of the
        numbers leaves 0.001 .. 1000, an error 100 times beyond, else a note. Not meant: shortcuts with a layer (stage
        transitions), what stands between blocks (ReLU of ResNet v1, post-norm, a scale on the whole sum), and factors above
        one in front of a normalisation (DeepNorm).

    Flagged:
        ```python
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.f = nn.LayerNorm(32), nn.Linear(32, 32)

            def forward(self, x):
                return 0.5 * x + self.f(torch.relu(self.norm(x)))

        def build():
            return nn.Sequential(*[Block() for _ in range(12)], nn.LayerNorm(32), nn.Linear(32, 4))

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
                return x + 0.5 * self.f(torch.relu(self.norm(x)))

        def build():
            return nn.Sequential(*[Block() for _ in range(12)], nn.LayerNorm(32), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    References:
        He et al. 2016, "Identity mappings in deep residual networks", section 3 (constant scaling, gating, dropout on shortcuts).
    """
    for run in streams(audit):
        own = [one for one in run if not one.projected]
        found = [one for one in own if _changes(audit, one)]
        if len(run) >= FEWEST and 2 * len(found) > len(own) and not _is_renormalised(audit, run):
            yield _remark(audit, run, found)


def _changes(audit: Audit, one: Residual) -> tuple[str, ...]:
    """The calls on a shortcut that change its values."""
    kept = [name for name in one.skip if audit.facts.nodes[name].op not in MOVES and audit.facts.nodes[name].op != "aten.dropout"]
    dropped = [name for name in one.skip if audit.facts.nodes[name].is_random]
    return (*kept, *dropped)


def _is_renormalised(audit: Audit, run: Sequence[Residual]) -> bool:
    """Whether blocks only enlarge the stream, and a normalisation takes the size away again."""
    behind = [any(audit.facts.nodes[name].op in NORMS for name in between_blocks(audit, a, b)) for a, b in pairwise(run)]
    numbers_only = all(audit.facts.nodes[name].op in ("aten.mul", "aten.add", "aten.div") for one in run for name in _changes(audit, one))
    return numbers_only and sum(behind) * 2 > len(behind)


def _remark(audit: Audit, run: Sequence[Residual], found: Sequence[Residual]) -> Remark:
    first = audit.facts.nodes[found[0].add]
    module = common_module(audit.facts.nodes[one.add].where.module for one in found) or first.where.module
    total = sum(log10(abs(one.gain)) for one in run if one.gain)
    ops = sorted({label(audit.facts.nodes[name]) for one in found for name in _changes(audit, one)})
    product = f": their factors multiply to {scientific(total)}" if total else ""
    return Remark(
        message=f"{len(found)} of {len(run)} shortcuts hold {', '.join(ops)}{product}",
        module=module,
        where=owner_site(audit, module, first.where),
        severity="error" if abs(total) > CERTAIN else "warning" if abs(total) > HARMFUL else "info",
        reason="a shortcut that is the identity carries signal and gradient over the whole depth; what stands on it acts once per block",
        evidence=Evidence("product of the shortcuts' factors", None, total or None, None, None, "structure of the graph"),
    )
