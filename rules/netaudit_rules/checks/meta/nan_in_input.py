"""NA004."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

from netaudit import Audit, Remark, check
from netaudit_rules.checks.claiming import breaks

HANDLING = frozenset(f"aten.{name}" for name in ("isnan", "nan_to_num", "isfinite", "nanmean", "nansum", "ne", "eq"))
"""Calls that a model which expects NaN makes on its input."""


@check("NA004", severity="error", needs={"graph", "inputs"})
def nan_in_input(audit: Audit) -> Iterator[Remark]:
    """An example input holds NaN.

    Why:
        Outputs, the loss and all gradients are NaN with it, and nothing of the model can be forecast. If the data that the
        model is trained on is like that, so is its first step.

    How it is found:
        The values of the inputs that were given. An input that the model tests for NaN or replaces NaN in is meant to hold
        some.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(4, 4)

        def example_inputs():
            return torch.tensor([[1.0, 2.0, float("nan"), 4.0]])
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(4, 4)

        def example_inputs():
            return torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        ```

    References:
        IEEE 754: NaN is the result of every operation on NaN.
    """
    expected = {node.inputs[0] for node in audit.graph.nodes if node.op in HANDLING and node.inputs}
    for name, value in audit.facts.samples.items():
        count = sum(map(isnan, value.ravel().tolist()))
        if count and name not in expected:
            yield Remark(
                message=f"the example input `{name}` holds NaN in {count} of {value.size} entries",
                reason="outputs and gradients are NaN then, and nothing can be forecast; clean the data, or give another example",
                key=name,
                claim=breaks(name, certain=True),
            )
