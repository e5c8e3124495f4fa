"""NA002."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from netaudit import Audit, Remark, check


@check("NA002", severity="info")
def unknown_op(audit: Audit) -> Iterator[Remark]:
    """Calls without a transfer: nothing is known about them, nor about what depends on them.

    Why:
        Unknown is a value that spreads. Bounds behind such a call are infinite and forecasts are missing, so checks stay
        silent there; that is not the same as finding nothing.

    How it is found:
        Every call on a differentiable path is looked up in the catalogue of transfers. Calls marked as parts of a custom
        autograd.Function count too: the trace does not see their backward.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(4, 4)

            def forward(self, x):
                return torch.linalg.matrix_exp(self.a(x))

        def build():
            return Model()

        def example_inputs():
            return torch.randn(4, 4)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(4, 4)

        def example_inputs():
            return torch.randn(4, 4)
        ```

    References:
        docs: how to write a transfer.
    """
    unknown = [audit.facts.nodes[name] for name in audit.facts.unmodelled]
    if not unknown:
        return
    counts = Counter(f"autograd.Function {node.custom_function}" if node.custom_function else node.op for node in unknown)
    names = ", ".join(f"{op} ({n})" if n > 1 else op for op, n in sorted(counts.items()))
    yield Remark(
        message=f"no transfer for {names}: bounds behind them are infinite, forecasts missing",
        module=unknown[0].where.module,
        where=unknown[0].where,
        reason="a pack can add an op's transfer; this part of the model is unchecked",
        siblings=tuple(node.name for node in unknown[1:]),
    )
