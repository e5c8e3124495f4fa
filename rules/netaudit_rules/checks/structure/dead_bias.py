"""NA401."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10, prod

from netaudit import Audit, Claim, Node, Remark, check
from netaudit_rules.checks.common import common_module, module_of
from netaudit_rules.checks.norms import GROUP, INSTANCE, group_size, is_on_batch
from netaudit_rules.checks.weights import uses

CANCELLED = -3.0
"""log10 of what rounding leaves of a sum that cancels, in single precision at most: 1e-7 for each of thousands of terms."""


@check("NA401", severity="info")
def dead_bias(audit: Audit) -> Iterator[Remark]:
    """A bias stands in front of a normalisation that subtracts it again.

    Why:
        BatchNorm in training (and InstanceNorm, and GroupNorm with one channel a group) takes the mean of each channel off: a bias
        per channel has no effect and a gradient of exactly zero. It costs memory, optimiser state and a kernel, and weight
        decay moves it to 0. LayerNorm takes off one mean for all features, in front of it a bias does count.

    How it is found:
        The output of a layer with a trained bias goes straight (views aside) into such a normalisation and nowhere else.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))

        def example_inputs():
            return torch.randn(8, 3, 8, 8)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))

        def example_inputs():
            return torch.randn(8, 3, 8, 8)
        ```

    References:
        Ioffe & Szegedy 2015, section 3.2 ("the bias b can be ignored").
    """
    users: dict[str, list[Node]] = {}
    for node in audit.graph.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    trained = {info.node: name for name, info in audit.graph.params.items() if info.trainable}
    found = []
    for use in uses(audit.graph):
        readers = users.get(use.node.name, [])
        if use.bias in trained and len(readers) == 1 and _takes_off_channel_means(readers[0], use.node):
            found.append((trained[use.bias], use.node))
    if found:
        names = [name for name, _ in found]
        module = common_module(module_of(name) for name in names) or module_of(names[0])
        yield Remark(
            message=f"`{names[0]}` has no effect: the normalisation behind it subtracts it again",
            module=module,
            where=audit.graph.params[names[0]].where,
            reason="its gradient is exactly 0; bias=False saves it",
            siblings=tuple(names[1:]),
            claim=_claim(audit, *found[0]),
        )


def _claim(audit: Audit, bias: str, layer: Node) -> Claim:
    """What is left of the sum of the layer's gradients, against ``sqrt(terms)`` of them: what terms that do not cancel would make."""
    terms = prod(layer.shape) / prod(audit.graph.params[bias].shape)
    return Claim("gradient", (bias,), CANCELLED + 0.5 * log10(terms), "below", over=(layer.name,), certain=True, aside=True)


def _takes_off_channel_means(node: Node, layer: Node) -> bool:
    if node.inputs[0] != layer.name:
        return False
    if is_on_batch(node) or node.op in INSTANCE:
        return True
    channels = layer.shape[1] if len(layer.shape) > 1 else 0
    size = group_size(node, layer.shape)
    whole = 1
    for n in layer.shape[2:]:
        whole *= n
    return node.op in GROUP and channels > 0 and size == whole
