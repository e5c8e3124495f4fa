"""ACM001."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from netaudit import Audit, Node, Remark, check

FLAT = 100.0
"""``b`` in mean squares of the input beyond which the slope stays within 1/2 +- 0.05 at one RMS: 1 / (2 sqrt(100))."""


@check("ACM001", severity="info", needs={"graph", "inputs"})
def linear_squareplus(audit: Audit) -> Iterator[Remark]:
    """A squareplus is so wide that it is nearly linear on its inputs.

    Why:
        The slope of ``(x + sqrt(x^2 + b)) / 2`` is ``1/2 + x / (2 sqrt(x^2 + b))``. Inputs far below ``sqrt(b)`` see 1/2
        only: the layer halves them and adds ``sqrt(b) / 2``, and a stack of such layers is a linear map.

    How it is found:
        ``b`` is compared with the forecast mean square of the input. Where that is not known, nothing is said.

    Flagged:
        ```python
        import torch
        from torch import nn
        from acme import Squareplus

        def build():
            return nn.Sequential(nn.Linear(16, 16), Squareplus(b=400.0), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn
        from acme import Squareplus

        def build():
            return nn.Sequential(nn.Linear(16, 16), Squareplus(b=4.0), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Barron 2021, arXiv 2112.11687.
    """
    found = [(node, size) for node, size in _inputs(audit) if _b(node) > FLAT * size]
    if not found:
        return
    node, size = found[0]
    yield Remark(
        message=f"squareplus with b = {_b(node):g} is nearly linear: its input is forecast to have an RMS of {sqrt(size):.2g}",
        module=node.where.module,
        where=node.where,
        reason=f"at one RMS the slope is 1/2 +- {sqrt(size / (size + _b(node))) / 2:.2g}",
        siblings=tuple(other.where.module or other.name for other, _ in found[1:]),
    )


def _inputs(audit: Audit) -> Iterator[tuple[Node, float]]:
    """The calls of squareplus whose input has a forecast, with its mean square."""
    for node in audit.graph.nodes:
        if node.op == "acme.squareplus":
            moments = audit.facts.signals[node.inputs[0]].moments
            if moments is not None:
                yield node, float(moments.mean_square)


def _b(node: Node) -> float:
    value = node.args["b"]
    assert isinstance(value, float)  # by the op's schema
    return value
