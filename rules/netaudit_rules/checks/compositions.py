"""Compositions that overflow or cancel where a fused op does not: log(softmax), log(1 - sigmoid), log(1 + exp), variances by difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from netaudit import Audit, Node
from netaudit_rules.checks.common import behind_moves
from netaudit_rules.checks.forms import same
from netaudit_rules.checks.ranges import format_of, spread_of
from netaudit_rules.checks.singular import is_square

if TYPE_CHECKING:
    from netaudit import Facts

SOFTMAX = ("aten.softmax", "aten._softmax")
LOGS = ("aten.log", "aten.log2", "aten.log10")
PROBABILITIES = (*SOFTMAX, "aten.sigmoid")
GROWTH = 10.0
"""How much logits grow at least between initialisation (below 1) and a trained classifier that is sure of its answers (10 to 20)."""


@dataclass(frozen=True, slots=True)
class Composition:
    """A call that ends an unstable composition of a tensor: what it is, how it fails, and the fused op.

    ``limit``: the size of the tensor's entries (their ``spread`` over a row where ``across``) from which it fails.
    """

    node: Node
    source: str
    name: str
    failure: str
    fused: str
    limit: float
    across: bool = False
    grows: float = GROWTH


def composition_of(facts: Facts, node: Node) -> Composition | None:
    """The unstable composition that a call ends, if it does."""
    if node.op in LOGS:
        return _of_log(facts, node)
    finder = _FINDERS.get(node.op)
    return None if finder is None else finder(facts, node)


def is_unstable(facts: Facts, node: Node) -> bool:
    """Whether a call ends an unstable composition."""
    return composition_of(facts, node) is not None


def _of_log(facts: Facts, node: Node) -> Composition | None:
    inner = behind_moves(facts, node.inputs[0])
    if inner.op in SOFTMAX:
        limit = -format_of(inner).exp_underflow
        return Composition(
            node, inner.inputs[0], "log(softmax(x))", "a probability underflows to 0, its log is -inf and the gradient NaN",
            "log_softmax(x)", limit, across=True,
        )  # fmt: skip
    if inner.op == "aten.sigmoid":
        limit = -format_of(inner).exp_underflow
        return Composition(
            node,
            inner.inputs[0],
            "log(sigmoid(x))",
            "sigmoid underflows to 0, its log is -inf and the gradient NaN",
            "logsigmoid(x)",
            limit,
        )
    if inner.op == "aten.sum" and _exponentials(facts, inner.inputs[0]) is not None:
        return _of_exponentials(facts, node, inner.inputs[0], "log(sum(exp(x)))", "torch.logsumexp(x)")
    if inner.op == "aten.cosh":
        return _of_cosh(node, inner)
    one_less = _one_less(facts, inner)
    if one_less is not None and one_less.op in PROBABILITIES:
        return _saturating(node, one_less)
    raised = _one_more(facts, inner)
    return None if raised is None else _of_exponentials(facts, node, raised.name, "log(1 + exp(x))", "softplus(x)")


def _saturating(node: Node, inner: Node) -> Composition:
    name = inner.op.removeprefix("aten.").lstrip("_")
    fused = "logsigmoid(-x)" if name == "sigmoid" else "log_softmax(x) and logsumexp over the other classes"
    return Composition(
        node, inner.inputs[0], f"log(1 - {name}(x))", f"{name} rounds to 1, the log is -inf and the gradient NaN", fused,
        format_of(inner).saturation,
    )  # fmt: skip


def _of_cosh(node: Node, inner: Node) -> Composition:
    """The loss of residuals, which do not grow in training as logits do."""
    limit = format_of(inner).exp_overflow
    return Composition(node, inner.inputs[0], "log(cosh(x))", "cosh overflows to inf", "x + softplus(-2 x) - log(2)", limit, grows=1.0)


def _of_shifted_log(facts: Facts, node: Node) -> Composition | None:
    """``log1p(exp(x))`` and ``log1p(-sigmoid(x))``."""
    inner = behind_moves(facts, node.inputs[0])
    if inner.op == "aten.exp":
        return _of_exponentials(facts, node, inner.name, "log1p(exp(x))", "softplus(x)")
    negated = _negated(facts, inner)
    return _saturating(node, negated) if negated is not None and negated.op in PROBABILITIES else None


def _of_exponentials(facts: Facts, node: Node, name: str, what: str, fused: str) -> Composition | None:
    inner = _exponentials(facts, name)
    if inner is None:
        return None
    return Composition(node, inner.inputs[0], what, "exp overflows to inf", fused, format_of(inner).exp_overflow)


def _exponentials(facts: Facts, name: str) -> Node | None:
    """The ``exp`` behind a value, unless its operand is shifted by its maximum (or is known not to be positive)."""
    inner = behind_moves(facts, name)
    if inner.op != "aten.exp" or facts.signals[inner.inputs[0]].range.hi <= 0 or is_shifted(facts, inner.inputs[0]):
        return None
    return inner


def is_shifted(facts: Facts, name: str) -> bool:
    """``x - max(x)``, ``x - max(x, y)`` or ``x - logsumexp(x)``: at most 0."""
    node = behind_moves(facts, name)
    if node.op != "aten.sub" or len(node.inputs) < 2:
        return False
    taken = behind_moves(facts, node.inputs[1])
    if taken.op in ("aten.maximum", "aten.fmax", "aten.logaddexp"):
        return any(same(facts, behind_moves(facts, o).name, behind_moves(facts, node.inputs[0]).name) for o in taken.inputs)
    top = taken.op in ("aten.amax", "aten.max", "aten.logsumexp") and taken.args.get("output") in (None, 0)
    return top and same(facts, behind_moves(facts, taken.inputs[0]).name, behind_moves(facts, node.inputs[0]).name)


def is_rest_of_sum(facts: Facts, name: str) -> bool:
    """``cumsum(x)[-1] - cumsum(x)`` of nothing positive: the sum of what is still to come, at most 0."""
    node = behind_moves(facts, name)
    if node.op != "aten.sub" or len(node.inputs) < 2 or node.args.get("alpha", 1) != 1:
        return False
    last, sums = facts.nodes[node.inputs[0]], facts.nodes[node.inputs[1]]
    if last.op == "aten.unsqueeze":
        last = facts.nodes[last.inputs[0]]
    at_end = (last.op == "aten.slice" and last.args.get("start") == -1) or (last.op == "aten.select" and last.args.get("index") == -1)
    if sums.op != "aten.cumsum" or not at_end or last.inputs[0] != sums.name or facts.signals[sums.inputs[0]].range.hi > 0.0:
        return False
    axis, other, rank = last.args.get("dim", 0), sums.args.get("dim"), len(sums.shape)
    return isinstance(axis, int) and isinstance(other, int) and axis % rank == other % rank


def _of_quotient(facts: Facts, node: Node) -> Composition | None:
    """``exp(x) / sum(exp(x))``, ``1 / (1 + exp(-x))`` and ``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``."""
    if not node.inputs:
        return None
    below = behind_moves(facts, node.inputs[-1])
    raised = _one_more(facts, below)
    if raised is not None:
        found = _of_exponentials(facts, node, raised.name, "1 / (1 + exp(-x))", "sigmoid(x)")
        return None if found is None else replace(found, failure="exp overflows, and its gradient inf meets a slope of 0: NaN")
    if len(node.inputs) < 2:
        return None
    top = behind_moves(facts, node.inputs[0])
    if below.op == "aten.sum" and same(facts, behind_moves(facts, below.inputs[0]).name, top.name):
        return _of_exponentials(facts, node, top.name, "exp(x) / sum(exp(x))", "softmax(x)")
    if top.op == "aten.sub" and below.op == "aten.add" and len(top.inputs) == 2 and set(top.inputs) == set(below.inputs):
        return _of_exponentials(facts, node, top.inputs[0], "(exp(x) - exp(-x)) / (exp(x) + exp(-x))", "tanh(x)")
    return None


def _of_soft_margin(_facts: Facts, node: Node) -> Composition:
    fused = "softplus(-y x)"
    return Composition(
        node, node.inputs[0], "soft_margin_loss", "exp overflows: the loss is inf, the gradient NaN", fused, format_of(node).exp_overflow
    )


_FINDERS: dict[str, Callable[[Facts, Node], Composition | None]] = {
    "aten.log1p": _of_shifted_log,
    "aten.div": _of_quotient,
    "aten.reciprocal": _of_quotient,
    "aten.soft_margin_loss": _of_soft_margin,
}


def _one_less(facts: Facts, node: Node) -> Node | None:
    """The x of ``1 - x``."""
    if node.op in ("aten.sub", "aten.rsub") and len(node.operands) >= 2:
        first, second = node.operands[:2] if node.op == "aten.sub" else node.operands[1::-1]
        return behind_moves(facts, second) if _is_one(facts, first) and isinstance(second, str) else None
    if node.op == "aten.add":
        for own, other in (node.operands[:2], node.operands[1::-1]):
            negated = _negated(facts, behind_moves(facts, own)) if isinstance(own, str) else None
            if negated is not None and _is_one(facts, other):
                return negated
    return None


def _one_more(facts: Facts, node: Node) -> Node | None:
    """The exponential of ``1 + exp(x)``."""
    if node.op != "aten.add":
        return None
    for own, other in (node.operands[:2], node.operands[1::-1]):
        inner = behind_moves(facts, own) if isinstance(own, str) else None
        if inner is not None and inner.op == "aten.exp" and _is_one(facts, other):
            return inner
    return None


def _negated(facts: Facts, node: Node) -> Node | None:
    if node.op == "aten.neg":
        return behind_moves(facts, node.inputs[0])
    if node.op == "aten.mul" and -1.0 in node.operands and node.inputs:
        return behind_moves(facts, node.inputs[0])
    return None


def _is_one(facts: Facts, operand: str | float | None) -> bool:
    if isinstance(operand, str):
        known = facts.signals[operand].range
        return known.lo == known.hi == 1.0
    return operand == 1.0


NEGATIVE_LOG = frozenset({"aten.nll_loss", "aten.nll_loss_nd", "aten.nll_loss2d", "aten.nll_loss_forward"})


def feeds_nll(facts: Facts, node: Node) -> bool:
    """Whether a negative log-likelihood picks from a value."""
    users = (n for n in facts.graph.nodes if n.op in NEGATIVE_LOG and n.inputs)
    return any(behind_moves(facts, user.inputs[0]).name == node.name for user in users)


# variances --------------------------------------------------------------------------------------------------------------


def by_difference(facts: Facts, node: Node) -> str | None:
    """The x of ``mean(x^2) - mean(x)^2``, when a call is that."""
    if node.op != "aten.sub" or len(node.inputs) < 2:
        return None
    first, second = behind_moves(facts, node.inputs[0]), behind_moves(facts, node.inputs[1])
    if first.op != "aten.mean" or not is_square(facts, second):
        return None
    squared, mean = behind_moves(facts, first.inputs[0]), behind_moves(facts, second.inputs[0])
    if not is_square(facts, squared) or mean.op != "aten.mean":
        return None
    source = behind_moves(facts, squared.inputs[0])
    return source.name if same(facts, source.name, behind_moves(facts, mean.inputs[0]).name) else None


# reach ------------------------------------------------------------------------------------------------------------------


def largest_of(audit: Audit, found: Composition) -> float | None:
    """The forecast size of what decides: the largest entry, or the largest difference of two in a row."""
    spread = spread_of(audit, found.source)
    if spread is None:
        return None
    return spread.high - spread.low if found.across else spread.largest
