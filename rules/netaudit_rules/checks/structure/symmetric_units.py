"""NA424."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netaudit import Audit, Claim, Evidence, Node, Remark, check
from netaudit_rules.checks.claiming import ROUNDED
from netaudit_rules.checks.common import MOVES, common_module, module_of, owner_site
from netaudit_rules.checks.norms import NORMS
from netaudit_rules.checks.weights import Use, is_constant, uses

_POOLS = tuple(f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3))
UNIT_WISE = MOVES | NORMS | frozenset(f"aten.{name}" for name in (*_POOLS, "mean"))
"""Calls that treat every unit alike, besides scalar functions and products with numbers."""
BY_NUMBER = frozenset(f"aten.{name}" for name in ("add", "sub", "mul", "div"))


@check("NA424", severity="error", needs={"graph", "weights"})
def symmetric_units(audit: Audit) -> Iterator[Remark]:
    """All units of a layer start equal, and nothing ever sets them apart.

    Why:
        Units with the same incoming weights, the same bias and the same outgoing weights compute the same value and get the
        same gradient, step after step: a layer of any width has the capacity of one unit. Constant initialisation does this.

    How it is found:
        The rows of a layer's weight are equal, so are its biases, and so are the columns of every weight that reads its
        output, through activations, pooling and normalisations that treat units alike. Dropout in between, a random bias, a
        random next layer, or a loss that tells outputs apart break the symmetry: a note if the weight is not zero.
        Weights that are zero (zero-initialised heads, LoRA) are told apart by the layer that reads them.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
            for layer in (model[0], model[2]):
                nn.init.constant_(layer.weight, 0.1)
                nn.init.zeros_(layer.bias)
            return model

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
            nn.init.zeros_(model[2].weight)
            return model

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Goodfellow et al. 2016, "Deep learning", section 8.4; Glorot & Bengio 2010.
    """
    layers = uses(audit.graph)
    readers = _readers(audit, layers)
    equal = [use for use in layers if _is_trained(use) and use.units > 1 and _has_equal_units(audit, use)]
    stuck = [use for use in equal if _stays_equal(audit, use, readers)]
    loose = [use for use in equal if use not in stuck and audit.facts.signals[use.weight].range.magnitude > 0.0 and readers[use.node.name]]
    if stuck:
        yield _remark(audit, stuck, is_stuck=True)
    if loose:
        yield _remark(audit, loose, is_stuck=False)


def _is_trained(use: Use) -> bool:
    return use.info.trainable


def _has_equal_units(audit: Audit, use: Use) -> bool:
    """Whether all units have the same incoming weights and bias; grouped convolutions read different inputs."""
    if use.node.args.get("groups", 1) != 1:
        return False
    bias = True if use.bias is None else is_constant(audit.facts.signals[use.bias])
    return bias and _is_equal_along(audit, use, 0 if use.by_row else -1)


def _is_equal_along(audit: Audit, use: Use, axis: int) -> bool:
    """Whether a weight is the same along an axis: proved by its range, or by its values."""
    signal = audit.facts.signals[use.weight]
    if is_constant(signal):
        return True
    return signal.value is not None and bool((signal.value == signal.value.take([0], axis)).all())


def _readers(audit: Audit, layers: Sequence[Use]) -> Mapping[str, tuple[Use, ...] | None]:
    """For each layer, the layers that read its output with nothing in between that tells units apart; None when something does."""
    users: dict[str, list[Node]] = {}
    for node in audit.graph.nodes:
        for name in dict.fromkeys(node.inputs):
            users.setdefault(name, []).append(node)
    by_node = {use.node.name: use for use in layers}
    return {use.node.name: _read_by(audit, use.node.name, users, by_node) for use in layers}


def _read_by(audit: Audit, name: str, users: Mapping[str, list[Node]], by_node: Mapping[str, Use]) -> tuple[Use, ...] | None:
    found: list[Use] = []
    waiting = [name]
    while waiting:
        current = waiting.pop()
        own = users.get(current, [])
        if not own or current in audit.graph.outputs:
            return None
        for user in own:
            if user.name in by_node and by_node[user.name].data == current:
                found.append(by_node[user.name])
            elif _is_unit_wise(audit, user, current):
                waiting.append(user.name)
            else:
                return None
    return tuple(found)


def _is_unit_wise(audit: Audit, node: Node, data: str) -> bool:
    if node.op in BY_NUMBER:
        return all(isinstance(o, float) for o in node.operands if o != data)
    others = [o for o in node.inputs if o != data]
    constant = all(is_constant(audit.facts.signals[o]) or o in _running(node) for o in others)
    transfer = audit.facts.transfers.get(node.op)
    return constant and not node.is_random and (node.op in UNIT_WISE or (transfer is not None and transfer.curve is not None))


def _running(node: Node) -> tuple[str, ...]:
    """Running statistics follow the units: they are equal when the units are."""
    return tuple(o for o in node.operands[3:5] if isinstance(o, str)) if node.op in NORMS else ()


def _stays_equal(audit: Audit, use: Use, readers: Mapping[str, tuple[Use, ...] | None]) -> bool:
    read_by = readers[use.node.name]
    if not read_by:
        return False
    moved = max(audit.facts.signals[u.weight].range.magnitude for u in (use, *read_by)) > 0.0
    return moved and all(_reads_alike(audit, use, reader) for reader in read_by)


def _reads_alike(audit: Audit, use: Use, reader: Use) -> bool:
    """Whether a layer weighs all of the units it reads the same; behind a flattening only a constant weight is sure to."""
    if is_constant(audit.facts.signals[reader.weight]):
        return True
    same_axes = len(audit.facts.nodes[reader.data].shape) == len(use.node.shape) and reader.info.shape[1:2] == (use.units,)
    return same_axes and reader.by_row and reader.node.args.get("groups", 1) == 1 and _is_equal_along(audit, reader, 1)


def _remark(audit: Audit, found: Sequence[Use], *, is_stuck: bool) -> Remark:
    first = found[0]
    module = common_module(module_of(use.param) for use in found) or module_of(first.param)
    if is_stuck:
        reason = "their incoming weights, biases and outgoing weights are equal, so are their gradients, step after step"
    else:
        reason = "what reads them sets them apart in the first step, from which they go on in one direction"
    return Remark(
        message=f"the {first.units} units of `{first.param}` start equal" + (" and stay equal" if is_stuck else ""),
        module=module,
        where=owner_site(audit, module, first.info.where),
        severity="error" if is_stuck else "info",
        reason=reason,
        evidence=Evidence("", None, None, None, None, "values of the weights" + ("; holds for every input" if is_stuck else "")),
        siblings=tuple(use.param for use in found[1:]),
        key="stuck" if is_stuck else "start",
        claim=_claim(first, is_stuck=is_stuck),
    )


def _claim(use: Use, *, is_stuck: bool) -> Claim:
    """The outputs of all units are equal; if they stay so, their gradients are."""
    axis = 1 if "conv" in use.node.op else -1
    return Claim(
        "gradient difference" if is_stuck else "difference", (use.node.name,), ROUNDED, "below", axis=axis, certain=True, aside=True
    )
