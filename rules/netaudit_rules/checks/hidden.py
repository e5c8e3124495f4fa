"""Which entries of logits are hidden: what masks of -inf do to the operand of a softmax, as far as their values are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, prod
from typing import TYPE_CHECKING, Any

from netaudit import Node
from netaudit_rules.checks.ranges import FORMATS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from netaudit import Facts

    Mask = NDArray[np.bool_]

LARGEST = 1 << 24
"""Entries of a mask beyond which its rows are not looked at."""
DEPTH = 24


@dataclass(frozen=True, slots=True)
class Hidden:
    """The entries that are -inf, broadcast against the logits (None: none is known); ``given`` by data rather than constants.

    ``open``: some mask's values are not known. ``added``: some were added to the logits, so that their gradient gets the NaN.
    """

    mask: Mask | None = None
    given: bool = False
    open: bool = False
    added: bool = False

    def joined(self, other: Hidden) -> Hidden:
        """What either hides."""
        masks = [m for m in (self.mask, other.mask) if m is not None]
        both = masks[0] | masks[1] if len(masks) == 2 else masks[0] if masks else None
        return Hidden(both, self.given or other.given, self.open or other.open, self.added or other.added)

    def rows(self, shape: tuple[int, ...], axis: int) -> int:
        """How many rows along an axis are hidden wholly."""
        if self.mask is None:
            return 0
        import numpy as np

        lifted = self.mask.reshape((1,) * (len(shape) - self.mask.ndim) + self.mask.shape)
        whole = lifted.all(axis)
        rest = tuple(n for a, n in enumerate(shape) if a != axis % len(shape))
        return int(whole.sum()) * (prod(rest) // max(whole.size, 1)) if np.size(whole) else 0


def hidden(facts: Facts, nodes: Mapping[str, Node], name: str, depth: int = DEPTH) -> Hidden:
    """What is hidden in a value; ``nodes`` holds the calls that composites were folded from as well."""
    known = _known(facts, name)
    node = nodes[name]
    if known is not None:
        return Hidden(_is_hidden(known, node.dtype), not facts.signals[name].constant)
    if not depth or node.op in ("input", "parameter", "constant"):
        return Hidden()
    if node.op in ("aten.masked_fill", "aten.where"):
        return _of_choice(facts, nodes, node, depth)
    if node.op in ("aten.add", "aten.sub"):
        return _of_sum(facts, nodes, node, depth)
    if node.op == "aten.baddbmm":
        return _added(hidden(facts, nodes, node.inputs[0], depth - 1))
    if node.op in ("aten.mul", "aten.div", "aten.to", "aten._to_copy", "aten.clone", "aten.contiguous", "aten.dropout", "aten.alias"):
        return hidden(facts, nodes, node.inputs[0], depth - 1)
    return _moved(facts, nodes, node, depth)


def _of_choice(facts: Facts, nodes: Mapping[str, Node], node: Node, depth: int) -> Hidden:
    if node.op == "aten.masked_fill":
        kept, condition, filled = node.operands
        flipped = False
    else:
        condition, kept, filled = node.operands
        flipped = True
        if _is_minus_infinity(facts, kept, node.dtype):
            kept, filled, flipped = filled, kept, False
    inner = hidden(facts, nodes, kept, depth - 1) if isinstance(kept, str) else Hidden()
    if not _is_minus_infinity(facts, filled, node.dtype) or not isinstance(condition, str):
        return inner
    return inner.joined(_of_condition(facts, condition, flipped))


def _of_condition(facts: Facts, condition: str, flipped: bool) -> Hidden:
    value = facts.signals[condition].value if condition in facts.signals else None
    if value is None or value.size > LARGEST:
        return Hidden(None, True, True)
    hides = value.astype(bool)
    return Hidden(~hides if flipped else hides, not facts.signals[condition].constant)


def _of_sum(facts: Facts, nodes: Mapping[str, Node], node: Node, depth: int) -> Hidden:
    found = Hidden()
    for operand in node.operands[: 2 if node.op == "aten.add" else 1]:
        if isinstance(operand, str):
            own = hidden(facts, nodes, operand, depth - 1)
            found = found.joined(own if operand == node.operands[0] and own.mask is None else _added(own))
    return found


def _added(found: Hidden) -> Hidden:
    return Hidden(found.mask, found.given, found.open, found.added or found.mask is not None)


def _moved(facts: Facts, nodes: Mapping[str, Node], node: Node, depth: int) -> Hidden:
    """Through ops that only move entries: the mask is spread over the tensor and moved with it."""
    import numpy as np

    from netaudit_rules.ops.identities.moves import MOVES as MOVING

    if node.op not in MOVING or not node.inputs:
        return Hidden()
    source = nodes[node.inputs[0]]
    found = hidden(facts, nodes, source.name, depth - 1)
    if found.mask is None or prod(source.shape) > LARGEST:
        return Hidden(None, found.given, found.open or found.mask is not None, found.added)
    spread = np.broadcast_to(found.mask, source.shape).astype(np.uint64)
    moved = MOVING[node.op](node, spread)
    return found if moved is None else Hidden(moved != 0, found.given, found.open, found.added)


def _known(facts: Facts, name: str) -> Any:
    value = facts.signals[name].value if name in facts.signals else None
    return value if value is not None and value.size <= LARGEST else None


def _is_hidden(value: Any, dtype: str) -> Mask | None:
    """Entries of -inf; those that become it in half precision too."""
    import numpy as np

    if value.dtype == np.bool_:
        return None
    limit = -FORMATS["float16"].largest if dtype == "float16" else -inf
    found: Mask = value <= limit if dtype != "float16" else value < limit
    return found if found.any() else None


def _is_minus_infinity(facts: Facts, operand: str | float | None, dtype: str) -> bool:
    if isinstance(operand, str):
        if operand not in facts.signals:
            return False
        signal = facts.signals[operand]
        return signal.constant and signal.range.lo == signal.range.hi and _is_minus_infinity(facts, signal.range.lo, dtype)
    return operand is not None and (operand == -inf or (dtype == "float16" and operand < -FORMATS["float16"].largest))
