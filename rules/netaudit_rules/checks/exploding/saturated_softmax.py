"""NA307."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import log10, sqrt

from netaudit import Audit, Claim, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.axes import ATTENTION
from netaudit_rules.checks.common import common_module, home
from netaudit_rules.checks.losses import dependent, downstream, source, tail
from netaudit_rules.checks.similarity import difference

SOFTMAX = frozenset({"aten.softmax", "aten._softmax"})
FEWEST = 4
"""Keys below which a large weight says nothing."""
SATURATED = 0.95
"""Mean of the largest weight above which a softmax is saturated: on 300 models healthy inner ones stay below."""
NOTICED = 0.75
DRAWS = 128


@check("NA307", severity="warning", needs={"graph", "weights", "inputs"}, yields_to=("NA201",))
def saturated_softmax(audit: Audit) -> Iterator[Remark]:
    """The logits of an attention are so large that its softmax picks one key from the start.

    Why:
        The Jacobian of softmax is ``diag p - pp'``: near a one-hot row it is 0, so queries and keys stop learning, and what was
        picked by chance stays picked. Dot products of d unscaled features have a deviation of sqrt d; a missing
        ``1 / sqrt d``, a temperature that is too low or unnormalised inputs cause it.

    How it is found:
        The deviation of the logits along a row is forecast, ``scale * sqrt d * rms(q) * rms(k)`` where they are a product of
        queries and keys, and the mean of the largest of n weights follows for normal logits. A warning above 0.95, a note above
        0.75. Where no input has a part in the logits (a learned pattern of positions, as in ConViT), one key is picked by
        design and not by chance: a note. Softmax at the end of the model or in the loss is not meant; scaled weights (T5),
        QK-norm and cosine attention lower the forecast by themselves.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.out = nn.Linear(256, 4)

            def forward(self, x):
                return self.out(torch.softmax(x @ x.transpose(1, 2), dim=-1) @ x)

        def build():
            return nn.Sequential(nn.Linear(16, 256), nn.LayerNorm(256), Attention())

        def example_inputs():
            return torch.randn(2, 32, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.k, self.out = nn.Linear(256, 256), nn.Linear(256, 256), nn.Linear(256, 4)

            def forward(self, x):
                return self.out(torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) / 256**0.5, dim=-1) @ x)

        def build():
            return nn.Sequential(nn.Linear(16, 256), nn.LayerNorm(256), Attention())

        def example_inputs():
            return torch.randn(2, 32, 16)
        ```

    References:
        Vaswani et al. 2017, section 3.2.1 and footnote 4; Zhai et al. 2023 (entropy collapse).
    """
    found = [(node, *known) for node in _inner(audit) if (known := _largest(audit, node)) is not None and known[1] > NOTICED]
    by_input = downstream(audit.graph, (node.name for node in audit.graph.nodes if node.op == "input"))
    saturated = [item for item in found if item[2] > SATURATED and not by_input.isdisjoint(item[0].inputs[:2])]
    for group in (saturated, [item for item in found if item not in saturated]):
        if group:
            yield _remark(audit, group, "warning" if group is saturated else "info")


def _inner(audit: Audit) -> Iterator[Node]:
    """The softmax calls inside the model that a gradient passes."""
    moving, end = dependent(audit.graph), tail(audit.graph)
    results = {source(audit.facts, name).name for name in audit.graph.outputs}
    for node in audit.graph.nodes:
        is_inner = node.name in audit.flow.reached and node.name not in end and node.name not in results
        if node.op in SOFTMAX | ATTENTION and is_inner and not moving.isdisjoint(node.inputs):
            yield node


def _largest(audit: Audit, node: Node) -> tuple[float, float] | None:
    """Deviation of the logits along a row, and the mean of the largest weight; None when they are not forecast or few."""
    known = _of_product(audit, node) if node.op in ATTENTION else _of_logits(audit, node)
    if known is None or known[1] < FEWEST:
        return None
    return known[0], mean_largest_weight(round(known[0], 2), known[1])


def _of_product(audit: Audit, node: Node) -> tuple[float, int] | None:
    q, k = (audit.facts.signals[name] for name in node.inputs[:2])
    turned = node.op == "netaudit.attention"
    axis, width = (-1, k.shape[-2]) if turned else (-2, k.shape[-1])
    apart = difference(k, axis)
    if q.moments is None or k.moments is None or apart is None:
        return None
    given = node.args.get("scale")
    scale = float(given) if isinstance(given, (int, float)) else 1.0 / sqrt(width)
    return scale * sqrt(width * q.moments.mean_square * k.moments.mean_square * apart), k.shape[axis]


def _of_logits(audit: Audit, node: Node) -> tuple[float, int] | None:
    x, dim = audit.facts.signals[_without_mask(audit, node)], node.args.get("dim")
    if x.moments is None or not isinstance(dim, int) or not x.shape:
        return None
    apart = difference(x, dim if dim < 0 else dim - len(node.shape))
    if apart is None:
        return None
    return sqrt(max(x.moments.kernel.mean_square * apart, 0.0)), node.shape[dim]


def _without_mask(audit: Audit, node: Node) -> str:
    """The logits before a mask or bias was added that no parameter has a part in; for a softmax over the last axis."""
    name, moving = node.inputs[0], dependent(audit.graph)
    while node.args.get("dim") in (-1, len(node.shape) - 1):
        made = source(audit.facts, name)
        live = [operand for operand in made.inputs if operand in moving]
        if made.op != "aten.add" or len(live) != 1 or audit.facts.nodes[live[0]].shape[-1:] != node.shape[-1:]:
            return name
        name = live[0]
    return name


@lru_cache(maxsize=256)
def mean_largest_weight(std: float, count: int) -> float:
    """``E max softmax(z)`` for ``count`` normal logits of that deviation, by 128 fixed draws."""
    import numpy as np

    z = std * np.random.default_rng(0).standard_normal((DRAWS, min(count, 4096)))
    return float((1.0 / np.exp(z - z.max(1, keepdims=True)).sum(1)).mean())


def _remark(audit: Audit, group: Sequence[tuple[Node, float, float]], severity: Severity) -> Remark:
    first, std, largest = group[0]
    limit = SATURATED if largest > SATURATED else NOTICED
    return Remark(
        message=f"softmax is forecast to give one key {largest:.2f} of the weight: its logits have a deviation of {std:.3g}",
        module=common_module(home(audit.facts, node.name) for node, _, _ in group) or home(audit.facts, first.name),
        where=first.where,
        severity=severity,
        reason="near a one-hot row the Jacobian diag p - pp' is 0; scale the logits by 1 / sqrt d, or normalise queries and keys",
        evidence=Evidence("", None, None, None, None, "mean-field, normal logits"),
        siblings=tuple(node.where.module or node.name for node, _, _ in group[1:]),
        key="saturated" if severity == "warning" else "sharp",
        claim=Claim("peak", tuple(node.name for node, _, _ in group), log10(limit), "above", slack=0.0, aside=True),
    )
