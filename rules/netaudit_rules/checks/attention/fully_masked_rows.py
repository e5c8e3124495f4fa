"""NA413."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log10

from netaudit import Audit, Claim, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.claiming import breaks, may_break
from netaudit_rules.checks.hidden import Hidden, hidden
from netaudit_rules.checks.places import Place, folded
from netaudit_rules.checks.singular import masked_by

SOFTMAX = frozenset({"aten.softmax", "aten._softmax", "aten.log_softmax", "aten._log_softmax"})
FUSED = "aten.scaled_dot_product_attention"


@check("NA413", severity="error", needs={"graph", "inputs"})
def fully_masked_rows(audit: Audit) -> Iterator[Remark]:
    """A mask of -inf hides every key of a row.

    Why:
        The softmax of a row of -inf is NaN, and NaN times 0 is NaN: whatever is done with the row later, the gradient of the
        values (and of a mask that is added) is NaN. A sample of padding alone does it, or padding on the left under a causal
        mask. ``scaled_dot_product_attention`` gives such rows 0, a mask of ``finfo.min`` equal weights.

    How it is found:
        Masks are followed back from each softmax through sums, fills and views; those that are constants or computed from the
        example input have known values. A row that is hidden wholly is an error, for scaled_dot_product_attention info. Where
        the example has none but the mask is data, it is info: the next batch may have one. A softmax behind masked_fill whose
        rows are filled again is safe.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

            def forward(self, x, hidden):
                scores = self.q(x) @ self.k(x).transpose(1, 2) / 4
                scores = scores.masked_fill(hidden[:, None], float("-inf"))
                return torch.softmax(scores, -1) @ self.v(x)

        def build():
            return Attention()

        def example_inputs():
            return torch.randn(2, 5, 16), torch.arange(5)[None] >= torch.tensor([3, 0])[:, None]
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
            return Attention()

        def example_inputs():
            return torch.randn(2, 5, 16), torch.arange(5)[None] >= torch.tensor([3, 0])[:, None]
        ```

    References:
        pytorch/pytorch issues 24816 and 41508; PyTorch documentation of scaled_dot_product_attention.
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Rows:
    count: int
    total: int
    constant: bool
    fused: bool


def _places(audit: Audit) -> Iterator[Place[_Rows]]:
    for outer in audit.graph.nodes:
        nodes = {**audit.facts.nodes, **{inner.name: inner for inner in outer.folded}}
        for node in outer.folded or (outer,):
            if node.op in SOFTMAX and node.inputs:
                place = _of_softmax(audit, nodes, outer, node)
            else:
                place = _of_fused(audit, node) if node.op == FUSED else None
            if place is not None:
                yield place


def _of_softmax(audit: Audit, nodes: Mapping[str, Node], outer: Node, node: Node) -> Place[_Rows] | None:
    found = hidden(audit.facts, nodes, node.inputs[0])
    dim = node.args.get("dim")
    count = found.rows(node.shape, int(dim) if isinstance(dim, (int, float)) else -1) if node.shape else 0
    if count and not found.added and not outer.folded and masked_by(audit.facts, node) is not None:
        return None  # masked_fill stops the NaN of the softmax, and a second one its value
    return _place(outer, node, found, count, fused=False)


def _of_fused(audit: Audit, node: Node) -> Place[_Rows] | None:
    mask = node.operands[3] if len(node.operands) > 3 else None
    if not isinstance(mask, str):
        return None
    value = audit.facts.signals[mask].value
    if value is None:
        return None
    if str(value.dtype) == "bool":
        found = Hidden(~value, not audit.facts.signals[mask].constant)
    else:
        found = hidden(audit.facts, audit.facts.nodes, mask)
    count = found.rows((*node.shape[:-1], value.shape[-1]), -1)
    return _place(node, node, found, count, fused=True) if count else None


def _place(outer: Node, node: Node, found: Hidden, count: int, *, fused: bool) -> Place[_Rows] | None:
    if not count and (not found.given or (found.mask is None and not found.open)):
        return None
    size = 1
    for n in node.shape[:-1]:
        size *= n
    severity: Severity = "error" if count and not fused else "info"
    return Place(outer, severity, "rows" if count else "possible", _Rows(count, size, not found.given, fused))


def _remark(node: Node, severity: Severity, rows: _Rows, siblings: tuple[str, ...]) -> Remark:
    return Remark(
        message=_message(rows),
        module=node.where.module,
        where=node.where,
        severity=severity,
        reason=_reason(rows),
        evidence=Evidence("rows", None, None, None, None, "masks of the example input" if not rows.constant else "a constant mask"),
        siblings=siblings,
        key="rows" if rows.count else "possible",
        claim=_claim(node, rows),
    )


def _claim(node: Node, rows: _Rows) -> Claim:
    """NaN, or rows of zeros where the call gives those."""
    if not rows.count:
        return may_break(node.name)
    if rows.fused:
        return Claim("zeros", (node.name,), log10(rows.count / rows.total), "above", slack=1e-6, certain=True, aside=True)
    return breaks(node.name, certain=True)


def _message(rows: _Rows) -> str:
    if not rows.count:
        return "a mask of -inf comes with the data: a sample whose keys are all hidden gives NaN"
    where = "by a constant mask" if rows.constant else "on the example input"
    return f"all keys are hidden in {rows.count} of {rows.total} rows {where}"


def _reason(rows: _Rows) -> str:
    if rows.fused:
        return "scaled_dot_product_attention gives such rows 0 and no gradient; other implementations give NaN"
    return "the softmax of -inf alone is NaN, and the gradient of the values is NaN even if the row is dropped later"
