"""What every callback does: audit the live model when it is time, tell the framework's logger, stop or warn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netaudit.finding import SEVERITIES, Severity

if TYPE_CHECKING:
    from torch import nn

    from netaudit.results import Report


@dataclass(frozen=True, slots=True)
class Watch:
    """When a model is audited, and what follows from it.

    ``every``: steps between two audits after the one before the first step, 0 for none. ``fail_level``: the least severity that ends the
    training, None to warn only. ``options`` go to ``netaudit.audit``.
    """

    every: int = 0
    fail_level: Severity | None = "error"
    options: Mapping[str, Any] = field(default_factory=dict)

    def is_due(self, step: int) -> bool:
        """Whether the model is audited after so many steps."""
        return self.every > 0 and step > 0 and step % self.every == 0

    def look(self, model: nn.Module, **given: Any) -> Report:
        """Audit a model with its present weights; it stays as it is.

        Raises:
            FindingsError: there are findings at ``fail_level`` or above, or the model was not wholly checked.
        """
        import netaudit

        report = netaudit.audit(model, **{**given, **self.options})
        if self.fail_level is not None:
            report.raise_for_findings(self.fail_level)
        if not report.ok:
            warnings.warn(f"netaudit\n{report}", stacklevel=2)
        return report


def scalars(report: Report) -> dict[str, float]:
    """Numbers for a logger: findings by severity, and log10 of the least and the largest S of the trained parameters."""
    rows = [row for target in report.targets for row in target.params if row.trainable and row.sensitivity.log10 is not None]
    sizes: Sequence[float] = [row.sensitivity.log10 for row in rows if row.sensitivity.log10 is not None]
    found = {f"netaudit/{severity}": float(report.count(severity)) for severity in SEVERITIES}
    return found | ({"netaudit/log10_least_S": min(sizes), "netaudit/log10_largest_S": max(sizes)} if sizes else {})
