"""NA005."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Node, Remark, check
from netaudit_rules.checks.losses import WEIGHTED

PRODUCTS = WEIGHTED | {f"aten.{name}" for name in ("matmul", "mm", "bmm", "baddbmm", "scaled_dot_product_attention")}


@check("NA005", severity="error", needs={"graph", "dtype"})
def mixed_dtypes(audit: Audit) -> Iterator[Remark]:
    """A product of tensors of two dtypes: PyTorch refuses it.

    Why:
        Linear layers, convolutions and matrix products do not promote: the first forward pass raises "mat1 and mat2 must have
        the same dtype". NumPy makes float64, which is how such inputs come about.

    How it is found:
        The dtypes of the operands in the traced graph. The tracer works without values and lets the call pass. Regions under
        autocast cast by themselves.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(4, 4)

        def example_inputs():
            return torch.ones(2, 4, dtype=torch.float64)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(4, 4).double()

        def example_inputs():
            return torch.ones(2, 4, dtype=torch.float64)
        ```

    References:
        PyTorch documentation, "Tensor attributes: torch.dtype" (type promotion) and torch.nn.Linear.
    """
    found = [node for node in audit.graph.nodes if len(_dtypes(audit, node)) > 1]
    if found:
        first = found[0]
        yield Remark(
            message=f"{first.op.partition('.')[2]} of {' and '.join(_dtypes(audit, first))}: PyTorch raises an error",
            module=first.where.module,
            where=first.where,
            reason="its operands must have one dtype; cast the inputs, or the model",
            siblings=tuple(node.where.module or node.name for node in found[1:]),
        )


def _dtypes(audit: Audit, node: Node) -> tuple[str, ...]:
    """The dtypes of the operands of a product outside autocast, in their order."""
    if node.op not in PRODUCTS or any(region.startswith("autocast:") for region in node.regions):
        return ()
    return tuple(dict.fromkeys(audit.facts.nodes[name].dtype for name in node.inputs[:2]))
