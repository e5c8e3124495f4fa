"""NA502."""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf, log10

from netaudit import Audit, Claim, Evidence, Node, Remark, check
from netaudit_rules.checks.places import Place, folded
from netaudit_rules.checks.ranges import FORMATS
from netaudit_rules.checks.singular import reaches_softmax

OPS = frozenset({"aten.add", "aten.sub", "aten.rsub", "aten.mul", "aten.where", "aten.masked_fill"})


@check("NA502", severity="warning", needs={"graph", "dtype"})
def half_mask_constant(audit: Audit) -> Iterator[Remark]:
    """A mask constant does not fit half precision.

    Why:
        -1e9 was written so that a hidden logit stays finite: a row whose keys are all hidden then gets equal weights. In half
        precision, whose largest number is 65504, it silently becomes -inf (masked_fill even raises): such a row is NaN, and
        so is a mask of -inf times 0, or a sum of -inf and inf.

    How it is found:
        A sum, difference, product or where() that gives a half-precision tensor and takes a finite constant beyond 65504.
        Masks for ``finfo(x.dtype).min``, bfloat16 tensors and scores cast to single precision first are not flagged.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

            def forward(self, x, hidden):
                scores = self.q(x) @ self.k(x).transpose(1, 2) / 4 + hidden[:, None].half() * -1e9
                return torch.softmax(scores, -1) @ self.v(x)

        def build():
            return Attention().half()

        def example_inputs():
            return torch.randn(2, 5, 16).half(), torch.arange(5)[None].expand(2, 5) > 3
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

            def forward(self, x, hidden):
                scores = self.q(x) @ self.k(x).transpose(1, 2) / 4
                scores = scores.masked_fill(hidden[:, None], torch.finfo(scores.dtype).min)
                return torch.softmax(scores, -1) @ self.v(x)

        def build():
            return Attention().half()

        def example_inputs():
            return torch.randn(2, 5, 16).half(), torch.arange(5)[None].expand(2, 5) > 3
        ```

    References:
        IEEE 754-2019, section 3.6 (binary16); huggingface/transformers pull request 17306 (finfo.min instead of -1e9).
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(place.node, *place.found, siblings)


def _places(audit: Audit) -> Iterator[Place[tuple[float, bool]]]:
    for outer in audit.graph.nodes:
        for node in outer.folded or (outer,):
            if node.op not in OPS or node.dtype != "float16":
                continue
            beyond = next((v for v in _constants(audit, node) if abs(v) > FORMATS["float16"].largest and not isinf(v)), None)
            if beyond is not None and (outer.folded or reaches_softmax(audit.facts, node)):
                yield Place(node, "warning", "mask", (beyond, bool(outer.folded)))


def _constants(audit: Audit, node: Node) -> Iterator[float]:
    """The numbers in a call, and constants of one value, whatever their own format."""
    for operand in node.operands:
        if isinstance(operand, float):
            yield operand
        elif operand is not None and operand in audit.facts.signals:
            signal = audit.facts.signals[operand]
            if signal.constant and signal.range.lo == signal.range.hi:
                yield signal.range.lo


def _remark(node: Node, value: float, inside: bool, siblings: tuple[str, ...]) -> Remark:
    return Remark(
        message=f"the mask constant {value:g} does not fit float16: it becomes {'-' if value < 0 else ''}inf",
        module=node.where.module,
        where=node.where,
        reason="the largest number of float16 is 65504; a row whose entries are all hidden is NaN, and so is every gradient",
        evidence=Evidence("mask constant", None, None, None, None, "rounding of the format"),
        siblings=siblings,
        claim=None if inside else Claim("largest", (node.name,), log10(FORMATS["float16"].largest), "above", certain=True),
    )
