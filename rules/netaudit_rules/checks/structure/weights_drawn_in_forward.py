"""NA427."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Claim, Node, Remark, check
from netaudit_rules.checks.claiming import RANDOM
from netaudit_rules.checks.common import home
from netaudit_rules.checks.losses import WEIGHTED
from netaudit_rules.checks.weights import ancestors


@check("NA427", severity="error")
def weights_drawn_in_forward(audit: Audit) -> Iterator[Remark]:
    """A layer's weights are drawn anew in every forward pass.

    Why:
        A module that is built inside ``forward`` (``nn.Linear(8, 8)(x)``) is another one in every call: its weights are random,
        no optimiser knows them, and nothing is learnt in it. The rest of the network trains around noise.

    How it is found:
        The weight of a linear layer or convolution comes from a call that draws random numbers, and from no parameter, input or
        stored tensor. Noise that is added to a parameter, and masks, do come from one.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.head = nn.Linear(8, 4)

            def forward(self, x):
                return self.head(torch.relu(nn.Linear(16, 8)(x)))

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.head = nn.Linear(16, 8), nn.Linear(8, 4)

            def forward(self, x):
                return self.head(torch.relu(self.body(x)))

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        PyTorch documentation of nn.Module (submodules are assigned in the constructor).
    """
    for node in audit.graph.nodes:
        if node.op in WEIGHTED and len(node.operands) > 1 and isinstance(node.operands[1], str) and _is_drawn(audit, node.operands[1]):
            yield Remark(
                message=f"the weight of shape {audit.facts.nodes[node.operands[1]].shape} is drawn anew in every forward pass",
                module=home(audit.facts, node.name),
                where=node.where,
                reason="the layer is built inside forward: build it in the constructor",
                key=node.name,
                claim=Claim("noise", audit.graph.outputs[:1], RANDOM, "above", certain=True, aside=True),
            )


def _is_drawn(audit: Audit, weight: str) -> bool:
    sources: list[Node] = [audit.facts.nodes[name] for name in (weight, *ancestors(audit, weight))]
    return any(node.is_random for node in sources) and all(node.op not in ("parameter", "input", "constant") for node in sources)
