"""NA212."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Remark, check
from netaudit_rules.checks.claiming import no_gradient
from netaudit_rules.checks.common import common_module, module_of, owner_site
from netaudit_rules.checks.zeros import locked, zero_parameters


@check("NA212", severity="error", needs={"graph", "weights"})
def double_zero(audit: Audit) -> Iterator[Remark]:
    """Two zero-initialised factors stand on one path: neither ever gets a gradient.

    Why:
        The gradient of a factor is the other factor. With one of them zero (ReZero's scale, a zero-initialised last layer,
        LoRA's second matrix) the branch starts silent and wakes up after a step; with both zero it stays silent for ever, and
        weight decay changes nothing about it.

    How it is found:
        Parameters without a gradient, now and after zero-initialised parameters have been moved wherever a gradient reaches
        them, are followed to the loss once more as if zero factors were not zero. Those that would be reached then are held
        at zero by values alone.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.f, self.g = nn.Linear(16, 16), nn.Linear(16, 16, bias=False)
                self.scale = nn.Parameter(torch.zeros(()))
                nn.init.zeros_(self.g.weight)

            def forward(self, x):
                return x + self.scale * self.g(torch.relu(self.f(x)))

        def build():
            return nn.Sequential(Block(), Block(), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.f, self.g = nn.Linear(16, 16), nn.Linear(16, 16, bias=False)
                self.scale = nn.Parameter(torch.zeros(()))

            def forward(self, x):
                return x + self.scale * self.g(torch.relu(self.f(x)))

        def build():
            return nn.Sequential(Block(), Block(), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Bachlechner et al. 2021 (ReZero), section 3; Hu et al. 2022 (LoRA), section 4.1; the product rule.
    """
    held, zeros = locked(audit), zero_parameters(audit)
    found = [name for name in audit.graph.params if name in held]
    if found:
        yield _remark(audit, found, [name for name in found if name in zeros])


def _remark(audit: Audit, found: Sequence[str], zeros: Sequence[str]) -> Remark:
    module = common_module(module_of(name) for name in found) or module_of(found[0])
    pair = " and ".join(f"`{name}`" for name in zeros[:2]) or f"`{found[0]}`"
    return Remark(
        message=f"{pair} are zero and multiply each other: neither ever receives a gradient",
        module=module,
        where=owner_site(audit, module, audit.graph.params[found[0]].where),
        reason=f"the gradient of each holds the other as a factor; {len(found)} parameters are cut off by it. Start exactly one at zero",
        siblings=tuple(name for name in found if name not in zeros[:2]),
        claim=no_gradient(found),
    )
