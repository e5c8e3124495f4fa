"""NA410."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Claim, Drop, Evidence, Node, Remark, check
from netaudit_rules.checks.claiming import RANDOM
from netaudit_rules.checks.common import common_module, owner_site

DROPOUT = frozenset({"aten.dropout", "aten.feature_dropout", "aten.native_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout"})
MODULES = frozenset({"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"})
"""Torch's modules, which pass their mode on."""
FUSED = "aten.scaled_dot_product_attention"


@check("NA410", severity="warning", needs={"graph"})
def functional_dropout_always_on(audit: Audit) -> Iterator[Remark]:
    """Dropout stays on in evaluation mode.

    Why:
        ``F.dropout(x)`` drops by default, whatever the mode of the model: its ``training`` argument is True. The ``dropout_p``
        of scaled_dot_product_attention is applied whenever it is given. Predictions are then random, validation is too
        pessimistic, and the model is not the one that was trained for.

    How it is found:
        When the graph holds dropout that no nn.Dropout made, the model's python is run once more in evaluation mode, on
        shapes alone, and calls that still drop are noted. Dropout that is meant to stay on (Monte Carlo dropout) is this
        rule's to ignore.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(16, 32), nn.Linear(32, 4)

            def forward(self, x):
                return self.b(nn.functional.dropout(torch.relu(self.a(x)), 0.5))

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
                self.a, self.b = nn.Linear(16, 32), nn.Linear(32, 4)

            def forward(self, x):
                return self.b(nn.functional.dropout(torch.relu(self.a(x)), 0.5, training=self.training))

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        PyTorch documentation of torch.nn.functional.dropout and scaled_dot_product_attention; Gal & Ghahramani 2016 (Monte
        Carlo dropout).
    """
    if not any(_may_stay_on(node) for node in audit.graph.nodes):
        return
    found = [Drop(n.where.module, n.op.removeprefix("aten."), _share(n)) for n in audit.graph.nodes if _share(n) > 0]
    found = found if audit.mode == "eval" else list(audit.drops_in_evaluation())
    if found:
        yield _remark(audit, found)


def _share(node: Node) -> float:
    """The share of entries that a call drops in the mode of the graph."""
    if node.op == FUSED:
        p = node.args.get("dropout_p")
    elif node.op in DROPOUT and node.args.get("train") is True:
        p = node.args.get("p")
    else:
        p = 0.0
    return float(p) if isinstance(p, (int, float)) else 0.0


def _may_stay_on(node: Node) -> bool:
    """Dropout called as a function."""
    return any(_share(inner) > 0 for inner in (node, *node.folded)) and node.where.module_type not in MODULES


def _remark(audit: Audit, found: list[Drop]) -> Remark:
    first = found[0]
    module = common_module(drop.module for drop in found) or first.module
    nodes = [n for n in audit.graph.nodes if n.where.module == first.module and (n.op in DROPOUT or n.op == FUSED)]
    place = owner_site(audit, first.module, nodes[0].where if nodes else audit.graph.nodes[0].where)
    return Remark(
        message=f"{first.function} (p = {first.p:g}) stays on in evaluation mode: predictions are random",
        module=module,
        where=nodes[0].where if nodes else place,
        reason="pass training=self.training (dropout_p=p if self.training else 0.0), or use nn.Dropout; Monte Carlo dropout is meant so",
        evidence=Evidence("share dropped", None, None, None, None, "the model's python, run in evaluation mode without values"),
        siblings=tuple(drop.module or drop.function for drop in found[1:]),
        claim=Claim("noise", audit.graph.outputs[:1], RANDOM, "above", certain=True, aside=True),
    )
