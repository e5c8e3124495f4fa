"""Weights whose size does not matter, since a normalisation follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from netaudit import Audit, Node
from netaudit_rules.checks.common import MOVES, is_matrix

LINEAR = frozenset(
    "aten." + name for name in ("linear", "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose2d", "matmul", "mm", "addmm", "bmm")
)
"""Ops that are linear in a weight operand."""
NORMS = frozenset(
    "aten." + name for name in ("batch_norm", "layer_norm", "native_layer_norm", "group_norm", "instance_norm", "rms_norm")
) | {"netaudit.rms_norm", "netaudit.layer_norm", "netaudit.l2_normalize"}
_PASSING = "relu leaky_relu prelu gelu silu mish hardswish elu softplus dropout max_pool2d avg_pool2d mean"
HOMOGENEOUS = MOVES | {f"aten.{name}" for name in _PASSING.split()}
"""Ops that pass on a positive factor as it is, or do once it is large."""
Accept: TypeAlias = Callable[[Node, str], bool]


def scale_invariant(audit: Audit) -> frozenset[str]:
    """The weights that only act through a linear map which a normalisation follows, with nothing between that minds their size.

    Their gradient is orthogonal to them. A bias on the way counts as part of the weight.
    """
    users = users_of(audit)

    def is_norm(node: Node, name: str) -> bool:
        return normalises(audit, node, name)

    def is_map(node: Node, name: str) -> bool:
        weight = name in node.operands[1:] or node.op in ("aten.matmul", "aten.mm", "aten.bmm")
        return node.op in LINEAR and weight and _all_reach(users, node.name, HOMOGENEOUS, is_norm)

    params = audit.graph.params.items()
    return frozenset(name for name, info in params if is_matrix(info.shape) and _all_reach(users, info.node, MOVES, is_map))


def exposed(audit: Audit) -> frozenset[str]:
    """The parameters that act on the loss along a way without a normalisation: where they grow, so does what they do."""
    seen, waiting = set[str](), [name for name in audit.graph.heads if name in audit.facts.nodes]
    while waiting:
        node = audit.facts.nodes[waiting.pop()]
        if node.name not in seen:
            seen.add(node.name)
            waiting += [name for name in node.inputs if not normalises(audit, node, name)]
    return frozenset(name for name, info in audit.graph.params.items() if info.node in seen)


def normalises(audit: Audit, node: Node, operand: str) -> bool:
    """Whether a call takes the size off an operand."""
    return node.op in NORMS and node.operands[0] == operand and _trains(node) and _rules(audit, node)


def users_of(audit: Audit) -> Mapping[str, Sequence[Node]]:
    """The calls that take each node."""
    users: dict[str, list[Node]] = {}
    for node in audit.graph.nodes:
        for name in set(node.inputs):
            users.setdefault(name, []).append(node)
    return users


def _all_reach(users: Mapping[str, Sequence[Node]], start: str, through: frozenset[str], accept: Accept) -> bool:
    """Whether every way on from a node leads through some ops to calls that are accepted, and there is one."""
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in users:
            return False
        for user in users[name]:
            if user.op in through:
                waiting.append(user.name)
            elif not accept(user, name):
                return False
    return True


def _trains(node: Node) -> bool:
    """Whether the statistics are the batch's own: those of eval mode are constants."""
    return node.args.get("training", node.args.get("use_input_stats", True)) is not False


def _rules(audit: Audit, node: Node) -> bool:
    """Whether the variance rules over eps: what grows is normalised all the more."""
    eps, moments = node.args.get("eps"), audit.facts.signals[node.inputs[0]].moments
    return not isinstance(eps, (int, float)) or moments is None or eps <= moments.mean_square
