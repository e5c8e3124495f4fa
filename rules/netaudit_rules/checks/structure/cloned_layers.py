"""NA407."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Remark, check
from netaudit_rules.checks.common import common_module, module_of, owner_site
from netaudit_rules.checks.losses import downstream


@check("NA407", severity="info", needs={"graph", "weights"})
def cloned_layers(audit: Audit) -> Iterator[Remark]:
    """Layers start with identical weights because they are copies of one another.

    Why:
        ``nn.TransformerEncoder`` and ``copy.deepcopy`` copy a layer with its values. The copies are parameters of their own and
        drift apart, since gradients differ by depth, but they start as one function that is iterated: what is derived for
        independent layers (He, Xavier, signal propagation) does not hold, and growth or decay along one direction is the same
        in every layer. The PyTorch documentation advises to initialise them anew.

    How it is found:
        Matrices of different layers are compared entry by entry. Reported once for each stack whose layers feed each other;
        constant matrices, tied weights (one parameter) and copies beside each other (a teacher, a momentum encoder) are not.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            return nn.TransformerEncoder(layer, 3)

        def example_inputs():
            return torch.randn(2, 8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            model = nn.TransformerEncoder(layer, 3)
            for p in model.parameters():
                if p.ndim > 1:
                    nn.init.xavier_uniform_(p)
            return model

        def example_inputs():
            return torch.randn(2, 8, 16)
        ```

    References:
        PyTorch documentation of nn.TransformerEncoder ("all layers in the TransformerEncoder are initialized with the same
        parameters").
    """
    stacks: dict[str, list[tuple[str, ...]]] = {}
    for group in audit.graph.clones:
        members = [name for name in group if audit.graph.params[name].trainable]
        if len(members) > 1 and _in_series(audit, members):
            stacks.setdefault(common_module(module_of(name) for name in members), []).append(tuple(members))
    for module, groups in stacks.items():
        yield _remark(audit, module, groups)


def _in_series(audit: Audit, members: Sequence[str]) -> bool:
    nodes = [audit.graph.params[name].node for name in members]
    calls = [node for node in audit.graph.nodes if not set(nodes).isdisjoint(node.inputs)]
    return len(calls) > 1 and calls[-1].name in downstream(audit.graph, (calls[0].name,))


def _remark(audit: Audit, module: str, groups: Sequence[tuple[str, ...]]) -> Remark:
    first, second = groups[0][:2]
    return Remark(
        message=f"{len(groups[0])} layers start with identical weights: `{first}` equals `{second}`",
        module=module,
        where=owner_site(audit, module, audit.graph.params[first].where),
        reason=f"{len(groups)} matrices of each layer are copies; initialise every layer anew after copying",
        siblings=tuple(name for group in groups for name in group if name not in (first, second)),
        key=first,
    )
