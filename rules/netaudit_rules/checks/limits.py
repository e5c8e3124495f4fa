"""By how much the forecast of a model's gradients exceeds the limits: what several checks of scale attribute to a cause."""

from __future__ import annotations

from netaudit import EXPLODING, Audit
from netaudit_rules.checks.common import trained

RMS_LIMIT = 3.0
"""log10 of a gradient RMS that is too large whatever the weight's scale."""


def worst_excess(audit: Audit) -> tuple[str, float] | None:
    """The trained parameter that exceeds its nearest limit by most, and by how many decades; None without a forecast."""
    worst: tuple[str, float] | None = None
    for name, _ in trained(audit):
        s, gradient = audit.flow.sensitivity(name), audit.flow.params[name].forecast
        if s is not None and gradient is not None:
            excess = max(s - EXPLODING, gradient - audit.flow.reference - RMS_LIMIT)
            worst = (name, excess) if worst is None or excess > worst[1] else worst
    return worst
