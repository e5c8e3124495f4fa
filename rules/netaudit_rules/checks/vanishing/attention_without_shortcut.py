"""NA209."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log10

from netaudit import Audit, Claim, Evidence, Node, Remark, check
from netaudit_rules.checks.axes import ATTENTION
from netaudit_rules.checks.common import common_module, home
from netaudit_rules.checks.losses import downstream
from netaudit_rules.checks.residual import residuals
from netaudit_rules.checks.similarity import token_difference

COLLAPSED = 1e-6
"""Share of a token's energy that differs between tokens, below which all tokens are practically one: 0.1 % in amplitude."""


@check("NA209", severity="info", needs={"graph", "weights"})
def attention_without_shortcut(audit: Audit) -> Iterator[Remark]:
    """Attention layers follow each other without a shortcut around them.

    Why:
        Attention averages over tokens. Without a shortcut each layer shrinks the differences between tokens (near uniform
        attention over n keys leaves 1 / n of their energy), doubly exponentially with depth: after a few layers all tokens are
        the same, and so are their gradients.

    How it is found:
        Self-attention calls, one behind the other, that stand on no branch of a residual sum. The forecast of the share in
        which tokens still differ behind the last one decides: a warning below 1e-6, else a note. A single attention layer,
        pooling by attention and cross-attention to another sequence are not meant.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Layer(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

            def forward(self, x):
                q, k, v = self.qkv(x).chunk(3, dim=-1)
                return self.out(nn.functional.scaled_dot_product_attention(q, k, v))

        def build():
            return nn.Sequential(*[Layer() for _ in range(4)])

        def example_inputs():
            return torch.randn(2, 16, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Layer(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

            def forward(self, x):
                q, k, v = self.qkv(x).chunk(3, dim=-1)
                return x + self.out(nn.functional.scaled_dot_product_attention(q, k, v))

        def build():
            return nn.Sequential(*[Layer() for _ in range(4)])

        def example_inputs():
            return torch.randn(2, 16, 16)
        ```

    References:
        Dong et al. 2021, "Attention is not all you need: pure attention loses rank doubly exponentially with depth".
    """
    on_branch = {name for one in residuals(audit) for name in one.branch}
    bare = [node for node in audit.graph.nodes if node.op in ATTENTION and node.name not in on_branch and _is_self(audit, node)]
    stack = [node for node in bare if any(other.name in downstream(audit.graph, (node.name,)) for other in bare if other is not node)]
    if stack:
        last = bare[-1]
        yield _remark(audit, [*stack, last] if last not in stack else stack)


def _is_self(audit: Audit, node: Node) -> bool:
    """Whether there are as many queries as keys, and more than one."""
    queries, keys = (audit.facts.nodes[name].shape for name in node.inputs[:2])
    count = keys[-1] if node.op == "netaudit.attention" else keys[-2] if len(keys) > 1 else 0
    return len(queries) > 1 and queries[-2] == count > 1


def _remark(audit: Audit, stack: Sequence[Node]) -> Remark:
    left = token_difference(audit.facts.signals[stack[-1].name])
    collapsed = left is not None and left < COLLAPSED
    share = "" if left is None else f": {left:.2g} of the tokens' energy still differs behind the last"
    return Remark(
        message=f"{len(stack)} attention layers follow each other without a shortcut{share}",
        module=common_module(home(audit.facts, node.name) for node in stack) or home(audit.facts, stack[0].name),
        where=stack[0].where,
        severity="warning" if collapsed else "info",
        reason="attention averages over tokens; only a shortcut keeps what tells them apart",
        evidence=Evidence("", None, None, None, None, "mean-field over random inputs and weights"),
        siblings=tuple(node.where.module or node.name for node in stack[1:]),
        claim=None if left is None else _claim(stack[-1], COLLAPSED if collapsed else left),
    )


def _claim(last: Node, energy: float) -> Claim:
    """Tokens differ by no more than a share of their energy; what is measured is the root of that."""
    return Claim("difference", (last.name,), 0.5 * log10(energy), "below", axis=-2, aside=True)
