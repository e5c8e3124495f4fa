"""NA101."""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf

from netaudit import Audit, Node, Remark, check
from netaudit_rules.checks.common import common_module

OPS = frozenset({"aten.scaled_dot_product_attention", "netaudit.attention"})


@check("NA101", severity="info")
def unbounded_attention(audit: Audit) -> Iterator[Remark]:
    """Dot-product attention whose inputs have no proved bound is not Lipschitz.

    Why:
        The Jacobian of softmax attention grows with the square of its input: no learning rate is safe for all inputs, and
        logits that grow in training collapse the attention to one key. With normalised queries and keys it is bounded.

    How it is found:
        Row norms are carried through the graph as proved facts. Where queries, keys and values have none (no normalisation,
        clamp or bounded activation stands in front), the attention has no global Lipschitz constant. A weight in front that holds
        no values (``--meta``) leaves it open.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv = nn.Linear(16, 48)

            def forward(self, x):
                q, k, v = self.qkv(x).chunk(3, dim=-1)
                return x + nn.functional.scaled_dot_product_attention(q, k, v)

        def build():
            return Attention()

        def example_inputs():
            return torch.randn(2, 8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = nn.LayerNorm(16)
                self.qkv = nn.Linear(16, 48)

            def forward(self, x):
                q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
                return x + nn.functional.scaled_dot_product_attention(q, k, v)

        def build():
            return Attention()

        def example_inputs():
            return torch.randn(2, 8, 16)
        ```

    References:
        Kim et al. 2021, theorem 3.1; Castin et al. 2024.
    """
    found = [node for node in audit.graph.nodes if node.op in OPS and _is_unbounded(audit, node) and not _is_open(audit, node)]
    if not found:
        return
    first = found[0]
    yield Remark(
        message="dot-product attention has no global Lipschitz constant: its gain grows with the square of the input",
        module=common_module(node.where.module for node in found) or first.where.module,
        where=first.where,
        reason="no normalisation, clamp or bounded activation gives its queries, keys and values a proved bound",
        siblings=tuple(node.where.module or node.name for node in found[1:]),
    )


def _is_unbounded(audit: Audit, node: Node) -> bool:
    jac = audit.facts.effects[node.name].jac[0]
    return jac is not None and isinf(jac.lip)


def _is_open(audit: Audit, node: Node) -> bool:
    """Whether a parameter that holds no values stands in front: its norm might give the bound."""
    seen, waiting = set(node.inputs), list(node.inputs)
    while waiting:
        new = set(audit.facts.nodes[waiting.pop()].inputs) - seen
        seen |= new
        waiting += new
    return not audit.facts.without_values.isdisjoint(seen)
