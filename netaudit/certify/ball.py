"""The set of inputs that a local bound is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

Norm: TypeAlias = Literal["l2", "linf"]


@dataclass(frozen=True, slots=True)
class Ball:
    """``||x - x0|| <= radius`` in l2 (of the flattened input) or l_inf, around the example input."""

    radius: float
    norm: Norm = "l2"

    def spread(self, rows: Tensor) -> Tensor:
        """``sup <a, x - x0>`` for each row ``a``: radius times the dual norm."""
        return self.radius * (rows.abs().sum(1) if self.norm == "linf" else rows.square().sum(1).sqrt())
