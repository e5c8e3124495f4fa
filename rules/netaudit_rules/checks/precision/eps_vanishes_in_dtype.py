"""NA501."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netaudit import Audit, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.claiming import breaks, may_break
from netaudit_rules.checks.common import behind_moves
from netaudit_rules.checks.places import Place, folded
from netaudit_rules.checks.ranges import FORMATS, HALF, learning
from netaudit_rules.checks.singular import singular_of

ADDING = ("aten.add", "aten.clamp_min", "aten.clamp", "aten.maximum")
INSIDE = {"netaudit.l2_normalize", "netaudit.rms_norm", "netaudit.layer_norm", "aten.cosine_similarity"}
"""Ops that use their eps in the format of their operand; torch's own layer_norm and rms_norm compute in single precision."""


@check("NA501", severity="warning", needs={"graph", "dtype"})
def eps_vanishes_in_dtype(audit: Audit) -> Iterator[Remark]:
    """An eps is exactly 0 in the format it is added in.

    Why:
        The smallest number above 0 in half precision is 6e-8: an eps of 1e-8 or 1e-12, written for single precision, rounds
        to 0. The guard is gone, and a zero row gives 0 / 0.

    How it is found:
        A constant added to (or a lower bound of) a half-precision tensor that is then divided by, rooted or taken the
        logarithm of, and that rounds to 0 in that format; the same for norms written out and for cosine_similarity. Native
        layer_norm and rms_norm compute in single precision and keep their eps. An error when the tensor is zero somewhere on
        the example input.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 16), Unit()).half()

        class Unit(nn.Module):
            def forward(self, x):
                return x / (x.norm(dim=-1, keepdim=True) + 1e-8)

        def example_inputs():
            return torch.randn(8, 16).half()
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 16), Unit(), nn.LayerNorm(16, eps=1e-12)).half()

        class Unit(nn.Module):
            def forward(self, x):
                return x / (x.norm(dim=-1, keepdim=True) + 1e-5)

        def example_inputs():
            return torch.randn(8, 16).half()
        ```

    References:
        IEEE 754-2019, section 3.6 (binary16); Micikevicius et al. 2018, section 3.1.
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Eps:
    value: float
    dtype: str
    at: tuple[str, ...]


def _places(audit: Audit) -> Iterator[Place[_Eps]]:
    trained = learning(audit)
    for node in audit.graph.nodes:
        if node.name not in trained:
            continue
        eps = _inside(node) if node.op in INSIDE else _guard(audit, node)
        if eps is not None:
            severity: Severity = "error" if _is_zero_somewhere(audit, node) else "warning"
            yield Place(node, severity, "eps", eps)


def _vanishes(value: object, dtype: str) -> bool:
    """Whether a number above 0 rounds to 0: at most half the smallest one (a tie goes to even, to 0)."""
    return dtype in HALF and isinstance(value, (int, float)) and 0 < value <= FORMATS[dtype].smallest / 2


def _guard(audit: Audit, node: Node) -> _Eps | None:
    """A constant that guards a singular op and is 0."""
    if node.op not in ADDING:
        return None
    eps = next((o for o in node.operands[1:] if _vanishes(o, node.dtype)), None)
    used_by = _singular_users(audit, node) if isinstance(eps, float) else ()
    return _Eps(eps, node.dtype, used_by) if isinstance(eps, float) and used_by else None


def _singular_users(audit: Audit, node: Node) -> tuple[str, ...]:
    found = (singular_of(n) for n in audit.graph.nodes)
    return tuple(s.node.name for s in found if s is not None and behind_moves(audit.facts, s.operand).name == node.name)


def _inside(node: Node) -> _Eps | None:
    """The eps of a norm: of one written out as it stands in the calls that were folded."""
    if not node.folded:
        eps = node.args.get("eps")
        return _Eps(float(eps), node.dtype, (node.name,)) if isinstance(eps, (int, float)) and _vanishes(eps, node.dtype) else None
    for inner in node.folded:
        eps = next((o for o in inner.operands[1:] if inner.op in ADDING and _vanishes(o, inner.dtype)), None)
        if isinstance(eps, float):
            return _Eps(eps, inner.dtype, (node.name,))
    return None


def _is_zero_somewhere(audit: Audit, node: Node) -> bool:
    """Whether what the eps is added to (or the row that is normalised) holds exact zeros on the example input."""
    from netaudit_rules.ops.identities import Identities  # numpy

    found = Identities(audit.facts).zeros(node.inputs[0], on_example=True)
    if found is None:
        return False
    return bool(found.all(-1).any() if node.op in INSIDE and found.ndim else found.any())


def _remark(node: Node, severity: Severity, eps: _Eps, siblings: tuple[str, ...]) -> Remark:
    smallest = FORMATS[eps.dtype].smallest
    return Remark(
        message=f"eps = {eps.value:g} is exactly 0 in {eps.dtype}: the smallest number above 0 is {smallest:.2g}",
        module=node.where.module,
        where=node.where,
        severity=severity,
        reason="the tensor is zero somewhere on the example input: 0 / 0" if severity == "error" else "a zero row gives 0 / 0",
        evidence=Evidence("eps", None, None, None, None, "rounding of the format"),
        siblings=siblings,
        claim=breaks(eps.at[0], certain=True) if severity == "error" else may_break(*eps.at),
    )
