"""NA003."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Remark, check
from netaudit_rules.checks.claiming import breaks
from netaudit_rules.checks.common import common_module, module_of, owner_site


@check("NA003", severity="error", needs={"graph", "weights"})
def non_finite_parameter(audit: Audit) -> Iterator[Remark]:
    """A parameter holds NaN or infinity.

    Why:
        One such entry makes the output and every gradient NaN on the first step.

    How it is found:
        Every parameter is looked at as it is after building (or loading the checkpoint).

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.Linear(4, 4)
            with torch.no_grad():
                model.weight[0, 0] = float("nan")
            return model

        def example_inputs():
            return torch.randn(2, 4)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(4, 4)

        def example_inputs():
            return torch.randn(2, 4)
        ```

    References:
        IEEE 754: NaN is the result of every operation on NaN.
    """
    broken = audit.facts.non_finite
    if broken:
        module = common_module(module_of(name) for name in broken) or module_of(broken[0])
        yield Remark(
            message=f"`{broken[0]}` holds NaN or infinity",
            module=module,
            where=owner_site(audit, module, audit.graph.params[broken[0]].where),
            reason="outputs and all gradients are NaN from the first step",
            siblings=tuple(broken[1:]),
            claim=breaks(*(audit.graph.params[name].node for name in broken), certain=True),
        )
