"""NA302."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Evidence, Remark, check
from netaudit_rules.checks.claiming import signal_grows
from netaudit_rules.checks.common import common_module, owner_site, scientific
from netaudit_rules.checks.residual import Residual, ends_nonnegative, growth, norms_in, streams

FEWEST = 8
"""Residual sums in series below which growth per block is not worth a word."""
NOTICED, HARMFUL, CERTAIN = 1.0, 2.0, 4.0
"""log10 of the growth of the stream's RMS: a note, a warning (head and late branches see inputs of 100), an error."""


@check("NA302", severity="warning", needs={"graph", "weights"}, yields_to=("NA301",))
def unscaled_residual(audit: Audit) -> Iterator[Remark]:
    """Residual branches are added unscaled and without normalisation: the stream grows with depth.

    Why:
        Each sum adds the branch's variance to the stream's: by ``1 + q`` per block if the branch has q times the variance of the
        stream, 2^L for He-initialised branches. Activations, logits and gradients grow alike, in half precision to overflow.

    How it is found:
        Residual sums in series are recognised by structure. Where their branches hold no normalisation, the forecast RMS of
        the stream behind the last is set against that in front of the first: a note from 10, a warning from 100, an error from
        10000. Scaled branches (1 / L, 1 / sqrt L, ReZero, SkipInit, Fixup, LayerScale) and normalised ones do not grow like
        that. Branches that end in a ReLU are NA303, shortcuts that are scaled themselves NA405.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.f, self.g = nn.Linear(32, 32), nn.Linear(32, 32)
                for layer in (self.f, self.g):
                    nn.init.kaiming_normal_(layer.weight)

            def forward(self, x):
                return x + self.g(torch.relu(self.f(x)))

        def build():
            return nn.Sequential(*[Block() for _ in range(24)], nn.Linear(32, 4))

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
                self.f, self.g = nn.Linear(32, 32), nn.Linear(32, 32)
                for layer in (self.f, self.g):
                    nn.init.kaiming_normal_(layer.weight)

            def forward(self, x):
                return x + self.g(torch.relu(self.f(x))) / 24**0.5

        def build():
            return nn.Sequential(*[Block() for _ in range(24)], nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    References:
        Zhang et al. 2019 (Fixup), section 2; De & Smith 2020 (SkipInit); Wang et al. 2022 (DeepNorm); Qi et al. 2023 (LipsFormer).
    """
    for run in streams(audit):
        plain = [one for one in run if not norms_in(audit, one.branch)]
        if len(plain) < FEWEST or 2 * len(plain) < len(run) or sum(ends_nonnegative(audit, one) for one in plain) * 2 > len(plain):
            continue
        grown = growth(audit, run)
        if grown is not None and grown > NOTICED and all(one.gain == 1.0 for one in run):
            yield _remark(audit, run, grown)


def _remark(audit: Audit, run: Sequence[Residual], grown: float) -> Remark:
    first = audit.facts.nodes[run[0].add]
    module = common_module(audit.facts.nodes[one.add].where.module for one in run) or first.where.module
    return Remark(
        message=f"{len(run)} residual branches are added unscaled: the stream is forecast to grow {scientific(grown)} times",
        module=module,
        where=owner_site(audit, module, first.where),
        severity="error" if grown > CERTAIN else "warning" if grown > HARMFUL else "info",
        reason="no normalisation stands on the branches, and each adds its variance; scale them, start them at zero, or normalise",
        evidence=Evidence("growth of the stream's RMS", HARMFUL, None, grown, None, "mean-field over random inputs and weights"),
        claim=signal_grows(run[0].fork, run[-1].add, HARMFUL if grown > HARMFUL else NOTICED, "above"),
    )
