"""NA306."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10, sqrt

from netaudit import Audit, Claim, Evidence, Remark, check
from netaudit_rules.checks.common import module_of, owner_site

NOTICED, HARMFUL = 2.0, 10.0
"""RMS of the output over the product of the inputs' that is worth a note, and that is a warning (300 second inputs)."""


@check("NA306", severity="info", needs={"graph", "weights"}, yields_to=("NA301",))
def bilinear_default(audit: Audit) -> Iterator[Remark]:
    """A bilinear layer is initialised for one of its two inputs only.

    Why:
        ``nn.Bilinear`` draws from U(-1 / sqrt in1, 1 / sqrt in1), but sums over in1 x in2 products: the variance of its output
        is ``in2 / 3`` times that of the inputs' product. ``Var W = 1 / (in1 in2)`` keeps it.

    How it is found:
        ``in1 in2 Var(W)`` of the measured weights. A note when the output is more than twice the product of its inputs, a
        warning above 10.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Pair(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Bilinear(16, 64, 4)

            def forward(self, x, y):
                return self.f(x, y)

        def build():
            return Pair()

        def example_inputs():
            return torch.randn(8, 16), torch.randn(8, 64)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Pair(nn.Module):
            def __init__(self):
                super().__init__()
                self.f = nn.Bilinear(16, 64, 4)
                nn.init.normal_(self.f.weight, std=1 / 32)

            def forward(self, x, y):
                return self.f(x, y)

        def build():
            return Pair()

        def example_inputs():
            return torch.randn(8, 16), torch.randn(8, 64)
        ```

    References:
        torch.nn.Bilinear.reset_parameters; the variance of a sum of in1 x in2 independent products.
    """
    owners = {info.node: (name, info) for name, info in audit.graph.params.items()}
    for node in audit.graph.nodes:
        weight = node.operands[2] if node.op == "aten.bilinear" and len(node.operands) > 2 else None
        if weight not in owners:
            continue
        name, info = owners[str(weight)]
        moments = audit.facts.signals[info.node].moments
        gain = 0.0 if moments is None else sqrt(info.shape[1] * info.shape[2] * moments.mean_square)
        if gain > NOTICED:
            yield Remark(
                message=f"`{name}` makes its output {gain:.3g} times the product of its inputs",
                module=module_of(name),
                where=owner_site(audit, module_of(name), info.where),
                severity="warning" if gain > HARMFUL else "info",
                reason=f"the default scales by {info.shape[1]} first inputs only, and {info.shape[2]} second ones are summed as well",
                evidence=Evidence("", None, None, None, None, "independent inputs"),
                key=name,
                claim=Claim(
                    "value",
                    (node.name,),
                    log10(HARMFUL if gain > HARMFUL else NOTICED),
                    "above",
                    over=node.inputs[:2],
                    slack=0.0,
                    aside=True,
                ),
            )
