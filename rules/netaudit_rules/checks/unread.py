"""Parameters whose part of a result is left out further on."""

from __future__ import annotations

from math import inf

from netaudit import Audit
from netaudit_rules.checks.common import MOVES
from netaudit_rules.checks.optimiser.invariance import users_of

_JOINS = frozenset(f"aten.{name}" for name in ("cat", "stack", "split", "chunk", "unbind", "index"))
_WRITES = frozenset({"aten.slice_scatter", "aten.select_scatter"})
"""What writes its second operand into its first: that the second is not read says nothing of the first."""


def is_unread(audit: Audit, name: str) -> bool:
    """Whether the forecast gradient of a parameter is zero for one reason only: calls that pick or join entries, of which others are read.

    Its uses are followed as long as their gradient is zero. Where the next one has a gradient, a call that only moves entries
    must stand between.
    """
    users, nodes, reached = users_of(audit), audit.flow.nodes, audit.flow.reached
    seen, waiting, picked = set[str](), [audit.graph.params[name].node], False
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for user in users.get(current, ()):
            if user.name not in reached:
                continue
            size = nodes[user.name].forecast
            if size == -inf:
                waiting.append(user.name)
            elif size is None:
                return False
            elif user.op in MOVES | _JOINS or (user.op in _WRITES and user.operands[0] != current):
                picked = True
            else:
                return False
    return picked
