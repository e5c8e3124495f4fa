"""NA112."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING

from netaudit import Audit, Claim, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.common import behind_moves
from netaudit_rules.checks.compositions import GROWTH, LOGS, NEGATIVE_LOG, PROBABILITIES, SOFTMAX, feeds_nll
from netaudit_rules.checks.places import Place, folded, module_at
from netaudit_rules.checks.ranges import format_of, learning, spread_of

if TYPE_CHECKING:
    from netaudit import Facts

SMALL = 1e-2
"""What is added to a probability to keep its logarithm finite is smaller than this."""


@check("NA112", severity="info", needs={"graph", "loss"})
def loss_on_probabilities(audit: Audit) -> Iterator[Remark]:
    """The loss is computed from probabilities where it could be computed from logits.

    Why:
        Once a probability has rounded to 0 or 1, the logit behind it gets no gradient although the answer is wrong: in single
        precision beyond a logit of 17, in bfloat16 beyond 6. The slope of the logarithm reaches 1e12 before. The fused losses
        compute ``log sigmoid`` and ``log softmax`` from logits without either.

    How it is found:
        binary_cross_entropy whose input is a sigmoid, nll_loss whose input is the logarithm of a softmax, and logarithms of
        probabilities with an eps, followed back through views and clamps. Info; a warning when the forecast logits are so
        large that probabilities round to 0 or 1 at initialisation, or, where nothing guards the logarithm of a softmax, when
        they do after the tenfold growth of training.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 1), nn.Sigmoid())

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.binary_cross_entropy(model(inputs), torch.ones(8, 1))
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 1))

        def example_inputs():
            return torch.randn(8, 16)

        def loss(model, inputs):
            return nn.functional.binary_cross_entropy_with_logits(model(inputs), torch.ones(8, 1))
        ```

    References:
        PyTorch documentation of BCEWithLogitsLoss ("more numerically stable") and of BCELoss (logarithms clamped at -100).
    """
    trained = learning(audit)
    for place, siblings in folded(_places(audit, trained)):
        yield _remark(audit, place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Loss:
    name: str
    fused: str
    logits: float | None
    limit: float
    growth: float
    source: Node


def _places(audit: Audit, trained: frozenset[str]) -> Iterator[Place[_Loss]]:
    for node in audit.graph.nodes:
        made = _loss(audit, node) if node.name in trained else None
        if made is not None:
            severity: Severity = "warning" if made.logits is not None and made.logits * made.growth >= made.limit else "info"
            yield Place(node, severity, made.name, made)


def _loss(audit: Audit, node: Node) -> _Loss | None:
    if node.op == "aten.binary_cross_entropy":
        return _of_binary(audit, node)
    if node.op in NEGATIVE_LOG:
        return _of_nll(audit, node)
    return _of_guarded_log(audit, node) if node.op in LOGS and not feeds_nll(audit.facts, node) else None


def _of_binary(audit: Audit, node: Node) -> _Loss | None:
    source = _behind_clamps(audit.facts, node.inputs[0])
    if source.op not in PROBABILITIES:
        return None
    name, fused = f"binary_cross_entropy of a {_word(source)}", "binary_cross_entropy_with_logits"
    return _Loss(name, fused, _largest(audit, source), format_of(source).saturation, 1.0, source)


def _of_nll(audit: Audit, node: Node) -> _Loss | None:
    source = behind_moves(audit.facts, node.inputs[0])
    if source.op not in LOGS:
        return None
    direct, inner = behind_moves(audit.facts, source.inputs[0]), _behind_clamps(audit.facts, source.inputs[0])
    if inner.op not in SOFTMAX:
        return None
    limit = -format_of(inner).exp_underflow
    return _Loss(
        "nll_loss of log(softmax)", "cross_entropy on the logits", _largest(audit, inner), limit, GROWTH if direct is inner else 1.0, inner
    )


def _of_guarded_log(audit: Audit, node: Node) -> _Loss | None:
    inner = _guarded(audit.facts, node)
    if inner is None:
        return None
    name = f"the logarithm of a {_word(inner)} and an eps"
    return _Loss(name, f"log{_word(inner)} of the logits", _largest(audit, inner), format_of(inner).saturation, 1.0, inner)


def _word(node: Node) -> str:
    return "sigmoid" if node.op == "aten.sigmoid" else "softmax"


def _behind_clamps(facts: Facts, name: str) -> Node:
    node = behind_moves(facts, name)
    while node.op in ("aten.clamp", "aten.clamp_min", "aten.clamp_max", "aten.clip") or _adds_eps(node):
        node = behind_moves(facts, node.inputs[0])
    return node


def _adds_eps(node: Node) -> bool:
    return node.op == "aten.add" and any(isinstance(o, float) and 0 < o <= SMALL for o in node.operands)


def _guarded(facts: Facts, node: Node) -> Node | None:
    """The probability behind a logarithm with an eps or a clamp; None when there is neither, or no probability."""
    inner = behind_moves(facts, node.inputs[0])
    source = _behind_clamps(facts, node.inputs[0])
    return source if source is not inner and source.op in PROBABILITIES else None


def _largest(audit: Audit, probability: Node) -> float | None:
    """The forecast largest logit of a sigmoid, or the largest difference of two of a softmax."""
    spread = spread_of(audit, probability.inputs[0])
    if spread is None:
        return None
    return spread.largest if probability.op == "aten.sigmoid" else spread.high - spread.low


def _remark(audit: Audit, node: Node, severity: Severity, found: _Loss, siblings: tuple[str, ...]) -> Remark:
    reach = "" if found.logits is None else f"; forecast logits reach {found.logits:.3g}"
    return Remark(
        message=f"{found.name}: wrong answers get no gradient beyond a logit of {found.limit:.3g}{reach}",
        module=module_at(audit.facts, node),
        where=node.where,
        severity=severity,
        reason=f"a probability that has rounded to 0 or 1 has no slope left; {found.fused} has it at every logit",
        evidence=Evidence(
            "largest logit",
            log10(found.limit),
            None,
            None if not found.logits else log10(found.logits),
            None,
            "normal entries" if found.logits is not None else "",
        ),
        siblings=siblings,
        claim=_claim(found) if severity == "warning" else None,
    )


def _claim(found: _Loss) -> Claim:
    """The logits reach the limit now, or would after the growth that is allowed for."""
    limit, operand = log10(found.limit / found.growth), found.source.inputs[:1]
    if found.source.op == "aten.sigmoid":
        return Claim("largest", operand, limit, "above")
    dim = found.source.args.get("dim")
    return Claim("span", operand, limit, "above", axis=dim if isinstance(dim, int) else None)
